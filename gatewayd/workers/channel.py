"""Messages between the supervisor and one worker, over a socket pair, with open file descriptors.

Neither side waits for the other: a message that does not fit into the socket's buffer is kept and sent later.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum

_HEAD = struct.Struct("!BBII")
"""MessageKind, number of descriptors, number of the question, length of the body."""
_READ = 1 << 16
_MOST_DESCRIPTORS = 253
"""SCM_MAX_FD of Linux."""


class MessageKind(IntEnum):
    PART = 1
    """A frame of a snapshot (`config.channel`)."""
    PREPARE = 2
    """A question: JSON of `workers.sockets`, with the new sockets. The answer: JSON list of problems."""
    COMMIT = 3
    """A question. The answer, a JSON list of problems or nothing, comes when the configuration is live and, the first
    time, when what the deployments need is loaded."""
    ABANDON = 4
    ASK = 5
    """A question: `status` or `metrics`."""
    STOP = 6
    """A question: the seconds that requests get to end, as text. The answer: how many were interrupted."""
    ANSWER = 7
    ALIVE = 8


@dataclass(frozen=True, slots=True)
class Message:
    kind: MessageKind
    number: int
    body: bytes
    descriptors: list[int]
    """The receiver closes them."""


class Channel:
    """One end. `received` and `ended` are called on the loop; after `ended` nothing is received or sent."""

    def __init__(
        self, sock: socket.socket, *, received: Callable[[Message], None], ended: Callable[[], None] = lambda: None
    ) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._received = received
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._in = bytearray()
        self._descriptors: list[int] = []
        self._out: deque[tuple[memoryview, list[int]]] = deque()
        self.closed = False
        self._loop.add_reader(sock.fileno(), self._readable)

    def send(self, kind: MessageKind, number: int = 0, body: bytes = b"", descriptors: Sequence[int] = ()) -> None:
        """Duplicates the descriptors, so the caller may close its own at once."""
        if self.closed:
            return
        data = _HEAD.pack(kind, len(descriptors), number, len(body)) + body
        self._out.append((memoryview(data), [os.dup(descriptor) for descriptor in descriptors]))
        if len(self._out) == 1:
            self._writable()

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        self._loop.remove_reader(self._socket.fileno())
        self._loop.remove_writer(self._socket.fileno())
        self._socket.close()
        for _, descriptors in self._out:
            _close_all(descriptors)
        _close_all(self._descriptors)
        self._ended()

    def _readable(self) -> None:
        try:
            data, descriptors, _, _ = socket.recv_fds(self._socket, _READ, _MOST_DESCRIPTORS)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
        self._descriptors += descriptors
        if not data:
            self.close()
            return
        self._in += data
        while not self.closed and (message := self._next()) is not None:
            self._received(message)

    def _next(self) -> Message | None:
        if len(self._in) < _HEAD.size:
            return None
        kind, count, number, length = _HEAD.unpack_from(self._in)
        end = _HEAD.size + length
        if len(self._in) < end:
            return None
        body = bytes(self._in[_HEAD.size : end])
        del self._in[:end]
        descriptors, self._descriptors = self._descriptors[:count], self._descriptors[count:]
        return Message(MessageKind(kind), number, body, descriptors)

    def _writable(self) -> None:
        while self._out:
            data, descriptors = self._out[0]
            try:
                # With the first bytes, so that they are there when the message is complete.
                sent = socket.send_fds(self._socket, [data], descriptors) if descriptors else self._socket.send(data)
            except BlockingIOError:
                self._loop.add_writer(self._socket.fileno(), self._writable)
                return
            except OSError:
                self.close()
                return
            _close_all(descriptors)
            if sent < len(data):
                self._out[0] = data[sent:], []
            else:
                self._out.popleft()
        self._loop.remove_writer(self._socket.fileno())


def _close_all(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
    descriptors.clear()
