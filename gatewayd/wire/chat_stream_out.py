"""Writes streams of OpenAI's chat completions API. Part of `gatewayd.wire.chat`."""

from __future__ import annotations

from typing import Any

import msgspec

from gatewayd.wire.chat_answer import (
    NO_WORDS,
    annotation,
    finish_reason,
    write_counts,
    write_error,
)
from gatewayd.wire.chat_request_out import thinking_members, tool_call
from gatewayd.wire.conversation import (
    AudioBlock,
    Block,
    ImageBlock,
    RedactedThinkingBlock,
    RefusalBlock,
    Request,
    StopReason,
    TextBlock,
    ThinkingBlock,
    TokenUsage,
    ToolUseBlock,
)
from gatewayd.wire.converting import data_url
from gatewayd.wire.events import (
    BlockStart,
    BlockStop,
    Cited,
    Delta,
    End,
    Ping,
    Start,
    Stop,
    StreamError,
    StreamEvent,
    UsageReport,
)
from gatewayd.wire.openai import DONE, encode
from gatewayd.wire.signatures import signed_call
from gatewayd.wire.tool_names import RestoredTools


class Writer:
    """Implements `events.Writer`. A signed thought is given once more, whole, when it is complete."""

    def __init__(self, request: Request) -> None:
        self._include_usage = request.include_usage
        tools = RestoredTools(request)
        self._tools = None if tools.idle else tools
        self._head = b""
        self._blocks: dict[tuple[int, int], Block] = {}
        self._thoughts: dict[tuple[int, int], dict[str, list[str]]] = {}
        self._argued: set[tuple[int, int]] = set()
        """The calls whose arguments have begun."""
        self._places: dict[tuple[int, int], int] = {}
        """Of tool calls: their index in `tool_calls`."""
        self._refused: set[int] = set()
        self._said: set[int] = set()
        self._lengths: dict[int, int] = {}
        self._usage: TokenUsage | None = None
        self._over = False

    def feed(self, event: StreamEvent) -> list[bytes]:
        if self._over:
            return []
        if self._tools is None:
            return self._feed(event)
        return [piece for restored in self._tools.feed(event) for piece in self._feed(restored)]

    def _feed(self, event: StreamEvent) -> list[bytes]:
        match event:
            case Delta(index, kind, text, choice):
                return self._delta(event, (choice, index), kind, text)
            case Start():
                return self._start(event)
            case BlockStart(index, block, choice):
                self._blocks[choice, index] = block
                return self._begin((choice, index), block)
            case BlockStop(index, choice):
                return self._block_stop((choice, index))
            case Cited(index, citation, choice):
                length = self._lengths.get(choice, 0)
                note = annotation(citation, 0, length)
                return [] if note is None else [self._chunk(choice, {"annotations": [note]})]
            case UsageReport(usage):
                self._usage = usage
                return []
            case Stop(reason, _, choice):
                return self._stop(reason, choice)
            case End():
                return self._end()
            case StreamError():
                return [self.error(event)]
            case Ping():
                return []

    def error(self, error: StreamError) -> bytes:
        self._over = True
        return b"data: " + write_error(error) + b"\n\n"

    def _start(self, start: Start) -> list[bytes]:
        common = {
            "id": start.answer_id,
            "object": "chat.completion.chunk",
            "created": start.created or 0,
            "model": start.model,
        }
        if start.service_tier is not None:
            common["service_tier"] = start.service_tier
        self._head = b"data: " + encode(common)[:-1]
        self._usage = start.usage
        return [self._chunk(0, {"role": "assistant", "content": ""})]

    def _chunk(self, choice: int, delta: dict[str, Any], finish: str | None = None, logprobs: Any = None) -> bytes:
        body: dict[str, Any] = {"index": choice, "delta": delta, "finish_reason": finish}
        if logprobs is not None:
            body["logprobs"] = logprobs
        return b'%b,"choices":[%b]}\n\n' % (self._head, encode(body))

    def _delta(self, event: Delta, key: tuple[int, int], kind: str, text: str) -> list[bytes]:
        choice = key[0]
        match kind:
            case "text":
                self._said.add(choice)
                self._lengths[choice] = self._lengths.get(choice, 0) + len(text)
                return [self._chunk(choice, {"content": text}, logprobs=event.logprobs)]
            case "arguments":
                return [self._arguments(key, text)] if text and key in self._places else []
            case "refusal":
                self._refused.add(choice)
                return [self._chunk(choice, {"refusal": text})]
            case "audio":
                return [self._chunk(choice, {"audio": {"data": text}})]
            case "transcript":
                return [self._chunk(choice, {"audio": {"transcript": text}})]
            case _:
                return self._thought(key, kind, text, event.part)

    def _thought(self, key: tuple[int, int], kind: str, text: str, part: int) -> list[bytes]:
        pieces = self._thoughts.setdefault(key, {"thinking": [], "proof": []})
        if kind in ("signature", "encrypted"):
            pieces["proof"].append(text)
            return []
        if kind == "summary" and part != len(pieces.setdefault("parts", [""])) - 1:
            pieces["parts"].append("")
            text = f"\n\n{text}"
        pieces["thinking"].append(text)
        return [self._chunk(key[0], {"reasoning_content": text})] if text else []

    def _begin(self, key: tuple[int, int], block: Block) -> list[bytes]:
        choice = key[0]
        match block:
            case ToolUseBlock():
                self._said.add(choice)
                place = sum(1 for other in self._places if other[0] == choice)
                self._places[key] = place
                return [self._chunk(choice, {"tool_calls": [{"index": place, **tool_call(signed_call(block))}]})]
            case TextBlock(text) if text:
                return self._delta(Delta(key[1], "text", text, choice), key, "text", text)
            case RefusalBlock(text) if text:
                return self._delta(Delta(key[1], "refusal", text, choice), key, "refusal", text)
            case ThinkingBlock(text=text) if text:
                return self._thought(key, "thinking", text, 0)
            case ImageBlock(url=url, data=data, media_type=media_type):
                self._said.add(choice)
                address = url if data is None else data_url(data, media_type)
                return [self._chunk(choice, {"images": [{"type": "image_url", "image_url": {"url": address}}]})]
            case AudioBlock(audio_id=audio_id):
                self._said.add(choice)
                return [self._chunk(choice, {"audio": {"id": audio_id or ""}})]
            case _:
                return []

    def _arguments(self, key: tuple[int, int], text: str) -> bytes:
        self._argued.add(key)
        block = self._blocks[key]
        custom = isinstance(block, ToolUseBlock) and block.kind == "custom"
        said = {"custom": {"input": text}} if custom else {"function": {"arguments": text}}
        return self._chunk(key[0], {"tool_calls": [{"index": self._places[key], **said}]})

    def _block_stop(self, key: tuple[int, int]) -> list[bytes]:
        block = self._blocks.pop(key, None)
        if isinstance(block, ToolUseBlock):
            self._blocks[key] = block
            silent = block.kind == "function" and not block.arguments and key not in self._argued
            return [self._arguments(key, "{}")] if silent else []
        if isinstance(block, RedactedThinkingBlock):
            return [self._chunk(key[0], thinking_members([block]))]
        if not isinstance(block, ThinkingBlock):
            return []
        pieces = self._thoughts.pop(key, {"thinking": [], "proof": []})
        proof = "".join(pieces["proof"]) or block.signature or block.encrypted
        encrypted = block.encrypted is not None or block.origin == "responses"
        whole = msgspec.structs.replace(
            block,
            text="".join(pieces["thinking"]),
            signature=None if encrypted else proof,
            encrypted=proof if encrypted else None,
        )
        members = thinking_members([whole])
        members.pop("reasoning_content", None)
        return [self._chunk(key[0], members)] if members else []

    def _stop(self, reason: StopReason, choice: int) -> list[bytes]:
        finish = finish_reason(reason, has_words=choice in self._refused)
        delta: dict[str, Any] = {}
        if finish == "content_filter" and choice not in self._said | self._refused:
            delta["refusal"] = NO_WORDS
        return [self._chunk(choice, delta, finish)]

    def _end(self) -> list[bytes]:
        self._over = True
        if not self._include_usage or self._usage is None:
            return [DONE]
        return [b'%b,"choices":[],"usage":%b}\n\n' % (self._head, encode(write_counts(self._usage))), DONE]
