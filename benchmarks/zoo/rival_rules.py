"""What the rules of other packages say, in the words of `firstlight.FINDING_KINDS`.

The reading is generous: a rule counts for every kind that its own message could mean. A rule with
no kinds still speaks, but names nothing: "the loss did not decrease". Rules about other matters
than the start of a training are left out, so that they count neither as a catch nor as a false
alarm: speed, memory layout, weight decay, randomness, and torchmortem's stagnant weight norms: its
twenty steps here cannot move them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Severity = Literal["fail", "warning", "info"]

_VANISHING = ("forward-vanishing", "backward-vanishing")
_EXPLODING = ("forward-exploding", "backward-exploding")
_UNREACHED = ("unreachable", "no-gradient")


@dataclass(frozen=True)
class Alarm:
    """One complaint.

    Args:
        rule: a key of `RULES` for its rival.
        where: the names that it gives, as far as the complaint is about them alone.
        severity: the rival's own, in three steps.
    """

    rule: str
    where: tuple[str, ...] = ()
    severity: Severity = "warning"


RULES: dict[str, dict[str, tuple[str, ...]]] = {
    "torchtest2": {
        "forward": (),
        "output_finite": ("non-finite",),
        # "input ignored, collapsed activations or a broadcasting bug?"
        "output_varies": (
            "collapsed-samples",
            "symmetric-units",
            "dead-units",
            "forward-vanishing",
            *_UNREACHED,
        ),
        "loss": (),
        "loss: not finite": ("non-finite",),
        "loss: detached": _UNREACHED,
        # "scale down the last layer's init, check input normalisation"
        "initial_loss: large": ("loss-at-start", "forward-exploding", "input-scale"),
        "initial_loss: low": ("loss-at-start",),
        "gradient_flow: none": _UNREACHED,
        # "dead ReLUs, multiplied by zero, masked out?"
        "gradient_flow: zero": ("dead-units", *_UNREACHED),
        "gradient_magnitude: not finite": ("non-finite",),
        "gradient_magnitude: large": _EXPLODING,
        "params_change: unchanged": _UNREACHED,
        "params_change: zero": ("dead-units", *_UNREACHED),
        "params_change: vanishing": ("update-ratio", "no-gradient", *_VANISHING),
        "input_dependency": ("collapsed-samples", "forward-vanishing", *_UNREACHED),
        "batch_independence": (),
        "overfit_batch": (),
        "overfit_batch: not finite": ("non-finite",),
    },
    "torch-audit": {
        "TA100": ("non-finite",),
        "TA102": _EXPLODING,
        "TA103": ("dead-units", *_UNREACHED),
        "TA104": _UNREACHED,
        "TA105": ("dead-units",),
        "TA301": ("input-scale",),
        "TA302": ("input-scale",),
        "TA305": (),
        # "filters … near-zero weights. Check initialization"
        "TA405": ("symmetric-units", "forward-vanishing", *_UNREACHED),
        "TA500": _UNREACHED,
    },
    "torchmortem": {
        "Vanishing gradients": _VANISHING,
        "Exploding gradients": _EXPLODING,
        "Gradient stalling": ("dead-units", *_VANISHING, *_UNREACHED),
        "Activation saturation": ("saturated-units",),
        "Dead units": ("dead-units",),
        "Update ratio too low": ("update-ratio", "backward-vanishing"),
        "Update ratio too high": ("update-ratio", *_EXPLODING),
        "Rank collapse": ("rank-deficient", "collapsed-samples", "parallel-units"),
        "Weight norm explosion": ("forward-exploding", "update-ratio"),
        # "different layers may need different init scales"
        "Inter-layer weight norm imbalance": ("wrong-law", "update-ratio", *_VANISHING),
        "Training divergence": ("backward-exploding",),
        "Loss plateau": (),
        "High gradient noise": (),
    },
    "torchdiag": {
        "NO GRAD": _UNREACHED,
        "EXPLODE": _EXPLODING,
        "VANISH": ("no-gradient", *_VANISHING),
        "dead": ("dead-units",),
        "loss not finite": ("non-finite",),
        "nothing changed": _UNREACHED,
        "step failed": (),
    },
    "anyinit": {
        "not converged": (),
        # Its own forward pass after its own draw did not run.
        "validation failed": (),
        "prediction off": ("wrong-law",),
        "not depth-stable": (*_VANISHING, *_EXPLODING),
    },
}
"""By rival and rule, the kinds that the rule could mean."""


def complaints(alarms: Iterable[Alarm]) -> set[Alarm]:
    """Those that are meant as alarms: what a rival calls information is none."""
    return {alarm for alarm in alarms if alarm.severity != "info"}


def news(sick: Iterable[Alarm], healthy: Iterable[Alarm]) -> set[Alarm]:
    """What is said of the spoiled model and not of its healthy twin."""
    return set(sick) - set(healthy)


def named(rival: str, alarms: Iterable[Alarm], kinds: Iterable[str]) -> bool:
    """Whether an alarm, or a mere piece of information, could mean one of the kinds."""
    return any(set(RULES[rival][alarm.rule]) & set(kinds) for alarm in alarms)
