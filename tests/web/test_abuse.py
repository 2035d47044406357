"""HTTP that must not be read: refused, and nothing after it on the connection is a request any more.

Each shape comes alone, behind good requests on a kept connection, pipelined behind one, before one, and cut everywhere.
"""

from __future__ import annotations

import random

import pytest

from tests.web.shapes import (
    CHUNKED,
    CHUNKS,
    CODINGS,
    FIELDS,
    FINAL,
    HEADS,
    HOSTS,
    LAST,
    LEGAL,
    LENGTHS,
    LINES,
    NOISE,
    POST,
    RELATIVES,
    TARGETS,
    UPGRADES,
)
from tests.web.support import CHAT, KEY, WITH_KEY, Answer
from tests.web.wire import Wire, pieces, warm

LIVE = b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n"
GOOD = POST + b"Content-Length: %d\r\n\r\n" % len(CHAT) + CHAT
VICTIM = LIVE + GOOD
"""What an attacker would hide behind a request, for somebody to take it for one of its own."""


def named(**tables: dict[str, bytes]) -> pytest.MarkDecorator:
    shapes = {f"{kind}: {name}": data for kind, table in tables.items() for name, data in table.items()}
    return pytest.mark.parametrize("data", shapes.values(), ids=shapes.keys())


def everywhere(data: bytes) -> list[bytes]:
    """`data` one byte at a time, or, when that is long, in pieces that are as likely to be one byte as many."""
    if len(data) < 400:
        return list(pieces(data, range(len(data))))
    chance = random.Random(len(data))  # the same cuts every time
    return list(pieces(data, [*range(100), *chance.sample(range(len(data)), 100)]))


async def heard(port: int, *segments: bytes, before: int = 0) -> list[Answer]:
    """What is answered to all of it, after `before` good requests whose answers have been read."""
    async with Wire.to(port) as wire:
        for _ in range(before):
            await wire.send(GOOD)
            assert (await wire.answer()).status == 200
        await wire.send(*segments)
        return await wire.rest()


def refused(answer: Answer, *statuses: int) -> None:
    assert answer.status in (statuses or (400,))
    assert answer.error["type"] == "invalid_request_error"
    assert answer.headers["connection"] == "close"
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"].startswith("req_")


# B-01, B-02, B-03, B-04, B-05, B-10, B-19, U-C6
@named(
    length=LENGTHS, coding=CODINGS, field=FIELDS, line=LINES, host=HOSTS, head=HEADS, target=TARGETS, noise=NOISE
)  # fmt: skip
async def test_it_is_a_400_and_the_end_of_the_connection(data: bytes) -> None:
    async with warm(GOOD) as (site, upstream):
        for segments in ([data + VICTIM], everywhere(data + VICTIM)):
            (answer,) = await heard(site.port, *segments)
            refused(answer)
        assert not upstream.requests
        for count in (1, 3):
            (answer,) = await heard(site.port, data + VICTIM, before=count)
            refused(answer)
        (answer,) = await heard(site.port, *everywhere(data + VICTIM), before=1)
        refused(answer)
        assert len(upstream.requests) == 5
        *good, answer = await heard(site.port, LIVE + GOOD, data + VICTIM)
        assert [each.status for each in good] == [200, 200]
        refused(answer)
        # In one segment, the good ones may fall with the bad one: nothing was done for them, and they were not last.
        *good, answer = await heard(site.port, LIVE + GOOD + data + VICTIM)
        assert [each.status for each in good] in ([], [200, 200])
        assert len(upstream.requests) == (7 if good else 6)
        refused(answer)


@named(upgrade=UPGRADES)
async def test_an_upgrade_to_websocket_is_a_426_and_the_end_of_the_connection(data: bytes) -> None:
    """U-C1, B-17, D-14: RFC 9110, 15.5.22. Codex goes on with POST after this status, and gives up after any other."""
    async with warm(GOOD) as (site, upstream):
        for segments in ([data + VICTIM], everywhere(data + VICTIM)):
            (answer,) = await heard(site.port, *segments)
            assert (answer.status, answer.error["code"]) == (426, "upgrade_refused")
            assert (answer.headers["upgrade"], answer.headers["connection"]) == ("HTTP/1.1", "upgrade, close")
        assert not upstream.requests


async def test_any_path_refuses_an_upgrade_so() -> None:
    """U-C1: also one that is not served, and with other tokens beside it."""
    offer = b"Host: a\r\n" + b"Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket, foo/1\r\n\r\n"
    async with warm(GOOD) as (site, _):
        for path in (b"/v1/responses", b"/v1/chat/completions", b"/nowhere", b"/livez"):
            (answer,) = await heard(site.port, b"GET " + path + b" HTTP/1.1\r\n" + offer)
            assert answer.status == 426


@named(chunk=CHUNKS)
async def test_a_bad_chunk_is_refused_and_ends_the_connection(data: bytes) -> None:
    """B-01: whether the body is being waited for or came together with its head."""
    head = POST + CHUNKED + b"\r\n"
    async with warm(GOOD) as (site, upstream):
        for segments in ([head + data + VICTIM], [head, data + VICTIM], everywhere(head + data + VICTIM)):
            (answer,) = await heard(site.port, *segments)
            refused(answer)
        assert not upstream.requests
        (answer,) = await heard(site.port, head, data + VICTIM, before=2)
        refused(answer)
        *good, answer = await heard(site.port, LIVE + GOOD, head + data + VICTIM)
        assert [each.status for each in good] == [200, 200]
        refused(answer)
        assert len(upstream.requests) == 3


@named(relative=RELATIVES)
async def test_a_relative_of_http_is_refused_too(data: bytes) -> None:
    """B-03, B-19"""
    async with warm(GOOD) as (site, _):
        for segments in ([data + VICTIM], everywhere(data + VICTIM)):
            (answer,) = await heard(site.port, *segments)
            refused(answer, 400, 405)


def told(table: dict[str, tuple[int, bytes]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("status", "data"), table.values(), ids=table.keys())


@told(LEGAL)
async def test_what_is_odd_but_legal_is_read_right_and_the_connection_goes_on(status: int, data: bytes) -> None:
    """B-04, B-10, B-18, B-23"""
    async with warm(GOOD) as (site, upstream):
        for before, segments in (
            (0, [data + LIVE]),
            (0, [data, LIVE]),
            (0, everywhere(data + LIVE)),
            (1, [LIVE, data, LIVE]),
            (1, [LIVE + data + LIVE]),
        ):
            async with Wire.to(site.port) as wire:
                await wire.send(*segments)
                for _ in range(before):
                    assert (await wire.answer()).status == 200
                assert (await wire.answer(has_body=not data.startswith(b"HEAD"))).status == status
                assert (await wire.answer()).status == 200
                await wire.send(LIVE)
                assert (await wire.answer()).body == b'{"status":"ok"}'
                assert wire.got == b""
        asked = data.startswith(b"POST") and status == 200
        assert [request.path for request in upstream.requests] == ["/v1/chat/completions"] * 5 * asked


@told(LAST)
async def test_what_may_be_the_last_is_read_right_and_what_follows_is_read_right_or_not_at_all(
    status: int, data: bytes
) -> None:
    """B-01, B-04, B-17: a body never becomes a request, whatever method it comes with."""
    method = data.split(b" ")[0].decode()
    async with warm(GOOD) as (site, upstream):
        for segments in ([data + LIVE], [data, LIVE], everywhere(data + LIVE)):
            async with Wire.to(site.port) as wire:
                await wire.send(*segments)
                answer = await wire.answer(has_body=method != "HEAD")
                assert answer.status == status
                if answer.headers.get("connection") != "close":
                    assert (await wire.answer()).body == b'{"status":"ok"}'
                    wire.end()
                assert await wire.rest() == []
        asked = method == "POST" and status == 200
        assert [request.path for request in upstream.requests] == ["/v1/chat/completions"] * 3 * asked


@told(FINAL)
async def test_a_request_that_closes_is_the_last(status: int, data: bytes) -> None:
    """B-01, B-18: what comes behind it is not read, or refused together with it."""
    async with warm(GOOD) as (site, _):
        for segments in ([data], [data, LIVE], [*everywhere(data), LIVE]):
            (answer,) = await heard(site.port, *segments)
            assert (answer.status, answer.headers["connection"]) == (status, "close")
        (answer,) = await heard(site.port, data + LIVE)
        assert (answer.status in (status, 400), answer.headers["connection"]) == (True, "close")


@pytest.mark.parametrize("cut", [False, True])
async def test_a_trailer_is_not_a_header(cut: bool) -> None:
    """B-01: neither of its own request, whose head is over, nor of the next one on the connection."""
    key = b"Authorization: Bearer " + KEY.encode() + b"\r\n"
    chunks = b"%x\r\n" % len(CHAT) + CHAT + b"\r\n0\r\n"
    last = b"GET /v1/models HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
    async with warm(server=WITH_KEY) as (site, upstream):

        async def statuses(data: bytes) -> list[int]:
            return [answer.status for answer in await heard(site.port, *(everywhere(data) if cut else [data]))]

        assert await statuses(POST + CHUNKED + b"\r\n" + chunks + key + b"\r\n" + last + b"\r\n") in ([401], [401, 401])
        assert not upstream.requests
        good = POST + key + CHUNKED + b"\r\n" + chunks
        assert await statuses(good + key + b"\r\n" + last + b"\r\n") in ([200], [200, 401])
        assert await statuses(good + b"Host: b\r\nX-Api-Key: x\r\n\r\n" + last + key + b"\r\n") in (
            [200],
            [200, 200],
            [400],
        )
