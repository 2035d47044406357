"""A probe of HTTP/1.1 by RFC 9110 and 9112, over sockets: one row a case. The shapes of smuggling are in `shapes`."""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime
from typing import Final, NamedTuple

import pytest

from tests.web import shapes
from tests.web.shapes import CHUNKED, EMPTY, GET, POST, H
from tests.web.support import CHAT
from tests.web.wire import Wire, warm

GOOD: Final = POST + b"Content-Length: %d\r\n\r\n" % len(CHAT) + CHAT
LIVE: Final = GET + H + b"\r\n"
KEPT, CLOSED = "kept", "closed"


class Case(NamedTuple):
    request: bytes
    status: int
    connection: str = KEPT
    deliberate: str = ""
    """Why the answer is not what the RFC recommends."""


def get(target: str = "/livez", version: str = "HTTP/1.1", *fields: str, method: str = "GET", host: str = "a") -> bytes:
    lines = [f"{method} {target} {version}", *([f"Host: {host}"] if host else []), *fields]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def field(*lines: str) -> bytes:
    return get("/livez", "HTTP/1.1", *lines)


_PARSER = "llhttp knows a list of methods; any other is refused as invalid (RFC 9110, 9.1 recommends 501)"
_PATHS = "a path is compared as it is written, so that key check and handler never read it in two ways"
CASES: dict[str, Case] = {
    # RFC 9110, 9: methods
    **{f"method {m}": Case(get(method=m), 200) for m in ("GET", "HEAD")},
    **{f"method {m}": Case(get(method=m), 405) for m in ("OPTIONS", "DELETE", "TRACE", "PROPFIND", "LINK", "SEARCH")},
    **{f"method {m} with length 0": Case(field("Content-Length: 0").replace(b"GET", m.encode()), 405)
       for m in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS")},
    **{f"method {m}": Case(get(method=m), 400, CLOSED, _PARSER) for m in ("BREW", "get", "Get")},
    "OPTIONS of everything": Case(get("*", method="OPTIONS"), 404, KEPT, "there is nothing to say about all of it"),
    "GET of everything": Case(get("*"), 400, CLOSED),
    # RFC 9112, 2.3 and 9.3: versions, and who keeps the connection
    "1.0": Case(get("/livez", "HTTP/1.0"), 200, CLOSED),
    "1.0 without Host": Case(get("/livez", "HTTP/1.0", host=""), 200, CLOSED),
    "1.0 kept": Case(get("/livez", "HTTP/1.0", "Connection: keep-alive"), 200),
    "1.0 kept, in capitals": Case(get("/livez", "HTTP/1.0", "Connection: Keep-Alive"), 200),
    "1.0 kept and closed": Case(get("/livez", "HTTP/1.0", "Connection: keep-alive, close"), 200, CLOSED),
    **{f"version {v}": Case(get("/livez", v), 400, CLOSED)
       for v in ("HTTP/1.2", "HTTP/2.0", "HTTP/0.9", "HTTP/1", "HTTP/11", "http/1.1", "HTTP/1.1x", "HTTP/-1.1",
       "HTTP 1.1")},
    **{f"connection {v}": Case(field(f"Connection: {v}"), 200, CLOSED)
       for v in ("close", "Close", "CLOSE", "close, x", "x, close", "x,close", "close ,x", "keep-alive, close")},
    **{f"connection {v or 'empty'}": Case(field(f"Connection: {v}"), 200)
       for v in ("", "keep-alive", "Keep-Alive", "x", "x, y", "closed", "TE", "not-close")},
    "close in a second field": Case(field("Connection: x", "Connection: close"), 200, CLOSED),
    # RFC 9112, 3.2: targets
    **{f"target {t}": Case(get(t), 200)
       for t in ("/livez?", "/livez?a=b", "/livez?a=/../b", "/livez?%00", "/livez?a?b", "//livez", "/livez/", "/",
                 "http://a/livez", "HTTP://a/livez", "https://a/livez", "http://a:80/livez", "http://b/livez?x",
                 "http://[::1]/livez", "http://a/")},
    **{f"target {t}": Case(get(t), 404)
       for t in ("/LIVEZ", "/livez/x", "/livez;x", "/../livez", "/./livez", "/livez%00", "/livez%2f", "/%", "/%zz",
                 "/a%20b", "/~", "/x:y@z", "/\\livez", "http://a/nowhere")},
    "target /%6civez": Case(get("/%6civez"), 404, KEPT, _PATHS),
    **{f"target {t}": Case(get(t), 400, CLOSED)
       for t in ("livez", "a:80", "ftp://a/livez", "ws://a/livez", "http://u@a/livez", "http://u:p@a/livez",
                 "http://", "http:///livez", "://a/livez", "/li vez", "/li\x00vez", "/li\x7fvez", "", "?x")},
    # RFC 9110, 7.2: Host
    **{f"host {h}": Case(get(host=h), 200)
       for h in ("a", "A", "a:80", "a:0", "a:65535", "a.b", "a-b.c", "a_b", "a.", "1.2.3.4", "1.2.3.4:5", "[::1]",
                 "[::1]:80", "localhost", "xn--bcher-kva")},
    **{f"host {h}": Case(get(host=h), 400, CLOSED)
       for h in ("a:65536", "a:99999", "a:x", "a:-1", "a:80:80", "a/", "a?b", "a#b", "a@b", "a b", "a,b", "[::1",
                 "::1", "[x]", "a\\b", "a%00", "http://a", "a:")},
    "no host": Case(get(host=""), 400, CLOSED),
    "two hosts": Case(field("Host: a"), 400, CLOSED),
    "host of another site": Case(get(host="b.c").replace(b"/livez", b"http://a/livez"), 200),
    # RFC 9110, 5: fields
    **{f"field {i}": Case(field(line), 200)
       for i, line in enumerate(("X:", "X: ", "X:y", "X: y ", "X:\ty\t", "X: y\tz", "X: \xe4", "X: \xff",
       "x!#$%&'*+-.^_`|~9: y",
                                 "X: " + "y" * 8000, 'X: "y', "X: a,,b", "X: :", "X: y: z", "X-" + "y" * 200 + ": z"))},
    **{f"bad field {i}": Case(field(line), 400, CLOSED)
       for i, line in enumerate(("X", ": y", "X : y", "X\t: y", "X Y: z", "X\x00: y", "X: \x00", "X: \x01", "X: \x7f",
       "X\r: y",
                                 "X: a\rb", "X: a\nb: c", "(X): y", "X@Y: z", "X[]: y", "\xe4: y", " X: y", "\tX: y",
                                 "X: a\r\n b", "X: " + "y" * 9000))},
    "a hundred fields": Case(field(*(f"X{i}: y" for i in range(100))), 200),
    "two hundred fields": Case(field(*(f"X{i}: y" for i in range(200))), 400, CLOSED),
    "the same field often": Case(field(*["X: y"] * 50), 200),
    "two Authorization fields": Case(field("Authorization: Bearer a", "Authorization: Bearer b"), 400, CLOSED),
    # RFC 9112, 2.2: empty lines in front
    "an empty line first": Case(b"\r\n" + LIVE, 200),
    "empty lines first": Case(b"\r\n\r\n\r\n" + LIVE, 200),
    # RFC 9110, 7.8 and 15.5.22: upgrades
    **{f"upgrade {u} without connection": Case(field(f"Upgrade: {u}"), 200)
       for u in ("websocket", "h2c", "foo/1", "TLS/1.0")},
    **{f"upgrade {u}": Case(field("Connection: Upgrade", f"Upgrade: {u}"), 426, CLOSED)
       for u in ("websocket", "WebSocket", "foo, websocket", "websocket/13")},
    **{f"upgrade {u}": Case(field("Connection: Upgrade", f"Upgrade: {u}"), 200, CLOSED)
       for u in ("h2c", "foo", "TLS/1.0")},
    "upgrade of 1.0": Case(get("/livez", "HTTP/1.0", "Connection: keep-alive", "Upgrade: websocket"), 200),
    # RFC 9110, 10.1.1: expectations
    **{f"expect {e} of 1.1": Case(field(f"Expect: {e}"), 200)
       for e in ("100-continue", "100-Continue", " 100-continue ")},
    **{f"expect {e} of 1.1": Case(field(f"Expect: {e}"), 417, CLOSED)
       for e in ("x", "200-ok", "100-continue, x", "100")},
    **{f"expect {e} of 1.0": Case(get("/livez", "HTTP/1.0", f"Expect: {e}"), 200, CLOSED)
       for e in ("100-continue", "x")},
    # RFC 9112, 6: bodies where none is needed are no next request
    "body of GET": Case(field("Content-Length: 4") + b"GET ", 200, KEPT),
    "length 0 of GET": Case(field("Content-Length: 0"), 200),
    "chunks of GET": Case(field("Transfer-Encoding: chunked") + EMPTY, 200, CLOSED),
    "length with zeros": Case(field("Content-Length: 0004") + b"abcd", 200),
    **{f"content type {c}": Case(GOOD.replace(b"application/json", c.encode()), 200)
       for c in ("application/json", "APPLICATION/JSON", "application/json;charset=utf-8", "application/json ; a=b",
       "application/x+json")},
    **{f"content type {c}": Case(GOOD.replace(b"application/json", c.encode()), 415, KEPT)
       for c in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/jsonx")},
    "identity coding": Case(GOOD.replace(b"Content-Length", b"Content-Encoding: identity\r\nContent-Length"), 200),
    "gzip coding": Case(GOOD.replace(b"Content-Length", b"Content-Encoding: gzip\r\nContent-Length"), 415),
    "chunked": Case(POST + CHUNKED + b"\r\n%x\r\n" % len(CHAT) + CHAT + b"\r\n" + EMPTY, 200, CLOSED),
    "chunks with trailer": Case(POST + CHUNKED + b"\r\n%x\r\n" % len(CHAT) + CHAT + b"\r\n0\r\nX: y\r\n\r\n", 200,
       CLOSED),
    "short body and close": Case(GOOD.replace(b"Content-Length", b"Connection: close\r\nContent-Length"), 200, CLOSED),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
async def test_a_request_is_read_as_the_rfc_says(case: Case) -> None:
    """U-C6: status, framing and the connection's fate; then the same behind another request, in one segment."""
    method = case.request.lstrip().split(b" ")[0].decode("latin-1")
    async with warm(GOOD) as (site, _):
        for before in (b"", LIVE):
            async with Wire.to(site.port) as wire:
                await wire.send(before + case.request)
                if before:
                    assert (await wire.answer()).status == 200
                answer = await wire.answer(has_body=method != "HEAD")
                assert answer.status == case.status
                parsedate_to_datetime(answer.headers["date"])
                if case.connection == CLOSED:
                    assert "close" in re.split(", ?", answer.headers["connection"])
                    assert await wire.rest() == []
                else:
                    assert "close" not in answer.headers.get("connection", "")
                    await wire.send(LIVE)
                    assert (await wire.answer()).status == 200
                needed = {405: "allow", 426: "upgrade", 401: "www-authenticate"}.get(case.status)
                assert needed is None or needed in answer.headers


def test_nearly_all_of_it_is_strict() -> None:
    """U-C6: about three hundred cases here and in `shapes`, of which 97 % are answered as the RFCs recommend."""
    tables = [value for name, value in vars(shapes).items() if name.isupper() and isinstance(value, dict)]
    count = len(CASES) + sum(map(len, tables))
    exceptions = [case.deliberate for case in CASES.values() if case.deliberate]
    assert count >= 300
    assert len(exceptions) <= 0.03 * count
