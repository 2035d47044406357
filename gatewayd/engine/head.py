"""What the head of a request says: read once, and kept under the head's bytes for the requests that follow with it.

A `RequestHead` holds no decision. Whether its sender is let in, and which deployment is asked, is decided for each
request.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any, Protocol

from multidict import CIMultiDict

from gatewayd.access.keys import PresentedCredential, RequestHeaders
from gatewayd.engine.render import is_sane_id
from gatewayd.errors import GatewayError
from gatewayd.observe.record import RecordKind
from gatewayd.wire.dialect import Endpoint
from gatewayd.wire.headers import Header, sanitised, upstream_headers

if TYPE_CHECKING:
    from gatewayd.engine.request import Request

Respond = Callable[["Request"], Coroutine[Any, Any, None] | None]
"""Answers a request that asks no model: at once, or in the coroutine that it returns. May raise GatewayError."""


class ClientHeaders(RequestHeaders, Protocol):
    def items(self) -> Iterable[Header]: ...


class RequestHead:
    """See the module."""

    __slots__ = (
        "_headers", "_values", "content_type", "credential", "endpoint", "kind", "method", "model", "path", "query",
        "refusal", "relayed", "request_id", "respond", "timeout",
    )  # fmt: skip

    def __init__(
        self,
        method: str,
        path: str,
        headers: ClientHeaders,
        *,
        kind: RecordKind,
        query: str = "",
        endpoint: Endpoint | None = None,
        model: str | None = None,
        respond: Respond | None = None,
        refusal: GatewayError | None = None,
    ) -> None:
        """Either `endpoint`, for a request that asks a model, or `respond`."""
        self.method = method
        self.path = path
        self.query = query
        self.kind: RecordKind = kind
        self.endpoint = endpoint
        self.respond = respond
        self.model = model
        """The model (or another name) that the path has, if it has one; it goes before the body's."""
        self.refusal = refusal
        """Why a request with this head cannot ask a model."""
        self._headers = headers
        self._values: dict[str, str] = {}
        """Those of its own in place of the ones in `_headers`."""
        told = headers.get("x-request-id")
        self.request_id = told if told is not None and is_sane_id(told) else None
        """The client's own."""
        self.content_type = headers.get("content-type") or ""
        self.timeout = headers.get("x-litellm-timeout")
        self.relayed: list[Header] = [] if endpoint is None else upstream_headers(headers.items())
        """What of the headers goes upstream."""
        self.credential = PresentedCredential(headers)

    @property
    def keeps(self) -> bool:
        """Whether it is worth to be kept: only what asks a model comes often."""
        return self.endpoint is not None and self.refusal is None

    def varied(self, values: dict[str, str]) -> RequestHead:
        """The same with other values of the fields in `wire.heads.VARYING`; all of them are in the head."""
        other = object.__new__(RequestHead)
        other.method, other.path, other.query, other.kind = self.method, self.path, self.query, self.kind
        other.content_type = self.content_type
        other.endpoint, other.respond, other.model = self.endpoint, self.respond, self.model
        other.refusal, other.timeout, other.credential = self.refusal, self.timeout, self.credential
        other._headers, other._values = self._headers, values
        told = values.get("x-request-id")
        other.request_id = self.request_id if told is None else told if is_sane_id(told) else None
        other.relayed = [
            (name, value if name not in values else sanitised(values[name])) for name, value in self.relayed
        ]
        return other

    @property
    def headers(self) -> ClientHeaders:
        if not self._values:
            return self._headers
        return CIMultiDict((name, self._values.get(name.lower(), value)) for name, value in self._headers.items())
