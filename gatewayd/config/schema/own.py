"""`gatewayd`: settings that litellm's sections do not have. Strict: an unknown key here is an error."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from gatewayd.config.schema.address import parse_address
from gatewayd.config.schema.base import Flag, Section, key, numeral
from gatewayd.config.schema.units import DURATION, Size, Wait, WaitOrNone, or_text, seconds
from gatewayd.config.snapshot import Address

_NOT_YET = "not supported by this version"


def _address(value: object) -> Address:
    try:
        return parse_address(value)
    except ValueError as error:
        raise PydanticCustomError("address", "{reason}", {"reason": str(error)}) from None


def _several(value: object) -> object:
    return tuple(value) if isinstance(value, list) else (value,)


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


class Timeouts(Section):
    """How long gatewayd waits for upstreams: seconds, or text such as `30s`, `500ms`, `1m30s`, `2h`."""

    OWN: ClassVar[bool] = True

    connect: Wait = key(10.0, "For a connection, including TLS.", why="a live host answers in far less")
    first_byte: Wait | None = key(
        None,
        "For the first byte of an answer, or the first event of a stream. A comment before that event restarts the "
        "time. Default: 60 for streams, and `total` for other calls, because their answer is sent only when it is "
        "complete.",
    )
    idle: Wait = key(
        120.0,
        "Longest silence inside an answer. In a stream, events and comments end a silence; single bytes do not.",
        why="models pause to think, but not for minutes",
    )
    total: Wait = key(
        600.0, "For one whole attempt; for a stream, until its first event.", why="the OpenAI SDK's own timeout"
    )


class StreamForm(Section):
    """What gatewayd adds to event streams. By default nothing: it forwards the upstream's bytes."""

    OWN: ClassVar[bool] = True

    keep_alive: WaitOrOff = key(
        None,
        "Seconds of silence after which gatewayd sends a comment (`: keep-alive`), repeatedly, so that proxies do not "
        "cut the connection as idle. It starts after the first event, because the answer's status is open until then. "
        "It does not extend gatewayd's own timeouts. Default: `off`.",
    )
    error_done: Flag = key(
        False,
        "Send `data: [DONE]` also after the error event of a broken stream, as vLLM does.",
        why="clients without an SDK recognize a complete answer only by `[DONE]`",
    )


class Fetch(Section):
    """Images and files at addresses. gatewayd fetches them if the provider's API does not accept addresses."""

    OWN: ClassVar[bool] = True

    http: Flag = key(
        False,
        "Fetch from plain `http://` addresses too. Public addresses only, as with https.",
        why="the network could replace the file on its way",
    )


class RetryBudget(Section):
    """Limits the retries in a model group while much of it fails, so that retries do not multiply the load."""

    OWN: ClassVar[bool] = True

    percent: Annotated[float, BeforeValidator(numeral), Field(ge=0, le=1000, allow_inf_nan=False)] = key(
        20.0,
        "Retries per hundred requests of the last ten seconds. Retries that succeed and fallbacks do not count.",
        why="Envoy's figure",
    )
    at_least: Annotated[float, BeforeValidator(numeral), Field(ge=0, le=100_000, allow_inf_nan=False)] = key(
        3.0, "Retries a second that are always allowed.", why="Envoy's figure for a cluster"
    )


class Limits(Section):
    """Limits for clients."""

    OWN: ClassVar[bool] = True

    body_mb: Size = key(
        32.0,
        "Largest request body: megabytes, or text such as `512KB`, `1GB`.",
        why="room for images and long agent prompts",
    )
    bodies_mb: Size = key(
        256.0,
        "Memory for the bodies of all requests in flight together, in megabytes. Above it, large requests get a 503.",
        why="a few large uploads, or thousands of prompts",
    )
    connections: CountOrAuto = key(
        None,
        "Maximum number of client connections, and so of concurrent requests. Default: `auto`, half of the allowed "
        "open files, because each request may need an upstream connection too. gatewayd raises its limit of open files "
        "to the system's hard limit, at most 65,536.",
    )


class Log(Section):
    """The log, written to standard error. It never contains prompts or answers."""

    OWN: ClassVar[bool] = True

    format: Literal["json", "text"] = key(
        "text", "json: one object per line. text: `name=value`; on a terminal, a short coloured line for each request."
    )
    level: Literal["debug", "info", "warning", "error"] = key(
        "info", "Lowest severity to log. Packages that gatewayd uses log only warnings and errors."
    )


class Gatewayd(Section):
    """gatewayd's own settings."""

    OWN: ClassVar[bool] = True

    listen: Addresses = key(
        (Address("127.0.0.1", 4000),),
        "Where clients connect: `host:port`, `unix:/path`, or a list of them.",
        why="litellm's port; loopback, because there is no key by default",
    )
    admin: AddressOrOff = key(
        Address("127.0.0.1", 4001),
        "Where gatewayd serves status, metrics and reload: `host:port`, `unix:/path`, or `off`.",
        why="separate from the clients' address, so that client keys give no access to administration",
    )
    timeouts: Timeouts = key(Timeouts(), "See *gatewayd.timeouts*.")
    stream: StreamForm = key(StreamForm(), "See *gatewayd.stream*.")
    report_model: Literal["upstream", "group"] = key(
        "upstream",
        "The value of `model` in answers and stream events: the upstream's name for the model, or the requested model "
        "group, as in LiteLLM's proxy.",
        why="`upstream` forwards the answer byte for byte; `group` must rewrite each answer and event",
    )
    fetch: Fetch = key(Fetch(), "See *gatewayd.fetch*.")
    retry_budget: RetryBudget = key(RetryBudget(), "See *gatewayd.retry_budget*.")
    limits: Limits = key(Limits(), "See *gatewayd.limits*.")
    drain: WaitOrNone = key(
        120.0, "Seconds for requests in flight to finish when gatewayd stops.", why="long answers take that long"
    )
    log: Log = key(Log(), "See *gatewayd.log*.")
    on_invalid_deployment: Literal["refuse", "skip"] = key(
        "refuse",
        "What to do when an entry of `model_list` is invalid (a key that is not set, an unknown provider): `refuse` "
        "the whole file, or `skip` the entry and serve the rest. gatewayd logs the entries that it skips; `gatewayd "
        "status` and `gatewayd check` list them. An entry with a refused security setting is never skipped.",
        why="a missing deployment is easy to overlook",
    )
    ignore_unsupported: list[str] = key(
        [],
        "Names of refused keys in litellm's sections that gatewayd should ignore instead.",
        why="ignoring a security setting silently would be dangerous",
    )
