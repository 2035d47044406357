"""What one deployment's trouble means for the next request, and for the client who is told to come back."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from gatewayd.config.snapshot import RoutingSettings
from gatewayd.errors import FallbackKind
from gatewayd.routing.health import MAX_RETRY_AFTER
from tests.clock import HandClock
from tests.data_plane.gateway import asked, before, forward
from tests.fakeup import FIN, RST, FakeUpstream, Reply, error_reply, json_reply, raw_reply
from tests.web.support import RawClient, serving_deployments, until

GOOD = json_reply({"object": "chat.completion", "choices": [{}]})
ONE_RETRY = RoutingSettings(num_retries=1)


def limited(value: str | None) -> Reply:
    return error_reply(429, "slow down", headers=[] if value is None else [("retry-after", value)])


def date(seconds: float) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("kind", "least", "most"),
    [
        ("7", 7.0, 7.0),
        ("2.5", 2.5, 2.5),
        ("date", 0.0, 30.0),
        ("1000000000", MAX_RETRY_AFTER, MAX_RETRY_AFTER),
        ("far date", MAX_RETRY_AFTER, MAX_RETRY_AFTER),
        ("-5", 4.0, 6.0),
        ("soon", 4.0, 6.0),
        ("0", 4.0, 6.0),
        ("past date", 4.0, 6.0),
        ("inf", 4.0, 6.0),
        (None, 4.0, 6.0),
    ],
)
async def test_how_long_a_429_is_believed(kind: str | None, least: float, most: float, clock: HandClock) -> None:
    """A-26, A-27: the other one answers the same request at once; how long the first one rests. Without a time that
    makes sense it is the configured one, five seconds give or take a fifth."""
    told = {"date": date(30), "far date": date(1e7), "past date": date(-100)}.get(kind or "", kind)
    async with FakeUpstream(limited(told)) as busy, FakeUpstream(GOOD) as good:
        deployments = forward(busy, "busy", order=1), forward(good, "good", order=2)
        async with serving_deployments(*deployments, routing=ONE_RETRY) as site:
            clock.stop()
            asked_at = datetime.now(UTC)
            answer = await asked(site)
            assert (answer.status, answer.headers["x-gatewayd-deployment"]) == (200, "good")
            assert answer.headers["x-gatewayd-attempts"] == "2"
            rests = site.gateway.health.state("busy").cooling_until - time.monotonic()
            if kind == "date":  # of the calendar, which does not stand still
                least = 29.0 - (datetime.now(UTC) - asked_at).total_seconds()
            assert least <= rests <= most
            assert (await asked(site)).headers["x-gatewayd-attempts"] == "1"
            clock.start()
            assert (len(busy.requests), len(good.requests)) == (1, 2)


@pytest.mark.parametrize("times", [("20", "9"), ("9", "20")])
async def test_the_client_is_told_when_the_first_of_them_is_back(times: tuple[str, str]) -> None:
    """A-26: whichever was asked last, and also (A-42) when nobody is asked any more."""
    async with FakeUpstream(limited(times[0])) as one, FakeUpstream(limited(times[1])) as other:
        deployments = forward(one, "one", order=1), forward(other, "other", order=2)
        async with serving_deployments(*deployments, routing=ONE_RETRY) as site:
            first, second = await asked(site), await asked(site)
            assert (first.status, first.error["message"]) == (429, "slow down")
            assert (second.status, second.error["code"]) == (429, "all_deployments_cooling_down")
            for answer in (first, second):
                assert answer.headers["retry-after"] == "9"
            assert (len(one.requests), len(other.requests)) == (1, 1)


@pytest.mark.parametrize(("told", "shown"), [("0.2", "1"), ("1.4", "2"), ("7", "7"), ("1e9", "60"), ("soon", None)])
async def test_what_is_passed_on_of_a_retry_after(told: str, shown: str | None) -> None:
    """A-26: a whole number, at least 1."""
    async with before(limited(told)) as (_, site):
        assert (await asked(site)).headers.get("retry-after") == shown


async def test_when_all_are_resting_the_answer_comes_at_once(clock: HandClock) -> None:
    """A-42: no timer is waited for."""
    async with before(limited("30")) as (up, site), RawClient.to(site.port) as client:
        client.post("/v1/chat/completions")
        await client.answer()
        clock.stop()
        for rested in range(20):
            client.post("/v1/chat/completions")
            answer = await client.answer()
            assert (answer.status, answer.error["code"]) == (429, "all_deployments_cooling_down")
            assert 30 - rested - 1 <= int(answer.headers["retry-after"]) <= 30 - rested
            assert "x-should-retry" not in answer.headers, "the SDK may come back when it is time"
            await clock.wind(1.0)
        clock.start()
        assert len(up.requests) == 1


@pytest.mark.parametrize("status", [408, 409, 500, 502, 503, 504, 529])
async def test_what_may_pass_is_tried_with_another_one_first(status: int) -> None:
    """A-28: and the answer says how often."""
    async with FakeUpstream(error_reply(status)) as bad, FakeUpstream(GOOD) as good:
        deployments = forward(bad, "bad", order=1), forward(good, "good", order=2)
        async with serving_deployments(*deployments, routing=ONE_RETRY) as site:
            answer = await asked(site)
            assert (answer.status, answer.headers["x-gatewayd-deployment"]) == (200, "good")
            assert answer.headers["x-gatewayd-attempts"] == "2"
            assert answer.headers["x-litellm-attempted-retries"] == "1"
            assert (len(bad.requests), len(good.requests)) == (1, 1)


@pytest.mark.parametrize("status", [408, 409, 500, 503])
async def test_no_more_tries_than_configured(status: int) -> None:
    """A-28: the first and `num_retries` more, over two deployments that both fail."""
    routing = RoutingSettings(num_retries=2, disable_cooldowns=True)
    async with (
        FakeUpstream(error_reply(status)) as one,
        FakeUpstream(error_reply(status)) as other,
        serving_deployments(forward(one, "1"), forward(other, "2"), routing=routing) as site,
    ):
        answer = await asked(site)
        assert (answer.status, answer.headers["x-gatewayd-attempts"]) == (status, "3")
        assert len(one.requests) + len(other.requests) == 3
        assert min(len(one.requests), len(other.requests)) == 1


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_the_callers_mistake_is_nobody_elses_business(status: int) -> None:
    """A-29: neither another deployment nor a fallback is asked, and nobody rests."""
    routing = RoutingSettings(num_retries=3, fallbacks={FallbackKind.GENERAL: {"chat": ("spare",)}})
    async with FakeUpstream(error_reply(status, "odd")) as strict, FakeUpstream(GOOD) as spare:
        deployments = forward(strict, "1"), forward(strict, "2"), forward(spare, "3", "spare")
        async with serving_deployments(*deployments, routing=routing) as site:
            for n in range(1, 9):
                answer = await asked(site)
                assert (answer.status, answer.error["message"]) == (status, "odd")
                assert len(strict.requests) == n
            assert spare.requests == []


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("context_length_exceeded", FallbackKind.CONTEXT_WINDOW),
        ("content_policy_violation", FallbackKind.CONTENT_POLICY),
    ],
)
async def test_unless_a_fallback_is_meant_for_it(code: str, kind: FallbackKind) -> None:
    """A-29: once with the group, then with the fallback of that kind."""
    routing = RoutingSettings(num_retries=3, fallbacks={kind: {"chat": ("spare",)}})
    async with FakeUpstream(error_reply(400, "no", code=code)) as strict, FakeUpstream(GOOD) as spare:
        deployments = forward(strict, "1"), forward(strict, "2"), forward(spare, "3", "spare")
        async with serving_deployments(*deployments, routing=routing) as site:
            answer = await asked(site)
            assert (answer.status, answer.headers["x-gatewayd-fallback"]) == (200, "spare")
            assert (len(strict.requests), len(spare.requests)) == (1, 1)


@pytest.mark.parametrize("end", [FIN, RST])
async def test_a_kept_connection_that_was_closed_is_nobodys_failure(end: object) -> None:
    """A-30: the second request meets the closed connection, is sent once more, and counts as one try."""
    async with before(GOOD, raw_reply(end), GOOD) as (up, site):  # type: ignore[arg-type]
        for _ in range(2):
            answer = await asked(site)
            assert (answer.status, answer.headers["x-gatewayd-attempts"]) == (200, "1")
        state = site.gateway.health.state("d1")
        assert (state.fails, state.last_error, state.in_flight) == (0, None, 0)
        assert (len(up.requests), up.connection_count) == (3, 2)


@pytest.mark.parametrize("end", [FIN, RST])
async def test_a_fresh_connection_that_breaks_is_a_failure(end: object) -> None:
    """A-31: it is not sent again by stealth."""
    async with before(raw_reply(end), GOOD) as (up, site):  # type: ignore[arg-type]
        answer = await asked(site)
        assert (answer.status, answer.error["code"]) == (502, "upstream_connection_error")
        assert site.gateway.health.state("d1").fails == 1
        assert len(up.requests) == 1


async def test_a_circle_of_fallbacks_asks_everybody_once() -> None:
    """A-43: a → b → c → a"""
    routing = RoutingSettings(
        num_retries=0, fallbacks={FallbackKind.GENERAL: {"chat": ("b",), "b": ("c",), "c": ("chat", "b")}}
    )
    async with (
        FakeUpstream(error_reply(503)) as a,
        FakeUpstream(error_reply(503)) as b,
        FakeUpstream(raw_reply(RST)) as c,
    ):
        deployments = forward(a, "a"), forward(b, "b", "b"), forward(c, "c", "c")
        async with serving_deployments(*deployments, routing=routing) as site:
            answer = await asked(site)
            assert (answer.status, answer.headers["x-gatewayd-attempts"]) == (503, "3")
            assert [len(up.requests) for up in (a, b, c)] == [1, 1, 1]


async def test_a_request_is_sent_again_once_however_many_kept_connections_are_dead() -> None:
    """A-30: the upstream may have seen the request; so the second time it goes over a connection that is new."""
    release = asyncio.Event()
    held = raw_reply(release, *GOOD.steps)
    async with before(held, held, held, raw_reply(RST), raw_reply(RST)) as (up, site):
        asked_at_once = [asyncio.ensure_future(asked(site)) for _ in range(3)]
        await until(lambda: len(up.requests) == 3)
        release.set()
        assert [answer.status for answer in await asyncio.gather(*asked_at_once)] == [200] * 3
        answer = await asked(site)
        assert (answer.status, answer.error["code"]) == (502, "upstream_connection_error")
        assert (len(up.requests), up.connection_count) == (5, 4)
        assert site.gateway.health.state("d1").fails == 1
