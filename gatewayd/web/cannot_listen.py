"""An address that cannot be listened on, as a problem of the configuration: where, why, and what may help."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Awaitable, Collection, Mapping
from typing import Final, TypeVar

from gatewayd.config.problems import Problem
from gatewayd.config.snapshot import Address
from gatewayd.errors import ConfigInvalid
from gatewayd.web.activation import SocketActivation

_Staged = TypeVar("_Staged")

_IN_USE: Final = (
    "another process uses this address (maybe another gatewayd: try `gatewayd status`); stop it, use {flags}, "
    "or change {path}"
)
_FLAGS: Final = {"gatewayd.listen": "--port PORT", "gatewayd.admin": "--admin ADDR or --admin off"}
_HINTS: Final[Mapping[object, str]] = {
    errno.EADDRNOTAVAIL: "this machine has no such address; use 0.0.0.0 for all its addresses",
    errno.EACCES: "ports below 1024 need CAP_NET_BIND_SERVICE, and a socket file needs a writable folder",
    errno.ENOENT: "the socket file's folder must exist",
    socket.gaierror: "this machine cannot resolve the host name; use an address",
}


class CannotListen(ConfigInvalid):
    """An address of the configuration could not be bound."""


async def staged(
    staging: Awaitable[_Staged],
    addresses: Collection[Address],
    path: str,
    *,
    activation: SocketActivation,
    ours: Collection[Address],
) -> _Staged:
    """The result of `staging`, which binds `addresses` of the key `path`. Raises CannotListen in place of OSError.

    `ours`: where gatewayd listens itself at the moment.
    """
    try:
        return await staging
    except OSError as error:
        where = error.filename or ", ".join(map(str, addresses))
        number = error.errno or 0
        reason = os.strerror(number) if number > 0 else error.strerror or type(error).__name__
        hint = _HINTS.get(type(error) if isinstance(error, socket.gaierror) else number)
        if number == errno.EADDRINUSE:
            hint = _in_use(where, path, activation, ours)
        message = f"cannot listen on {where}: {reason.lower()}"
        raise CannotListen([Problem("listen_failed", message, path=path, hint=hint)]) from error


def _in_use(where: str, path: str, activation: SocketActivation, ours: Collection[Address]) -> str:
    port = f":{where.rpartition(':')[2]}"
    if handed_over := [name for name in activation.unused if name.endswith(port)]:
        return f"{handed_over[0]} was handed over ($LISTEN_FDS): write ListenStream= and the configuration alike"
    if where in map(str, ours):
        return "gatewayd itself listens there: move that listener away in an edit of its own first"
    return _IN_USE.format(flags=_FLAGS[path], path=path)
