"""What calibrating passes found so far, and what follows from it: three passes at most.

First pass: every use of a weight is brought to the target by a factor of its own; the weight takes
the geometric mean of them. With one use that is all. A weight that is used again is then held at
that mean while a second pass measures what became of its uses: errors e_u = log(second moment /
target). Some of an error at one use arrives at the next; the share ρ is read from the pass itself
(e_u = own part + ρ·e_{u−1}, the own part being known from the first), so that the mean error
answers a change of the weight by 2·mean_u(1 + ρ + … + ρ^{u−1}), and one step takes it off. The
third pass settles the others around it. So is a weight that reaches its operation through an
expression (weight norm): if the second pass shows that its scale does not arrive, it stays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from firstlight.measuring.pooling import arrives, common_step, pooled
from firstlight.records.calibration import Scaling

PASSES = 3
_ENOUGH = 0.1
_OF_SPREAD = 1 / 8
"""Mean error of a shared weight's uses, at least and as a share of how far they lie apart, below
which it stays as it is: a third pass would not bring them nearer to the target."""


@dataclass(frozen=True, kw_only=True)
class Swept:
    """What one pass over one batch found of one weight.

    Args:
        factors: for each use, the logarithm of the factor that would have met the target there.
        errors: for each use, log(second moment / target) of the result as it went on.
        empty: uses whose result was zero or not finite.
        unreachable: uses whose bias alone exceeds the target.
    """

    factors: Sequence[float] = ()
    errors: Sequence[float] = ()
    empty: int = 0
    unreachable: int = 0


@dataclass
class Ledger:
    """The weights under calibration.

    Args:
        names: of the weights, in the order of the result.
        indirect: those that reach a result through an expression; whether it is linear in them is
            tried out.
        factors: what the drawn values are to be multiplied by.
        fixed: measured only; passes do not change them.
        probed: fixed, but what follows sees their results at their targets, as in the first pass.
        left: why weights are left alone.
        own: for each weight and batch, the logarithms of the factors that its uses asked for.
        errors: the same of the errors, of the last pass.
        forwards: passes so far.
    """

    names: tuple[str, ...]
    indirect: set[str] = field(default_factory=set)
    factors: dict[str, float] = field(default_factory=dict)
    fixed: set[str] = field(default_factory=set)
    probed: set[str] = field(default_factory=set)
    left: dict[str, str] = field(default_factory=dict)
    own: dict[str, list[list[float]]] = field(default_factory=dict)
    errors: dict[str, list[list[float]]] = field(default_factory=dict)
    forwards: int = 0

    def __post_init__(self) -> None:
        self.factors = dict.fromkeys(self.names, 1.0) | self.factors

    def settle(
        self, sweep: Callable[[], Sequence[Mapping[str, Swept]]], held: Callable[[str], None]
    ) -> None:
        """Run the passes that are needed.

        Args:
            sweep: one pass over each batch.
            held: called with the name of each weight that is held from then on.
        """
        self.absorb(sweep())
        unsettled = self.unsettled()
        if unsettled:
            for name in unsettled:
                self.hold(name, probed=name in self.indirect)
                held(name)
            self.absorb(sweep())
            if self.correct(unsettled) and self.forwards < PASSES:
                self.absorb(sweep())

    def balance(
        self,
        factors: Mapping[str, float],
        sweep: Callable[[], Sequence[Mapping[str, Swept]]],
        held: Callable[[str], None],
    ) -> None:
        """Apply a backward balance, and bring what it does not touch back to its target.

        Args:
            factors: further ones of weights in `single`; see `firstlight.measuring.balancing`.
                The pass that they were measured in counts.
            sweep: one pass over each batch.
            held: called with the name of each weight that is held from then on.
        """
        self.forwards += 1
        for name, factor in factors.items():
            self.hold(name, probed=name in self.indirect)
            held(name)
            self.factors[name] *= factor
        self.absorb(sweep())

    @property
    def single(self) -> set[str]:
        """Weights that one use has settled."""
        return set(self.names) - self.fixed - set(self.left)

    def absorb(self, passes: Sequence[Mapping[str, Swept]]) -> None:
        """Take in one pass over each batch, and the factors that follow from it."""
        self.forwards += 1
        self.errors = {}
        own: dict[str, list[list[float]]] = {}
        for found in passes:
            for name, each in found.items():
                if each.factors:
                    own.setdefault(name, []).append(list(each.factors))
                if each.errors:
                    self.errors.setdefault(name, []).append(list(each.errors))
        for name in self.names:
            if name in self.fixed:
                continue
            self.left.pop(name, None)
            if name in own:
                self.factors[name] = pooled(own[name])
            else:
                self.factors[name] = 1.0
                seen = [found[name] for found in passes if name in found]
                empty, unreachable = (
                    sum(each.empty for each in seen),
                    sum(each.unreachable for each in seen),
                )
                self.left[name] = _why_left(empty, unreachable)
        self.own |= own

    def unsettled(self) -> list[str]:
        """Weights that one pass does not settle: used again, or through an expression."""
        return [
            name
            for name in self.names
            if name in self.own
            and (name in self.indirect or max(len(uses) for uses in self.own[name]) > 1)
        ]

    def hold(self, name: str, *, probed: bool = False) -> None:
        """Measure a weight from now on and change it between passes only."""
        self.fixed.add(name)
        (self.probed.add if probed else self.probed.discard)(name)

    def correct(self, names: Iterable[str]) -> bool:
        """One step for weights that were held; whether any moved."""
        moved = False
        for name in names:
            errors = self.errors.get(name)
            self.probed.discard(name)
            if errors is None:
                continue
            own = [
                [2 * (math.log(self.factors[name]) - each) for each in uses]
                for uses in self.own[name]
            ]
            if name in self.indirect:
                if not arrives(errors, self.factors[name]):
                    self.factors[name] = 1.0
                    self.left[name] = "its scale does not arrive at its result"
                    moved = True
                    continue
                if max(len(uses) for uses in own) <= 1:
                    self.fixed.discard(name)
            flat = [each for uses in errors for each in uses]
            change = common_step(errors, own)
            if abs(sum(flat)) / len(flat) > max(_ENOUGH, _OF_SPREAD * (max(flat) - min(flat))):
                self.factors[name] *= math.exp(change)
                moved = True
        return moved

    def scaling(self, name: str) -> Scaling:
        """What is found of a weight, as plain data."""
        if name in self.fixed:
            errors = self.errors.get(name, [])
        else:  # where batches differ, each is off by what its own factor differs from the common
            log_factor = math.log(self.factors[name])
            errors = [[2 * (log_factor - f) for f in uses] for uses in self.own.get(name, [])]
        flat = [e for each in errors for e in each] or [0.0]
        return Scaling(
            name=name,
            factor=self.factors[name],
            uses=max((len(each) for each in errors), default=0),
            low=math.exp(min(flat)),
            high=math.exp(max(flat)),
            left=self.left.get(name),
        )


def _why_left(empty: int, unreachable: int) -> str:
    if empty:
        return "its result is zero or not finite"
    return "its bias alone exceeds the target" if unreachable else "not used in this pass"
