import asyncio
import logging
from collections.abc import Callable
from typing import Any, cast

import pytest

from gatewayd.observe.loop_errors import LoopErrors

Told = Callable[[dict[str, Any]], None]


class WindUp:
    """Of a loop, only the clock."""

    now = 100.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def loop() -> WindUp:
    return WindUp()


@pytest.fixture
def told(loop: WindUp, caplog: pytest.LogCaptureFixture) -> Told:
    """The handler, as the loop would call it."""
    caplog.set_level(logging.ERROR)
    errors = LoopErrors()
    return lambda context: errors(cast(asyncio.AbstractEventLoop, loop), context)


def test_a_flood_is_one_line_a_second(loop: WindUp, told: Told, caplog: pytest.LogCaptureFixture) -> None:
    """F11 of the traps: 2,523 lines in nine seconds at the limit of file descriptors."""
    for step in range(2500):
        loop.now = 100.0 + step * 0.001
        told({"message": "socket.accept() out of system resource", "exception": OSError(24, "Too many open files")})
    assert len(caplog.records) == 3
    assert "999 times more" in caplog.records[1].getMessage()


def test_different_causes_are_told_apart(told: Told, caplog: pytest.LogCaptureFixture) -> None:
    for error in (OSError(), ValueError(), None):
        told({"message": "x", "exception": error})
    told({"message": "y"})
    assert len(caplog.records) == 4


def test_nothing_of_the_objects_is_shown(told: Told, caplog: pytest.LogCaptureFixture) -> None:
    told({"message": "x", "transport": "sk-canary", "protocol": "sk-canary", "handle": "sk-canary"})
    assert "canary" not in caplog.text


def test_causes_are_forgotten_before_they_fill_the_memory(told: Told, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(300):
        told({"message": str(number)})
    told({"message": "0"})
    assert len(caplog.records) == 301  # 0 was forgotten, so it is told again
