"""The commands. Each calls one verb, prints its record, and returns the exit status.

0: healthy, or done. 1: findings of severity error. 2: wrong use, one line on stderr.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, CycloptsError, Parameter
from rich.console import Console

import firstlight as fl
from firstlight.cli.coordinate_check import coordinate_check
from firstlight.cli.options import AsJson, Html, Loss, Quiet, for_machines
from firstlight.cli.options import give as _give
from firstlight.cli.race import race
from firstlight.cli.sources import batch_of, model_factory, plan_from, weights_path
from firstlight.cli.stream import stream
from firstlight.errors import BadInputError, FirstlightError
from firstlight.laws.addresses import checked_seed
from firstlight.records.codec import to_json
from firstlight.records.whole_files import atomic_path
from firstlight.reporting.files import save
from firstlight.verbs.adapters import adapter_for

app = App(
    name="firstlight",
    help="Gives neural networks a healthy start. A model is named as file.py:factory or"
    " package.module:factory; naming it runs its code.",
    version=fl.__version__,
    result_action="return_value",
    suppress_keyboard_interrupt=False,  # `run` says what was done, and how to go on
)

Input = Annotated[
    str | None,
    Parameter(
        help="8x3x32x32 (normal numbers), 8x16:1000 (integers below 1000), batch.npz (arrays x and"
        " y, or one per keyword), or a factory beside the model's. Without it, a synthetic batch."
    ),
]
Target = Annotated[str | None, Parameter(help="A factory beside the model's, for the target.")]
Seed = Annotated[int | None, Parameter(help="Seeds the model's own start, and what is drawn.")]
Technique = Annotated[str | None, Parameter(help="One technique for all weights; see techniques.")]
Keep = Annotated[
    tuple[str, ...], Parameter(negative="", help="Patterns of parameters that stay as they are.")
]
Only = Annotated[
    tuple[str, ...],
    Parameter(
        negative="", help="Patterns of what is new and drawn, all else stays; name[9:] for rows."
    ),
]
Override = Annotated[
    tuple[str, ...],
    Parameter(negative="", help="PATTERN=TECHNIQUE for some parameters, as '*.attn.*=orthogonal'."),
]
Prefer = Annotated[
    str | None, Parameter(help="Technique whose form hidden weights take, at the plan's scale.")
]
Compare = Annotated[
    tuple[str, ...],
    Parameter(
        negative="",
        help="Technique to measure beside the plan, by one pass more; 'usual' for four of them.",
    ),
]

_errors = Console(stderr=True)


@contextmanager
def _busy(what: str, quiet: bool) -> Iterator[None]:
    """A spinner on stderr while something runs, in a terminal only."""
    if quiet or not _errors.is_terminal:
        yield
    else:
        with _errors.status(what):
            yield


def _built(model: str, seed: int | None) -> Any:
    if seed is not None:
        checked_seed(seed)
    factory = model_factory(model)
    built = factory()
    return built if seed is None else adapter_for(built).build(factory, seed)


@app.command
def check(
    model: str,
    /,
    *,
    input: Input = None,  # noqa: A002 - the option is called --input
    target: Target = None,
    loss: Loss = None,
    jacobian: Annotated[
        bool, Parameter(help="Measure the singular values from input to output too.")
    ] = False,
    seed: Seed = None,
    json: AsJson = False,
    html: Html = None,
    sarif: Annotated[
        Path | None, Parameter(help="Also write SARIF 2.1.0, for code scanning.")
    ] = None,
    junit: Annotated[Path | None, Parameter(help="Also write JUnit XML, for test reports.")] = None,
    quiet: Quiet = False,
) -> int:
    """Is this network healthy at step zero? Exit status 1 if not."""
    batch, wanted = batch_of(input, model, target)
    with _busy("looking at the network", quiet):
        checkup = fl.check(_built(model, seed), batch, loss=loss, target=wanted, jacobian=jacobian)
    for_machines(checkup, model, sarif=sarif, junit=junit)
    if html is not None:
        save(_with_theory(checkup), html if html.suffix == ".html" else html.with_suffix(".html"))
    _give(checkup, as_json=json, html=None, quiet=quiet)
    return 0 if checkup.healthy else 1


def _with_theory(checkup: Any) -> Any:
    """A checkup and, of a plain chain, its place in the phase diagram."""
    if any(op.kind in ("norm", "add", "composite") for op in checkup.network.operations):
        return checkup
    try:
        return checkup, fl.predict(checkup)
    except FirstlightError:
        return checkup


@app.command
def audit(
    model: str | None = None,
    /,
    *,
    checkpoint: Annotated[
        Path | None,
        Parameter(help="Instead: which tensors of this checkpoint are as PLAN and SEED drew them?"),
    ] = None,
    plan: Annotated[Path | None, Parameter(help="With --checkpoint: what was drawn.")] = None,
    namespace: Annotated[str, Parameter(help="With --checkpoint: that it was drawn in.")] = "",
    seed: Seed = None,
    json: AsJson = False,
    html: Html = None,
    quiet: Quiet = False,
) -> int:
    """Which initialization is in these weights now?

    MODEL may also be weights.safetensors, a folder of shards with their index, or weights.pt as
    torch.save wrote it; no code that such a file holds is run.
    """
    if checkpoint is not None:
        if plan is None or seed is None or model is not None:
            raise BadInputError(
                "checkpoint: compared with what a plan and a seed draw; give --plan plan.json and"
                " --seed, and no MODEL"
            )
        compared = fl.audit_checkpoint(checkpoint, plan_from(plan), seed=seed, namespace=namespace)
        if not quiet:
            sys.stdout.write(f"{to_json(compared) if json else compared}\n")
        return 0
    if model is None:
        raise BadInputError("audit: name a model, a file of weights, or --checkpoint")
    weights = weights_path(model)
    if weights is not None and seed is not None:
        raise BadInputError(f"seed: '{model}' holds weights, so there is nothing to seed")
    with _busy("naming the laws", quiet):
        record = fl.audit(_built(model, seed) if weights is None else weights)
    _give(record, as_json=json, html=html, quiet=quiet)
    return 0


@app.command
def plan(
    model: str,
    /,
    *,
    input: Input = None,  # noqa: A002 - the option is called --input
    target: Target = None,
    loss: Loss = None,
    technique: Technique = None,
    keep: Keep = (),
    only: Only = (),
    override: Override = (),
    prefer: Prefer = None,
    compare: Compare = (),
    out: Annotated[Path | None, Parameter(help="Write the plan as JSON, for init --plan.")] = None,
    seed: Seed = None,
    json: AsJson = False,
    html: Html = None,
    quiet: Quiet = False,
) -> int:
    """Which initialization should this model have, and why?"""
    batch, wanted = batch_of(input, model, target)
    with _busy("planning", quiet):
        record = fl.plan(
            _built(model, seed),
            batch,
            loss=loss,
            target=wanted,
            technique=technique,
            keep=keep,
            only=only or None,
            overrides=_pairs(override),
            prefer=prefer,
            compare=_names(compare),
            seed=seed,
        )
    if out is not None:
        save(record, out)
    _give(record, as_json=json, html=html, quiet=quiet)
    return 0


@app.command
def init(
    model: str,
    /,
    *,
    out: Annotated[Path, Parameter(help="The safetensors file to write.")],
    input: Input = None,  # noqa: A002 - the option is called --input
    target: Target = None,
    loss: Loss = None,
    technique: Technique = None,
    keep: Keep = (),
    only: Only = (),
    override: Override = (),
    prefer: Prefer = None,
    compare: Compare = (),
    plan: Annotated[Path | None, Parameter(help="Draw this plan (JSON) instead.")] = None,
    calibrate: Annotated[
        bool, Parameter(help="Correct the scales by measuring, where a batch is given.")
    ] = True,
    seed: Seed = None,
    namespace: Annotated[str, Parameter(help="Keeps models with equal names apart.")] = "",
    json: AsJson = False,
    html: Html = None,
    quiet: Quiet = False,
) -> int:
    """Draw the right start and write it as safetensors. Exit status 1 if it is not healthy."""
    if out.suffix != ".safetensors":
        raise BadInputError(f"out: expected a .safetensors file, got '{out}'")
    if not out.parent.is_dir():
        raise BadInputError(f"out: no folder '{out.parent}'; make it first, or name another")
    if plan is not None and compare:
        raise BadInputError("compare: a plan is given, so nothing is chosen; leave one of them out")
    batch, wanted = batch_of(input, model, target)
    built = _built(model, seed)
    with _busy("initializing", quiet):
        if plan is None:
            receipt = fl.initialize(
                built,
                batch,
                loss=loss,
                target=wanted,
                technique=technique,
                keep=keep,
                only=only or None,
                overrides=_pairs(override),
                prefer=prefer,
                compare=_names(compare),
                calibrate=None if calibrate else False,
                seed=seed,
                namespace=namespace,
            )
        else:
            receipt = plan_from(plan).apply(built, seed=seed, namespace=namespace)
        with atomic_path(out) as temporary:
            adapter_for(built).save_weights(built, str(temporary))
    _give(receipt, as_json=json, html=html, quiet=quiet)
    return 0 if receipt.after is None or receipt.after.healthy else 1


def _names(compare: Sequence[str]) -> Sequence[str] | str | None:
    """What to compare, as `firstlight.plan` takes it: None if nothing, the one word by itself."""
    return compare[0] if len(compare) == 1 else compare or None


def _pairs(overrides: Sequence[str]) -> dict[str, str]:
    """Patterns and techniques from PATTERN=TECHNIQUE."""
    pairs = {}
    for text in overrides:
        pattern, equals, technique = text.rpartition("=")
        if not (equals and pattern and technique):
            raise BadInputError(
                f"override: expected PATTERN=TECHNIQUE, got '{text}'; for example"
                " '*.attn.*=orthogonal'"
            )
        pairs[pattern] = technique
    return pairs


@app.command
def predict(
    activation: str,
    /,
    *,
    depth: Annotated[int, Parameter(help="Layers.")] = 100,
    width: Annotated[int, Parameter(help="Units of a layer.")] = 256,
    sigma_w2: Annotated[
        float | None, Parameter(help="fan_in times the variance of the weights.")
    ] = None,
    sigma_b2: Annotated[float, Parameter(help="Variance of the biases.")] = 0.0,
    technique: Annotated[str | None, Parameter(help="Whose variances to take.")] = None,
    parameter: Annotated[
        float | None, Parameter(help="Of the activation: a slope, alpha or beta.")
    ] = None,
    norm: Annotated[str | None, Parameter(help="batch or layer.")] = None,
    skip: Annotated[float | None, Parameter(help="Scale of a residual branch; 1 is plain.")] = None,
    dropout: Annotated[float, Parameter(help="Rate after the activation.")] = 0.0,
    length: Annotated[float, Parameter(help="Second moment of the first pre-activation.")] = 1.0,
    json: AsJson = False,
    html: Html = None,
    quiet: Quiet = False,
) -> int:
    """What does theory say of an activation in a deep network? No model is needed."""
    with _busy("following the recursion", quiet):
        record = fl.predict(
            activation,
            depth=depth,
            width=width,
            sigma_w2=sigma_w2,
            sigma_b2=sigma_b2,
            technique=technique,
            parameter=parameter,
            norm=norm,  # type: ignore[arg-type]
            skip=False if skip is None else skip,
            dropout=dropout,
            length=length,
        )
    _give(record, as_json=json, html=html, quiet=quiet)
    return 0


app.command(race)
app.command(stream)
app.command(coordinate_check)


@app.command
def techniques(name: str | None = None, /) -> int:
    """List the techniques, or tell all about one."""
    from firstlight.reporting.catalogue import print_technique, print_techniques

    if name is None:
        print_techniques(fl.techniques())
    else:
        print_technique(fl.technique(name))
    return 0


@app.command
def demo(
    *,
    out: Annotated[Path, Parameter(help="Folder for the report.")] = Path("firstlight-demo"),
    seeds: Annotated[int, Parameter(help="Scored trainings of each start.")] = 5,
    steps: Annotated[int, Parameter(help="Steps of each training.")] = 300,
    quiet: Quiet = False,
) -> int:
    """A 30-layer ReLU network on real images: from a start at chance to one that learns."""
    if seeds < 1 or steps < 1:
        raise BadInputError(f"demo: seeds and steps must be at least 1, got {seeds} and {steps}")
    from firstlight.exhibits.first_light import run_demo

    run_demo(out, seeds=seeds, steps=steps, console=Console(quiet=quiet))
    return 0


app.command("firstlight.cli.exhibit:exhibit")


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; wrong use prints one line on stderr.

    Args:
        arguments: without the program's name; those of the process by default.
    """
    tokens = sys.argv[1:] if arguments is None else list(arguments)
    try:
        result = app(tokens, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        return _refused(f"{' '.join(str(error).split())} (see firstlight --help)")
    except FirstlightError as error:
        return _refused(str(error))
    except (MemoryError, OverflowError) as error:
        return _refused(f"too large for this machine ({type(error).__name__}: {error})")
    except BrokenPipeError:
        # The reader went away (``| head``): nothing is left to say, not even on exit.
        with suppress(OSError):
            sys.stdout.close()
        return 0
    except OSError as error:
        return _refused(f"cannot write or read: {error.strerror or error}")
    except KeyboardInterrupt as error:
        return _refused(str(error) or "interrupted; nothing was changed", status=130)
    return result if isinstance(result, int) else 0


def _refused(message: str, status: int = 2) -> int:
    sys.stderr.write(f"firstlight: {message}\n")
    return status
