"""What the connections of the data listener know of the gateway: three methods that answer their requests.

The modules `connection`, `pieces`, `loop`, `relay`, `request` and `bodies` are HTTP: bytes, heads, deadlines, limits.
"""

from __future__ import annotations

from typing import Any, Protocol, Self

from gatewayd.engine.client import IncomingBody
from gatewayd.engine.head import ClientHeaders
from gatewayd.errors import GatewayError
from gatewayd.web.relay import ClientResponder


class KeptHead(Protocol):
    """What a handler has made of a head. A connection keeps it under the head's bytes, for the requests that follow."""

    @property
    def keeps(self) -> bool:
        """Whether it is to be kept."""

    def varied(self, values: dict[str, str]) -> Self:
        """The same with other values of the fields in `wire.heads.VARYING`."""


class Running(Protocol):
    """A request that has begun."""

    @property
    def admitted(self) -> bool:
        """Whether its sender was let in: only then the head is kept."""

    def lost(self) -> None:
        """The connection has ended."""


class Handler(Protocol):
    def understand(
        self, method: str, path: str, query: str, headers: ClientHeaders, problem: GatewayError | None
    ) -> Any:
        """What a parsed head says, as a `KeptHead`. `problem` is why it is refused."""

    def begin(self, head: Any, body: bytes | IncomingBody, client: ClientResponder) -> Running:
        """Begins a request. It ends with `client.done()`, which may come before this returns."""

    def unreadable(self, peer: str, error: BaseException | None) -> bytes:
        """Accounts for bytes that are no HTTP. Returns the answer, the last one on the connection."""
