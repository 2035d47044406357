"""How a key of the file is described: one field of a `Section`, with its meaning, default and support level.

A section is one mapping of the file. Its fields are the keys that work. `keys.toml` lists the keys that gatewayd knows
but does not use, by the section's name. The documentation, the JSON Schema and the validator all read these classes and
that file, and nothing else. This module knows no key by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Annotated, Any, ClassVar, Literal, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from gatewayd.config.tables import table

Support = Literal["full", "approximated", "ignored", "refused"]
Kind = Literal["translated", "ignored", "families", "refused", "refused_in_part"]

_NUMERAL = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?")


class Section(BaseModel):
    """One mapping of the file. The validator reports unknown keys, not pydantic, because it has places and hints."""

    model_config = ConfigDict(
        frozen=True,
        strict=True,  # YAML already has types; `rpm: yes` must not become 1
        extra="ignore",
        protected_namespaces=(),
        arbitrary_types_allowed=True,
        hide_input_in_errors=True,
        use_attribute_docstrings=False,
    )

    OWN: ClassVar[bool] = False
    """Whether the section is gatewayd's own, so that an unknown key is an error and not a warning."""
    OPEN: ClassVar[bool] = False
    """Whether keys of any name are allowed, because they are passed on."""


def key(
    default: Any,
    doc: str,
    *,
    why: str | None = None,
    approximated: str | None = None,
    exact: Sequence[Any] = (),
    secret: bool = False,
    **constraints: Any,
) -> Any:
    """One key of the file (`...` as `default`: required).

    `why`: the reason for the default. `approximated`: how gatewayd's behaviour differs from litellm's, `exact`: the
    values for which it does not. `secret`: the value is never shown. `constraints` are pydantic's (`ge`, `le`, ...).
    """
    extra = {"x-why": why, "x-approximated": approximated, "x-exact": list(exact) or None, "x-secret": secret or None}
    return Field(
        default,
        description=doc,
        json_schema_extra={name: value for name, value in extra.items() if value is not None},
        **constraints,
    )


@cache
def listed(section: type[Section], kind: Kind) -> Mapping[str, tuple[str, ...]]:
    """Of the keys that are no fields: reason → names. `keys.toml` explains the kinds."""
    written: Mapping[str, str] = table("keys").get(section.__name__, {}).get(kind, {})
    return {reason: tuple(names.split()) for reason, names in written.items()}


@cache
def unused(section: type[Section]) -> Mapping[str, tuple[Support, str]]:
    """Name of every known key that does not work → (`ignored` or `refused`, reason)."""
    kinds: tuple[Literal["ignored", "refused"], ...] = ("ignored", "refused")
    return {name: (kind, reason) for kind in kinds for reason, names in listed(section, kind).items() for name in names}


def asks_for_nothing(section: type[Section], name: str, value: Any) -> bool:
    """Whether this value of an unused key means the same to litellm as no key."""
    if value is None:
        return True
    empty = value is False or value in ("", [], {})
    return empty and name not in table("keys")["empty_counts"].get(section.__name__, "").split()


def family(section: type[Section], name: str) -> str | None:
    """Why the key has no effect, if it belongs to a family of such keys."""
    return next((reason for reason, heads in listed(section, "families").items() if name.startswith(heads)), None)


@cache
def known(section: type[Section]) -> frozenset[str]:
    """Every key name that the section knows."""
    return frozenset(section.model_fields).union(unused(section), *listed(section, "translated").values())


@cache
def nested(section: type[Section]) -> tuple[tuple[str, type[Section], str], ...]:
    """Fields that hold sections: (name, section, `one` | `list` | `values`)."""
    return tuple(
        (name, inner, many)
        for name, field in section.model_fields.items()
        for inner, many in _sections(field.annotation)
    )


def _sections(annotation: Any, many: str = "one") -> Iterator[tuple[type[Section], str]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation, many
        return
    origin = get_origin(annotation)
    inner = "list" if origin in (list, tuple) else "values" if origin is dict else many
    for argument in get_args(annotation):
        yield from _sections(argument, inner)


def below(section: type[Section]) -> tuple[type[Section], ...]:
    """The section and all sections nested in it, each once."""
    found = [section]
    for _, inner, _ in nested(section):
        found.extend(one for one in below(inner) if one not in found)
    return tuple(found)


def numeral(value: object) -> object:
    """Text that is a plain decimal number → that number; anything else unchanged.

    Such text comes from references (`rpm: os.environ/RPM`: environment variables are text) and from quoted numbers,
    which litellm accepts. `1e3` and `08`, which YAML 1.1 silently reads as text, do not match and stay errors.
    """
    if isinstance(value, str) and _NUMERAL.fullmatch(value):
        return float(value) if "." in value else int(value)
    return value


def truth(value: object) -> object:
    """Text that names a boolean (`true`, `FALSE`) → that boolean; for the same sources as `numeral`."""
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value.lower(), value)
    return value


Flag = Annotated[bool, BeforeValidator(truth)]
Count = Annotated[int, BeforeValidator(numeral), Field(ge=0, le=1_000_000_000_000)]
Number = Annotated[float, BeforeValidator(numeral), Field(allow_inf_nan=False)]
Seconds = Annotated[float, BeforeValidator(numeral), Field(ge=0, le=31_536_000, allow_inf_nan=False)]
Share = Annotated[float, BeforeValidator(numeral), Field(ge=0, le=1_000_000_000_000, allow_inf_nan=False)]
