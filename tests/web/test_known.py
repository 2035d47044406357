"""What the gateway remembers of one request is never used for another: above all not who sent it.

Each test lets a good request and one with a wrong key follow each other on one connection in some awkward way, and then
sends each of them by itself.
"""

from __future__ import annotations

import asyncio

import pytest

from gatewayd.config.snapshot import ServerSettings, Snapshot
from gatewayd.engine.build import build
from gatewayd.secret import Secret
from tests.fakeup import Received
from tests.replies import Reply, json_reply
from tests.web.shapes import POST
from tests.web.support import CHAT, KEY, WITH_KEY, until
from tests.web.wire import Wire, warm

AUTH = b"Authorization: Bearer " + KEY.encode() + b"\r\n"
BODY = b"Content-Length: %d\r\n\r\n" % len(CHAT) + CHAT
GOOD = POST + AUTH + BODY
BAD = POST + b"Authorization: Bearer " + b"x" * len(KEY) + b"\r\n" + BODY
NONE = POST + BODY
ODD = POST + AUTH + b"Content-Length:  %d \r\n\r\n" % len(CHAT) + CHAT
EMBED = b"POST /v1/embeddings HTTP/1.1\r\n" + POST.partition(b"\r\n")[2] + AUTH + BODY
HALF = len(GOOD) // 2

COURSES: dict[str, list[list[bytes]]] = {
    "one after the other": [[BAD], [GOOD], [BAD]],
    "good in two halves": [[BAD], [GOOD[:HALF], GOOD[HALF:]]],
    "good in three pieces": [[BAD], [GOOD[:HALF], GOOD[HALF:-5], GOOD[-5:]]],
    "good twice in one segment": [[BAD], [GOOD + GOOD]],
    "good twice and a half": [[BAD], [GOOD + GOOD + GOOD[:HALF], GOOD[HALF:]]],
    "good written oddly": [[BAD], [ODD], [ODD]],
    "bad behind good": [[GOOD, BAD]],
    "bad behind good in one segment": [[GOOD + BAD]],
    "bad before good in one segment": [[BAD + GOOD]],
    "bad in two halves behind good": [[GOOD, BAD[:HALF], BAD[HALF:]]],
    "bad with its body behind": [[GOOD + BAD[: -len(CHAT)], BAD[-len(CHAT) :]]],
    "good with its body behind": [[BAD], [GOOD[: -len(CHAT)], CHAT]],
    "good with its body behind, and bad": [[BAD], [GOOD[: -len(CHAT)], CHAT + BAD]],
    "another route": [[EMBED, GOOD, BAD]],
    "another route in two halves": [[BAD], [EMBED[:HALF], EMBED[HALF:]], [GOOD]],
}


def _statuses(course: list[list[bytes]]) -> list[int]:
    text = b"".join(b"".join(step) for step in course)
    return [200 if AUTH in part else 401 for part in text.split(b"POST ")[1:]]


def _without_key() -> dict[str, list[list[bytes]]]:
    """The same with no key instead of a wrong one, where that stands in one piece."""
    found: dict[str, list[list[bytes]]] = {}
    for name, course in COURSES.items():
        made = [[segment.replace(BAD, NONE) for segment in step] for step in course]
        if not any(part in segment for step in made for segment in step for part in (BAD[:HALF], BAD[: -len(CHAT)])):
            found[f"{name}, without"] = made
    return found


ALL = COURSES | _without_key()


@pytest.mark.parametrize("course", ALL.values(), ids=ALL.keys())
@pytest.mark.parametrize("slow", [False, True])
async def test_a_wrong_key_stays_wrong_whatever_came_before_and_after(course: list[list[bytes]], slow: bool) -> None:
    """D-01, D-18, B-18: also while the answer before is not there yet."""
    gate = asyncio.Event()

    def reply(request: Received) -> Reply:
        made = json_reply({"path": request.path})
        return Reply([gate, *made.steps]) if slow and not gate.is_set() else made

    async with warm(replies=[reply], server=WITH_KEY) as (site, upstream):
        for _ in range(2):
            gate.clear()
            async with Wire.to(site.port) as wire:
                expected = iter(_statuses(course))
                for step in course:
                    await wire.send(*step)
                    gate.set()
                    for _ in range(sum(segment.count(b"POST ") for segment in step)):
                        assert (await wire.answer()).status == next(expected)
            asked = len(upstream.requests)
            for request in (BAD, NONE):
                async with Wire.to(site.port) as wire:
                    for _ in range(2):
                        await wire.send(request)
                        assert (await wire.answer()).status == 401
            assert len(upstream.requests) == asked
            for request, path in ((GOOD, b"/v1/chat/completions"), (EMBED, b"/v1/embeddings"), (ODD, b"/v1/chat/com")):
                async with Wire.to(site.port) as wire:
                    for _ in range(2):
                        await wire.send(request)
                        assert path in (await wire.answer()).body


async def test_an_old_client_is_told_each_time_that_its_connection_is_kept() -> None:
    """B-03: without a word of it, a client of HTTP/1.0 takes the end of the answer for the end of the connection."""
    old = GOOD.replace(b"HTTP/1.1\r\n", b"HTTP/1.0\r\nConnection: keep-alive\r\n")
    async with warm(server=WITH_KEY) as (site, _), Wire.to(site.port) as wire:
        for _ in range(4):
            await wire.send(old)
            answer = await wire.answer()
            assert (answer.status, answer.headers["connection"]) == (200, "keep-alive")


async def test_a_key_that_was_changed_is_refused_at_once_and_what_is_under_way_ends() -> None:
    """D-17: on connections that were good with it a moment ago, too."""
    release = asyncio.Event()
    other = KEY[::-1]
    renewed = GOOD.replace(KEY.encode(), other.encode())
    async with warm(GOOD, server=WITH_KEY) as (site, upstream), Wire.to(site.port) as busy, Wire.to(site.port) as known:
        for _ in range(2):
            await known.send(GOOD)
            assert (await known.answer()).status == 200
        upstream.then(lambda request: Reply([release, *json_reply({"late": True}).steps]))
        await busy.send(GOOD)
        await until(lambda: len(upstream.requests) == 3)
        upstream.then(json_reply({}))
        deployments = [target.deployment for target in site.gateway.current.targets.values()]
        settings = ServerSettings(master_key=Secret(other))
        snapshot = Snapshot("r2", tuple(deployments), site.gateway.current.snapshot.routing, settings)
        site.gateway.swap(await build(snapshot, site.gateway))
        for request, status in ((GOOD, 401), (renewed, 200), (GOOD, 401), (renewed, 200), (renewed, 200)):
            await known.send(request)
            assert (await known.answer()).status == status
        release.set()
        assert (await busy.answer()).body == b'{"late":true}'
        await busy.send(GOOD)
        assert (await busy.answer()).status == 401


@pytest.mark.parametrize("name", [b"X-Forwarded-For", b"X-Real-IP", b"Forwarded", b"CF-Connecting-IP"])
async def test_where_a_request_says_it_comes_from_is_not_believed_and_not_passed_on(name: bytes) -> None:
    """B-27, D-05, D-08: not in the log, not at the upstream, and not as a way in."""
    told = name + b": 127.0.0.1, 10.9.8.7;for=10.9.8.7\r\n"
    good = POST + AUTH + told + BODY
    async with warm(good, server=WITH_KEY) as (site, upstream), Wire.to(site.port) as wire:
        for request, status in ((good, 200), (good, 200), (POST + told + BODY, 401)):
            await wire.send(request)
            assert (await wire.answer()).status == status
        assert b"10.9.8.7" not in b"".join(request.head for request in upstream.requests)
        await until(lambda: len(site.records.fields) == 5)
        assert {record["peer"] for record in site.records.fields} == {"127.0.0.1"}
    async with warm() as (site, _), Wire.to(site.port) as wire:
        await wire.send((POST + told + BODY).replace(b"Host: a", b"Host: evil.example"))
        assert (await wire.answer()).status == 403
