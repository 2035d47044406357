"""Stages answer, refuse or reserve; a reservation is settled once, whatever way the request ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from gatewayd.errors import Forbidden, UpstreamIncomplete, UpstreamStatus
from gatewayd.observe.record import Record
from gatewayd.policy.stages import Passage, Settle, Stage, StageAnswer
from gatewayd.wire.openai import DONE, Intent, Usage, peek
from tests.web.support import CHAT, STREAM, RawClient, Site, Stream, Teller, hang, serving, until, whole

EVENT = b'data: {"choices":[]}\n\n'
INTENT = peek(b'{"model":"chat"}')


class Reserves:
    """Notes what it settles."""

    def __init__(self) -> None:
        self.entered: list[str] = []
        self.settled: list[Record] = []

    def enter(self, record: Record, intent: Intent) -> StageAnswer | Settle | None:
        self.entered.append(f"{record.key} {intent.model}")
        return self.settled.append


class Gives:
    def __init__(self, outcome: StageAnswer | Settle | None) -> None:
        self.outcome = outcome

    def enter(self, record: Record, intent: Intent) -> StageAnswer | Settle | None:
        return self.outcome


class Refuses:
    def enter(self, record: Record, intent: Intent) -> StageAnswer | Settle | None:
        raise Forbidden("not today")


def test_settlements_run_in_reverse_order_and_once_even_if_one_fails(caplog: pytest.LogCaptureFixture) -> None:
    order: list[int] = []

    def fails(record: Record) -> None:
        raise ZeroDivisionError

    settlements: list[Settle | None] = [lambda record: order.append(1), None, fails, lambda record: order.append(3)]
    passage = Passage()
    assert passage.enter([Gives(one) for one in settlements], Record(), INTENT) is None
    passage.settle(Record())
    passage.settle(Record())
    assert order == [3, 1]
    assert [entry.levelno for entry in caplog.records] == [logging.ERROR]


def test_no_stage_is_entered_behind_one_that_answers_or_refuses() -> None:
    behind: list[Stage] = [Reserves()]
    answer = StageAnswer(b"{}")
    assert Passage().enter([Gives(answer), *behind], Record(), INTENT) is answer
    with pytest.raises(Forbidden):
        Passage().enter([Refuses(), *behind], Record(), INTENT)
    assert isinstance(behind[0], Reserves)
    assert not behind[0].entered


@pytest.mark.parametrize(
    ("stage", "status", "outcome"), [(Gives(StageAnswer(b'{"cached":1}')), 200, "ok"), (Refuses(), 403, "rejected")]
)
async def test_a_stage_answers_or_refuses_in_a_deployments_place(stage: Stage, status: int, outcome: str) -> None:
    upstream, reserves = Teller(), Reserves()
    async with serving({"chat": {"d1": upstream}}) as site, RawClient.to(site.port) as client:
        site.gateway.current.stages = (reserves, stage)
        for _ in range(2):  # the second head is a known one
            client.post("/v1/chat/completions", CHAT)
            assert (await client.answer()).status == status
    assert not upstream.calls
    assert [record.outcome for record in reserves.settled] == [outcome] * 2
    assert reserves.entered == ["anonymous chat"] * 2


async def ends(site: Site, client: RawClient) -> None:
    await client.answer()


async def leaves(site: Site, client: RawClient) -> None:
    await until(lambda: site.gateway.health.state("d1").in_flight == 1)
    client.close()


async def leaves_mid_stream(site: Site, client: RawClient) -> None:
    await client.head()
    assert await anext(client.chunks()) == EVENT
    client.close()


async def stops(site: Site, client: RawClient) -> None:
    await until(lambda: site.gateway.health.state("d1").in_flight == 1)
    await site.listener.drain(0)


@pytest.mark.parametrize(
    ("reply", "body", "how", "outcome"),
    [
        (lambda: whole({"ok": 1}, Usage(3, 4, 7)), CHAT, ends, "ok"),
        (lambda: Stream([EVENT, DONE], usage=Usage(3, 4, 7)), STREAM, ends, "ok"),
        (lambda: UpstreamStatus("no", status=400), CHAT, ends, "rejected"),
        (lambda: Stream([EVENT, UpstreamIncomplete("cut")]), STREAM, ends, "broken_stream"),
        (lambda: hang, CHAT, leaves, "client_left"),
        (lambda: Stream([EVENT, asyncio.Event()]), STREAM, leaves_mid_stream, "client_left"),
        (lambda: hang, CHAT, stops, "shutdown"),
        (lambda: Stream([EVENT, asyncio.Event()]), STREAM, stops, "shutdown"),
    ],
    ids=["whole", "stream", "error", "broken", "left before", "left within", "stopped before", "stopped within"],
)
async def test_a_reservation_is_settled_once_on_every_way_out(
    reply: Callable[[], Any], body: bytes, how: Any, outcome: str
) -> None:
    reserves, given = Reserves(), reply()
    upstream = Teller(given) if given is hang else Teller([given])
    async with serving({"chat": {"d1": upstream}}) as site, RawClient.to(site.port) as client:
        site.gateway.current.stages = (reserves,)
        client.post("/v1/chat/completions", body)
        await how(site, client)
        await until(lambda: site.gateway.in_flight == 0 and bool(reserves.settled))
    (record,) = reserves.settled
    assert record.outcome == outcome
    assert (record.usage is not None) == (outcome == "ok")
