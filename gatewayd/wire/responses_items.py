"""Items of OpenAI's Responses API read into the neutral form. Part of `gatewayd.wire.responses`.

A turn is written as several items: a message, and an item for each call, result and thought. Reading puts them
together again, so that dialects with one message for a turn get one.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, Final

import msgspec

from gatewayd.wire.conversation import (
    AudioBlock,
    Block,
    Citation,
    DialectName,
    FileBlock,
    ImageBlock,
    RawBlock,
    RedactedThinkingBlock,
    RefusalBlock,
    Role,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
    Turn,
)
from gatewayd.wire.converting import as_json, extra_of, int_or_none, invalid, split_data_url, text_or_none
from gatewayd.wire.openai import encode
from gatewayd.wire.signatures import split_call_id

_ROLES: Final[dict[str, Role]] = {role: role for role in ("system", "developer", "user", "assistant")}
_SEALED: Final = "gwd1."
"""How `encrypted_content` begins that holds the thoughts of another API, with their proof."""
_ANSWERS: Final = ("_output", "_response")
"""How the types of items end that the caller makes."""


class _Sealed(msgspec.Struct, omit_defaults=True):
    """Thoughts of another API. Clients need not send back anything else of a reasoning item."""

    origin: DialectName | None = None
    text: str = ""
    signature: str | None = None
    redacted: str | None = None


_sealed: Final = msgspec.json.Decoder(_Sealed)


def read_items(items: list[dict[str, Any]], where: str) -> tuple[Turn, ...]:
    """Raises InvalidRequest."""
    turns = _Turns()
    for at, item in enumerate(items):
        turns.add(item, f"{where}[{at}]")
    return turns.all()


class _Turns:
    def __init__(self) -> None:
        self._turns: list[Turn] = []
        self._role: Role | None = None
        self._blocks: list[Block] = []
        self._extra: dict[str, Any] = {}
        self._has_message = False

    def all(self) -> tuple[Turn, ...]:
        self._flush()
        return tuple(self._turns)

    def add(self, item: dict[str, Any], where: str) -> None:
        kind = item.get("type", "message")
        if not isinstance(kind, str):
            raise invalid(f"{where}.type", "must be a string")
        if kind == "message":
            self._message(item, where)
        elif kind in ("function_call_output", "custom_tool_call_output"):
            self._block("user", _result(item, where))
        elif kind.endswith(_ANSWERS):
            self._block("user", RawBlock(dialect="responses", type=kind, raw=as_json(item)))
        else:
            self._block("assistant", read_item(item, where))

    def _message(self, item: dict[str, Any], where: str) -> None:
        role = _ROLES.get(item.get("role", ""))
        if role is None:
            raise invalid(f"{where}.role", "must be one of system, developer, user, assistant")
        blocks = read_content_parts(item.get("content"), f"{where}.content")
        if role != "assistant" or self._role != role or self._has_message:
            self._begin(role)
        self._has_message = True
        self._blocks += blocks
        # An id and a status are of the item and not of what it says.
        self._extra = {name: item[name] for name in item if name not in ("type", "role", "content", "id", "status")}

    def _block(self, role: Role, block: Block) -> None:
        if self._role != role or (role == "user" and self._has_message):
            self._begin(role)
        self._blocks.append(block)

    def _begin(self, role: Role) -> None:
        self._flush()
        self._role = role

    def _flush(self) -> None:
        if self._role is not None:
            self._turns.append(Turn(self._role, tuple(self._blocks), extra=extra_of(self._extra)))
        self._role, self._blocks, self._extra, self._has_message = None, [], {}, False


def read_item(item: dict[str, Any], where: str) -> Block:
    """An item that a model has made, and that is no message. Raises InvalidRequest."""
    match item:
        case {"type": "function_call", "name": str(name), "arguments": str(arguments)}:
            return _call(item, name, arguments, where)
        case {"type": "custom_tool_call", "name": str(name), "input": str(text)}:
            return _call(item, name, text, where)
        case {"type": "function_call" | "custom_tool_call"}:
            raise invalid(where, "must have a name and arguments or input, which are strings")
        case {"type": "reasoning"}:
            return _thought(item)
        case _:
            return RawBlock(dialect="responses", type=str(item.get("type", "")), raw=as_json(item))


def _call(item: dict[str, Any], name: str, arguments: str, where: str) -> ToolUseBlock:
    call_id = item.get("call_id")
    if not isinstance(call_id, str):
        raise invalid(f"{where}.call_id", "must be a string")
    known = ("type", "id", "call_id", "name", "arguments", "input", "namespace", "status")
    call_id, signature = split_call_id(call_id)
    return ToolUseBlock(
        call_id=call_id,
        signature=signature,
        name=name,
        arguments=arguments,
        kind="custom" if item["type"] == "custom_tool_call" else "function",
        namespace=text_or_none(item.get("namespace")),
        item_id=text_or_none(item.get("id")),
        extra=extra_of({name: value for name, value in item.items() if name not in known}),
    )


def _result(item: dict[str, Any], where: str) -> ToolResultBlock:
    call_id = item.get("call_id")
    if not isinstance(call_id, str):
        raise invalid(f"{where}.call_id", "must be a string")
    known = ("type", "id", "call_id", "output", "status")
    return ToolResultBlock(
        call_id=split_call_id(call_id)[0],
        blocks=tuple(read_content_parts(item.get("output"), f"{where}.output")),
        kind="custom" if item["type"] == "custom_tool_call_output" else "function",
        item_id=text_or_none(item.get("id")),
        extra=extra_of({name: value for name, value in item.items() if name not in known}),
    )


def _thought(item: dict[str, Any]) -> Block:
    proof = text_or_none(item.get("encrypted_content"))
    if proof is not None and proof.startswith(_SEALED):
        try:
            found = _sealed.decode(base64.b64decode(proof[len(_SEALED) :], b"-_", validate=True))
        except (binascii.Error, ValueError, msgspec.DecodeError):
            found = _Sealed()
        if found.redacted is not None:
            return RedactedThinkingBlock(data=found.redacted, origin=found.origin)
        if found.signature is not None:
            return ThinkingBlock(text=found.text, signature=found.signature, origin=found.origin)
        proof = None
    return ThinkingBlock(
        text="".join(_texts(item.get("content"))),
        summary=tuple(_texts(item.get("summary"))),
        encrypted=proof,
        item_id=text_or_none(item.get("id")),
        origin="responses",
    )


def sealed_thought(block: ThinkingBlock | RedactedThinkingBlock) -> str | None:
    """`encrypted_content` for thoughts of another API; None if there is no proof that would have to come back."""
    if isinstance(block, RedactedThinkingBlock):
        sealed = _Sealed(origin=block.origin, redacted=block.data)
    elif block.signature is not None:
        sealed = _Sealed(origin=block.origin, text=block.text, signature=block.signature)
    else:
        return None
    return _SEALED + base64.urlsafe_b64encode(encode(sealed)).decode()


def _texts(parts: Any) -> list[str]:
    found = []
    for part in parts if isinstance(parts, list) else ():
        match part:
            case {"text": str(text)} if text:
                found.append(text)
            case _:
                pass
    return found


# --- parts of messages --------------------------------------------------------------------------------------------


def read_content_parts(content: Any, where: str) -> list[Block]:
    """Raises InvalidRequest."""
    if content is None or content == "":
        return []
    if isinstance(content, str):
        return [TextBlock(content)]
    if not isinstance(content, list):
        raise invalid(where, "must be a string or a list of parts")
    return [_part(part, f"{where}[{at}]") for at, part in enumerate(content)]


def _part(part: Any, where: str) -> Block:
    match part:
        case {"type": "input_text" | "output_text" | "text", "text": str(text), **rest}:
            notes = rest.pop("annotations", None)
            rest.pop("logprobs", None)  # of an answer that is sent back: nothing of them reaches a model
            return TextBlock(text, citations=read_annotations(notes), extra=extra_of(rest))
        case {"type": "input_image"}:
            return _image(part, where)
        case {"type": "input_file"}:
            return _file(part, where)
        case {"type": "input_audio", "input_audio": {"data": str(data), "format": str(form)}}:
            return AudioBlock(data=data, media_type=f"audio/{form}")
        case {"type": "refusal", "refusal": str(refusal)}:
            return RefusalBlock(refusal)
        case {"type": str(kind)} if kind not in ("input_text", "output_text", "text", "refusal", "input_audio"):
            return RawBlock(dialect="responses", type=kind, raw=as_json(part))
        case {"type": str(kind)}:
            raise invalid(where, f"is not a valid part of type '{kind}'")
        case _:
            raise invalid(f"{where}.type", "must be a string")


def _image(part: dict[str, Any], where: str) -> ImageBlock:
    detail = text_or_none(part.get("detail"))
    match part:
        case {"image_url": str(url)} | {"image_url": {"url": str(url)}}:
            if (found := split_data_url(url)) is not None:
                return ImageBlock(media_type=found[0], data=found[1], detail=detail)
            return ImageBlock(url=url, detail=detail)
        case {"file_id": str(file_id)}:
            return ImageBlock(file_id=file_id, detail=detail)
        case _:
            raise invalid(where, "must have image_url or file_id")


def _file(part: dict[str, Any], where: str) -> FileBlock:
    name = text_or_none(part.get("filename"))
    known = ("type", "filename", "file_data", "file_url", "file_id")
    extra = extra_of({member: value for member, value in part.items() if member not in known})
    match part:
        case {"file_data": str(data)}:
            media_type, data = split_data_url(data) or (None, data)
            return FileBlock(data=data, media_type=media_type, name=name, extra=extra)
        case {"file_url": str(url)}:
            return FileBlock(url=url, name=name, extra=extra)
        case {"file_id": str(file_id)}:
            return FileBlock(file_id=file_id, name=name, extra=extra)
        case _:
            raise invalid(where, "must have file_data, file_url or file_id")


def read_annotations(notes: Any) -> tuple[Citation, ...]:
    return tuple(read_annotation(note) for note in notes if isinstance(note, dict)) if isinstance(notes, list) else ()


def read_annotation(note: dict[str, Any]) -> Citation:
    if note.get("type") != "url_citation":
        return Citation(extra=extra_of(note))
    return Citation(
        url=text_or_none(note.get("url")),
        title=text_or_none(note.get("title")),
        start=int_or_none(note.get("start_index")),
        end=int_or_none(note.get("end_index")),
    )


def write_annotation(citation: Citation, end: int, start: int = 0) -> dict[str, Any] | None:
    """`start` and `end` of the text, for a citation that does not say its own. None for what this API cannot say."""
    if citation.url is None:
        return dict(citation.extra) if "type" in citation.extra else None
    return {
        "type": "url_citation",
        "url": citation.url,
        "title": citation.title or "",
        "start_index": start if citation.start is None else citation.start,
        "end_index": end if citation.end is None else citation.end,
    }
