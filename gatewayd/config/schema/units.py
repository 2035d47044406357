"""Durations and sizes with a unit, as people write them: `30s`, `1m30s`, `32MB`."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from gatewayd.config.schema.base import numeral

_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?\s*(?:ms|s|sec|secs|seconds?|m|min|mins|minutes?|h|hours?)\s*)+", re.I)
_DURATION_PART = re.compile(r"([0-9.]+)\s*([a-z]+)", re.I)
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([kmg])i?b?", re.I)
_MEGABYTES = {"k": 1 / 1024, "m": 1, "g": 1024}

DURATION = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"
_SIZE_FORM = r"^[0-9]+(\.[0-9]+)?[kKmMgG][iI]?[bB]?$"


def seconds(value: object) -> object:
    """Text like `10m` → seconds; plain numbers in text → numbers; anything else unchanged."""
    if not isinstance(value, str) or not _DURATION.fullmatch(value.strip()):
        return numeral(value)
    total = 0.0
    for number, unit in _DURATION_PART.findall(value):
        total += float(number) * _SECONDS["ms" if unit.lower() == "ms" else unit[0].lower()]
    return round(total, 6)


def megabytes(value: object) -> object:
    """Text like `32MB` or `1GiB` → megabytes of 1024 * 1024 bytes; like `seconds` otherwise."""
    found = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    return numeral(value) if found is None else float(found[1]) * _MEGABYTES[found[2].lower()]


def number_meant(value: str) -> str | None:
    """The plain number for a text with a unit, where a plain number is expected."""
    for convert in (seconds, megabytes):
        number = convert(value)
        if isinstance(number, int | float):
            return f"{number:g}"
    return None


def or_text(pattern: str, **bounds: float) -> dict[str, Any]:
    """The JSON Schema of a number within bounds, or of text with a unit."""
    return {"anyOf": [{"type": "number", **bounds}, {"type": "string", "pattern": pattern}]}


Duration = Annotated[
    float,
    BeforeValidator(seconds),
    Field(gt=0, le=86_400, allow_inf_nan=False),
    WithJsonSchema(or_text(DURATION, exclusiveMinimum=0, maximum=86_400)),
]
DurationOrNone = Annotated[
    float,
    BeforeValidator(seconds),
    Field(ge=0, le=86_400, allow_inf_nan=False),
    WithJsonSchema(or_text(DURATION, minimum=0, maximum=86_400)),
]
"""Zero is allowed."""
Size = Annotated[
    float,
    BeforeValidator(megabytes),
    Field(gt=0, le=4096, allow_inf_nan=False),
    WithJsonSchema(or_text(_SIZE_FORM, exclusiveMinimum=0, maximum=4096)),
]
"""In megabytes."""
