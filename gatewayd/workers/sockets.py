"""Packs the addresses where a worker listens, and their sockets, into a message."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from gatewayd.config.snapshot import Address
from gatewayd.web.doors import Door


class _Opened(msgspec.Struct):
    address: Address
    sockets: int
    lent: bool


class _Doors(msgspec.Struct):
    listen: list[Address]
    opened: list[_Opened]


def pack_sockets(listen: Sequence[Address], opened: Mapping[Address, Door], number: int) -> tuple[bytes, list[int]]:
    """The body and the descriptors of a message. `opened`: what the worker does not have yet. `number`: of the worker,
    counted from 0."""
    shares = {address: door.share(number) for address, door in opened.items()}
    new = [_Opened(address, len(share), opened[address].lent) for address, share in shares.items()]
    descriptors = [sock.fileno() for share in shares.values() for sock in share]
    return msgspec.json.encode(_Doors(list(listen), new)), descriptors


def unpack_sockets(body: bytes, descriptors: Iterable[int]) -> tuple[list[Address], dict[Address, Door]]:
    doors, left = msgspec.json.decode(body, type=_Doors), iter(descriptors)
    opened: dict[Address, Door] = {}
    for one in doors.opened:
        sockets = [socket.socket(fileno=next(left)) for _ in range(one.sockets)]
        opened[one.address] = Door.of(one.address, sockets, lent=one.lent)
    for unexpected in left:
        os.close(unexpected)
    return doors.listen, opened
