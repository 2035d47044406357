"""What is known of one request, and how those that want to know it are called when the request has ended.

An observer is a function that takes a record: the access log, the metrics. It is called once for each request,
whatever path the request took. A record holds values only: no deployment, runtime or connection lives on through it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Literal, Protocol

import msgspec

from gatewayd.errors import GatewayError, UpstreamStatus

_log = logging.getLogger("gatewayd.observe")

RecordKind = Literal["model", "info", "open"]
"""model: asks a deployment, is counted by group. info: answers by itself. open: needs no key, no configuration."""
Outcome = Literal["ok", "rejected", "error", "client_left", "broken_stream", "shutdown"]
"""rejected: the client's mistake. error: no deployment could answer, or a bug in gatewayd. broken_stream: the stream
broke after the commit point. shutdown: the gateway stopped."""


class Tokens(Protocol):
    """What an answer used (`wire.openai.Usage`)."""

    @property
    def prompt_tokens(self) -> int: ...

    @property
    def completion_tokens(self) -> int: ...


class Attempt(msgspec.Struct):
    """One attempt: a deployment was asked. Times are those of `time.monotonic()`."""

    deployment: str
    """Its id."""
    group: str
    """The model group that it was asked for."""
    begun: float
    ended: float | None = None
    status: int | None = None
    """The upstream's, if it has answered."""
    error: GatewayError | None = None
    """Why it failed before the commit point."""

    @property
    def answered(self) -> bool:
        return self.status is not None and self.error is None

    def fail(self, error: GatewayError, now: float) -> None:
        self.error, self.ended = error, now
        self.status = error.status if isinstance(error, UpstreamStatus) else None

    def __str__(self) -> str:
        """Deployment, code of the error and the upstream's status: `west:upstream_error:503`."""
        code = "" if self.error is None else self.error.code
        return f"{self.deployment}:{code}{'' if self.status is None else f':{self.status}'}"


class Record(msgspec.Struct):
    """One request. Never what was asked or answered."""

    request_id: str = ""
    started: float = 0.0
    """`time.monotonic()`; 0.0 if it never became a request."""
    kind: RecordKind = "info"
    method: str = "-"
    path: str = "-"
    peer: str = ""
    told: bool = False
    """Whether the client chose the id."""
    key: str = ""
    """Name of the key, not the key."""
    revision: str = ""
    group: str = ""
    """The model group that was asked for (a pattern or an alias already resolved)."""
    attempts: list[Attempt] = []
    status: int = 0
    outcome: Outcome = "ok"
    error: GatewayError | None = None
    """What the client got."""
    duration: float = 0.0
    """Seconds, as is `ttft`, the time to the first event of a stream."""
    ttft: float | None = None
    usage: Tokens | None = None

    @property
    def answered(self) -> Attempt | None:
        """The attempt whose answer the client got."""
        return self.attempts[-1] if self.attempts and self.attempts[-1].answered else None

    @property
    def failed(self) -> list[Attempt]:
        """The failed attempts, in order."""
        return [attempt for attempt in self.attempts if attempt.error is not None]

    @property
    def fallbacks(self) -> int:
        """Fallback groups in which something was attempted."""
        return len({attempt.group for attempt in self.attempts} - {self.group})

    @property
    def retries(self) -> int:
        """Attempts after the first one of their group."""
        return max(0, len(self.attempts) - 1 - self.fallbacks)


Observer = Callable[[Record], None]


def observe(record: Record, observers: Iterable[Observer]) -> None:
    """Calls each observer of a request that has ended."""
    for observer in observers:
        try:
            observer(record)
        except Exception as error:
            _log.error("an observer of requests failed", exc_info=error)
    if record.outcome != "ok" or len(record.attempts) > 1:
        # An error that is kept must not keep the frames it went through, which keep the request, and a configuration
        # with it, until the garbage collector comes by.
        for kept in (record.error, *(attempt.error for attempt in record.attempts)):
            if kept is not None:
                kept.__traceback__ = None
