"""`gatewayd`: what litellm's sections have no word for. Strict: an unknown key here is an error."""

from __future__ import annotations

from collections.abc import Mapping
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

    connect: Wait = key(10.0, "For a connection, TLS included.", why="a live host answers in far less")
    first_byte: Wait | None = key(
        None,
        "For the first byte of an answer, or the first event of a stream. A comment before that event starts the time "
        "again. Default: 60 for streams; `total` for calls that do not stream, whose answer comes when all of it is "
        "ready.",
    )
    idle: Wait = key(
        120.0,
        "Longest silence inside an answer. In a stream, events and comments end a silence; single bytes do not.",
        why="models pause to think, but not for minutes",
    )
    total: Wait = key(
        600.0, "For one whole try; for a stream up to its first event.", why="the OpenAI SDK's own timeout"
    )


class StreamForm(Section):
    """What gatewayd adds to event streams. By default nothing: the bytes are the upstream's."""

    OWN: ClassVar[bool] = True

    keep_alive: WaitOrOff = key(
        None,
        "Seconds of silence in the middle of a stream after which a comment (`: keep-alive`) is sent, again and again, "
        "so that proxies on the way do not take the connection for dead. Not before the first event: until then the "
        "answer's status is open. It puts off none of gatewayd's own timeouts. Default: `off`.",
    )
    error_done: Flag = key(
        False,
        "Send `data: [DONE]` also after the error event of a stream that broke, as vLLM does.",
        why="`[DONE]` is the only sign by which a client without an SDK can tell a whole answer from a broken one",
    )


class Fetch(Section):
    """Images and files at addresses. They are fetched where the provider's API takes no addresses."""

    OWN: ClassVar[bool] = True

    http: Flag = key(
        False,
        "Fetch from plain `http://` addresses too. Public addresses only, as with https.",
        why="anybody on the way could replace what is fetched",
    )


class RetryBudget(Section):
    """What a model group may retry while much of it fails: else retries would multiply the load it fails under."""

    OWN: ClassVar[bool] = True

    percent: Annotated[float, BeforeValidator(numeral), Field(ge=0, le=1000, allow_inf_nan=False)] = key(
        20.0,
        "Retries for every hundred requests of the last ten seconds. Retries that succeed and fallbacks do not count.",
        why="Envoy's figure",
    )
    at_least: Annotated[float, BeforeValidator(numeral), Field(ge=0, le=100_000, allow_inf_nan=False)] = key(
        3.0, "Retries a second that are granted however few requests there are.", why="Envoy's figure for a cluster"
    )


class Limits(Section):
    """What gatewayd takes in at most."""

    OWN: ClassVar[bool] = True

    body_mb: Size = key(
        32.0,
        "Largest request body: megabytes, or text such as `512KB`, `1GB`.",
        why="room for images and long agent prompts",
    )
    bodies_mb: Size = key(
        256.0,
        "What the bodies of all requests under way may take together, in megabytes; above it, large ones get 503.",
        why="a few large uploads, or thousands of prompts",
    )
    connections: CountOrAuto = key(
        None,
        "Largest number of client connections, and so of requests at once. Default: `auto`, half of the open files "
        "that the system allows (at most 65,536 of its hard limit are taken): each request may need a connection to an "
        "upstream too.",
    )


class Log(Section):
    """What gatewayd writes to its standard error. Prompts and answers are never written."""

    OWN: ClassVar[bool] = True

    format: Literal["json", "text"] = key(
        "text", "json: one object a line. text: `name=value`, and on a terminal a short coloured line for each request."
    )
    level: Literal["debug", "info", "warning", "error"] = key(
        "info", "Least severity that is written. Of the packages that gatewayd uses, warnings and errors only."
    )

    REFUSED: ClassVar[Mapping[str, tuple[str, ...]]] = {_NOT_YET: ("prompts",)}


class Gatewayd(Section):
    """gatewayd's own settings."""

    OWN: ClassVar[bool] = True

    listen: Addresses = key(
        (Address("127.0.0.1", 4000),),
        "Where clients connect: `host:port`, `unix:/path`, or a list of them.",
        why="litellm's port; loopback, because there is no key to begin with",
    )
    admin: AddressOrOff = key(
        Address("127.0.0.1", 4001),
        "Where status, metrics and reload are served: `host:port`, `unix:/path`, or `off`.",
        why="apart from the clients' address, so that a client's key opens no admin door",
    )
    timeouts: Timeouts = key(Timeouts(), "See *gatewayd.timeouts*.")
    stream: StreamForm = key(StreamForm(), "See *gatewayd.stream*.")
    report_model: Literal["upstream", "group"] = key(
        "upstream",
        "What `model` is in answers and in the events of streams: the upstream's name for it, or the model group that "
        "was asked for, as in LiteLLM's proxy.",
        why="the answer is the upstream's, byte for byte; `group` costs a second look at each answer and event",
    )
    fetch: Fetch = key(Fetch(), "See *gatewayd.fetch*.")
    retry_budget: RetryBudget = key(RetryBudget(), "See *gatewayd.retry_budget*.")
    limits: Limits = key(Limits(), "See *gatewayd.limits*.")
    drain: WaitOrNone = key(
        120.0, "Seconds that requests in flight get to end when gatewayd stops.", why="long answers take that long"
    )
    log: Log = key(Log(), "See *gatewayd.log*.")
    on_invalid_deployment: Literal["refuse", "skip"] = key(
        "refuse",
        "What to do when an entry of `model_list` is invalid (a key that is not set, an unknown provider): `refuse` "
        "the whole file, or `skip` the entry and serve the rest. gatewayd logs what it skips; `gatewayd status` and "
        "`gatewayd check` show it. An entry is never skipped for a key that would protect something.",
        why="a deployment that is silently missing is found out late",
    )
    ignore_unsupported: list[str] = key(
        [],
        "Names of refused keys of litellm's sections that you accept to be without effect.",
        why="a guard that silently does nothing is worse than none",
    )

    REFUSED: ClassVar[Mapping[str, tuple[str, ...]]] = {_NOT_YET: ("keys", "store", "state", "tls")}
