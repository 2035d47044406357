"""Reads one regular file of bounded size, and never blocks on a pipe or device.

This module knows nothing of YAML. It reads configuration files and secret files.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from contextlib import suppress

from gatewayd.errors import GatewaydError

_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class Unreadable(GatewaydError):
    """A file could not be read. `code` is a problem code; `message` continues a sentence that begins with the name."""

    def __init__(self, code: str, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint


def is_being_written(path: str) -> bool:
    """Whether some process has the file open for writing; False where that cannot be known.

    Takes a read lease (fcntl(2)), which the kernel grants if no process has the file open for writing. It works for the
    file's owner and for root, on local file systems. The lease is released immediately. A process that opens the file
    in that moment waits, and the kernel sends a SIGIO to this process, so the caller must ignore that signal.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except (OSError, ValueError):
        return False
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return False
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except BlockingIOError:
        return True
    except (OSError, AttributeError):  # not ours, another kind of file system, another system
        return False
    finally:
        os.close(descriptor)
    return False


def read_regular(path: str, limit: int) -> bytes:
    """All bytes of the regular file at `path`, at most `limit` of them.

    The file is opened non-blocking, so a pipe without a writer returns immediately. Size and kind come from the open
    descriptor, so the file cannot be replaced between check and read.

    Raises Unreadable.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError as error:
        raise _not_opened(path, error) from None
    except ValueError:
        raise Unreadable("config_missing", "cannot exist: its name contains a NUL character") from None
    try:
        try:
            status = os.fstat(descriptor)
        except OSError as error:  # a network file system can fail here
            raise Unreadable("config_unreadable", f"cannot be read: {_reason(error)}") from None
        if not stat.S_ISREG(status.st_mode):
            kind = next((name for test, name in _KINDS if test(status.st_mode)), "not a regular file")
            raise Unreadable("config_not_a_file", f"is {kind}, not a file")
        if status.st_size > limit:
            raise _too_large(limit)
        return _read_all(descriptor, limit)
    finally:
        with suppress(OSError):  # nothing was written, so nothing is lost
            os.close(descriptor)


def _read_all(descriptor: int, limit: int) -> bytes:
    """Reads to the end, at most `limit` bytes: a file may grow, and files in /proc report size 0."""
    blocks: list[bytes] = []
    total = 0
    try:
        while block := os.read(descriptor, min(1 << 20, limit + 1 - total)):
            blocks.append(block)
            total += len(block)
            if total > limit:
                raise _too_large(limit)
    except OSError as error:
        raise Unreadable("config_unreadable", f"cannot be read: {_reason(error)}") from None
    return b"".join(blocks)


def _too_large(limit: int) -> Unreadable:
    return Unreadable("config_too_large", f"is larger than {limit} bytes")


def _not_opened(path: str, error: OSError) -> Unreadable:
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR if os.path.islink(path):
            return Unreadable("config_missing", "is a link to a file that does not exist")
        case errno.ENOENT | errno.ENOTDIR:
            return Unreadable("config_missing", "does not exist")
        case errno.ELOOP:
            return Unreadable("config_unreadable", "is part of a loop of symbolic links")
        case errno.ENXIO:
            return Unreadable("config_not_a_file", "is a socket or a device, not a file")
        case errno.EACCES | errno.EPERM:
            return Unreadable(
                "config_unreadable",
                "may not be read by this user",
                "check the permissions of the file and of the folders above it",
            )
        case _:
            return Unreadable("config_unreadable", f"cannot be opened: {_reason(error)}")


def _reason(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else "unknown reason"
