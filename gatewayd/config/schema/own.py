"""`gatewayd`: settings that litellm's sections do not have. Strict: an unknown key here is an error.

The keys are the fields of `snapshot.ServerSettings`; here is what the file may hold for them.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, get_type_hints

from pydantic import BeforeValidator, Field, WithJsonSchema, create_model
from pydantic_core import PydanticCustomError

from gatewayd.config.schema import base, units
from gatewayd.config.schema.address import parse_address
from gatewayd.config.schema.base import Section, key, numeral
from gatewayd.config.schema.units import DURATION, or_text, seconds
from gatewayd.config.snapshot import Address, ServerSettings


def _address(value: object) -> Address:
    try:
        return parse_address(value)
    except ValueError as error:
        raise PydanticCustomError("address", "{reason}", {"reason": str(error)}) from None


def _several(value: object) -> object:
    return tuple(value) if isinstance(value, list) else (value,)


def _as_tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _off(value: object) -> object:
    return None if value is False or value == "off" else value  # plain `off` is YAML 1.1 for false


def _auto(value: object) -> object:
    return None if value == "auto" else numeral(value)


def _seconds_or_off(value: object) -> object:
    return seconds(_off(value))


_ADDRESS_SCHEMA: dict[str, Any] = {"type": "string", "pattern": r"^(unix:.+|\S+:[0-9]+|.*[$]\{.+|os\.environ/.+)$"}

AddressText = Annotated[Address, BeforeValidator(_address), WithJsonSchema(_ADDRESS_SCHEMA)]
Addresses = Annotated[
    tuple[AddressText, ...],
    BeforeValidator(_several),
    Field(min_length=1),
    WithJsonSchema({"anyOf": [_ADDRESS_SCHEMA, {"type": "array", "items": _ADDRESS_SCHEMA, "minItems": 1}]}),
]
AddressOrOff = Annotated[
    AddressText | None,
    BeforeValidator(_off),
    WithJsonSchema({"anyOf": [_ADDRESS_SCHEMA, {"enum": ["off", False]}]}),
]
CountOrAuto = Annotated[
    Annotated[int, Field(ge=1, le=10_000_000)] | None,
    BeforeValidator(_auto),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1, "maximum": 10_000_000}, {"const": "auto"}]}),
]
WaitOrOff = Annotated[
    Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)] | None,
    BeforeValidator(_seconds_or_off),
    WithJsonSchema(
        {"anyOf": [*or_text(DURATION, exclusiveMinimum=0, maximum=86_400)["anyOf"], {"enum": ["off", False]}]}
    ),
]
Texts = Annotated[tuple[str, ...], BeforeValidator(_as_tuple)]


class OwnSection(Section):
    """A section made from a class of settings."""

    OWN: ClassVar[bool] = True
    SETTINGS: ClassVar[type]

    def settings(self) -> Any:
        """The same as an object of the class of settings."""
        return self.SETTINGS(
            **{name: value.settings() if isinstance(value, OwnSection) else value for name, value in self}
        )

    def written(self, prefix: str = "") -> set[str]:
        """The keys that the file has: `drain`, `limits.body_mb`, ..."""
        values = {f"{prefix}{name}": getattr(self, name) for name in self.model_fields_set}
        inner = (value.written(f"{name}.") for name, value in values.items() if isinstance(value, OwnSection))
        return set(values).union(*inner)


@cache
def section_of(settings: type) -> type[OwnSection]:
    """The section whose keys are the fields of `settings` that are made by `setting`."""
    hints = get_type_hints(settings, localns={**vars(units), **vars(base), **globals()}, include_extras=True)
    keys: dict[str, Any] = {}
    for field in fields(settings):
        if field.metadata:
            kind, default = hints[field.name], field.default
            if isinstance(kind, type) and is_dataclass(kind):
                kind = section_of(kind)
                default = kind()
            keys[field.name] = (kind, key(default, **field.metadata["key"]))
    section = create_model(settings.__name__, __base__=OwnSection, __doc__=settings.__doc__, **keys)
    section.SETTINGS = settings
    return section


if TYPE_CHECKING:
    Gatewayd = OwnSection
else:
    Gatewayd = section_of(ServerSettings)
