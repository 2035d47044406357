"""What is read of the wire: event streams, request bodies, header fields."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from random import Random
from typing import Any

from gatewayd.errors import GatewayError, InvalidJson, InvalidRequest
from gatewayd.wire.headers import (
    REQUEST_HEADERS,
    RESPONSE_HEADERS,
    RESPONSE_PREFIXES,
    RESPONSE_RENAMED,
    client_headers,
    sanitised,
    upstream_headers,
)
from gatewayd.wire.openai import peek
from gatewayd.wire.sse import StreamWatcher
from gatewayd.wire.sse_decoder import Decoder
from tests.fuzz.mutate import mutated, pieces
from tests.fuzz.runner import Target
from tests.replies import chat_events

# --- event streams

_USAGE = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
_STREAMS = [
    b"".join(chat_events("Hello", " error", '"error"', "[DONE]", usage=_USAGE)),
    b"".join(chat_events("ä\u2028")).replace(b"\n", b"\r\n"),
    b"".join(chat_events("a")).replace(b"\n", b"\r"),
    b'\xef\xbb\xbfdata: {"choices":[{"index":0,"finish_reason":"stop"}]}\n\n',
    b'event: error\ndata: {"error":{"message":"busy"}}\n\n',
    b": ping\n\nid: 1\nretry: 5\ndata: a\ndata: b\n\ndata:[DONE]\n\ndata: more\n\n",
    b'data: {"object":"error","message":"x"}\n\n',
]
_EVENT_WORDS = [
    *(b"data: ", b"data:", b"data", b"event: x\n", b"event: error\n", b"id: 1\n", b"retry: 5", b": comment\n", b"\n"),
    *(b"\r", b"\r\n", b"\n\n", b"\r\r", b"[DONE]", b"data: [DONE]\n\n", b'"error"', b'{"error":{}}', b'{"error":1}'),
    *(b'"usage"', b'{"usage":{"prompt_tokens":1e999}}', b'{"choices":[{"index":[],"finish_reason":"x"}]}', b"\xff"),
    b"\xef\xbb\xbf",
]  # fmt: skip


def _watched(chunks: Sequence[bytes], choices: int) -> tuple[bytes, StreamWatcher, bytes | None]:
    """What passes, the watcher after it, and what it adds at the end."""
    watcher = StreamWatcher(choices=choices)
    out = b""
    for chunk in chunks:
        out += watcher.feed(chunk)
        if watcher.over:
            return out, watcher, b""
    return out, watcher, watcher.end()


def _events(chunks: Sequence[bytes]) -> list[tuple[bytes, bytes | None]]:
    decoder = Decoder()
    return [(found.type, found.data) for chunk in chunks for found in decoder.feed(chunk)]


def _check_stream(made: tuple[bytes, list[bytes], int]) -> None:
    stream, chunks, choices = made
    assert _events(chunks) == _events([stream])
    results = [_watched(chunks, choices), _watched([stream], choices)]
    for out, watcher, _ in results:
        # A CR that ends the last event gets the LF that lines have had so far, unless it is known that none comes.
        kept = out[:-1] if watcher.over and out.endswith(b"\r\n") and not stream.startswith(out) else out
        assert stream.startswith(kept) if watcher.over else kept == stream
    (out, cut, end), (_, whole, whole_end) = results
    seen = [(one.over, one.error, one.done, one.started, one.usage()) for one in (cut, whole)]
    assert seen[0] == seen[1], seen
    assert (end is None) == (whole_end is None)
    # Whoever reads what has passed sees the same events.
    assert _events([out + (end or b"")]) == _events([results[1][0] + (whole_end or b"")])


def _make_stream(rng: Random) -> tuple[bytes, list[bytes], int]:
    stream = mutated(rng, _STREAMS, _EVENT_WORDS, 3000)
    return stream, pieces(rng, stream), rng.choice((0, 0, 1, 2))


# --- request bodies

_BODIES = [
    b'{"model":"gpt-4o","messages":[{"role":"user","content":"Hi \\u00e4 \\" }"}],"stream":true,"n":1}',
    b'{"model":"a","stream":null,"temperature":0.5,"tools":[{"type":"function","function":{"name":"f"}}]}',
    b' {\n"mod\\u0065l": "a", "x": {"model": "b", "stream": [true, "stream"]}}\n',
    b'{"input":[[1,2],[3]],"model":"m","user":"\xc3\xa4"}',
]
_BODY_WORDS = [
    *(b'"model":', b'"stream":', b'"model":"b",', b'"stream":true,', b'"mod\\u0065l":"c",'),
    *(b'"api_key":"x",', b'"aws_x":1,', b"1e5"),
    *(b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"\\u", b"\\ud800", b"null", b"true", b"[" * 2000),
    b'{"a":' * 600,
]  # fmt: skip


def _check_body(body: bytes) -> None:
    try:
        intent = peek(body)
    except (InvalidJson, InvalidRequest) as error:
        _check_refusal(error)
        return
    pairs = _pairs(body)
    names = [name for name, _ in pairs]
    found = dict(pairs)
    assert names.count("model") == 1
    assert names.count("stream") <= 1
    assert intent.model == found["model"]
    assert intent.stream == bool(found.get("stream"))
    assert list(intent.fields) == list(found)
    assert intent.rewritten({}) == body
    changed = dict(_pairs(intent.rewritten({"model": "other", "added": "1"}, drop=frozenset({"n"}))))
    found.pop("n", None)
    assert changed == {**found, "model": "other", "added": "1"}
    for name in intent.fields:
        try:
            intent.value(name)
        except InvalidRequest:
            pass


def _check_refusal(error: GatewayError) -> None:
    assert error.status == 400
    assert error.message.isprintable(), error.message


def _pairs(body: bytes) -> list[tuple[str, Any]]:
    """The top level, doubles included, by another parser. Numbers as written: their rounding is nobody's business."""
    pairs = json.loads(body, object_pairs_hook=_Pairs, parse_float=str, parse_int=str)
    assert isinstance(pairs, _Pairs)
    return list(pairs)


class _Pairs(list[tuple[str, Any]]):
    pass


# --- header fields

_NAMES = [
    *sorted(REQUEST_HEADERS),
    *(name.decode() for name in sorted(RESPONSE_HEADERS)),
    *(prefix.decode() for prefix in RESPONSE_PREFIXES),
    *("connection", "authorization", "api-key", "x-api-key", "cookie", "set-cookie"),
    *("content-length", "transfer-encoding"),
    *("host", "x-request-id", "te", "upgrade", "keep-alive", "x-gatewayd-revision", "openai-processing-ms"),
]  # fmt: skip
_VALUES = (
    "",
    "close",
    "keep-alive",
    "a, b",
    "x\r\ny: z",
    "\x00",
    "ä",
    "\u2028",
    "😀",
    "\udc80",
    "v" * 300,
    " ",
    "\t",
    "traceparent",
)
_VISIBLE = re.compile(r"[ -~]{0,256}")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")  # RFC 9110, 5.6.2

Fields = list[tuple[str, str]]


def _make_fields(rng: Random) -> Fields:
    return [(_name(rng), _value(rng)) for _ in range(rng.randrange(8))]


def _name(rng: Random) -> str:
    name = rng.choice(_NAMES)
    match rng.randrange(8):
        case 0:
            return name.upper()
        case 1:
            return name + rng.choice(("x", " ", "\r\n", ":", "\xff", "ä", "-1"))
        case 2:
            return "".join(rng.choice((char, char.upper())) for char in name)
        case _:
            return name


def _value(rng: Random) -> str:
    if rng.random() < 0.3:
        return ", ".join(_name(rng) for _ in range(rng.randrange(3)))
    return "".join(rng.choice(_VALUES) for _ in range(rng.randrange(3)))


def _check_fields(fields: Fields) -> None:
    hop = {
        token.strip().lower() for name, value in fields if name.lower() == "connection" for token in value.split(",")
    }
    up = upstream_headers(fields)
    for name, value in up:
        assert name in REQUEST_HEADERS
        assert name not in hop
        assert _VISIBLE.fullmatch(value)
    assert upstream_headers(up) == up
    raw = {name.lower().encode("latin-1", "replace"): value.encode("latin-1", "replace") for name, value in fields}
    hop = {token.strip().lower() for token in raw.get(b"connection", b"").decode("latin-1").split(",")}
    for name, value in client_headers(raw):
        known = name.encode() in RESPONSE_HEADERS or name.encode().startswith(RESPONSE_PREFIXES)
        assert known or name in RESPONSE_RENAMED.values()
        assert name not in hop
        assert _TOKEN.fullmatch(name), name
        assert _VISIBLE.fullmatch(value)
    for _, value in fields:
        assert _VISIBLE.fullmatch(sanitised(value))


SSE = Target("sse", _make_stream, _check_stream, runs=5000)
PEEK = Target("peek", lambda rng: mutated(rng, _BODIES, _BODY_WORDS, 8000), _check_body, runs=10_000)
HEADERS = Target("headers", _make_fields, _check_fields, runs=10_000)
