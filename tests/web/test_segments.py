"""Where segments end says nothing: any cut of any sequence of requests is answered as if each had come by itself."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fakeup import Received
from tests.replies import DONE, Reply, json_reply, sse_reply
from tests.web.shapes import H
from tests.web.support import KEY, WITH_KEY, Answer, Site
from tests.web.wire import Wire, pieces, warm

CLOSE = b"GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
POST = b"POST /v1/chat/completions HTTP/1.1\r\n" + H + b"Authorization: Bearer %b\r\n" % KEY.encode()


@dataclass(frozen=True)
class Request:
    """What is sent, and what has to come back for it."""

    data: bytes
    method: str
    status: int
    part: bytes
    """Stands in the answer's body and in no other answer's."""


_numbers = st.integers(0, 10**9)


@st.composite
def _chats(draw: st.DrawFn) -> Request:
    number, stream = draw(_numbers), draw(st.booleans())
    text = draw(st.text(st.characters(codec="utf-8"), max_size=200))
    fields = {"model": "chat", "stream": stream, "user": f"n{number}.", "x": text}
    body = json.dumps(fields, ensure_ascii=False).encode()
    head = POST + b"".join(b"X-%d: %d\r\n" % (i, i) for i in range(draw(st.integers(0, 1))))
    return Request(head + b"Content-Length: %d\r\n\r\n" % len(body) + body, "POST", 200, b"n%d." % number)


@st.composite
def _gets(draw: st.DrawFn) -> Request:
    method = draw(st.sampled_from(["GET", "HEAD"]))
    query = draw(st.text("abc=&/?%", max_size=20)).encode()
    start = draw(st.sampled_from([b"", b"\r\n"]))
    head = start + method.encode() + b" /livez?" + query + b" HTTP/1.1\r\n" + H + b"\r\n"
    return Request(head, method, 200, b"" if method == "HEAD" else b'"ok"')


@st.composite
def _refusals(draw: st.DrawFn) -> Request:
    """Refused after all of it was read, so that the connection goes on."""
    number = draw(_numbers)
    kind = draw(st.sampled_from(["json", "model", "path", "method", "key"]))
    if kind in ("json", "model"):
        body = b"{" if kind == "json" else b'{"model":"m%d."}' % number
        data = POST + b"Content-Length: %d\r\n\r\n" % len(body) + body
        return Request(data, "POST", *((400, b"not valid JSON") if kind == "json" else (404, b"m%d." % number)))
    key = POST.partition(b"\r\n")[2]
    line, status, part = {
        "path": (b"GET /x", 404, b"no such URL"),
        "method": (b"DELETE /v1/models", 405, b"takes GET, not DELETE"),
        "key": (b"GET /v1/models", 401, b"No API key"),
    }[kind]
    return Request(line + b" HTTP/1.1\r\n" + (H if kind == "key" else key) + b"\r\n", "GET", status, part)


_requests = st.lists(st.one_of(_chats(), _chats(), _gets(), _refusals()), min_size=1, max_size=6)


def _echo(request: Received) -> Reply:
    """Tells the request's own number, whole or in pieces."""
    asked = request.json()
    user = asked["user"].encode()
    if asked["stream"]:
        return sse_reply([b'data: "' + user[:1], user[1:] + b'"\n\n', DONE])
    return json_reply({"user": asked["user"]})


async def _answers(site: Site, requests: Sequence[Request], cuts: Sequence[int]) -> list[Answer]:
    async with Wire.to(site.port) as wire:
        await wire.send(*pieces(b"".join(request.data for request in requests) + CLOSE, cuts))
        return await wire.rest([*(request.method for request in requests), "GET"])


def _steady(answer: Answer) -> tuple[Any, ...]:
    """An answer without what differs every time."""
    changing = ("date", "x-request-id", "x-litellm-call-id", "x-gatewayd-overhead-ms", "x-litellm-overhead-duration-ms")
    headers = {
        name: value
        for name, value in answer.headers.items()
        if name not in (*changing, "x-litellm-response-duration-ms")
    }
    return answer.status, headers, answer.body


@given(data=st.data(), requests=_requests, on_uvloop=st.booleans())
@settings(max_examples=150, suppress_health_check=list(HealthCheck))
def test_any_cut_is_read_like_no_cut(data: st.DataObject, requests: list[Request], on_uvloop: bool) -> None:
    """B-18, B-20: one write each, all in one, one byte each, or any cut: the same answers in the same order."""
    size = sum(len(request.data) for request in requests)
    cuts = data.draw(st.one_of(st.just([]), st.just(range(size)), st.lists(st.integers(1, size), max_size=30)))

    async def run() -> None:
        async with warm(replies=[_echo], server=WITH_KEY) as (site, upstream):
            alone: list[Answer] = []
            async with Wire.to(site.port) as wire:
                for request in requests:
                    await wire.send(request.data)
                    alone.append(await wire.answer(has_body=request.method != "HEAD"))
            *together, last = await _answers(site, requests, cuts)
        assert last.status == 200
        assert [_steady(answer) for answer in together] == [_steady(answer) for answer in alone]
        for request, answer in zip(requests, together, strict=True):
            assert answer.status == request.status
            assert request.part in answer.body
        asked = [request.body for request in upstream.requests]
        assert asked[: len(asked) // 2] == asked[len(asked) // 2 :]

    with asyncio.Runner(loop_factory=uvloop.new_event_loop if on_uvloop else None) as runner:
        runner.run(run())
