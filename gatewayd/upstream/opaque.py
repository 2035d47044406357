"""Answers that nothing is known about but where they end: audio, files, text. They pass while they arrive."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from gatewayd.errors import UpstreamIncomplete
from gatewayd.upstream.hiding import Secrets
from gatewayd.upstream.stream import StreamAnswer
from gatewayd.upstream.transport import Fields
from gatewayd.wire.headers import Header
from gatewayd.wire.openai import Usage

_LOOKED_AT: Final = (b"application/json", b"text/html")
"""Content types of answers that are collected: results and errors in JSON, and pages of something that is no API."""


class _BytesWatcher:
    """Implements `EventWatcher` for bytes without meaning."""

    started = False
    alive = True
    done = False
    over = ending = False
    surplus = False
    withheld = False
    unmarked = False
    error: bytes | None = None

    def feed(self, data: bytes) -> bytes:
        self.started = self.started or bool(data)
        return data

    def end(self) -> bytes | None:
        return None

    def usage(self) -> Usage | None:
        return None


class OpaqueAnswer(StreamAnswer):
    """A `Reply` if `live`; else the answer is JSON or an error, collected whole.

    It is complete when its length or its last chunk says so. An answer that only the end of the connection ends may
    have been cut anywhere, so it is broken.
    """

    __slots__ = ()

    nothing = "The upstream's answer is empty."

    def __init__(self, ready: asyncio.Future[None], secrets: Secrets) -> None:
        super().__init__(ready, _BytesWatcher())
        self.secrets = secrets

    def finish(self, delimited: bool) -> None:
        if not self.live:
            super().finish(delimited)
            return
        self._connection = None
        self._settle(None if delimited else UpstreamIncomplete("The upstream's answer has no marked end."))

    def _headers(self, fields: Fields) -> Sequence[Header]:
        return self.secrets.relayed(fields)

    def _is_stream(self, status: int, fields: Fields) -> bool:
        return 200 <= status < 300 and not fields.get(b"content-type", b"").lower().startswith(_LOOKED_AT)
