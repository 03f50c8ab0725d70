"""The one list of all techniques, and how they are looked up."""

from __future__ import annotations

from typing import Any

from firstlight.errors import BadInputError, near_names
from firstlight.initializers.activation_gain import ACTIVATION_GAIN
from firstlight.initializers.constants import CONSTANTS
from firstlight.initializers.fixed_scale import FIXED_SCALE
from firstlight.initializers.framework_defaults import FRAMEWORK_DEFAULTS
from firstlight.initializers.gates import GATES
from firstlight.initializers.mimetic import MIMETIC
from firstlight.initializers.patterned import PATTERNED
from firstlight.initializers.structured import STRUCTURED
from firstlight.initializers.technique import Technique
from firstlight.initializers.variance_scaling import VARIANCE_SCALING

_ALL: tuple[Technique, ...] = (
    *CONSTANTS,
    *FIXED_SCALE,
    *VARIANCE_SCALING,
    *ACTIVATION_GAIN,
    *STRUCTURED,
    *PATTERNED,
    *MIMETIC,
    *GATES,
    *FRAMEWORK_DEFAULTS,
)

_BY_NAME = {name: entry for entry in _ALL for name in (entry.name, *entry.aliases)}


def techniques() -> tuple[Technique, ...]:
    """All techniques, in families: constants, fixed scale, variance scaling, structures, defaults.

    >>> [t.name for t in techniques()][:4]
    ['zeros', 'ones', 'constant', 'random_normal']
    """
    return _ALL


def technique(name: str, /, **options: Any) -> Technique:
    """The technique of this name or alias, with options changed.

    Args:
        name: as in `techniques`, ``he_normal`` or its alias ``kaiming_normal``.
        **options: see the technique's own ``options``.

    Raises:
        BadInputError: no such technique, or no such option; the message offers the nearest.

    >>> technique("kaiming_normal", mode="fan_out").name
    'he_normal'
    """
    if not isinstance(name, str) or name not in _BY_NAME:
        raise BadInputError(
            f"technique: none is called {name!r}; {near_names(str(name), _BY_NAME)}"
        )
    return _BY_NAME[name].with_options(**options)
