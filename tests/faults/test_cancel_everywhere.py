"""H-04: the same request, once for every moment at which it can be cancelled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from tests.fakeup import RST, FakeUpstream, Reply, error_reply, json_reply, raw_reply, sse_reply
from tests.faults.request_path import Work, staged
from tests.faults.stepwise import CancelAt, When
from tests.replies import chat_events

WHOLE = json_reply({"object": "chat.completion", "choices": [{}]})
EVENTS = chat_events("one ", "two ", "three")


@dataclass(frozen=True)
class Case:
    primary: Sequence[Reply]
    stream: bool = False
    model: str = "chat"


CASES = {
    "unary": Case([WHOLE]),
    "stream": Case([sse_reply([EVENTS[0], 0.002, *EVENTS[1:]])], stream=True),
    "retry": Case([error_reply(500), WHOLE]),
    "retry of a stream": Case([raw_reply(RST), sse_reply(EVENTS)], stream=True),
    "retry after a wait": Case([error_reply(500), WHOLE], model="alone"),
    "fallback": Case([error_reply(503), error_reply(503), error_reply(503)]),
    "fallback of a stream": Case([sse_reply([b'data: {"error":{"message":"busy"}}\n\n'])], stream=True),
    "broken stream": Case([sse_reply([EVENTS[0], RST])], stream=True),
}


class Cancelling:
    """Wraps the task of a request so that it is cancelled at its `at`-th suspension."""

    def __init__(self) -> None:
        self.at = 0
        self.when: When = "before"
        self.last: CancelAt | None = None

    def __call__(self, work: Work) -> Work:
        self.last = CancelAt(work, self.at, self.when)
        return self._cancelled(self.last)

    async def _cancelled(self, work: CancelAt) -> None:
        await work


@pytest.mark.parametrize("pooled", [False, True], ids=["fresh", "pooled"])
@pytest.mark.parametrize("name", CASES)
async def test_a_request_cancelled_at_any_moment_leaves_nothing(name: str, pooled: bool) -> None:
    """H-04, A-20, A-21, A-22: connections, counters, records, and not a word of complaint from the event loop."""
    case = CASES[name]
    cancelling = Cancelling()
    async with FakeUpstream() as primary, FakeUpstream() as spare:
        spare.then(sse_reply(EVENTS) if case.stream else WHOLE)
        async with staged(primary, spare, cancelling) as path:
            records = moments = 0
            for cancelling.when in ("before", "together"):
                for cancelling.at in range(1, 200):
                    if pooled:  # an idle connection is there to be taken
                        at, cancelling.at = cancelling.at, 0
                        primary.then(WHOLE)
                        assert (await path.ask(stream=False)).startswith(b"HTTP/1.1 200")
                        cancelling.at, records = at, records + 1
                    primary.then(*case.primary)
                    received = await path.ask(stream=case.stream, model=case.model)
                    records += 1
                    await path.at_rest(records)
                    assert cancelling.last is not None
                    if not cancelling.last.struck:
                        assert received.startswith(b"HTTP/1.1 200")
                        break
                    moments += 1
                    if received:  # it was under way already: then it may not look whole
                        assert not received.endswith(b"0\r\n\r\n")
                    outcome = path.records.fields[-1]["outcome"]
                    assert outcome in ("client_left", "error"), outcome
                else:
                    raise AssertionError("a request without end")
                await path.unheard()
            assert moments >= 4
