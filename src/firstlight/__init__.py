"""Firstlight: a healthy start for neural networks.

``check`` looks at a network before training, ``plan`` and ``apply`` (or ``initialize``) give it the
right start, ``audit`` names what is in its weights, ``race`` proves that it helped. Names load when
they are first used, and no framework is imported before a model of it comes.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_PUBLIC = {
    "apply": "firstlight.verbs.apply",
    "audit": "firstlight.verbs.audit",
    "audit_checkpoint": "firstlight.verbs.checkpoint",
    "calibrate": "firstlight.verbs.calibrate",
    "check": "firstlight.verbs.check",
    "coordinate_check": "firstlight.verbs.coordinate_check",
    "draw": "firstlight.verbs.draw",
    "exhibit": "firstlight.exhibits.gallery",
    "exhibit_names": "firstlight.exhibits.gallery",
    "initialize": "firstlight.verbs.initialize",
    "load": "firstlight.reporting.files",
    "plan": "firstlight.verbs.plan",
    "predict": "firstlight.verbs.predict",
    "race": "firstlight.verbs.race",
    "stream": "firstlight.verbs.stream",
    "technique": "firstlight.initializers.registry",
    "techniques": "firstlight.initializers.registry",
    "BadInputError": "firstlight.errors",
    "FirstlightError": "firstlight.errors",
    "InfeasibleError": "firstlight.errors",
    "ModelRaisedError": "firstlight.errors",
    "NoRuleError": "firstlight.errors",
    "UnhealthyError": "firstlight.errors",
    "UnhealthyWarning": "firstlight.errors",
    "Watch": "firstlight.verbs.watch",
}

__all__ = [*sorted(_PUBLIC), "__version__"]  # noqa: PLE0604 - the names are in the table above

if TYPE_CHECKING:
    from firstlight.errors import BadInputError as BadInputError
    from firstlight.errors import FirstlightError as FirstlightError
    from firstlight.errors import InfeasibleError as InfeasibleError
    from firstlight.errors import ModelRaisedError as ModelRaisedError
    from firstlight.errors import NoRuleError as NoRuleError
    from firstlight.errors import UnhealthyError as UnhealthyError
    from firstlight.errors import UnhealthyWarning as UnhealthyWarning
    from firstlight.exhibits.gallery import exhibit as exhibit
    from firstlight.exhibits.gallery import exhibit_names as exhibit_names
    from firstlight.initializers.registry import technique as technique
    from firstlight.initializers.registry import techniques as techniques
    from firstlight.reporting.files import load as load
    from firstlight.verbs.apply import apply as apply
    from firstlight.verbs.audit import audit as audit
    from firstlight.verbs.calibrate import calibrate as calibrate
    from firstlight.verbs.check import check as check
    from firstlight.verbs.checkpoint import audit_checkpoint as audit_checkpoint
    from firstlight.verbs.coordinate_check import coordinate_check as coordinate_check
    from firstlight.verbs.draw import draw as draw
    from firstlight.verbs.initialize import initialize as initialize
    from firstlight.verbs.plan import plan as plan
    from firstlight.verbs.predict import predict as predict
    from firstlight.verbs.race import race as race
    from firstlight.verbs.stream import stream as stream
    from firstlight.verbs.watch import Watch as Watch


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'firstlight' has no attribute {name!r}")
    value = getattr(import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
