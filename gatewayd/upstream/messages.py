"""What some APIs refuse in messages: the role `developer`, lists of text parts, fields of other providers' answers.

Whether anything has to be done is seen by a search of the bytes; then only what changes is parsed and written anew.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from gatewayd.config.parameters import Parameters
from gatewayd.wire.openai import Intent, encode

_messages: Final = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_parts: Final = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_string: Final = msgspec.json.Decoder(str)

Mapper = Callable[[Intent], msgspec.Raw | None]


def mapper(parameters: Parameters) -> Mapper | None:
    """What gives a request's `messages` as the API takes them, or None if they can go as they are. None if this API
    takes them in every form."""
    role, flat, strips = parameters.developer, parameters.text_content, parameters.strips
    marks = [b'"developer"'] if role else []
    marks += [b'"text"'] if flat else []
    marks += [b'"%b"' % name.encode() for name in strips]
    if not marks:
        return None
    first, *others = marks
    other = msgspec.Raw(encode(role))

    def mapped(intent: Intent) -> msgspec.Raw | None:
        body = intent.body
        if first not in body and not (others and any(mark in body for mark in others)):
            return None
        if (raw := intent.fields.get("messages")) is None:
            return None
        try:
            messages = _messages.decode(raw)
        except (msgspec.DecodeError, RecursionError):
            return None  # wrong in a way that the API itself describes better
        changed = False
        for message in messages:
            if role and bytes(message.get("role", b"")) == b'"developer"':
                message["role"] = other
                changed = True
            if flat and (joined := _joined(message.get("content"))) is not None:
                message["content"] = joined
                changed = True
            for name in strips.intersection(message):
                del message[name]
                changed = True
        return msgspec.Raw(encode(messages)) if changed else None

    return mapped


def _joined(content: msgspec.Raw | None) -> msgspec.Raw | None:
    """A list of nothing but text parts as one text, as litellm joins them. Any other list stays: an image must not
    vanish from a question."""
    if content is None or bytes(memoryview(content)[:1]) != b"[":
        return None
    try:
        parts = _parts.decode(content)
    except (msgspec.DecodeError, RecursionError):
        return None
    if not parts or any(bytes(part.get("type", b""))[:8] != b'"text"' for part in parts):
        return None
    try:
        return msgspec.Raw(encode("".join([_string.decode(part["text"]) for part in parts])))
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError):
        return None
