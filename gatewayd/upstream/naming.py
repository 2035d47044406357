"""Answers that name the model group that was asked for, as LiteLLM's do, instead of the upstream's model.

Only with `gatewayd.report_model: group`: the top level of each JSON object is written anew, what is below it is not
looked into.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from gatewayd.upstream.base import Flow, Reply, Sink
from gatewayd.wire.headers import Header
from gatewayd.wire.openai import Usage, encode
from gatewayd.wire.sse_decoder import MAX_EVENT

_object: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_DATA: Final = re.compile(rb"(\A|(?<=[\r\n]))(data: ?)(\{[^\r\n]*)")
_LINE_ENDS: Final = (b"\n", b"\r")


def named(body: bytes, model: str) -> bytes:
    """A whole answer, or an event's data, under this model; as it is when it names none."""
    try:
        answer = _object.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return body
    return encode({**answer, "model": model}) if "model" in answer else body


class NamedReply:
    """A reply whose model has another name."""

    def __init__(self, reply: Reply, model: str) -> None:
        self._reply = reply
        self._model = model
        self.status = reply.status
        self.headers: Sequence[Header] = reply.headers
        self.body = None if reply.body is None else named(reply.body, model)
        self.usage: Usage | None = reply.usage

    async def pipe(self, sink: Sink) -> None:
        naming = _NamingSink(sink, self._model)
        try:
            await self._reply.pipe(naming)
        finally:
            self.usage = self._reply.usage
        naming.flush()

    def close(self) -> None:
        self._reply.close()


class _NamingSink:
    """Holds a line back until it is whole, unless it is larger than an event that is looked into."""

    def __init__(self, sink: Sink, model: str) -> None:
        self._sink = sink
        self._model = model
        self._half = b""

    def attach(self, flow: Flow) -> None:
        self._sink.attach(flow)

    def write(self, data: bytes) -> None:
        data = self._half + data
        end = len(data) if data.endswith(_LINE_ENDS) else max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
        if len(data) - end > MAX_EVENT:
            end = len(data)
        data, self._half = data[:end], data[end:]
        if data:
            self._sink.write(_DATA.sub(self._renamed, data))

    def flush(self) -> None:
        if self._half:
            self._sink.write(self._half)

    def _renamed(self, match: re.Match[bytes]) -> bytes:
        return match[2] + named(match[3], self._model)
