"""The neutral form of a conversation: what every dialect is read into, and written from.

It is richer than any single dialect, so whatever two dialects can both say survives the way from one to the other.
This module and its parts, `blocks` (taken over here) and `events` (of a stream), have data only.
`gatewayd.wire.converting` has what the dialects share.

- Objects are immutable; change one with `msgspec.structs.replace`.
- JSON that is only carried (schemas, arguments, unknown fields) is kept as bytes (`Json`) or text, never parsed.
- `extra` holds what only the dialect of the object's origin knows, by field name. A writer of the same dialect writes
  it back; other writers drop it and name it. On a request, `binding` names the members of `extra` that change what is
  asked, so they are refused instead.
- None means "not said". A writer then says nothing, so the provider's default applies.

The module of a dialect has these names, and no I/O:

    read_request(body: bytes) -> Request                            raises InvalidJson, InvalidRequest
    write_request(request, target: ModelTarget) -> WrittenRequest   raises InvalidRequest, naming the field
    read_answer(body: bytes) -> Answer                              raises UpstreamBadResponse
    write_answer(answer, request) -> bytes                          `request` is what the caller asked
    read_error(body: bytes) -> StreamError | None                   an error body, or None if it is none
    Reader()                                                        `events.Reader`: a provider's stream
    Writer(request)                                                 `events.Writer`: a stream for a caller
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

import msgspec

from gatewayd.wire.blocks import AudioBlock as AudioBlock
from gatewayd.wire.blocks import Block as Block
from gatewayd.wire.blocks import CacheMark as CacheMark
from gatewayd.wire.blocks import Citation as Citation
from gatewayd.wire.blocks import DialectName as DialectName
from gatewayd.wire.blocks import Effort as Effort
from gatewayd.wire.blocks import Extra as Extra
from gatewayd.wire.blocks import FileBlock as FileBlock
from gatewayd.wire.blocks import ImageBlock as ImageBlock
from gatewayd.wire.blocks import Json as Json
from gatewayd.wire.blocks import RawBlock as RawBlock
from gatewayd.wire.blocks import RedactedThinkingBlock as RedactedThinkingBlock
from gatewayd.wire.blocks import RefusalBlock as RefusalBlock
from gatewayd.wire.blocks import Role as Role
from gatewayd.wire.blocks import TextBlock as TextBlock
from gatewayd.wire.blocks import ThinkingBlock as ThinkingBlock
from gatewayd.wire.blocks import ToolKind as ToolKind
from gatewayd.wire.blocks import ToolResultBlock as ToolResultBlock
from gatewayd.wire.blocks import ToolUseBlock as ToolUseBlock
from gatewayd.wire.blocks import Turn as Turn

# --- tools --------------------------------------------------------------------------------------------------------


class FunctionTool(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    description: str | None = None
    parameters: Json | None = None
    """The JSON schema of the arguments."""
    strict: bool | None = None
    namespace: str | None = None
    cache: CacheMark | None = None
    deferred: bool | None = None
    """Whether the model sees the tool only after it has searched for it."""
    extra: Extra = {}


class CustomTool(msgspec.Struct, frozen=True, kw_only=True):
    """A tool that takes free text, perhaps of a grammar (`format`)."""

    name: str
    description: str | None = None
    format: Json | None = None
    namespace: str | None = None
    cache: CacheMark | None = None
    deferred: bool | None = None
    extra: Extra = {}


class ServerTool(msgspec.Struct, frozen=True, kw_only=True):
    """A tool that the provider runs itself, whole: `web_search`, `code_execution`, an MCP server."""

    dialect: DialectName
    type: str
    name: str | None = None
    raw: Json


Tool: TypeAlias = FunctionTool | CustomTool | ServerTool


class ToolName(msgspec.Struct, frozen=True):
    name: str
    kind: Literal["function", "custom", "server"] = "function"
    """For a server tool, `name` is its type."""
    namespace: str | None = None


class ToolChoice(msgspec.Struct, frozen=True, kw_only=True):
    mode: Literal["auto", "none", "required", "named"]
    named: ToolName | None = None
    """The tool to be called, for mode `named`."""
    allowed: tuple[ToolName, ...] | None = None
    """The tools that `auto` or `required` may choose from; None for all."""
    extra: Extra = {}


# --- request ------------------------------------------------------------------------------------------------------


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    repetition_penalty: float | None = None
    logit_bias: Mapping[str, float] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    n: int | None = None
    """How many answers."""
    stop: tuple[str, ...] | None = None


DEFAULT_SAMPLING: Final = Sampling()


class OutputFormat(msgspec.Struct, frozen=True, kw_only=True):
    kind: Literal["text", "json_object", "json_schema"]
    name: str | None = None
    description: str | None = None
    schema: Json | None = None
    strict: bool | None = None
    extra: Extra = {}


class Reasoning(msgspec.Struct, frozen=True, kw_only=True):
    """How the model should think. Dialects say different parts of it; `converting` derives the missing ones."""

    mode: Literal["enabled", "adaptive", "disabled"] | None = None
    effort: Effort | None = None
    budget: int | None = None
    """Tokens of thought at most."""
    summary: str | None = None
    """OpenAI's: auto, concise, detailed."""
    display: str | None = None
    """Anthropic's: summarized, omitted. Gemini's includeThoughts: summarized or omitted."""
    encrypted: bool | None = None
    """Whether the answer should carry `encrypted_content` (responses' `include`)."""
    extra: Extra = {}


class Request(msgspec.Struct, frozen=True, kw_only=True):
    dialect: DialectName
    """The dialect it was read from, to which every `extra` in it belongs."""
    model: str
    turns: tuple[Turn, ...]
    system: tuple[Block, ...] = ()
    """What a field of its own says (`system`, `instructions`). System messages among the turns are turns."""
    tools: tuple[Tool, ...] | None = None
    """In the caller's order, which prompt caches depend on. An empty list that was sent is ()."""
    namespaces: Mapping[str, str | None] = {}
    """Descriptions of the namespaces of tools, by name."""
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    max_tokens: int | None = None
    sampling: Sampling = DEFAULT_SAMPLING
    output: OutputFormat | None = None
    verbosity: str | None = None
    reasoning: Reasoning | None = None
    modalities: tuple[str, ...] | None = None
    """Kinds of output in lower case: text, audio, image."""
    stream: bool = False
    include_usage: bool = False
    """Whether a stream should report usage. Dialects that always do set it."""
    user: str | None = None
    """Who asks, in the caller's words (chat's `user`, Anthropic's `metadata.user_id`)."""
    metadata: Mapping[str, Json] | None = None
    """Without `user_id` when the dialect is Anthropic's."""
    session: str | None = None
    """Chat's and responses' `prompt_cache_key`."""
    safety_id: str | None = None
    service_tier: str | None = None
    store: bool | None = None
    previous_id: str | None = None
    """Responses' `previous_response_id`."""
    extra: Extra = {}
    binding: frozenset[str] = frozenset()
    """Members of `extra` that change what is asked: a writer of another dialect refuses them."""
    names: Mapping[str, str] = {}
    """What the caller calls a field of this form, where the names differ: {"max_tokens": "max_output_tokens"}."""


class ModelTarget(msgspec.Struct, frozen=True, kw_only=True):
    """For whom a request is written: the model, and what it takes."""

    model: str
    max_tokens: int | None = None
    """Used when the caller said nothing and the dialect needs it."""
    drop_params: bool = False
    """Drop what would be refused, and name it."""
    unsupported: frozenset[str] = frozenset()
    """Fields of `Request`, `Sampling` and `Reasoning` that this model takes in no form: they are dropped and named."""
    reasons: bool = True
    """Whether it can think at all. If not, `reasoning` is dropped and named."""
    efforts: tuple[Effort, ...] | None = None
    """The efforts it takes, for which others are replaced; None for all that the dialect knows."""
    adaptive_thinking: bool = False
    """Anthropic: takes `thinking: {type: adaptive}` and `output_config.effort`; else it gets a budget."""
    structured_output: bool = True
    """Takes a JSON schema for its answer."""
    system_turns: bool = False
    """Takes system turns in the middle of a conversation (for dialects in which not every model does)."""
    developer_role: bool = False
    """Chat: takes the role `developer`."""
    thinking_blocks: bool = False
    """Chat: takes `reasoning_content` and `thinking_blocks` back in assistant messages."""
    custom_tools: bool = True
    """Chat: takes tools of free text; else they are functions with one argument."""
    text_parts: bool = True
    """Chat: takes lists of text parts for every role; else they are joined."""
    cache_marks: bool = False
    """Chat: takes `cache_control` in parts and tools."""
    extended_sampling: bool = False
    """Chat: takes `top_k`, `min_p` and `repetition_penalty`, as servers of open models do."""
    completion_tokens: bool = True
    """Chat: the limit is called `max_completion_tokens`; else `max_tokens`."""


class WrittenRequest(msgspec.Struct, frozen=True):
    body: bytes
    dropped: tuple[str, ...] = ()
    """What the target cannot say and was left out, in the caller's names, each once."""


# --- answer -------------------------------------------------------------------------------------------------------


class StopReason(enum.Enum):
    """Why an answer ends. Closed: each dialect maps all of them, and maps what it does not know to END."""

    END = "end"
    LENGTH = "length"
    STOP_SEQUENCE = "stop_sequence"
    TOOL_USE = "tool_use"
    REFUSAL = "refusal"
    """The model, or a guard beside it, declined."""
    CONTENT_FILTER = "content_filter"
    PAUSE = "pause"
    """A server tool ran too long; the caller sends the turn back to go on."""
    CONTEXT_WINDOW = "context_window"
    """The answer filled the context window."""
    FAULT = "fault"
    """The model made no valid answer: a malformed call, recitation without text."""


class TokenUsage(msgspec.Struct, frozen=True, kw_only=True):
    """Token counts. None means that the provider did not say it."""

    input: int | None = None
    """The whole prompt, with what was read from and written to caches."""
    output: int | None = None
    """The whole answer, with reasoning and audio."""
    cache_read: int | None = None
    cache_write: int | None = None
    cache_write_1h: int | None = None
    """The part of `cache_write` that is kept for an hour."""
    reasoning: int | None = None
    audio_input: int | None = None
    audio_output: int | None = None
    extra: Extra = {}


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    blocks: tuple[Block, ...]
    stop: StopReason
    stop_sequence: str | None = None
    logprobs: Json | None = None
    """In chat's form: `{"content": [...]}`."""
    extra: Extra = {}


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    dialect: DialectName
    answer_id: str
    model: str
    choices: tuple[Choice, ...]
    """At least one; more only for `Sampling.n`. Dialects without `n` write the first."""
    usage: TokenUsage | None = None
    created: int | None = None
    """Unix time."""
    service_tier: str | None = None
    extra: Extra = {}
