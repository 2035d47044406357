"""Which header fields pass through the gateway, in both directions. Allow-lists: what is not named stays outside.

Framing (`content-length`, `transfer-encoding`, `connection` and the other hop-by-hop fields of RFC 9110, 7.6.1) is made
anew on each side and is on neither list; credentials are on neither list; cookies are on neither list. A field that
`Connection` names is meant for the next hop only and is dropped even when it is listed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from gatewayd.errors import LoopDetected

Header = tuple[str, str]

HOP_BY_HOP: Final = frozenset(
    {
        "connection", "content-length", "expect", "keep-alive", "proxy-authenticate", "proxy-authorization",
        "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
    }
)  # fmt: skip
"""Fields of one hop: nobody but the code that frames the message sets them."""

HOP: Final = "x-gatewayd-hop"
"""The ids of the gateways that a request has come through. An `x-` name, unlike `via`: other gateways let it pass."""

REQUEST_HEADERS: Final = frozenset(
    {
        HOP,
        "anthropic-beta",  # which features of Anthropic's API the body uses; without it the body is refused
        "anthropic-version",
        "idempotency-key",  # the client's promise that a second try is the same request: it must reach who computes
        "openai-beta",  # which beta the body is written for
        "traceparent",  # W3C Trace Context: joins the client's trace to a self-hosted upstream's
        "tracestate",
        "x-client-request-id",  # OpenAI looks a request up by it; the client chose it for that
    }
)
"""From the client to the upstream, beside what the gateway writes itself.

Not among them, with reasons: `authorization`, `x-api-key`, `api-key`, `cookie`, `proxy-*` are the client's credentials
for the gateway; `openai-organization`, `openai-project` choose who pays with the gateway's key; `forwarded`,
`x-forwarded-*`, `x-real-ip` describe the client to a third party; `user-agent`, `x-stainless-*`, `x-app` describe
software the upstream does not talk to; `accept*` is the gateway's, which must understand the answer; `x-request-id`
makes vLLM refuse a second request with the same value, which every retry would be.
"""

RESPONSE_HEADERS: Final = frozenset({b"content-type", b"retry-after", b"retry-after-ms"})
"""From the upstream to the client, with the prefixes below."""
RESPONSE_PREFIXES: Final = (b"x-ratelimit-", b"openai-", b"anthropic-ratelimit-")
RESPONSE_RENAMED: Final = {b"x-request-id": "x-upstream-request-id", b"request-id": "x-upstream-request-id"}
"""The gateway's own `x-request-id` names the whole request; the upstream's names one try."""

MAX_VALUE: Final = 256
"""Characters of a value that is generated or relayed, where nothing longer has a meaning."""


_MOST_NAMES: Final = 256
"""Field names that are remembered; they are an upstream's to choose, so there must be an end."""


def upstream_headers(headers: Iterable[Header]) -> list[Header]:
    """What of a client's headers goes upstream; names in lower case, values visible ASCII. Idempotent."""
    kept: list[Header] = []
    named: frozenset[str] = frozenset()
    for name, value in headers:
        name = name.lower()
        if name in REQUEST_HEADERS:
            kept.append((name, sanitised(value)))
        elif name == "connection":
            named |= _tokens(value)
    return kept if named.isdisjoint(REQUEST_HEADERS) else [(name, value) for name, value in kept if name not in named]


def unlooped(headers: list[Header], instance: str) -> list[Header]:
    """The same headers (of `upstream_headers`). Raises LoopDetected if the request came through this gateway before."""
    for name, value in headers:
        if name == HOP and instance in value:
            raise LoopDetected(
                "This request came back to the gateway that sent it: the address of a deployment leads to this "
                "gateway, maybe through another proxy."
            )
    return headers


def client_headers(fields: Mapping[bytes, bytes]) -> list[Header]:
    """What of an upstream's header fields (names in lower case) goes to the client."""
    kept: list[Header] = []
    for field, value in fields.items():
        name = _shown.get(field, _UNSEEN)
        if name is _UNSEEN:
            name = _shown_as(field)
        if name is not None:
            kept.append((name, sanitised(value.decode("latin-1"))))
    connection = fields.get(b"connection")
    if connection is not None and connection.lower() not in (b"keep-alive", b"close"):
        named = _tokens(connection.decode("latin-1"))
        kept = [(name, value) for name, value in kept if name not in named]
    return kept


_TOKEN: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+")  # RFC 9110, 5.6.2
_UNSEEN: Final = ""
_shown: dict[bytes, str | None] = {}
"""What became of field names seen before: upstreams send the same dozen with every answer."""


def _shown_as(field: bytes) -> str | None:
    """The name under which a field goes to the client, or None."""
    name: str | None = None
    if field in RESPONSE_HEADERS or (field.startswith(RESPONSE_PREFIXES) and _TOKEN.fullmatch(field)):
        name = field.decode("ascii")
    elif field in RESPONSE_RENAMED:
        name = RESPONSE_RENAMED[field]
    if len(_shown) < _MOST_NAMES:
        _shown[field] = name
    return name


def sanitised(value: str) -> str:
    """A value that can stand in a header: visible ASCII and spaces, at most MAX_VALUE characters."""
    if len(value) <= MAX_VALUE and value.isascii() and value.isprintable():
        return value
    return "".join(char if " " <= char <= "~" else "?" for char in value[:MAX_VALUE])


def _tokens(value: str) -> frozenset[str]:
    return frozenset(token.strip().lower() for token in value.split(","))
