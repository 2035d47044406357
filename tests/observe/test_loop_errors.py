import asyncio
import logging

import pytest

from gatewayd.observe.loop_errors import LoopErrors


class WindUp(asyncio.AbstractEventLoop):
    """Only a clock."""

    now = 100.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def loop(caplog: pytest.LogCaptureFixture) -> WindUp:
    caplog.set_level(logging.ERROR)
    return WindUp()


def test_a_flood_is_one_line_a_second(loop: WindUp, caplog: pytest.LogCaptureFixture) -> None:
    """F11 of the traps: 2,523 lines in nine seconds at the limit of file descriptors."""
    told = LoopErrors()
    for step in range(2500):
        loop.now = 100.0 + step * 0.001
        told(
            loop, {"message": "socket.accept() out of system resource", "exception": OSError(24, "Too many open files")}
        )
    assert len(caplog.records) == 3
    assert "999 times more" in caplog.records[1].getMessage()


def test_different_causes_are_told_apart(loop: WindUp, caplog: pytest.LogCaptureFixture) -> None:
    told = LoopErrors()
    for error in (OSError(), ValueError(), None):
        told(loop, {"message": "x", "exception": error})
    told(loop, {"message": "y"})
    assert len(caplog.records) == 4


def test_nothing_of_the_objects_is_shown(loop: WindUp, caplog: pytest.LogCaptureFixture) -> None:
    LoopErrors()(loop, {"message": "x", "transport": "sk-canary", "protocol": "sk-canary", "handle": "sk-canary"})
    assert "canary" not in caplog.text


def test_memory_stays_bounded(loop: WindUp) -> None:
    told = LoopErrors()
    for number in range(10_000):
        told(loop, {"message": str(number)})
    assert len(told._told) <= 256
