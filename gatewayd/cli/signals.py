"""Signals that arrive before the event loop can take them: kept, neither obeyed nor fatal."""

from __future__ import annotations

import signal
from types import FrameType

HANDLED = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)


class EarlySignals:
    """From its making on, the three signals are only remembered; `taken` hands them over, in order."""

    def __init__(self) -> None:
        self._caught: list[signal.Signals] = []
        for number in HANDLED:
            signal.signal(number, self._remember)

    def taken(self) -> list[signal.Signals]:
        """What came so far; to be called when other handlers are in place."""
        return self._caught.copy()

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self._caught.append(signal.Signals(number))
