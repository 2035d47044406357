"""What is remembered of a request's head, so that the next one like it needs no parser."""

from __future__ import annotations

from dataclasses import dataclass

from multidict import CIMultiDict

from gatewayd.access.keys import PresentedCredential
from gatewayd.web.exchange import InboundHeaders, Route
from gatewayd.web.render import is_sane_id
from gatewayd.web.request import too_large
from gatewayd.wire.dialect import Endpoint
from gatewayd.wire.headers import Header, sanitised, upstream_headers


class KnownRequest:
    """What the head of a request says that may take the fast path."""

    __slots__ = ("_headers", "_values", "credential", "endpoint", "path", "relayed", "request_id", "route")

    def __init__(self, route: Route, endpoint: Endpoint, path: str, headers: InboundHeaders) -> None:
        self.route = route
        self.endpoint = endpoint
        self.path = path
        self._headers = headers
        self._values: dict[str, str] = {}
        """Those of its own in place of the ones in `_headers`."""
        told = headers.get("x-request-id")
        self.request_id = told if told is not None and is_sane_id(told) else None
        """The client's own."""
        self.relayed: list[Header] = upstream_headers(headers.items())
        """What of the headers goes upstream."""
        self.credential = PresentedCredential(headers)

    def varied(self, values: dict[str, str]) -> KnownRequest:
        """The same request with other values of the fields in `wire.heads.VARYING`; all of them are in its head."""
        other = object.__new__(KnownRequest)
        other.route, other.endpoint, other.path = self.route, self.endpoint, self.path
        other._headers, other._values = self._headers, values
        told = values.get("x-request-id")
        other.request_id = self.request_id if told is None else told if is_sane_id(told) else None
        other.relayed = [
            (name, value if name not in values else sanitised(values[name])) for name, value in self.relayed
        ]
        other.credential = self.credential
        return other

    @property
    def headers(self) -> InboundHeaders:
        if not self._values:
            return self._headers
        return CIMultiDict((name, self._values.get(name.lower(), value)) for name, value in self._headers.items())


@dataclass(slots=True)
class Inbound:
    """A known request with its body, for an exchange (`web.exchange.Inbound`)."""

    path: str
    headers: InboundHeaders
    peer: str
    body: bytes
    method: str = "POST"
    query: str = ""
    model: str | None = None

    async def read(self, limit: int) -> bytes:
        if len(self.body) > limit:
            raise too_large(limit)
        return self.body
