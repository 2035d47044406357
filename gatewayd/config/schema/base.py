"""How a key of the file is described: one field of a `Section`, carrying its meaning, default and support level.

A section is one mapping of the file. Its fields are the keys that work; keys gatewayd knows but does not use stand in
its tables `IGNORED` (reported as warnings) and `REFUSED` (security-relevant, hence errors). The documentation, the JSON
Schema and the validator all read these classes and nothing else. This module knows no key by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Annotated, Any, ClassVar, Literal, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Support = Literal["full", "approximated", "ignored", "refused"]

_NUMERAL = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?")


class Section(BaseModel):
    """One mapping of the file. Unknown keys are the validator's business (it has places and hints), not pydantic's."""

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
    """Whether keys of any name are allowed, because they are handed on."""
    TRANSLATED: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """Keys given to litellm as they are, in deployments that litellm translates: what they are for → their names."""
    IGNORED: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """Why the keys do nothing here → their names."""
    FAMILIES: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """Why all keys that begin alike do nothing here → the beginnings; for litellm's many settings of one feature."""
    REFUSED: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """What would be weaker than the file says → the names of the keys."""
    REFUSED_IN_PART: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """What would be weaker, for some values only → the names of the keys, which are in `IGNORED` for the others."""
    EMPTY_COUNTS: ClassVar[frozenset[str]] = frozenset()
    """Unused keys whose `false`, `""`, `[]` or `{}` asks for something, because litellm's default is another value."""


def key(
    default: Any,
    doc: str,
    *,
    why: str | None = None,
    approximated: str | None = None,
    secret: bool = False,
    **constraints: Any,
) -> Any:
    """One key of the file (`...` as `default`: required).

    `why` gives the reason of the default; `approximated` says how gatewayd's behaviour differs from litellm's;
    `secret` marks values that are never shown. `constraints` are pydantic's (`ge`, `le`, `max_length`, ...).
    """
    extra = {"x-why": why, "x-approximated": approximated, "x-secret": secret or None}
    return Field(
        default,
        description=doc,
        json_schema_extra={name: value for name, value in extra.items() if value is not None},
        **constraints,
    )


@cache
def unused(section: type[Section]) -> Mapping[str, tuple[Support, str]]:
    """Name of every known key that does not work → (`ignored` or `refused`, reason)."""
    table: dict[str, tuple[Support, str]] = {}
    for reason, names in section.IGNORED.items():
        table.update(dict.fromkeys(names, ("ignored", reason)))
    for reason, names in section.REFUSED.items():
        table.update(dict.fromkeys(names, ("refused", reason)))
    return table


def asks_for_nothing(section: type[Section], name: str, value: Any) -> bool:
    """Whether the value of an unused key is the same as leaving the key out, in litellm."""
    return value is None or (name not in section.EMPTY_COUNTS and (value is False or value in ("", [], {})))


def family(section: type[Section], name: str) -> str | None:
    """Why the key does nothing, if it belongs to a family of such keys."""
    return next((reason for reason, heads in section.FAMILIES.items() if name.startswith(heads)), None)


@cache
def known(section: type[Section]) -> frozenset[str]:
    """Every key name the section has a word about."""
    handed_on = (name for names in section.TRANSLATED.values() for name in names)
    return frozenset(section.model_fields).union(unused(section), handed_on)


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
    """The section and all that are nested in it, each once."""
    found = [section]
    for _, inner, _ in nested(section):
        found.extend(one for one in below(inner) if one not in found)
    return tuple(found)


def numeral(value: object) -> object:
    """Text that is a plain decimal number → that number; anything else unchanged.

    Such text comes from references (`rpm: os.environ/RPM`: the environment holds only text) and from quoted numbers,
    which litellm accepts. `1e3` and `08`, which YAML 1.1 silently reads as text, do not match and stay errors.
    """
    if isinstance(value, str) and _NUMERAL.fullmatch(value):
        return float(value) if "." in value else int(value)
    return value


def truth(value: object) -> object:
    """Text that names a truth value (`true`, `FALSE`) → that value; for the same sources as `numeral`."""
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value.lower(), value)
    return value


Flag = Annotated[bool, BeforeValidator(truth)]
Count = Annotated[int, BeforeValidator(numeral), Field(ge=0, le=1_000_000_000_000)]
Number = Annotated[float, BeforeValidator(numeral), Field(allow_inf_nan=False)]
Seconds = Annotated[float, BeforeValidator(numeral), Field(ge=0, le=31_536_000, allow_inf_nan=False)]
Share = Annotated[float, BeforeValidator(numeral), Field(ge=0, le=1_000_000_000_000, allow_inf_nan=False)]
