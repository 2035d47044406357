"""Guessed keys: what they cost, what they tell, and who feels it."""

from __future__ import annotations

import hmac
import logging

import pytest

from gatewayd.access.keys import MASTER, authenticate
from gatewayd.errors import InvalidApiKey
from tests.access.test_keys import CLOSED, KEY, Fields
from tests.web.shapes import POST
from tests.web.support import CHAT, WITH_KEY
from tests.web.support import KEY as WEB_KEY
from tests.web.wire import Wire, warm

GOOD = POST + b"Authorization: Bearer " + WEB_KEY.encode() + b"\r\nContent-Length: %d\r\n\r\n" % len(CHAT) + CHAT
GUESSES = 10_000


@pytest.mark.parametrize(
    "guess", ["x", KEY[:-1], KEY[:-1] + "x", "x" + KEY[1:], KEY + "x", "x" * 1000, "é", "\udcff", KEY.upper()]
)
def test_every_guess_is_compared_once_as_bytes_in_constant_time(guess: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """D-01, D-19: by `hmac.compare_digest` and nothing else; its word is final, whatever the texts are."""
    compared: list[tuple[type, type]] = []
    verdicts: list[bool] = []
    really = hmac.compare_digest

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((type(one), type(other)))
        assert really(one, other) == (one == other)  # raises TypeError where the real one would
        return verdicts.pop()

    monkeypatch.setattr(hmac, "compare_digest", compare)
    for text, verdict in ((guess, False), (KEY, False), (guess, True)):
        for header in (("authorization", f"Bearer {text}"), ("x-api-key", text)):
            compared.clear()
            verdicts.append(verdict)
            if verdict:
                assert authenticate(Fields(header), CLOSED) is MASTER
            else:
                with pytest.raises(InvalidApiKey):
                    authenticate(Fields(header), CLOSED)
            assert compared == [(bytes, bytes)]


async def test_ten_thousand_guesses_cost_little_and_nobody_else_feels_them(caplog: pytest.LogCaptureFixture) -> None:
    """D-16: no warning for each, no series of metrics, nothing kept of them, and good requests in between."""
    caplog.set_level(logging.WARNING)
    async with (
        warm(GOOD, server=WITH_KEY) as (site, upstream),
        Wire.to(site.port) as guesser,
        Wire.to(site.port) as good,
    ):
        series = sum(len(metric.samples) for metric in site.metrics.registry.collect())
        for start in range(0, GUESSES, 1000):
            guesses = [b"Authorization: Bearer sk-guess-%d\r\n" % number for number in range(start, start + 1000)]
            await guesser.send(
                b"".join(b"GET /v1/models HTTP/1.1\r\nHost: a\r\n" + guess + b"\r\n" for guess in guesses)
            )
            await good.send(GOOD)
            assert (await good.answer()).status == 200
            bodies = {((answer := await guesser.answer()).status, answer.body) for _ in guesses}
            assert len(bodies) == 1  # and no answer tells how near it was
            assert bodies.pop()[0] == 401
        assert len(upstream.requests) == GUESSES // 1000
        assert sum(len(metric.samples) for metric in site.metrics.registry.collect()) == series
    assert not caplog.records
