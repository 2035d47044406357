"""The parts of Gemini's contents as blocks. Part of `gatewayd.wire.gemini`.

Google's servers take every name in camelCase and in snake_case, so requests are read in both; answers come in
camelCase. What no other dialect knows of a part (`videoMetadata`) is kept beside the block, and a part of a kind that
no other dialect has (`executableCode`, server-side tool calls) is kept whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final, Protocol

import msgspec

from gatewayd.wire.blocks import (
    AudioBlock,
    Block,
    DialectName,
    FileBlock,
    ImageBlock,
    Json,
    RawBlock,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
)
from gatewayd.wire.converting import BOOLEAN, MEMBERS, STRING, Members, as_json, invalid

_KINDS: Final = ("functionCall", "functionResponse", "inlineData", "fileData", "text")
_DETAILS: Final = {
    "MEDIA_RESOLUTION_LOW": "low",
    "MEDIA_RESOLUTION_MEDIUM": "medium",
    "MEDIA_RESOLUTION_HIGH": "high",
    "MEDIA_RESOLUTION_ULTRA_HIGH": "ultra_high",
}
RESOLUTIONS: Final = {detail: level for level, detail in _DETAILS.items()}


class CamelMembers(Members):
    """The members of an object of Google's, by their names in camelCase."""

    def __init__(self, members: dict[str, Json], where: str = "") -> None:
        super().__init__({camel(name): raw for name, raw in members.items()}, where)

    def camel_members(self, name: str) -> CamelMembers | None:
        found = self.members(name)
        return None if found is None else CamelMembers(found.rest(), self.path(name))

    def camel_list(self, name: str) -> list[CamelMembers] | None:
        found = self.member_list(name)
        if found is None:
            return None
        return [CamelMembers(one.rest(), f"{self.path(name)}[{at}]") for at, one in enumerate(found)]


def camel(name: str) -> str:
    if "_" not in name:
        return name
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))


class CallIds(Protocol):
    """Ids for calls of tools, which Gemini's older models do not have."""

    def call(self, name: str, given: str | None) -> str: ...

    def result(self, name: str, given: str | None) -> str: ...


class ConversationIds:
    """Ids by the order of the calls in a conversation: the same again when it is sent again, and longer."""

    def __init__(self) -> None:
        self._count = 0
        self._open: list[tuple[str, str]] = []

    def call(self, name: str, given: str | None) -> str:
        call_id = given or f"call_{self._count}"
        self._count += 1
        self._open.append((name, call_id))
        return call_id

    def result(self, name: str, given: str | None) -> str:
        """The id of the first call of that tool that has no result yet."""
        for at, (called, call_id) in enumerate(self._open):
            if call_id == given or (given is None and called == name):
                del self._open[at]
                return call_id
        return given or f"call_{self._count}_{name}"


class AnswerIds:
    """Ids made of the answer's own id, so that the whole answer and its stream have the same."""

    def __init__(self, answer_id: str) -> None:
        self._answer_id = answer_id
        self._count = 0

    def call(self, name: str, given: str | None) -> str:
        if given:
            return given
        seed = f"{self._answer_id}/{self._count}/{name}"
        self._count += 1
        return f"call_{hashlib.blake2s(seed.encode(), digest_size=12).hexdigest()}"

    def result(self, name: str, given: str | None) -> str:
        return given or ""


def read_parts(parts: Iterable[CamelMembers], ids: CallIds, origin: DialectName | None) -> tuple[Block, ...]:
    """The blocks of one content. Raises InvalidRequest.

    `origin` is that of signatures: Gemini's for an answer, unknown for what a caller sends.
    """
    return tuple(without_empty((read_part(part, ids, origin) for part in parts), origin))


def without_empty(blocks: Iterable[Block], origin: DialectName | None) -> list[Block]:
    """The blocks without empty text; its signatures go to the blocks before."""
    kept: list[Block] = []
    for block in blocks:
        if not isinstance(block, TextBlock | ThinkingBlock) or block.text or block.extra:
            kept.append(block)
        elif block.signature is None:
            continue
        elif isinstance(block, ThinkingBlock):
            kept.append(block)
        else:
            _fold_signature(kept, block.signature, origin)
    return kept


def _fold_signature(blocks: list[Block], signature: str, origin: DialectName | None) -> None:
    """Gives the signature of an empty text part to the block before it: others do not keep empty text."""
    last = blocks[-1] if blocks else None
    if isinstance(last, TextBlock) and last.signature is None:
        blocks[-1] = msgspec.structs.replace(last, signature=signature)
    elif isinstance(last, ThinkingBlock) and last.signature is None:
        blocks[-1] = msgspec.structs.replace(last, signature=signature, origin=origin)
    else:
        blocks.append(ThinkingBlock(signature=signature, origin=origin))


def read_part(part: CamelMembers, ids: CallIds, origin: DialectName | None) -> Block:
    """Raises InvalidRequest."""
    kind = next((kind for kind in _KINDS if kind in part), None)
    thought = part.take("thought", BOOLEAN)
    signature = part.take("thoughtSignature", STRING)
    left = part.rest()
    if kind == "text" or (not left and (thought or signature is not None)):
        text = part.take("text", STRING) or ""
        if thought:
            return ThinkingBlock(text=text, signature=signature, origin=origin, extra=part.rest())
        return TextBlock(text, signature=signature, extra=part.rest())
    if kind == "functionCall":
        return _call(part, ids, signature)
    if kind == "functionResponse":
        return _result(part, ids)
    if kind == "inlineData":
        return _inline(part)
    if kind == "fileData":
        return _file(part)
    if not left:
        raise invalid(part.path("text"), "is missing")
    raw = as_json({**left, **({} if signature is None else {"thoughtSignature": signature})})
    return RawBlock(dialect="gemini", type=next(iter(left)), raw=raw)


def _call(part: CamelMembers, ids: CallIds, signature: str | None) -> ToolUseBlock:
    call = part.camel_members("functionCall")
    assert call is not None
    name = call.take("name", STRING) or ""
    arguments = call.raw("args")
    return ToolUseBlock(
        call_id=ids.call(name, call.take("id", STRING)),
        name=name,
        arguments="{}" if arguments is None else msgspec.json.format(bytes(arguments), indent=-1).decode(),
        signature=signature,
        extra=part.rest(),
    )


def _result(part: CamelMembers, ids: CallIds) -> ToolResultBlock:
    found = part.camel_members("functionResponse")
    assert found is not None
    name = found.take("name", STRING) or ""
    call_id = ids.result(name, found.take("id", STRING))
    raw = found.raw("response")
    text, is_error, plain = "", False, True
    if raw is not None:
        text, is_error, plain = _result_text(raw, found.path("response"))
    media = [read_part(one, ids, None) for one in found.camel_list("parts") or ()]
    extra = {**part.rest(), **{f"functionResponse.{key}": value for key, value in found.rest().items()}}
    if raw is not None and not plain:
        extra["response"] = raw
    blocks: tuple[Block, ...] = (TextBlock(text),) if text else ()
    return ToolResultBlock(
        call_id=call_id, blocks=(*blocks, *media), is_error=is_error or None, name=name or None, extra=extra
    )


def _result_text(raw: Json, where: str) -> tuple[str, bool, bool]:
    """The result as text, whether it is an error, and whether `result_object` gives the same again."""
    try:
        found = MEMBERS.decode(raw)
    except msgspec.DecodeError:
        raise invalid(where, "must be an object") from None
    if len(found) == 1:
        key, value = next(iter(found.items()))
        if key in ("output", "error", "result"):
            is_text = bytes(memoryview(value)[:1]) == b'"'
            text = STRING.decode(value) if is_text else bytes(value).decode()
            return text, key == "error", is_text and key != "result"
    return bytes(raw).decode(), False, False


def result_object(text: str, is_error: bool) -> dict[str, str]:
    """A tool's result as Gemini takes it. Its text stays one string: as an object of Google's, large whole numbers in
    it would be rounded."""
    return {"error" if is_error else "output": text}


def _inline(part: CamelMembers) -> Block:
    data = part.camel_members("inlineData")
    assert data is not None
    media_type, content = data.take("mimeType", STRING), data.take("data", STRING)
    if content is None:
        raise invalid(data.path("data"), "is missing")
    name, kind = data.take("displayName", STRING), (media_type or "").partition("/")[0]
    if kind == "image":
        return ImageBlock(data=content, media_type=media_type, detail=_detail(part), extra=part.rest())
    if kind == "audio":
        return AudioBlock(data=content, media_type=media_type, extra=part.rest())
    return FileBlock(data=content, media_type=media_type, name=name, extra=part.rest())


def _file(part: CamelMembers) -> Block:
    data = part.camel_members("fileData")
    assert data is not None
    media_type, url = data.take("mimeType", STRING), data.take("fileUri", STRING)
    if url is None:
        raise invalid(data.path("fileUri"), "is missing")
    name = data.take("displayName", STRING)
    if (media_type or "").startswith("image/"):
        return ImageBlock(url=url, media_type=media_type, detail=_detail(part), extra=part.rest())
    return FileBlock(url=url, media_type=media_type, name=name, extra=part.rest())


def _detail(part: CamelMembers) -> str | None:
    resolution = part.camel_members("mediaResolution")
    return None if resolution is None else _DETAILS.get(resolution.take("level", STRING) or "")
