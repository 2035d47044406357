"""How a worker is told where to listen: the addresses, and which sockets come along with the message."""

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


def packed(listen: Sequence[Address], opened: Mapping[Address, Door], number: int) -> tuple[bytes, list[int]]:
    """All addresses, and those of them whose sockets the worker does not have yet: body and descriptors. `number`:
    which worker, from 0."""
    shares = {address: door.share(number) for address, door in opened.items()}
    told = [_Opened(address, len(share), opened[address].lent) for address, share in shares.items()]
    descriptors = [sock.fileno() for share in shares.values() for sock in share]
    return msgspec.json.encode(_Doors(list(listen), told)), descriptors


def unpacked(body: bytes, descriptors: Iterable[int]) -> tuple[list[Address], dict[Address, Door]]:
    doors, left = msgspec.json.decode(body, type=_Doors), iter(descriptors)
    opened: dict[Address, Door] = {}
    for one in doors.opened:
        sockets = [socket.socket(fileno=next(left)) for _ in range(one.sockets)]
        opened[one.address] = Door.of(one.address, sockets, lent=one.lent)
    for strange in left:
        os.close(strange)
    return doors.listen, opened
