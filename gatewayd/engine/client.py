"""What a request needs of the connection that it came on: its body, and where the answer goes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, Protocol

from gatewayd.config.snapshot import ServerSettings
from gatewayd.errors import BodyTooLarge, GatewayError, InvalidRequest
from gatewayd.upstream.base import BodyStream, Sink
from gatewayd.wire.headers import Header

MEGABYTE: Final = 1024 * 1024


class ClientGone(Exception):
    """The client's connection ended while its request was being read."""


class IncomingBody(BodyStream, Protocol):
    """A body that is still arriving, to be read whole or piece by piece. Reading raises RequestTimeout, InvalidRequest
    or ClientGone."""

    async def read(self, limit: int) -> bytes:
        """All of it. Raises BodyTooLarge (`limit` in bytes) too."""


class Client(Protocol):
    """Where the one answer to a request goes. No method blocks or raises; a client that is gone swallows all."""

    @property
    def peer(self) -> str: ...

    @property
    def gone(self) -> bool: ...

    def send(self, status: int, headers: Sequence[Header], body: bytes, *, last: bool = False) -> None:
        """A whole answer; after a `last` one the connection is closed."""

    def send_made(self, head: bytes, body: bytes) -> None:
        """A whole answer whose head is complete, but for what it says of the connection."""

    def start(self, status: int, headers: Sequence[Header]) -> Sink:
        """The commit point of a streamed answer."""

    def finish(self) -> None:
        """The clean end of a streamed answer."""

    def fail(self, event: bytes) -> None:
        """Ends an event stream that broke: with one more event (unless it is empty) after a clean event boundary; then
        closes the connection."""

    def abort(self) -> None:
        """Cuts the connection so that what was sent cannot pass for a whole answer."""

    def done(self) -> None:
        """The request has ended: called once, after all else."""


def client_timeout(told: str, server: ServerSettings) -> float:
    """`x-litellm-timeout` in seconds; it may shorten what is configured, not lengthen it."""
    try:
        seconds = float(told)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise InvalidRequest("The header x-litellm-timeout must be a number of seconds above 0.")
    return min(seconds, server.timeouts.total)


def is_callers(error: GatewayError) -> bool:
    """Whether the caller has to change something; a 429 asks for patience only."""
    return error.status < 500 and error.status != 429 and not error.blames_deployment


def too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"The request body is larger than {limit / MEGABYTE:g} MB.")
