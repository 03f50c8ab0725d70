"""Architectures from transformers configs, offline, at sizes of a toy; their own code's start.

The rows are in `zoo.configs`; a config class is the model's own (`Model.config_class`). Dropout is
left as the library has it; random masking and dropped layers are switched off, so that no specimen
depends on NumPy's global generator.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from zoo.configs import audio, other, text, vision
from zoo.configs.batches import Row
from zoo.specimen import Family, Specimen


def _model(class_name: str, options: Mapping[str, Any]) -> nn.Module:
    import transformers  # slow to import, and only here

    transformers.logging.set_verbosity_error()
    model_class = getattr(transformers, class_name)
    model: nn.Module = model_class(model_class.config_class(**options))
    return model


_ROWS: dict[Family, tuple[Row, ...]] = {
    "text": text.ROWS,
    "vision": vision.ROWS,
    "audio": audio.ROWS,
    "other": other.ROWS,
}


# Where the library's own start is known to be bad -------------------------------------------------


def _with_unit_scales(class_name: str, options: Mapping[str, Any]) -> nn.Module:
    model = _model(class_name, options)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
    return model


_SCALES = "BatchNorm's scales 1; transformers 5.23 draws them from N(0, 0.02²) and the signal ends"
_REPAIRED = {
    "efficientnet": _SCALES,
    "mobilevit": _SCALES,
    "mobilenet-v1": "dropout 0.2 before the head; its own 0.999 is TensorFlow's keep probability",
    "funnel": "embedding std 0.02; its own 1.0, tied to the head, makes a loss of 33",
}


def _specimen(family: Family, row: Row) -> Specimen:
    name, split, class_name, options, batch = row
    remark = _REPAIRED.get(name, "")
    make = _with_unit_scales if remark is _SCALES else _model
    return Specimen(
        name=name,
        family=family,
        split=split,
        build=lambda: make(class_name, options),
        batch=batch,
        needs="transformers",
        remark=remark,
    )


SPECIMENS: tuple[Specimen, ...] = tuple(
    _specimen(family, row) for family, rows in _ROWS.items() for row in rows
)


def _own_start(name: str, **changes: Any) -> Specimen:
    """The same architecture as the library starts it."""
    family, row = next((f, r) for f, rows in _ROWS.items() for r in rows if r[0] == name)
    _, split, class_name, options, batch = row
    return Specimen(
        name=f"{name}-own-start",
        family=family,
        split=split,
        build=lambda: _model(class_name, {**options, **changes}),
        batch=batch,
        needs="transformers",
        remark=_REPAIRED[name],
    )


SICK: dict[Specimen, tuple[str, ...]] = {
    _own_start("efficientnet"): ("forward-vanishing", "backward-vanishing", "wrong-law"),
    _own_start("mobilevit"): ("forward-vanishing", "backward-vanishing", "wrong-law"),
    _own_start("funnel", initializer_std=None): ("loss-at-start",),
}
"""Published code with a start that is rightly called an error, and the kinds that say so."""
