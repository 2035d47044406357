"""What a scripted upstream says: rows of steps, and the HTTP answers and event streams made of them."""

from __future__ import annotations

import asyncio
import enum
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


class End(enum.Enum):
    FIN = "fin"
    RST = "rst"
    HANG = "hang"


FIN, RST, HANG = End.FIN, End.RST, End.HANG

Step = bytes | float | asyncio.Event | End


@dataclass(frozen=True, slots=True)
class Reply:
    """What is done about one request."""

    steps: Sequence[Step]
    close: bool = False
    """Close the connection (FIN) after the last step."""
    early: bool = False
    """Answer as soon as the request's head is there, before reading its body; the connection is not used again."""


Headers = Iterable[tuple[str, str]]


def head(status: int, headers: Headers, reason: str = "Scripted") -> bytes:
    """A response head, bytes as given."""
    lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in headers)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def raw_reply(*steps: Step, close: bool = False, early: bool = False) -> Reply:
    return Reply(steps, close, early)


def body_reply(
    body: bytes,
    *,
    status: int = 200,
    content_type: str = "application/json",
    headers: Headers = (),
    length: int | None = None,
    delay: float = 0.0,
    close: bool = False,
    early: bool = False,
) -> Reply:
    """A body with a Content-Length (a wrong one when `length` is given), head and body in one segment."""
    fields = [
        ("Content-Type", content_type),
        ("Content-Length", str(len(body) if length is None else length)),
        *headers,
    ]
    if close:
        fields.append(("Connection", "close"))
    steps: list[Step] = [delay] if delay else []
    return Reply([*steps, head(status, fields) + body], close, early)


def json_reply(
    value: Any, *, status: int = 200, headers: Headers = (), delay: float = 0.0, close: bool = False
) -> Reply:
    body = json.dumps(value, separators=(",", ":")).encode()
    return body_reply(body, status=status, headers=headers, delay=delay, close=close)


def error_reply(
    status: int,
    message: str = "scripted failure",
    *,
    type: str = "server_error",
    code: str | None = None,
    headers: Headers = (),
    early: bool = False,
) -> Reply:
    """An error in OpenAI's shape."""
    error = {"message": message, "type": type, "param": None, "code": code}
    return body_reply(json.dumps({"error": error}).encode(), status=status, headers=headers, early=early)


DONE = b"data: [DONE]\n\n"


def event(value: Any) -> bytes:
    """One server-sent event with a JSON value."""
    return b"data: " + json.dumps(value, separators=(",", ":")).encode() + b"\n\n"


def chat_chunk(text: str | None = None, *, finish: str | None = None, usage: Mapping[str, int] | None = None) -> Any:
    """A `chat.completion.chunk`; with `usage` and no text it is the last one, which has no choices."""
    chunk: dict[str, Any] = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "fake"}
    delta = {} if text is None else {"content": text}
    last = usage is not None and text is None and finish is None
    chunk["choices"] = [] if last else [{"index": 0, "delta": delta, "finish_reason": finish}]
    if usage is not None:
        chunk["usage"] = dict(usage)
    return chunk


def chat_events(*texts: str, usage: Mapping[str, int] | None = None) -> list[bytes]:
    """A whole chat stream: one event for each text, the finish reason, usage if given, and the end mark."""
    events = [event(chat_chunk(text)) for text in texts] + [event(chat_chunk(finish="stop"))]
    if usage is not None:
        events.append(event(chat_chunk(usage=usage)))
    return [*events, DONE]


def chunk(data: bytes) -> bytes:
    """One chunk of the chunked coding."""
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"


def sse_reply(
    events: Iterable[Step],
    *,
    framing: str = "chunked",
    finish: bool = True,
    status: int = 200,
    headers: Headers = (),
    delay: float = 0.0,
) -> Reply:
    """An event stream; `bytes` among `events` are body bytes, other steps keep their meaning.

    `framing` is `chunked`, `length` (Content-Length, known when `events` has no end step) or `close`. With
    `finish=False` a chunked body gets no last chunk; put `FIN`, `RST` or `HANG` at the end of `events` then.
    """
    events = list(events)
    fields = [("Content-Type", "text/event-stream; charset=utf-8"), *headers]
    if framing == "chunked":
        fields.append(("Transfer-Encoding", "chunked"))
        body: list[Step] = [chunk(step) if isinstance(step, bytes) else step for step in events]
        if finish:
            body.append(LAST_CHUNK)
    elif framing == "length":
        fields.append(("Content-Length", str(sum(len(step) for step in events if isinstance(step, bytes)))))
        body = events
    else:
        fields.append(("Connection", "close"))
        body = events
    steps: list[Step] = [head(status, fields)]
    for step in body:
        steps += [delay, step] if delay else [step]
    return Reply(steps, close=framing == "close")


def split(data: bytes, offsets: Iterable[int]) -> list[bytes]:
    """`data` cut at the offsets: as steps of a reply each part is a segment of its own."""
    cuts = [0, *sorted({at for at in offsets if 0 < at < len(data)}), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(cuts)]
