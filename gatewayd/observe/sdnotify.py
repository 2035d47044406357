"""Telling systemd how the service is (sd_notify(3)): one datagram to `$NOTIFY_SOCKET`, without a library.

Outside of systemd every call does nothing. A socket that cannot be written is no reason to fail either: the service
matters more than its supervisor's view of it.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping


class Notifier:
    """Speaks for this process; `$WATCHDOG_PID` says whether the watchdog was meant for it."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        name = environ.get("NOTIFY_SOCKET", "")
        # An abstract socket is written with a leading @, which stands for a NUL byte.
        self._address = "\0" + name[1:] if name.startswith("@") else name
        self.watchdog = _watchdog(environ)
        """Seconds within which systemd wants a sign of life (half of it is a good interval), or None."""

    def send(self, **fields: str | int) -> None:
        """`send(READY=1, STATUS="serving")`: all fields in one datagram."""
        if not self._address:
            return
        text = "\n".join(f"{key}={str(value).replace(chr(10), ' ')}" for key, value in fields.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as out:
                out.sendto(text.encode("utf-8", "replace"), self._address)
        except OSError:
            return

    def reloading(self) -> None:
        """A reload begins; `send(READY=1)` must follow, also when it is refused.

        systemd >= 253 (`Type=notify-reload`) needs the monotonic time in the same datagram, or it waits for ever.
        """
        self.send(RELOADING=1, MONOTONIC_USEC=time.monotonic_ns() // 1000)


def _watchdog(environ: Mapping[str, str]) -> float | None:
    usec, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not usec.isdecimal() or int(usec) == 0 or (pid and pid != str(os.getpid())):
        return None
    return int(usec) / 1e6
