"""A client's connection as a list, for tests of replies."""

from __future__ import annotations

from gatewayd.upstream.base import Flow


class ListSink:
    """Keeps what is written. With `pause_after` it says it is full after so many writes, until `resume`."""

    def __init__(self, pause_after: int | None = None) -> None:
        self.writes: list[bytes] = []
        self._flow: Flow | None = None
        self._room = pause_after

    def attach(self, flow: Flow) -> None:
        assert self._flow is None, "attached twice"
        self._flow = flow

    def write(self, data: bytes) -> None:
        assert self._flow is not None, "written before attached"
        self.writes.append(data)
        if self._room is not None and len(self.writes) >= self._room:
            self._flow.pause()

    def resume(self) -> None:
        assert self._flow is not None
        self._room = None
        self._flow.resume()

    @property
    def data(self) -> bytes:
        return b"".join(self.writes)
