"""``firstlight coordinate-check``: does this architecture train alike at every width?"""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

import firstlight as fl
from firstlight.cli.options import AsJson, Html, Loss, Quiet, give
from firstlight.cli.sources import batch_of, width_factory


def coordinate_check(
    model: str,
    /,
    *,
    input: Annotated[  # noqa: A002 - the option is called --input
        str | None, Parameter(help="As for check; it is needed here.")
    ],
    target: Annotated[
        str | None, Parameter(help="A factory beside the model's, for the target.")
    ] = None,
    loss: Loss = None,
    widths: Annotated[
        tuple[int, ...],
        Parameter(negative="", consume_multiple=True, help="What the factory is called with."),
    ] = (64, 128, 256, 512, 1024),
    base: Annotated[
        int | None,
        Parameter(help="Width whose plan is carried to the others; without it, the own start."),
    ] = None,
    optimizer: Annotated[str, Parameter(help="adam, adamw or sgd.")] = "adam",
    lr: Annotated[float | None, Parameter(help="1e-3 by default, for sgd 0.1.")] = None,
    steps: Annotated[int, Parameter(help="Steps of training.")] = 4,
    seeds: Annotated[int, Parameter(help="Starts of each width.")] = 3,
    json: AsJson = False,
    html: Html = None,
    quiet: Quiet = False,
) -> int:
    """Does this architecture train alike at every width? Exit status 1 if not.

    MODEL names a factory that takes a width.
    """
    build = width_factory(model)
    batch, wanted = batch_of(input, model, target)
    check = fl.coordinate_check(
        build,
        batch,
        widths=widths,
        steps=steps,
        optimizer=optimizer,
        lr=lr,
        seeds=seeds,
        base=base,
        loss=loss,
        target=wanted,
    )
    give(check, as_json=json, html=html, quiet=quiet)
    return 0 if check.healthy else 1
