"""Records signals that arrive before the event loop handles signals."""

from __future__ import annotations

import signal
from types import FrameType

HANDLED = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)


class EarlySignals:
    """Records the three signals from its creation on; `taken` returns them in order."""

    def __init__(self) -> None:
        self._caught: list[signal.Signals] = []
        for number in HANDLED:
            signal.signal(number, self._remember)

    def taken(self) -> list[signal.Signals]:
        """The signals so far. Call it when other handlers are installed."""
        return self._caught.copy()

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self._caught.append(signal.Signals(number))
