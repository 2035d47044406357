"""The validated configuration as immutable values: what `ConfigValidator` produces and `engine.build` consumes.

Only plain data: no live object, no file handle, no reference left to resolve. Secrets are `Secret`s. A snapshot is made
only by `gatewayd.config.validator`; its `revision` is a hash of all bytes it was read from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import msgspec

from gatewayd.errors import FallbackKind
from gatewayd.secret import Secret

if TYPE_CHECKING:  # as text they cost nothing; `schema.own` looks the names up
    from gatewayd.config.schema.base import Flag, Number
    from gatewayd.config.schema.own import Addresses, AddressOrOff, CountOrAuto, Texts, WaitOrOff
    from gatewayd.config.schema.units import Duration, DurationOrNone, Size

UpstreamKind = Literal["forward", "translate", "scripted"]

_EMPTY: Mapping[Any, Any] = MappingProxyType({})


def setting(default: Any, doc: str, *, none: str | None = None, **more: Any) -> Any:
    """A field that is a key of the file too, in the section `gatewayd` or below. Beside `none`, the arguments are those
    of `schema.base.key`; its type says what the file may hold (`schema.own`, `schema.units`).

    `none`: how the file says None.
    """
    return field(default=default, metadata={"none": none, "key": {"doc": doc, **more}})


def _empty() -> Mapping[Any, Any]:
    return _EMPTY  # a mapping proxy has no hash before Python 3.12, so it cannot be a default value itself


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen: a TCP host and port, or a unix socket path (then host is empty and port is 0)."""

    host: str = ""
    port: int = 0
    path: str = ""

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect."""
        if self.path or self.host in ("localhost", "::1"):
            return True
        return self.host.startswith("127.") and not self.host.strip("0123456789.")  # 127.example.org is a name

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Trust:
    """Whose certificates an upstream may show: by default those of the authorities that this system trusts."""

    verify: bool = True
    ca_file: str = ""
    """Absolute path of a PEM file with the only authorities; "" for the system's."""
    digest: str = ""
    """SHA-256 (hex) of the file's content: another content makes another deployment."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """One entry of `model_list`. Every field that changes what is sent, or where, is part of `identity`."""

    id: str
    """Its name for people: `model_info.id`, else made from the group's (`config.checks.ids`). Unique in a snapshot."""
    identity: str
    """SHA-256 over everything that defines the deployment, secrets included: the key of health and pools."""
    group: str
    """`model_name`: what clients ask for; may be a pattern with `*`."""
    kind: UpstreamKind
    provider: str
    """litellm's name of the provider: openai, azure, anthropic, ..."""
    model: str
    """The upstream's own name of the model (provider prefix removed); may hold `*`, filled from the pattern."""
    api_base: str | None = None
    """For forward: base URL without a trailing slash, to which the endpoint is appended."""
    api_key: Secret | None = None
    api_version: str | None = None
    organization: str | None = None
    trust: Trust = Trust()
    params: Mapping[str, Any] = field(default_factory=_empty)
    """Completion parameters used when the caller did not send them."""
    extra_body: Mapping[str, Any] = field(default_factory=_empty)
    """Fields merged into every body; they win over the caller's."""
    extra_headers: Mapping[str, Secret] = field(default_factory=_empty)
    """Headers added to every upstream request; lower-case names."""
    litellm_params: Mapping[str, Any] = field(default_factory=_empty)
    """For translate: what litellm needs beside the above (aws_*, vertex_*, ...); secrets as Secret."""
    drop_params: bool = False
    additional_drop_params: tuple[str, ...] = ()
    allowed_openai_params: tuple[str, ...] = ()
    """What `drop_params` leaves in."""
    family: str = ""
    """The name that says what kind of model it is, where `model` does not (`base_model`); may hold `*`."""
    weight: float | None = None
    rpm: int | None = None
    tpm: int | None = None
    order: int = 0
    """Lower is tried first; entries without `order` come last among ordered ones, as in litellm."""
    timeout: float | None = None
    stream_timeout: float | None = None
    num_retries: int | None = None
    cooldown_time: float | None = None
    mock: Mapping[str, Any] | None = None
    """For scripted: the keys of `gatewayd.config.schema.mock.MockResponse`, validated."""
    info: Mapping[str, Any] = field(default_factory=_empty)
    """`model_info`, as written."""
    unserved: str = ""
    """What the model does, if no endpoint serves that: `generates images`. Such a deployment gets no requests."""
    place: str = ""
    """file:line of the entry."""
    dialects: tuple[str, ...] = ("chat",)
    """The dialects that it is asked in without conversion (`wire.dialect.DIALECTS`)."""
    abilities: Mapping[str, bool | int] = field(default_factory=_empty)
    """What is known of its model, by keys of litellm's price table: `supports_reasoning`, `max_output_tokens`, ..."""

    @property
    def has_own_id(self) -> bool:
        """Whether the file gives the id. Then it is a name that clients may ask for; a derived one only describes."""
        return "id" in self.info

    @property
    def is_passable(self) -> bool:
        """Whether some of its requests are forwarded, so that any other can be too."""
        return self.kind == "forward" or (self.kind == "translate" and self.dialects != ("chat",))

    @property
    def summary(self) -> str:
        """`openai/gpt-4o` and, where the address is set, `at HOST:PORT`: never the path or the query of the URL."""
        text = f"{self.provider}/{self.model}"
        return f"{text} at {self.authority}" if self.authority else text

    @property
    def authority(self) -> str:
        """Host and port of `api_base`, without user and password; "" where the provider's own address is used."""
        return urlsplit(self.api_base).netloc.rpartition("@")[2] if self.api_base else ""

    def family_of(self, model: str) -> str:
        """The name that says what kind of model `model` is; it is `self.model` with its `*` filled."""
        if not self.family or "*" not in self.family:
            return self.family or model
        before, _, after = self.model.partition("*")
        return self.family.replace("*", model.removeprefix(before).removesuffix(after))


@dataclass(frozen=True, slots=True)
class Alias:
    model: str
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class RoutingSettings:
    """`router_settings` merged with `litellm_settings` (the router's win), defaults filled in."""

    strategy: str = "simple-shuffle"
    """A key of `routing.pick.STRATEGIES`."""
    num_retries: int = 2
    retry_after: float = 0.0
    timeout: float | None = None
    stream_timeout: float | None = None
    allowed_fails: int = 3
    cooldown_time: float = 5.0
    disable_cooldowns: bool = False
    max_fallbacks: int = 5
    fallbacks: Mapping[FallbackKind, Mapping[str, tuple[str, ...]]] = field(default_factory=_empty)
    """Per kind: group (or `*`) to its fallback groups; every target exists."""
    aliases: Mapping[str, Alias] = field(default_factory=_empty)


@dataclass(frozen=True, slots=True)
class ServerTimeouts:
    """How long gatewayd waits for upstreams: seconds, or text such as `30s`, `500ms`, `1m30s`, `2h`."""

    connect: Duration = setting(10.0, "For a connection, including TLS.", why="a live host answers in far less")
    first_byte: Duration | None = setting(
        None,
        "For the first byte of an answer, or the first event of a stream. A comment before that event restarts the "
        "time. Default: 60 for streams, and `total` for other calls, because their answer is sent only when it is "
        "complete.",
    )
    idle: Duration = setting(
        120.0,
        "Longest silence inside an answer. In a stream, events and comments end a silence; single bytes do not.",
        why="models pause to think, but not for minutes",
    )
    total: Duration = setting(
        600.0, "For one whole attempt; for a stream, until its first event.", why="the OpenAI SDK's own timeout"
    )


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """What gatewayd adds to event streams. By default nothing: it forwards the upstream's bytes."""

    keep_alive: WaitOrOff = setting(
        None,
        "Seconds of silence after which gatewayd sends a comment (`: keep-alive`), repeatedly, so that proxies do not "
        "cut the connection as idle. It starts after the first event, because the answer's status is open until then. "
        "It does not extend gatewayd's own timeouts. Default: `off`.",
        none="off",
    )
    error_done: Flag = setting(
        False,
        "Send `data: [DONE]` also after the error event of a broken stream, as vLLM does.",
        why="clients without an SDK recognize a complete answer only by `[DONE]`",
    )


@dataclass(frozen=True, slots=True)
class FetchSettings:
    """Images and files at addresses. gatewayd fetches them if the provider's API does not accept addresses."""

    http: Flag = setting(
        False,
        "Fetch from plain `http://` addresses too. Public addresses only, as with https.",
        why="the network could replace the file on its way",
    )


@dataclass(frozen=True, slots=True)
class RetryBudgetSettings:
    """Limits the retries in a model group while much of it fails, so that retries do not multiply the load."""

    percent: Number = setting(
        20.0,
        "Retries per hundred requests of the last ten seconds. Retries that succeed and fallbacks do not count.",
        why="Envoy's figure",
        ge=0,
        le=1000,
    )
    at_least: Number = setting(
        3.0, "Retries a second that are always allowed.", why="Envoy's figure for a cluster", ge=0, le=100_000
    )


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits for clients."""

    body_mb: Size = setting(
        32.0,
        "Largest request body: megabytes, or text such as `512KB`, `1GB`.",
        why="room for images and long agent prompts",
    )
    bodies_mb: Size = setting(
        256.0,
        "Memory for the bodies of all requests in flight together, in megabytes. Above it, large requests get a 503.",
        why="a few large uploads, or thousands of prompts",
    )
    connections: CountOrAuto = setting(
        None,
        "Maximum number of client connections, and so of concurrent requests. Default: `auto`, half of the allowed "
        "open files, because each request may need an upstream connection too. gatewayd raises its limit of open files "
        "to the system's hard limit, at most 65,536.",
        none="auto",
    )


@dataclass(frozen=True, slots=True)
class LogSettings:
    """The log, written to standard error. It never contains prompts or answers."""

    format: Literal["json", "text"] = setting(
        "text", "json: one object per line. text: `name=value`; on a terminal, a short coloured line for each request."
    )
    level: Literal["debug", "info", "warning", "error"] = setting(
        "info", "Lowest severity to log. Packages that gatewayd uses log only warnings and errors."
    )


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """gatewayd's own settings."""

    listen: Addresses = setting(
        (Address("127.0.0.1", 4000),),
        "Where clients connect: `host:port`, `unix:/path`, or a list of them.",
        why="litellm's port; loopback, because there is no key by default",
    )
    admin: AddressOrOff = setting(
        Address("127.0.0.1", 4001),
        "Where gatewayd serves status, metrics and reload: `host:port`, `unix:/path`, or `off`.",
        why="separate from the clients' address, so that client keys give no access to administration",
        none="off",
    )
    master_key: Secret | None = None
    master_key_source: str = ""
    """Where `master_key` comes from, in words for people; "" without one."""
    timeouts: ServerTimeouts = setting(ServerTimeouts(), "See *gatewayd.timeouts*.")
    stream: StreamSettings = setting(StreamSettings(), "See *gatewayd.stream*.")
    report_model: Literal["upstream", "group"] = setting(
        "upstream",
        "The value of `model` in answers and stream events: the upstream's name for the model, or the requested model "
        "group, as in LiteLLM's proxy.",
        why="`upstream` forwards the answer byte for byte; `group` must rewrite each answer and event",
    )
    fetch: FetchSettings = setting(FetchSettings(), "See *gatewayd.fetch*.")
    retry_budget: RetryBudgetSettings = setting(RetryBudgetSettings(), "See *gatewayd.retry_budget*.")
    limits: Limits = setting(Limits(), "See *gatewayd.limits*.")
    drain: DurationOrNone = setting(
        120.0, "Seconds for requests in flight to finish when gatewayd stops.", why="long answers take that long"
    )
    log: LogSettings = setting(LogSettings(), "See *gatewayd.log*.")
    on_invalid_deployment: Literal["refuse", "skip"] = setting(
        "refuse",
        "What to do when an entry of `model_list` is invalid (a key that is not set, an unknown provider): `refuse` "
        "the whole file, or `skip` the entry and serve the rest. gatewayd logs the entries that it skips; `gatewayd "
        "status` and `gatewayd check` list them. An entry with a refused security setting is never skipped.",
        why="a missing deployment is easy to overlook",
    )
    ignore_unsupported: Texts = setting(
        (),
        "Names of refused keys in litellm's sections that gatewayd should ignore instead.",
        why="ignoring a security setting silently would be dangerous",
    )
    pass_through: Texts = setting(
        (),
        "Deployments whose whole API clients may use, each by its `model_info.id` or a model group that has no other. "
        "Requests below the path of a provider (`/openai/...`, `/anthropic/...`) go to its deployment as they are, "
        "with its key. The first one also gets requests to all other paths below `/v1`: files, batches, fine-tuning, "
        "and whatever gatewayd does not know.",
        why="whoever may ask a model could read the files of everybody else",
    )
    default_models: Mapping[str, str] = field(default_factory=_empty)
    """Endpoint (`chat/completions`, `embeddings`, ...) to the group used when the caller names no model."""


class Packed(Mapping[str, Any]):
    """A plain tree as JSON text, unpacked at each use: most are kept and never used."""

    __slots__ = ("json",)

    def __init__(self, json: bytes) -> None:
        self.json = json

    @classmethod
    def of(cls, tree: Mapping[str, Any]) -> Packed:
        return cls(msgspec.json.encode(tree))

    def __getitem__(self, key: str) -> Any:
        return self._tree()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tree())

    def __len__(self) -> int:
        return len(self._tree())

    def _tree(self) -> dict[str, Any]:
        return msgspec.json.decode(self.json, type=dict[str, Any])

    def __reduce__(self) -> tuple[type[Packed], tuple[bytes]]:
        return Packed, (self.json,)


@dataclass(frozen=True, slots=True)
class Snapshot:
    revision: str
    """First 12 hex digits of the SHA-256 over every byte the configuration was read from."""
    deployments: tuple[Deployment, ...]
    routing: RoutingSettings = RoutingSettings()
    server: ServerSettings = ServerSettings()
    left_out: tuple[tuple[str, str, str], ...] = ()
    """Entries of `model_list` that are invalid and were skipped: group (or ""), file:line, and why."""
    environment: Mapping[str, str] = field(default_factory=_empty)
    """`environment_variables`, references resolved; exported to the process when the snapshot goes live."""
    files: tuple[str, ...] = ()
    """Absolute paths of every file that was read: the watcher's list."""
    effective: Mapping[str, Any] = field(default_factory=_empty)
    """The configuration as a redacted plain tree: what `GET /config` shows."""
