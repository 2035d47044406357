"""Messages and descriptors between two processes, here between two ends in one."""

from __future__ import annotations

import gc
import os
import socket
from collections.abc import AsyncIterator

import pytest

from gatewayd.config.snapshot import Address
from gatewayd.web.listening_socket import ListeningSocket
from gatewayd.workers.channel import Channel, Message, MessageKind
from gatewayd.workers.sockets import pack_sockets, unpack_sockets
from tests.web.support import until


class Pair:
    """Two ends; what the second received, and which ends have heard of the end."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        for sock in (ours, theirs):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        self.received: list[Message] = []
        self.ended: list[str] = []
        self.here = Channel(ours, received=self.received.append, ended=lambda: self.ended.append("here"))
        self.there = Channel(theirs, received=self.received.append, ended=lambda: self.ended.append("there"))


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    found = Pair()
    yield found
    found.here.close()
    found.there.close()


async def test_messages_of_any_size_arrive_in_order(pair: Pair) -> None:
    """Larger than the socket's buffer: the sender does not wait."""
    bodies = [b"", b"a", os.urandom(3_000_000), b"b" * 70_000, b"z"]
    for number, body in enumerate(bodies):
        pair.here.send(MessageKind.PART, number, body)
    await until(lambda: len(pair.received) == len(bodies), 30)
    assert [(m.kind, m.number, m.body) for m in pair.received] == [
        (MessageKind.PART, n, b) for n, b in enumerate(bodies)
    ]


async def test_descriptors_come_with_their_own_message(pair: Pair) -> None:
    """Also when many messages are read at once, or a message in many parts."""
    gc.collect()  # other tests' garbage must not be closed meanwhile
    before = len(os.listdir("/proc/self/fd"))
    pipes = [os.pipe() for _ in range(6)]
    for number, (reader, writer) in enumerate(pipes):
        pair.here.send(MessageKind.PART, 100, b"x" * 9_000 * (number % 2))
        pair.here.send(MessageKind.PREPARE, number, b"y" * 20_000 * (number % 3), [writer, reader])
        os.close(reader)
        os.close(writer)
    await until(lambda: len(pair.received) == 12, 30)
    for message in pair.received:
        assert len(message.descriptors) == (0 if message.number == 100 else 2)
        if message.descriptors:
            writer, reader = message.descriptors
            os.write(writer, str(message.number).encode())
            assert os.read(reader, 10) == str(message.number).encode()
            assert not os.get_inheritable(reader)
            os.close(writer)
            os.close(reader)
    assert len(os.listdir("/proc/self/fd")) <= before


@pytest.mark.parametrize("how", ["closed", "with a message half sent"])
async def test_the_end_is_heard_of_once_on_both_sides_and_nothing_stays_open(how: str, pair: Pair) -> None:
    gc.collect()  # other tests' garbage must not be closed meanwhile
    before = len(os.listdir("/proc/self/fd"))
    reader, writer = os.pipe()
    if how == "with a message half sent":
        pair.here.send(MessageKind.PART, 0, os.urandom(5_000_000), [reader])
        pair.here.send(MessageKind.PART, 0, b"", [reader])
    pair.here.close()
    pair.here.close()
    await until(lambda: pair.ended == ["here", "there"], 30)
    pair.here.send(MessageKind.COMMIT)
    assert pair.received == []
    os.close(reader)
    os.close(writer)
    assert len(os.listdir("/proc/self/fd")) <= before - 2


async def test_addresses_travel_with_their_sockets() -> None:
    first, second = Address("127.0.0.1", 0), Address(path="/tmp/never-opened")
    listening = ListeningSocket(first, copies=2)
    for number in range(2):
        body, descriptors = pack_sockets([first, second], {first: listening}, number)
        listen, opened = unpack_sockets(body, [os.dup(descriptor) for descriptor in descriptors])
        assert listen == [first, second]
        (received,) = opened.values()
        assert list(opened) == [first]
        assert received.port == listening.port
        assert not received.inherited
        received.close()
    port = listening.port
    listening.close()
    with socket.create_server(("127.0.0.1", port)):  # nobody holds a copy any more
        pass
