"""Notices that a configuration file may have changed, however it was saved, and asks for a look at it.

Editors rename a new file over the old one and Kubernetes swaps a symbolic link, so the *directories* are watched: of
each file, and of every link on the way to it. Events only say "look": what counts is whether the bytes differ from
those seen last, whether others may write them, and which files match a pattern. A slow poll catches what the kernel
does not tell (network mounts, exhausted inotify limits).

This module must not know what a configuration is or what a reload does.
"""

from __future__ import annotations

import asyncio
import errno
import glob
import hashlib
import logging
import os
import stat
from collections.abc import Callable, Iterable, Mapping, Set
from contextlib import aclosing
from fnmatch import fnmatchcase
from types import MappingProxyType

from watchfiles import Change, awatch

from gatewayd.tasks import spawn

_log = logging.getLogger("gatewayd.watch")
# It reports every event; with the log file in a watched directory each report would be the next event.
logging.getLogger("watchfiles").setLevel(logging.WARNING)

_STEP_MS = 50
_BURST_MS = 200
"""A burst of events is reported when it pauses for a step, or after this long."""
_VANISHED = 0.2
"""Seconds until the next try when a directory disappeared while it was being watched."""
_READ_LIMIT = 16 * 2**20 + 1
"""Bytes hashed at most: one more than the largest configuration file that is read at all."""
_OURS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""Errors that say nothing about the file: this process may open no more."""
_MAX_LINKS = 40
"""Links followed for one file (the kernel's own limit)."""

Digest = bytes | None
"""SHA-256 of a file's bytes and of who may write it; None when there is no readable regular file."""


class Watcher:
    """`files` names what to watch, files and glob patterns, asked anew each time; `changed` is called on the loop, once
    per difference seen.

    `seen` holds digests from before the files were read, so that an edit in between is noticed; a file that is not in
    it counts as changed. `poll`: seconds.
    """

    def __init__(
        self,
        files: Callable[[], Iterable[str]],
        changed: Callable[[], object],
        *,
        seen: Mapping[str, Digest],
        poll: float = 5.0,
        observe: Callable[[bool], None] = lambda up: None,
    ) -> None:
        self._files = files
        self._changed = changed
        self._seen = dict(seen)
        self._poll = poll
        self._observe = observe
        self._rearm = asyncio.Event()
        self._looking = asyncio.Lock()
        self.up = False
        """Whether the kernel tells about changes; False = only the poll notices them."""
        self._told: bool | None = None

    async def run(self) -> None:
        """Watches until cancelled. Re-arms when directories come and go or the set of files changes."""
        while True:
            self._rearm.clear()
            try:
                spots, armed = await asyncio.to_thread(self._places)
                async with aclosing(
                    awatch(
                        *armed,
                        watch_filter=_among(spots | armed.keys()),
                        recursive=False,
                        step=_STEP_MS,
                        debounce=_BURST_MS,
                        rust_timeout=max(1, round(self._poll * 1000)),
                        yield_on_timeout=True,
                        stop_event=self._rearm,
                    )
                ) as events:
                    # Starts when this task first waits: awatch has its watch standing by then.
                    standing = spawn(self._stands(spots, armed), name="first look at the configuration files")
                    try:
                        async for batch in events:
                            await self._look()
                            # One that was removed and made again can even have its old inode number.
                            replaced = any(path in armed for _, path in batch)
                            if replaced or await asyncio.to_thread(self._places) != (spots, armed):
                                break
                    finally:
                        standing.cancel()
            except FileNotFoundError:
                await asyncio.sleep(_VANISHED)
            except (OSError, RuntimeError) as error:  # inotify's limits, or its thread died
                self._tell(False, str(error))
                await asyncio.sleep(self._poll)
                await self._look()

    def rearm(self) -> None:
        """Looks at once whether other directories are to be watched: what is read may have changed."""
        self._rearm.set()

    async def note(self) -> None:
        """Takes the files as seen as they are now. For who reads them right afterwards, whatever made them do so: the
        event that is still on its way need not make them read the same again."""
        async with self._looking:
            self._seen = await self._digests()

    async def _stands(self, spots: frozenset[str], armed: Mapping[str, tuple[int, int]]) -> None:
        self._tell(True)
        await self._look()  # at what changed while there was no watch
        # A directory that came or went before the watch stood is no event: without this its inside would be unwatched.
        try:
            moved = await asyncio.to_thread(self._places) != (spots, armed)
        except OSError:
            moved = True
        if moved:
            self._rearm.set()

    async def _look(self) -> None:
        async with self._looking:
            now = await self._digests()
            before, self._seen = self._seen, now
            if not now.items() <= before.items():
                self._changed()

    async def _digests(self) -> dict[str, Digest]:
        return await asyncio.to_thread(digests, tuple(dict.fromkeys(self._files())), self._seen)

    def _places(self) -> tuple[frozenset[str], dict[str, tuple[int, int]]]:
        """The spots of all files, and the directories they are in, with device and inode: a path can become another
        directory."""
        found = frozenset(spot for file in self._files() for spot in spots(file))
        directories: dict[str, tuple[int, int]] = {}
        for path in {os.path.dirname(spot) for spot in found}:
            status = os.stat(path)
            directories[path] = status.st_dev, status.st_ino
        return found, directories

    def _tell(self, up: bool, why: str = "") -> None:
        self.up = up
        if up == self._told:
            return
        self._told = up
        if not up:
            _log.warning("file events do not work (%s); checking for changes every %g s", why, self._poll)
        self._observe(up)


def _among(paths: Set[str]) -> Callable[[Change, str], bool]:
    patterns = [(folder, name) for folder, name in map(os.path.split, paths) if glob.has_magic(name)]

    def among(change: Change, path: str) -> bool:
        folder, name = os.path.split(path)
        return path in paths or any(folder == where and fnmatchcase(name, what) for where, what in patterns)

    return among


def _is_pattern(path: str) -> bool:
    return glob.has_magic(path) and not os.path.lexists(path)


def digests(files: Iterable[str], seen: Mapping[str, Digest] = MappingProxyType({})) -> dict[str, Digest]:
    """By path. What cannot be looked at now has not changed from what was `seen`."""
    found: dict[str, Digest] = {}
    for path in files:
        try:
            found[path] = _digest(path)
        except OSError:
            if path in seen:
                found[path] = seen[path]
    return found


def _digest(path: str) -> Digest:
    """Raises OSError if nothing can be said about the file."""
    if _is_pattern(path):
        return hashlib.sha256(os.fsencode("\0".join(sorted(glob.glob(path))))).digest()
    try:
        # O_NONBLOCK: a FIFO in the file's place must not block us.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode):
                return None
            writers = b"%d" % (mode & (stat.S_IWGRP | stat.S_IWOTH))  # a file is refused for them, whatever is in it
            # Of a file of /proc that would block, None is read.
            with open(descriptor, "rb", closefd=False) as file:  # it would not close that of a directory
                return hashlib.sha256(writers + (file.read(_READ_LIMIT) or b"")).digest()
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno in _OURS:
            raise
        return None


def spots(file: str) -> set[str]:
    """Every path at which an event can mean that `file` now has other bytes; the directory of each exists.

    The file itself, and each symbolic link met on the way to its bytes, be it a link in place of the file or of a
    directory above it (`..data` in Kubernetes). Below a directory that does not exist: where that will appear. The last
    part of a pattern stays one, in each directory in which a file could match.
    """
    if _is_pattern(file):
        return _spots_of_pattern(file)
    found: set[str] = set()
    path = os.path.abspath(file)
    for _ in range(_MAX_LINKS):
        link = _first_link(path)
        found.add(_appearing(link or path))
        if link is None:
            break
        try:
            target = os.path.join(os.path.dirname(link), os.readlink(link))
        except OSError:  # replaced by a file just now; its spot is in the set already
            break
        path = os.path.normpath(target + path[len(link) :])
    return found


def _spots_of_pattern(pattern: str) -> set[str]:
    folder, name = os.path.split(pattern)
    while not (found := [match for match in glob.glob(folder) if os.path.isdir(match)]):
        folder, name = os.path.dirname(folder), "*"  # whatever appears there may lead to a match
    return {os.path.join(match, name) for match in found}


def _first_link(path: str) -> str | None:
    """The shortest leading part of an absolute path that is a symbolic link."""
    end = 0
    while end < len(path):
        end = path.find("/", end + 1)
        if end == -1:
            end = len(path)
        if os.path.islink(path[:end]):
            return path[:end]
    return None


def _appearing(path: str) -> str:
    while not os.path.isdir(os.path.dirname(path)):
        path = os.path.dirname(path)
    return path
