"""Packs the addresses where a worker listens, and their sockets, into a message."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from gatewayd.config.snapshot import Address
from gatewayd.web.listening_socket import ListeningSocket


class _Opened(msgspec.Struct):
    address: Address
    sockets: int
    inherited: bool


class _Sockets(msgspec.Struct):
    listen: list[Address]
    opened: list[_Opened]


def pack_sockets(
    listen: Sequence[Address], opened: Mapping[Address, ListeningSocket], number: int
) -> tuple[bytes, list[int]]:
    """The body and the descriptors of a message. `opened`: what the worker does not have yet. `number`: of the worker,
    counted from 0."""
    shares = {address: listening.share(number) for address, listening in opened.items()}
    new = [_Opened(address, len(share), opened[address].inherited) for address, share in shares.items()]
    descriptors = [sock.fileno() for share in shares.values() for sock in share]
    return msgspec.json.encode(_Sockets(list(listen), new)), descriptors


def unpack_sockets(body: bytes, descriptors: Iterable[int]) -> tuple[list[Address], dict[Address, ListeningSocket]]:
    listening, left = msgspec.json.decode(body, type=_Sockets), iter(descriptors)
    opened: dict[Address, ListeningSocket] = {}
    for one in listening.opened:
        sockets = [socket.socket(fileno=next(left)) for _ in range(one.sockets)]
        opened[one.address] = ListeningSocket.of(one.address, sockets, inherited=one.inherited)
    for unexpected in left:
        os.close(unexpected)
    return listening.listen, opened
