"""AWS Bedrock's Converse API on loopback: replies for `FakeUpstream`. Streams are in AWS's binary event encoding.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html and, for the encoding,
https://docs.aws.amazon.com/transcribe/latest/dg/event-stream.html.
"""

from __future__ import annotations

import binascii
import json
import struct
from typing import Any

from tests.fakeup import FakeUpstream, Received, Reply, body_reply, json_reply

INPUT_TOKENS, OUTPUT_TOKENS = 5, 3
USAGE = {"inputTokens": INPUT_TOKENS, "outputTokens": OUTPUT_TOKENS, "totalTokens": INPUT_TOKENS + OUTPUT_TOKENS}


def base_url(up: FakeUpstream) -> str:
    return up.base_url.removesuffix("/v1")


def answer(request: Received) -> Reply:
    if not request.headers.get("authorization", "").startswith(("AWS4-HMAC-SHA256 Credential=", "Bearer ")):
        return json_reply({"message": "Missing Authentication Token"}, status=403)
    if request.path.endswith("/converse-stream"):
        return streamed(stream())
    output = {"message": {"role": "assistant", "content": [{"text": "Good day."}]}}
    return json_reply({"output": output, "stopReason": "end_turn", "usage": USAGE, "metrics": {"latencyMs": 1}})


def stream() -> list[bytes]:
    return [
        event("messageStart", role="assistant"),
        event("contentBlockDelta", contentBlockIndex=0, delta={"text": "Good "}),
        event("contentBlockDelta", contentBlockIndex=0, delta={"text": "day."}),
        event("contentBlockStop", contentBlockIndex=0),
        event("messageStop", stopReason="end_turn"),
        event("metadata", usage=USAGE, metrics={"latencyMs": 1}),
    ]


def streamed(events: list[bytes]) -> Reply:
    return body_reply(b"".join(events), content_type="application/vnd.amazon.eventstream")


def event(kind: str, **fields: Any) -> bytes:
    return _message({":event-type": kind, ":content-type": "application/json", ":message-type": "event"}, fields)


def exception(kind: str, message: str) -> bytes:
    """What a stream breaks off with."""
    headers = {":exception-type": kind, ":content-type": "application/json", ":message-type": "exception"}
    return _message(headers, {"message": message})


def _message(told: dict[str, str], fields: dict[str, Any]) -> bytes:
    """Prelude (lengths and their CRC), headers, payload, CRC of it all."""
    headers = b"".join(
        struct.pack(">B", len(name)) + name.encode() + struct.pack(">BH", 7, len(value)) + value.encode()
        for name, value in told.items()
    )
    payload = json.dumps(fields).encode()
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    message = prelude + struct.pack(">I", binascii.crc32(prelude)) + headers + payload
    return message + struct.pack(">I", binascii.crc32(message))
