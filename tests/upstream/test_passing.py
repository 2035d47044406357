"""Requests that are passed on without being understood."""

from __future__ import annotations

import pytest

from gatewayd.errors import GatewayError, UnknownRoute, UpstreamAuth, UpstreamError, UpstreamRedirect
from gatewayd.upstream.forward import ForwardUpstream
from gatewayd.upstream.passing import PassedRequest, stays_below
from gatewayd.wire.headers import HOP, Header
from tests.fakeup import FIN, RST, End, FakeUpstream, Received, Reply, body_reply, chunk, error_reply, head, raw_reply
from tests.upstream.doubles import KEY, LONG, deployment, eventually
from tests.upstream.forwarding import forwarding
from tests.upstream.sinks import ListSink

FILE = bytes(range(256)) * 1000


def request(
    method: str = "GET", path: str = "/files", query: str = "", *headers: Header, body: bytes = b""
) -> PassedRequest:
    return PassedRequest(method, path, query, headers, body)


async def answered(passed: PassedRequest, *replies: Reply) -> tuple[int, dict[str, str], bytes, Received]:
    """Status, headers and body of an answer, and what the upstream got."""
    async with forwarding(*replies) as (up, forward):
        reply = await forward.passing.send(passed, LONG)
        sink = ListSink()
        if reply.body is None:
            await reply.pipe(sink)
        reply.close()
        body = sink.data if reply.body is None else reply.body
        return reply.status, dict(reply.headers), body, up.requests[0]


@pytest.mark.parametrize(
    "reply",
    [
        body_reply(FILE, content_type="application/octet-stream"),
        raw_reply(
            head(200, [("Content-Type", "application/octet-stream"), ("Transfer-Encoding", "chunked")]),
            chunk(FILE[:9]), 0.01, chunk(FILE[9:]), chunk(b""),
        ),
    ],
)  # fmt: skip
async def test_any_answer_passes(reply: Reply) -> None:
    passed = request("GET", "/files/file-1%2F/content", "a=b%20c&d", ("accept", "application/binary"), (HOP, "other"))
    status, headers, body, got = await answered(passed, reply)
    assert (status, headers["content-type"], body) == (200, "application/octet-stream", FILE)
    assert (got.method, got.target) == ("GET", "/v1/files/file-1%2F/content?a=b%20c&d")
    assert (got.headers["authorization"], got.headers["accept"]) == (f"Bearer {KEY}", "application/binary")
    assert "content-length" not in got.headers
    assert "content-type" not in got.headers
    assert b"other" in got.head


async def test_any_request_passes() -> None:
    form = ("content-type", "multipart/form-data; boundary=b")
    mine = ("authorization", "Bearer mine")
    *_, got = await answered(request("POST", "/files", "", form, mine, body=FILE), body_reply(b"{}"))
    assert (got.method, got.body, got.headers["content-type"]) == ("POST", FILE, form[1])
    assert got.headers["authorization"] == f"Bearer {KEY}"
    *_, got = await answered(request("DELETE", "/files/1"), body_reply(b"{}"))
    assert (got.method, got.headers["content-length"]) == ("DELETE", "0")


@pytest.mark.parametrize("reply", [raw_reply(head(204, [])), body_reply(b"", content_type="text/plain")])
async def test_an_empty_answer_is_one(reply: Reply) -> None:
    assert (await answered(request(), reply))[2] == b""


async def test_errors_pass_as_they_are() -> None:
    status, headers, body, _ = await answered(request(), body_reply(b'{"detail":"no"}', status=422))
    assert (status, headers["content-type"], body) == (422, "application/json", b'{"detail":"no"}')
    assert (await answered(request(), error_reply(500)))[0] == 500


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (error_reply(401, f"bad key {KEY}"), UpstreamAuth),
        (error_reply(403), UpstreamAuth),
        (error_reply(400, f"you sent {KEY}"), UpstreamError),
        (raw_reply(head(302, [("Location", "http://other"), ("Content-Length", "0")])), UpstreamRedirect),
        (raw_reply(RST), UpstreamError),
    ],
)
async def test_what_must_not_pass_does_not(reply: Reply, error: type[GatewayError]) -> None:
    with pytest.raises(error) as caught:
        await answered(request(), reply)
    assert KEY not in f"{caught.value.message} {caught.value.body!r}"


@pytest.mark.parametrize("end", [FIN, RST])
async def test_a_cut_answer_is_not_whole(end: End) -> None:
    cut = raw_reply(head(200, [("Transfer-Encoding", "chunked")]), chunk(FILE), end)
    with pytest.raises(UpstreamError):
        await answered(request(), cut)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "files",
        "/../x",
        "/a/../../x",
        "/%2e%2E/x",
        "/a%2f..%2fx",
        "/a%5c..%5c",
        "/a b",
        "/ü",
        "/a%00",
        "/a%3fb",
        "/a/..;/x",
    ],
)
async def test_a_path_stays_below_the_base_url(path: str) -> None:
    assert not stays_below(path)
    with pytest.raises(UnknownRoute):
        await answered(request("GET", path), body_reply(b"{}"))


@pytest.mark.parametrize(
    ("base", "path", "below"),
    [
        ("http://h/v1", "/v1/files", "/files"),
        ("http://h/v1", "/files", "/files"),
        ("http://h/v1", "/v1", "/v1"),
        ("http://h/v1", "/v10/files", "/v10/files"),
        ("http://h/openai/v1", "/v1/files", "/files"),
        ("http://h/openai/v1", "/openai/v1/files", "/files"),
        ("http://h", "/v1/files", "/v1/files"),
    ],
)
def test_a_path_of_the_server_is_one_below_the_base_url(base: str, path: str, below: str) -> None:
    assert ForwardUpstream(deployment(base)).passing.below(path) == below


@pytest.mark.parametrize("path", ["/", "/files/..a", "/a...b/%20/%C3%BC", "/files/file-1%2F/content"])
def test_other_paths_do_too(path: str) -> None:
    assert stays_below(path)


async def test_azures_paths_have_no_deployment() -> None:
    async with FakeUpstream(body_reply(b"{}")) as up:
        base = up.base_url.removesuffix("/v1")
        forward = ForwardUpstream(deployment(base, provider="azure", api_version="2025-03-01"))
        reply = await forward.passing.send(request("GET", "/files", "limit=2"), LONG)
        await reply.pipe(ListSink())
        reply.close()
        assert up.requests[0].target == "/openai/files?api-version=2025-03-01&limit=2"
        assert up.requests[0].headers["api-key"] == KEY
        await forward.aclose()
        await eventually(lambda: up.open_count == 0)
