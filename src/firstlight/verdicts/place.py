"""Where a network that was looked at stands in the phase diagram of its activation."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from statistics import median

from firstlight.records.checkup import Observation
from firstlight.records.network import ActivationRef
from firstlight.verdicts.view import View


@dataclass(frozen=True, kw_only=True)
class Place:
    """A network as a plain chain of its typical layer, which is what mean field speaks of.

    Args:
        activation: what feeds most of its hidden weights.
        depth: hidden weighted operations.
        width: the commonest number of units of them.
        sigma_w2: fan_in times the mean square of their weights, the median.
        sigma_b2: mean square of their biases, the median; 0 without.
    """

    activation: ActivationRef
    depth: int
    width: int
    sigma_w2: float
    sigma_b2: float


def place_of(observation: Observation) -> Place | None:
    """The place of a network; None if no hidden weight is fed by a known activation, or all are 0.

    Args:
        observation: of a `Checkup`.
    """
    view = View(observation)
    scale = view.sigmas.scale
    if scale is None or scale.sigma_w2 == 0:
        return None
    network = observation.network
    biases, widths = [], []
    for operation in view.hidden:
        for name in operation.parameters:
            parameter, reading = network.parameter(name), view.parameters.get(name)
            if parameter.kind == "bias" and reading is not None:
                biases.append(reading.value_rms**2)
            elif parameter.fans is not None:
                widths.append(parameter.fans.forward)
    return Place(
        activation=scale.activation,
        depth=len(view.hidden),
        width=max(1, round(Counter(widths).most_common(1)[0][0])) if widths else 1,
        sigma_w2=scale.sigma_w2,
        sigma_b2=median(biases) if biases else 0.0,
    )
