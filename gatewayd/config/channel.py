"""Sends a `Result` from the config child process to the daemon: pickled in small frames, including secrets.

`Secret` refuses ordinary pickling; this channel, a pipe between a process and its own child, allows it on purpose.
Large containers are cut into slices with a frame each, so the receiver never blocks its event loop for long. The
receiver accepts only the few classes of a `Result`. This module knows neither processes nor files.
"""

from __future__ import annotations

import io
import pickle
import struct
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, timedelta, timezone
from types import MappingProxyType
from typing import Any

from gatewayd.config import snapshot
from gatewayd.config.problems import Problem
from gatewayd.config.result import Result
from gatewayd.errors import FallbackKind, GatewaydError
from gatewayd.secret import Secret

HEADER = struct.Struct("!4sI")
"""Each frame: this mark, the length of its body in bytes, the body."""
MAX_FRAME_BYTES = 64 * 1024 * 1024

_MARK = b"gwd\x01"
_SLICE = 64
"""Entries per frame: about a millisecond of unpickling for deployments of common size."""
_Cut = list[Any] | tuple[Any, ...] | dict[Any, Any] | MappingProxyType[Any, Any]
_CUT = (list, tuple, dict, MappingProxyType)
_REBUILD: dict[str, Callable[[list[Any]], _Cut]] = {
    list.__name__: lambda entries: entries,
    tuple.__name__: tuple,
    dict.__name__: dict,
    MappingProxyType.__name__: lambda entries: MappingProxyType(dict(entries)),
}


class ChannelError(GatewaydError):
    """The data does not come from `dump`."""


_EMPTY: Mapping[Any, Any] = MappingProxyType({})


def readonly(mapping: dict[Any, Any]) -> Mapping[Any, Any]:
    """pickle cannot find `MappingProxyType` by name, but it finds this. All empty ones are one object."""
    return MappingProxyType(mapping) if mapping else _EMPTY


_CLASSES: list[type] = [Result, Problem, Secret, FallbackKind, date, datetime, timedelta, timezone]
_CLASSES += [it for it in vars(snapshot).values() if isinstance(it, type) and it.__module__ == snapshot.__name__]
_ALLOWED: dict[tuple[str, str], Any] = {
    (readonly.__module__, readonly.__qualname__): readonly,
    **{(it.__module__, it.__qualname__): it for it in _CLASSES},
}


def dump(result: Result) -> Iterator[bytes]:
    """The frames of `result`, headers included, in the order they must be fed to an `Assembler`.

    Raises TypeError or pickle.PicklingError if the result contains anything but plain data.
    """
    frames: list[bytes] = []
    slicer = _Slicer(frames)
    body = slicer.dumps(("result", result))
    yield from frames
    yield _framed(body)


class Assembler:
    """Puts a `Result` together again; each `feed` does a small piece of the work."""

    def __init__(self) -> None:
        self._parts: dict[int, list[Any]] = {}
        self._whole: dict[int, _Cut] = {}

    def feed(self, body: bytes) -> Result | None:
        """Takes the body of the next frame; returns the result after the last one. Raises ChannelError."""
        try:
            content = _Unpickler(body, self._container).load()
        except Exception as error:  # unpickling foreign bytes can raise anything
            raise ChannelError(f"a frame cannot be unpickled: {type(error).__name__}") from None
        match content:
            case ("part", int(number), list(entries)):
                self._parts.setdefault(number, []).extend(entries)
                return None
            case ("result", Result() as result):
                return result
            case _:
                raise ChannelError("a frame holds something unexpected")

    def _container(self, kind: str, number: int) -> _Cut:
        if number not in self._whole:
            self._whole[number] = _REBUILD[kind](self._parts.pop(number))
        return self._whole[number]


def body_length(header: bytes) -> int:
    """Length of the body after `header`. Raises ChannelError if it is not a header."""
    mark, length = HEADER.unpack(header)
    if mark != _MARK or length > MAX_FRAME_BYTES:
        raise ChannelError("the bytes do not begin with a frame")
    return int(length)


def _framed(body: bytes) -> bytes:
    return HEADER.pack(_MARK, len(body)) + body


class _Slicer:
    """Numbers the large containers and writes their entries before the objects that refer to them."""

    def __init__(self, frames: list[bytes]) -> None:
        self._frames = frames
        self._numbers: dict[int, int] = {}
        self._kept: list[_Cut] = []
        """Keeps numbered objects alive, so that no other object gets their ids."""

    def dumps(self, value: Any) -> bytes:
        buffer = io.BytesIO()
        _Pickler(buffer, self).dump(value)
        return buffer.getvalue()

    def number(self, container: _Cut) -> int:
        number = self._numbers.get(id(container))
        if number is None:
            number = self._numbers[id(container)] = len(self._kept)
            self._kept.append(container)
            entries = list(container.items()) if isinstance(container, Mapping) else list(container)
            for start in range(0, len(entries), _SLICE):
                body = self.dumps(("part", number, entries[start : start + _SLICE]))
                self._frames.append(_framed(body))
        return number


class _Pickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO, slicer: _Slicer) -> None:
        super().__init__(file, protocol=5)
        self._slicer = slicer

    def persistent_id(self, obj: Any) -> tuple[str, int] | None:
        if isinstance(obj, _CUT) and len(obj) > _SLICE:
            return type(obj).__name__, self._slicer.number(obj)
        return None

    def reducer_override(self, obj: Any) -> Any:
        if type(obj) is Secret:
            return Secret, (obj.reveal(),)
        if type(obj) is MappingProxyType:
            return readonly, (dict(obj),)
        return NotImplemented


class _Unpickler(pickle.Unpickler):
    def __init__(self, body: bytes, container: Callable[[str, int], _Cut]) -> None:
        super().__init__(io.BytesIO(body))
        self._container = container

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError("a class that is no part of a result") from None

    def persistent_load(self, pid: Any) -> Any:
        kind, number = pid
        return self._container(kind, number)
