"""Standard error for lines, written without ever waiting for whoever reads it.

A reader that has stopped reading (a pager, a stuck log shipper, Ctrl-S on a terminal) fills the pipe, and the next
plain write would hold up every request. Here what the reader does not take is kept up to a bound and offered again;
beyond the bound `write` raises, and the caller counts what is lost.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
import stat
import threading

MOST_KEPT = 1 << 20
"""Bytes that wait for a slow reader: some thousand lines."""
_PIECE = 4096
"""PIPE_BUF: so much at a time goes into a pipe whole, and between the lines of other writers."""
_LINE_END = ord("\n")
_AGAIN = 0.05
"""Seconds until what was not taken is offered again."""


def is_journal(descriptor: int, told: str) -> bool:
    """Whether journald reads the descriptor. `told`: `$JOURNAL_STREAM`, which is DEVICE:INODE (systemd.exec(5)). It is
    inherited, and the descriptor may have been redirected since."""
    try:
        status = os.fstat(descriptor)
    except OSError:
        return False
    return told == f"{status.st_dev}:{status.st_ino}"


class Unblocked:
    """The part of a text stream that a log needs, on a descriptor that stays open."""

    def __init__(self, descriptor: int) -> None:
        """Raises OSError when the descriptor is closed."""
        mode = os.fstat(descriptor).st_mode
        self.descriptor = self._descriptor = descriptor
        self._socket = socket.socket(fileno=os.dup(descriptor)) if stat.S_ISSOCK(mode) else None
        self._ask = self._own = False
        if stat.S_ISFIFO(mode) or os.isatty(descriptor):
            # O_NONBLOCK belongs to the open file, which others share: an own opening of the same pipe or terminal.
            try:
                flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
                self._descriptor = os.open(f"/proc/self/fd/{descriptor}", flags)
                self._own = True
            except OSError:  # another user's, or without a reader
                self._ask = True
        self._kept = bytearray()
        self._within = False
        """Whether what has been written last ends in the middle of a line."""
        self._lock = threading.Lock()
        self._waiting = False

    def write(self, text: str) -> int:
        """Raises OSError when the text is lost: the descriptor is broken, or too much waits already."""
        data = text.encode("utf-8", "backslashreplace")
        with self._lock:
            if len(self._kept) + len(data) > MOST_KEPT:
                self._offer()
                if len(self._kept) + len(data) > MOST_KEPT:
                    raise BlockingIOError("the reader does not read")
            self._kept += data
            self._offer()
            if self._kept:
                self._offer_again()
        return len(text)

    def flush(self) -> None:
        """Nothing to do: `write` has offered all there is."""

    def finish(self, seconds: float) -> None:
        """At the end of the process: waits for the reader, at most so long."""
        ready = select.poll()
        ready.register(self._descriptor, select.POLLOUT)
        with self._lock:
            while self._kept and ready.poll(seconds * 1000):
                before = len(self._kept)
                try:
                    self._offer()
                except OSError:
                    return
                if len(self._kept) == before:
                    return

    def close(self) -> None:
        """Lets go of what was opened here; the descriptor itself stays open."""
        if self._socket is not None:
            self._socket.close()
        if self._own:
            os.close(self._descriptor)

    def _offer(self) -> None:
        """Writes what the reader takes now. Raises OSError."""
        try:
            while self._kept:
                end = self._kept.rfind(b"\n", 0, _PIECE) + 1 or _PIECE
                if sent := self._send(bytes(self._kept[:end])):
                    self._within = self._kept[sent - 1] != _LINE_END
                    del self._kept[:sent]
        except BlockingIOError:
            return
        except OSError:
            # A full disk may have taken half a line: the next one must not become its other half.
            self._kept[:] = b"\n" if self._within else b""
            raise

    def _send(self, piece: bytes) -> int:
        if self._socket is not None:
            return self._socket.send(piece, socket.MSG_DONTWAIT)
        if self._ask:
            ready = select.poll()
            ready.register(self._descriptor, select.POLLOUT)
            if not ready.poll(0):
                raise BlockingIOError
        return os.write(self._descriptor, piece)

    def _offer_again(self) -> None:
        if self._waiting:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # some other thread: the next line will do it
            return
        self._waiting = True
        loop.call_later(_AGAIN, self._next_try)

    def _next_try(self) -> None:
        with self._lock:
            self._waiting = False
            try:
                self._offer()
            except OSError:
                return
            if self._kept:
                self._offer_again()
