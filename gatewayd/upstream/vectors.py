"""Vectors in the form that the client asked for.

OpenAI's SDKs ask for base64 unless told otherwise, and many servers answer with numbers all the same. The SDK for
JavaScript does not look: it decodes the numbers as if they were base64 and hands out vectors of no or few elements.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from gatewayd.float32 import pack
from gatewayd.upstream.base import Call
from gatewayd.wire.openai import encode

_NUMBERS: Final = re.compile(rb'"embedding"\s*:\s*\[')
_object: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_objects: Final = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_vector: Final = msgspec.json.Decoder(list[float])


def needs_packing(call: Call, body: bytes) -> bool:
    """Whether an answer to `embeddings` has lists where base64 was asked for."""
    asked = call.intent.fields.get("encoding_format")
    return asked is not None and bytes(asked) == b'"base64"' and _NUMBERS.search(body) is not None


def packed(body: bytes) -> bytes:
    """The answer with its lists as base64; as it is when they are no lists of numbers. Takes 3 ms for a megabyte, in
    small steps, so that other threads get their turn."""
    try:
        answer = _object.decode(body)
        items = _objects.decode(answer["data"])
        for item in items:
            vector = item["embedding"]
            if bytes(memoryview(vector)[:1]) == b"[":
                item["embedding"] = msgspec.Raw(encode(pack(_vector.decode(vector))))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, LookupError, OverflowError):
        return body
    return encode({**answer, "data": items})
