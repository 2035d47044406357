"""Lines for a reader who may be slow, stuck or gone. Nothing here may ever wait, or the test's time limit ends it."""

import asyncio
import errno
import os
import socket
import threading
from collections.abc import Iterator

import pytest

from gatewayd.observe.stderr import MOST_KEPT, Unblocked

LINE = "x" * 99 + "\n"


@pytest.fixture(params=["pipe", "pipe that cannot be opened anew", "socket"])
def ends(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, Unblocked]]:
    """The reader's end, and what writes to the other."""
    if request.param == "socket":
        ours, theirs = socket.socketpair()
        reader, writer = theirs.detach(), ours.detach()
    else:
        reader, writer = os.pipe()
    if request.param == "pipe that cannot be opened anew":
        monkeypatch.setattr(os, "O_NOCTTY", os.O_DIRECTORY)
    out = Unblocked(writer)
    monkeypatch.undo()
    yield reader, out
    out.close()
    os.close(reader)
    os.close(writer)


def everything(reader: int) -> bytes:
    os.set_blocking(reader, False)
    parts = []
    try:
        while part := os.read(reader, 1 << 16):
            parts.append(part)
    except BlockingIOError:
        pass
    return b"".join(parts)


def test_a_reader_that_does_not_read_holds_up_nobody(ends: tuple[int, Unblocked]) -> None:
    """F-09, G-01: what it does not take is kept, up to a bound; then it is lost, and said so."""
    reader, out = ends
    written = MOST_KEPT // len(LINE)
    for _ in range(written):
        out.write(LINE)
    with pytest.raises(BlockingIOError):  # the bound, and what is in the pipe
        out.write(LINE * written)
    received = b""
    while more := everything(reader):
        received += more
        out.write("")
    assert received == written * LINE.encode()
    out.write("again\n")
    assert everything(reader) == b"again\n"


async def test_what_was_kept_is_offered_again(ends: tuple[int, Unblocked]) -> None:
    """Without a further line."""
    reader, out = ends
    total = 5000
    for _ in range(total):
        out.write(LINE)
    received = b""
    async with asyncio.timeout(30):
        while len(received) < total * len(LINE):
            received += everything(reader)
            await asyncio.sleep(0.01)
    assert received == total * LINE.encode()


def test_the_end_waits_for_a_slow_reader_but_not_for_ever(ends: tuple[int, Unblocked]) -> None:
    reader, out = ends
    total = 5000
    for _ in range(total):
        out.write(LINE)
    out.finish(0.01)
    received: list[bytes] = []

    def read() -> None:
        while sum(map(len, received)) < total * len(LINE):
            received.append(os.read(reader, 1 << 16))

    slow = threading.Thread(target=read)
    slow.start()
    out.finish(30)
    slow.join()
    assert b"".join(received) == total * LINE.encode()


def test_a_reader_that_has_gone(ends: tuple[int, Unblocked]) -> None:
    """F-09"""
    reader, out = ends
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, reader)  # closes it
    os.close(null)
    for _ in range(2):
        with pytest.raises(OSError, match="pipe"):
            out.write(LINE)


def test_a_file_is_written_at_its_end(tmp_path: object) -> None:
    path = f"{tmp_path}/log"
    with open(path, "w") as file:
        file.write("before\n")
        file.flush()
        out = Unblocked(file.fileno())
        out.write("line \udc80\n" + 100 * LINE)
        out.close()
    with open(path) as file:
        assert file.read() == "before\nline \\udc80\n" + 100 * LINE


def test_half_a_line_on_a_full_disk_does_not_spoil_the_next(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """G-01"""
    room, write = 150, os.write

    def full(descriptor: int, data: bytes) -> int:
        nonlocal room
        if not room:
            raise OSError(errno.ENOSPC, "No space left on device")
        room -= (taken := min(room, len(data)))
        return write(descriptor, data[:taken])

    monkeypatch.setattr(os, "write", full)
    with open(f"{tmp_path}/log", "w") as file:
        out = Unblocked(file.fileno())
        for text in (LINE + LINE, LINE, "lost\n"):
            with pytest.raises(OSError, match="No space"):
                out.write(text)
        room = 10_000
        out.write("there is room\n")
        out.write("again\n")
    with open(f"{tmp_path}/log") as file:
        assert file.read() == LINE + "x" * 50 + "\nthere is room\nagain\n"
