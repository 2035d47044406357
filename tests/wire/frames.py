"""Writes AWS event-stream frames, as Bedrock's ConverseStream does."""

from __future__ import annotations

import struct
import zlib
from typing import Any

from gatewayd.wire.openai import encode


def frame(kind: str, payload: Any, *, message: str = "event") -> bytes:
    """One frame. `message` is "event" or "exception"."""
    headers = {f":{message}-type": kind, ":content-type": "application/json", ":message-type": message}
    block = b"".join(
        bytes([len(name)]) + name.encode() + b"\x07" + struct.pack("!H", len(value)) + value.encode()
        for name, value in headers.items()
    )
    body = encode(payload)
    prelude = struct.pack("!II", 16 + len(block) + len(body), len(block))
    data = prelude + struct.pack("!I", zlib.crc32(prelude)) + block + body
    return data + struct.pack("!I", zlib.crc32(data))
