"""The validated configuration as immutable values: what `ConfigValidator` produces and `engine.build` consumes.

Only plain data: no live object, no file handle, no reference left to resolve. Secrets are `Secret`s. A snapshot is made
by `gatewayd.config.validator` and by nobody else; its `revision` is a hash of all bytes it was read from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from gatewayd.errors import FallbackKind
from gatewayd.secret import Secret

UpstreamKind = Literal["forward", "translate", "scripted"]

_EMPTY: Mapping[Any, Any] = MappingProxyType({})


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

    @property
    def has_own_id(self) -> bool:
        """Whether the file gives the id. Then it is a name that clients may ask for; a derived one only describes."""
        return "id" in self.info

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
    """Seconds; the defaults of a deployment that names none."""

    connect: float = 10.0
    first_byte: float | None = None
    """None: 60 for streams, and `total` for calls that do not stream, whose head comes when all is generated."""
    idle: float = 120.0
    total: float = 600.0


@dataclass(frozen=True, slots=True)
class StreamForm:
    """What is added to event streams."""

    keep_alive: float | None = None
    """Seconds of silence after which a comment is sent; None: never."""
    error_done: bool = False
    """Whether `[DONE]` follows an error event."""


@dataclass(frozen=True, slots=True)
class FetchSettings:
    """What is fetched from addresses in messages."""

    http: bool = False
    """Whether plain http is."""


@dataclass(frozen=True, slots=True)
class RetryShare:
    """Of each group: retries for a hundred requests, and retries a second at least."""

    percent: float = 20.0
    at_least: float = 3.0


@dataclass(frozen=True, slots=True)
class Limits:
    body_mb: float = 32.0
    connections: int | None = None
    """None (`auto`): derived from the file-descriptor limit."""
    bodies_mb: float = 256.0


@dataclass(frozen=True, slots=True)
class LogSettings:
    format: Literal["json", "text"] = "text"
    level: Literal["debug", "info", "warning", "error"] = "info"


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """`gatewayd:` and `general_settings:` together."""

    listen: tuple[Address, ...] = (Address("127.0.0.1", 4000),)
    admin: Address | None = Address("127.0.0.1", 4001)
    master_key: Secret | None = None
    master_key_source: str = ""
    """Where `master_key` comes from, in words for people; "" without one."""
    timeouts: ServerTimeouts = ServerTimeouts()
    stream: StreamForm = StreamForm()
    report_model: Literal["upstream", "group"] = "upstream"
    """Whose name for the model answers have."""
    fetch: FetchSettings = FetchSettings()
    retry_budget: RetryShare = RetryShare()
    on_invalid_deployment: Literal["refuse", "skip"] = "refuse"
    limits: Limits = Limits()
    drain: float = 120.0
    log: LogSettings = LogSettings()
    default_models: Mapping[str, str] = field(default_factory=_empty)
    """Endpoint (`chat/completions`, `embeddings`, ...) to the group used when the caller names no model."""


class Packed(Mapping[str, Any]):
    """A plain tree as JSON text, unpacked whenever somebody looks: most are kept and never looked at."""

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
