"""Blocks and turns of Bedrock's Converse API, written from the neutral form. _Part of `gatewayd.wire.converse`.

The API refuses blank text, other characters in ids and in names of documents, roles that do not take turns, and calls
of tools in a conversation without tools.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from gatewayd.wire.conversation import (
    AudioBlock,
    Block,
    CacheMark,
    FileBlock,
    ImageBlock,
    RawBlock,
    RedactedThinkingBlock,
    RefusalBlock,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
    Turn,
)
from gatewayd.wire.converse_model import ConverseModel
from gatewayd.wire.converting import DropList, flat_name, quoted_system
from gatewayd.wire.signatures import split_call_id
from gatewayd.wire.tool_names import json_arguments

CONVERSE_API: Final = "the Converse API"
_NOT_HERE: Final = f"which cannot be expressed in {CONVERSE_API}"
_ID: Final = re.compile(r"[a-zA-Z0-9_.:-]{1,64}")
_NOT_IN_NAMES: Final = re.compile(r"[^a-zA-Z0-9\s\-()\[\]]+")
_IMAGES: Final = {
    "image/png": "png",
    "image/jpeg": "jpeg",
    "image/jpg": "jpeg",
    "image/gif": "gif",
    "image/webp": "webp",
}
_DOCUMENTS: Final = {
    "application/pdf": "pdf", "text/csv": "csv", "application/msword": "doc", "text/html": "html", "text/plain": "txt",
    "text/markdown": "md", "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
}  # fmt: skip
_VIDEOS: Final = {"x-matroska": "mkv", "quicktime": "mov", "x-flv": "flv", "x-ms-wmv": "wmv", "3gpp": "three_gp"}
_SOUNDS: Final = {"x-wav": "wav", "wave": "wav"}
_NO_WORDS: Final = "."
"""Beside a document there have to be words."""
_Part = dict[str, Any]


class ConverseBlocks:
    """The blocks of one request."""

    def __init__(self, model: ConverseModel, losses: DropList, *, has_tools: bool) -> None:
        self._model = model
        self._losses = losses
        self._has_tools = has_tools
        self._titles: set[str] = set()

    def write(self, blocks: Sequence[Block]) -> list[_Part]:
        return [part for block in blocks for part in self._block(block)]

    def system(self, blocks: Sequence[Block]) -> list[_Part]:
        parts: list[_Part] = []
        for block in blocks:
            if isinstance(block, TextBlock):
                parts += self._block(block)
            else:
                self._losses.drop("system")
        return parts

    def cache_point(self, mark: CacheMark | None, where: str) -> list[_Part]:
        if mark is None:
            return []
        if not self._model.takes_cache_points:
            self._losses.drop(f"{where}.cache_control")
            return []
        point = {"type": "default"}
        if mark.ttl == "1h" and self._model.is_claude:
            point["ttl"] = mark.ttl
        return [{"cachePoint": point}]

    def _block(self, block: Block) -> list[_Part]:
        match block:
            case TextBlock(text, citations=citations):
                if citations:
                    self._losses.drop("messages.citations")
                return [*_text(text), *(self.cache_point(block.cache, "messages") if text.strip() else [])]
            case RefusalBlock(text):
                return _text(text)
            case ThinkingBlock():
                return self._thinking(block)
            case RedactedThinkingBlock(data=data, origin=origin):
                if self._model.is_claude and origin in (None, "messages"):
                    return [{"reasoningContent": {"redactedContent": data}}]
                self._losses.drop("messages.thinking")
                return []
            case ToolUseBlock():
                return [*self._call(block), *self.cache_point(block.cache, "messages")]
            case ToolResultBlock():
                return [*self._result(block), *self.cache_point(block.cache, "messages")]
            case ImageBlock():
                if block.detail is not None:
                    self._losses.drop("messages.detail")
                return self._media("image", _IMAGES.get(block.media_type or "image/png"), block)
            case AudioBlock(data=None):
                self._losses.drop("messages.audio")
                return _text(block.transcript or "")
            case AudioBlock():
                form = (block.media_type or "audio/wav").partition("/")[2]
                return self._media("audio", _SOUNDS.get(form, form), block)
            case FileBlock():
                return self._document(block)
            case RawBlock(dialect="chat", type="guarded_text", raw=raw):
                return [{"guardContent": {"text": {"text": str(msgspec.json.decode(raw).get("text", ""))}}}]
            case RawBlock(type=kind):
                self._losses.refuse("messages", f"has content of type '{kind}', {_NOT_HERE}")
                return []

    def _thinking(self, block: ThinkingBlock) -> list[_Part]:
        """Claude's thoughts go back with Anthropic's signature, and not without; other models take none back."""
        if self._model.is_claude and block.signature and block.origin in (None, "messages"):
            return [{"reasoningContent": {"reasoningText": {"text": block.text, "signature": block.signature}}}]
        self._losses.drop("messages.thinking")
        return []

    def _call(self, block: ToolUseBlock) -> list[_Part]:
        name, arguments = flat_name(block.name, block.namespace), json_arguments(block)
        if not self._has_tools:
            return _text(f"[called {name} with {bytes(arguments).decode()}]")
        return [{"toolUse": {"toolUseId": _call_id(block.call_id), "name": name, "input": arguments}}]

    def _result(self, block: ToolResultBlock) -> list[_Part]:
        content, beside = self.write(block.blocks), list[_Part]()
        if not self._has_tools:
            words = "\n".join(part["text"] for part in content if "text" in part)
            return [*_text(f"[result: {words}]"), *(part for part in content if "text" not in part)]
        if not self._model.sees_tool_results:
            beside = [part for part in content if "text" not in part]
            content = [part for part in content if "text" in part]
        content = [part for part in content if "cachePoint" not in part]
        result: _Part = {"toolUseId": _call_id(block.call_id), "content": content}
        if block.is_error:
            if self._model.knows_failed_results:
                result["status"] = "error"
            else:
                self._losses.drop("messages.is_error")
        return [{"toolResult": result}, *beside]

    def _media(self, kind: str, form: str | None, block: ImageBlock | AudioBlock | FileBlock) -> list[_Part]:
        source = self._source(block)
        if form is None or source is None:
            what = "an address" if source is None else "a type"
            self._losses.refuse("messages", f"has {kind} data with {what} that {CONVERSE_API} does not take")
            return []
        self._losses.parts("messages", block.extra)
        return [{kind: {"format": form, "source": source}}, *self.cache_point(block.cache, "messages")]

    def _source(self, block: ImageBlock | AudioBlock | FileBlock) -> _Part | None:
        if block.data is not None:
            return {"bytes": block.data}
        url = None if isinstance(block, AudioBlock) else block.url
        return {"s3Location": {"uri": url}} if url is not None and url.startswith("s3://") else None

    def _document(self, block: FileBlock) -> list[_Part]:
        kind, _, form = (block.media_type or "").partition("/")
        if kind == "image":
            return self._media("image", _IMAGES.get(f"{kind}/{form}"), block)
        if kind == "video":
            return self._media("video", _VIDEOS.get(form, form), block)
        name = self._title(block)
        if block.text is not None:
            written = self._media_of_text(block.text, name)
        else:
            ending = (block.name or block.url or "").rpartition(".")[2].lower()
            known = _DOCUMENTS.get(block.media_type or "") or (ending if ending in _DOCUMENTS.values() else None)
            written = self._media("document", known or (None if block.media_type else "pdf"), block)
            if not written:
                return []
            written[0]["document"]["name"] = name
        if block.context is not None:
            written[0]["document"]["context"] = block.context
        if block.cite:
            written[0]["document"]["citations"] = {"enabled": True}
        return written

    def _media_of_text(self, text: str, name: str) -> list[_Part]:
        return [{"document": {"format": "txt", "name": name, "source": {"text": text}}}]

    def _title(self, block: FileBlock) -> str:
        """The name of a document: of few characters, and another one for each document of a conversation."""
        clean = " ".join(_NOT_IN_NAMES.sub(" ", block.name or "").split())[:180] or "document"
        name, number = clean, 2
        while name in self._titles:
            name, number = f"{clean} {number}", number + 1
        self._titles.add(name)
        return name


def _text(text: str) -> list[_Part]:
    return [{"text": text}] if text.strip() else []


def _call_id(call_id: str) -> str:
    """An id as Bedrock takes it; different ones stay different."""
    plain = split_call_id(call_id)[0]
    if _ID.fullmatch(plain):
        return plain
    return f"call_{hashlib.blake2s(plain.encode(), digest_size=12).hexdigest()}"


def converse_turns(turns: Sequence[Turn], blocks: ConverseBlocks, *, in_place: bool) -> list[dict[str, Any]]:
    """Messages whose roles take turns, results of tools first. `in_place`: the model takes system turns among them;
    else they are words on the user's side, at their place."""
    messages: list[dict[str, Any]] = []
    for turn in turns:
        role: str = turn.role
        content = blocks.write(turn.blocks)
        if role in ("system", "developer"):
            role = "system" if in_place else "user"
            if not in_place:
                content = [_quoted(part) for part in content]
        if not content:
            continue
        if messages and messages[-1]["role"] == role:
            messages[-1]["content"] += content
        else:
            messages.append({"role": role, "content": content})
    for message in messages:
        content = message["content"]
        if message["role"] == "user":
            message["content"] = content = _results_first(content)
        if any("document" in part for part in content) and not any("text" in part for part in content):
            content.append({"text": _NO_WORDS})
    if messages and messages[-1]["role"] == "assistant" and "text" in messages[-1]["content"][-1]:
        last = messages[-1]["content"][-1]
        last["text"] = last["text"].rstrip()  # a beginning of the answer may not end in white space
    return messages


def _results_first(content: list[_Part]) -> list[_Part]:
    """Results of tools, each with the cache point behind it, before the rest."""
    first: list[_Part] = []
    rest: list[_Part] = []
    after_result = False
    for part in content:
        after_result = "toolResult" in part or ("cachePoint" in part and after_result)
        (first if after_result else rest).append(part)
    return first + rest


def _quoted(part: _Part) -> _Part:
    return {"text": quoted_system(part["text"])} if "text" in part else part
