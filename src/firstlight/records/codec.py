"""Records to JSON and back, with nothing lost.

Each record becomes an object tagged with its class, so that a file read next year needs no hints:
fields that a newer version dropped are ignored, fields that it added take their defaults. NaN and
infinities, which JSON does not have, are tagged strings.
"""

from __future__ import annotations

import json
import math
from dataclasses import fields, is_dataclass
from typing import Any

from firstlight.errors import BadInputError
from firstlight.records import (
    checkup,
    compared,
    curves,
    detail,
    exhibit,
    law,
    network,
    plan,
    prediction,
    race,
    streamed,
    transfer,
    watched,
)

FORMAT = 1
_TAG = "record"

_CLASSES: dict[str, type] = {
    value.__name__: value
    for module in (
        law,
        network,
        checkup,
        plan,
        prediction,
        curves,
        detail,
        race,
        exhibit,
        streamed,
        compared,
        transfer,
        watched,
    )
    for value in vars(module).values()
    if isinstance(value, type) and is_dataclass(value)
}


def encode(value: Any) -> Any:
    """A record, tuple, dictionary or number as plain JSON values."""
    if is_dataclass(value) and not isinstance(value, type):
        saved = (f.name for f in fields(value) if f.metadata.get("saved", True))
        body = {name: encode(getattr(value, name)) for name in saved}
        return {_TAG: type(value).__name__, **body}
    if isinstance(value, tuple | list):
        return [encode(item) for item in value]
    if isinstance(value, dict):
        return {str(key): encode(item) for key, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return {_TAG: "float", "value": str(value)}
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise TypeError(f"cannot write {type(value).__name__} as JSON")


def decode(value: Any) -> Any:
    """The inverse of `encode`; sequences come back as tuples."""
    if isinstance(value, list):
        return tuple(decode(item) for item in value)
    if not isinstance(value, dict):
        return value
    tag = value.get(_TAG)
    if tag is None:
        return {key: decode(item) for key, item in value.items()}
    if tag == "float":
        return float(value["value"])
    if tag not in _CLASSES:
        raise BadInputError(f"unknown record {tag!r}; this file may come from a newer Firstlight")
    known = {field.name for field in fields(_CLASSES[tag])}
    return _CLASSES[tag](**{key: decode(item) for key, item in value.items() if key in known})


def to_json(record: Any) -> str:
    """A record as JSON text."""
    return json.dumps({"firstlight": FORMAT, "content": encode(record)}, allow_nan=False, indent=1)


def from_json(text: str, where: str = "JSON") -> Any:
    """The record in a JSON text that `to_json` wrote.

    Args:
        text: the JSON.
        where: named in errors.

    Raises:
        BadInputError: the text is not such JSON.
    """
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise BadInputError(f"{where}: not JSON ({error}); expected a saved record") from error
    if not isinstance(document, dict) or "firstlight" not in document:
        raise BadInputError(f"{where}: JSON, but no Firstlight record; save one with .save()")
    if document["firstlight"] > FORMAT:
        raise BadInputError(
            f"{where}: written in format {document['firstlight']}, this version reads up to"
            f" {FORMAT}; update firstlight"
        )
    try:
        return decode(document["content"])
    except (KeyError, TypeError, ValueError) as error:
        raise BadInputError(f"{where}: a damaged record ({error})") from error
