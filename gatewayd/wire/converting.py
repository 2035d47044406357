"""What the dialects share: checked reading of JSON, the list of what could not be said, and derived values."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, TypeGuard, TypeVar, get_args

import msgspec

from gatewayd.errors import InvalidJson, InvalidRequest
from gatewayd.wire.conversation import (
    Block,
    CacheMark,
    DialectName,
    Effort,
    Extra,
    Json,
    RawBlock,
    Reasoning,
    Request,
    ToolUseBlock,
    Turn,
    WrittenRequest,
)
from gatewayd.wire.openai import encode, parsed

_T = TypeVar("_T")
_MAX_NAME: Final = 64
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NO_NAME: Final = re.compile(r"[^A-Za-z0-9_-]")
_list: Final = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_WORDS: Final = ((str, "a string"), (bool, "true or false"), (int, "a whole number"), (float, "a number"))

MALFORMED: Final = (
    msgspec.DecodeError, UnicodeDecodeError, RecursionError, InvalidRequest, AttributeError, KeyError, TypeError,
)  # fmt: skip
"""What reading an upstream's answer raises if its shape is wrong. Answers are not checked field by field."""
INTEGER: Final = msgspec.json.Decoder(int)
NUMBER: Final = msgspec.json.Decoder(float)
BOOLEAN: Final = msgspec.json.Decoder(bool)
STRING: Final = msgspec.json.Decoder(str)
STRINGS: Final = msgspec.json.Decoder(tuple[str, ...])
MEMBERS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
"""A JSON object whose values stay as they are."""


class Members:
    """The members of a JSON object, taken out one by one. A member that is null is one that is missing.

    `where` is the path of the object, for messages; empty for a request's body.
    """

    def __init__(self, members: dict[str, Json], where: str = "") -> None:
        self._members = members
        self._where = where

    @classmethod
    def of_body(cls, body: bytes) -> Members:
        """Raises InvalidJson."""
        try:
            if not body.isascii():
                body.decode()
            return cls(MEMBERS.decode(body))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise InvalidJson("The request body is not one JSON object in UTF-8.") from None

    def path(self, name: str) -> str:
        return f"{self._where}.{name}" if self._where else name

    def __contains__(self, name: str) -> bool:
        return name in self._members and not _is_null(self._members[name])

    def has_none_of(self, names: frozenset[str]) -> bool:
        return names.isdisjoint(self._members)

    def raw(self, name: str) -> Json | None:
        raw = self._members.pop(name, None)
        return None if raw is None or _is_null(raw) else raw

    def take(self, name: str, decoder: msgspec.json.Decoder[_T]) -> _T | None:
        """Raises InvalidRequest for a value of another type."""
        raw = self._members.pop(name, None)
        if raw is None or _is_null(raw):
            return None
        try:
            return decoder.decode(raw)
        except msgspec.DecodeError:
            expected = next((words for kind, words in _WORDS if decoder.type is kind), "of another type")
            raise invalid(self.path(name), f"must be {expected}") from None

    def peek(self, name: str, decoder: msgspec.json.Decoder[_T]) -> _T | None:
        """The same without taking it."""
        raw = self._members.get(name)
        return None if raw is None else Members({name: raw}, self._where).take(name, decoder)

    def value(self, name: str) -> Any:
        """The value, parsed to its leaves. Raises InvalidRequest for numbers and nesting out of range."""
        raw = self.raw(name)
        return None if raw is None else parsed(self.path(name), raw)

    def items(self, name: str) -> list[dict[str, Any]] | None:
        """A list of objects, parsed to their leaves."""
        items = self.value(name)
        if items is None:
            return None
        if not isinstance(items, list):
            raise invalid(self.path(name), "must be a list")
        for at, item in enumerate(items):
            if not isinstance(item, dict):
                raise invalid(f"{self.path(name)}[{at}]", "must be an object")
        return items

    def members(self, name: str) -> Members | None:
        """An object whose values stay as they are."""
        raw = self.raw(name)
        if raw is None:
            return None
        try:
            return Members(MEMBERS.decode(raw), self.path(name))
        except msgspec.DecodeError:
            raise invalid(self.path(name), "must be an object") from None

    def member_list(self, name: str) -> list[Members] | None:
        """A list of such objects."""
        raw = self.raw(name)
        if raw is None:
            return None
        return member_list(raw, self.path(name))

    def rest(self) -> dict[str, Json]:
        """What has not been taken, without nulls."""
        return {name: raw for name, raw in self._members.items() if not _is_null(raw)}


def _is_null(raw: Json) -> bool:
    return memoryview(raw).nbytes == 4 and bytes(raw) == b"null"


def member_list(raw: Json, where: str) -> list[Members]:
    """A list of objects whose values stay as they are. Raises InvalidRequest."""
    try:
        return [Members(item, f"{where}[{at}]") for at, item in enumerate(_list.decode(raw))]
    except msgspec.DecodeError:
        raise invalid(where, "must be a list of objects") from None


def text_or_none(value: Any) -> str | None:
    """For members that are not worth an error: what is no text is not said."""
    return value if isinstance(value, str) else None


def int_or_none(value: Any) -> int | None:
    """The same for counts and places."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def quoted_system(text: str) -> str:
    """A system turn inside a conversation, for models that take none there: it keeps its place, in the user's turn."""
    return f"<system>\n{text}\n</system>"


def invalid(where: str, what: str) -> InvalidRequest:
    """`where` is the path of the field: `messages[2].content`; `what` goes on behind it."""
    return InvalidRequest(f"The field '{where}' {what}.", param=where)


def as_json(value: Any) -> Json:
    return msgspec.Raw(encode(value))


def extra_of(members: Mapping[Any, Any]) -> Extra:
    """The members of a parsed object that nobody has taken, as `extra`."""
    return {name: as_json(value) for name, value in members.items() if value is not None}


def cache_mark(value: Any, where: str) -> CacheMark | None:
    """Anthropic's `cache_control`, which chat's parts and tools carry too."""
    match value:
        case None:
            return None
        case {"type": "ephemeral", "ttl": str(ttl), **rest}:
            return CacheMark(ttl, extra_of(rest))
        case {"type": "ephemeral", **rest}:
            return CacheMark(extra=extra_of(rest))
        case _:
            raise invalid(f"{where}.cache_control", "must be an object of type 'ephemeral'")


def cache_control(mark: CacheMark) -> dict[str, Any]:
    control: dict[str, Any] = {"type": "ephemeral"}
    if mark.ttl is not None:
        control["ttl"] = mark.ttl
    return {**control, **mark.extra}


class DropList:
    """What a target cannot say, while a request is written."""

    def __init__(self, request: Request, *, drop_params: bool) -> None:
        self._request = request
        self._drop_params = drop_params
        self._dropped: dict[str, None] = {}

    def drop(self, *fields: str) -> None:
        """Notes fields that are advisory. They are fields of the neutral form, or the caller's own."""
        names = self._request.names
        for field in fields:
            top, _, rest = field.partition(".")
            name = names.get(field) or (f"{names.get(top, top)}.{rest}" if rest else field)
            self._dropped[name] = None

    def refuse(self, field: str, why: str) -> None:
        """Raises InvalidRequest for a field that is not advisory; with `drop_params`, drops it.

        `why` follows the field's name: "is not supported by the Anthropic API".
        """
        if not self._drop_params:
            name = self._request.names.get(field, field)
            raise InvalidRequest(f"The field '{name}' {why}.", param=name)
        self.drop(field)

    def extra(self, api: str) -> None:
        """Drops `request.extra`, or refuses its binding members; `api` is the target's: "the Anthropic API"."""
        for name in self._request.extra:
            if name in self._request.binding:
                self.refuse(name, f"cannot be expressed in {api}")
            else:
                self.drop(name)

    def parts(self, where: str, extra: Iterable[str]) -> None:
        """Notes members of an object below the top level: `messages.citations`."""
        for name in extra:
            self.drop(f"{where}.{name}")

    def written(self, body: bytes) -> WrittenRequest:
        return WrittenRequest(body, tuple(self._dropped))


def leading_system(request: Request) -> tuple[tuple[Block, ...], tuple[Turn, ...]]:
    """The system blocks with those of system and developer turns at the start, and the other turns."""
    blocks, at = request.system, 0
    while at < len(request.turns) and request.turns[at].role in ("system", "developer"):
        blocks += request.turns[at].blocks
        at += 1
    return blocks, request.turns[at:]


_REFERENCES: Final = ("item_reference", "compaction")
"""How the types of responses' items begin for which a provider keeps what they say."""
_ANTHROPICS_TOOLS: Final = ("_tool_use", "_tool_result")
"""How the types of blocks end that Anthropic's own tools leave in a conversation."""


def without_server_items(request: Request, target: DialectName, losses: DropList) -> Request:
    """The request without what the tools of another API's provider have left in it: searches, runs of code. It is
    noted by its type (`input.web_search_call`). What the conversation means nothing without stays, for the writer to
    refuse."""
    turns: list[Turn] = []
    for turn in request.turns:
        found = [block.type for block in turn.blocks if _is_server_item(block, target)]
        if not found:
            turns.append(turn)
            continue
        losses.parts("messages", found)
        if left := tuple(block for block in turn.blocks if not _is_server_item(block, target)):
            turns.append(msgspec.structs.replace(turn, blocks=left))
    return msgspec.structs.replace(request, turns=tuple(turns))


def _is_server_item(block: Block, target: DialectName) -> TypeGuard[RawBlock]:
    if not isinstance(block, RawBlock) or block.dialect == target:
        return False
    if block.dialect == "responses":
        return not block.type.startswith(("input_", *_REFERENCES))
    return block.dialect == "messages" and block.type.endswith(_ANTHROPICS_TOOLS)


def tool_names(request: Request) -> dict[str, str]:
    """The names of tools by the ids of their calls: for results in dialects that say the name."""
    return {
        block.call_id: block.name for turn in request.turns for block in turn.blocks if isinstance(block, ToolUseBlock)
    }


def flat_name(name: str, namespace: str | None) -> str:
    """The name of a tool as every dialect takes it: letters, digits, `_` and `-`, at most 64 of them."""
    flat = name if namespace is None else f"{namespace}__{name}"
    if _NAME.fullmatch(flat):
        return flat
    digest = hashlib.sha256(flat.encode(errors="replace")).hexdigest()[:8]
    return f"{_NO_NAME.sub('_', flat)[: _MAX_NAME - 9]}_{digest}"


def derived_call_id(answer_id: str, number: int) -> str:
    """The id of a call, for providers that give none: different in each answer, and the same in each reading of it."""
    return f"call_{answer_id.rpartition('-')[2]}_{number}"


# --- reasoning ----------------------------------------------------------------------------------------------------

EFFORTS: Final[tuple[Effort, ...]] = get_args(Effort)
BUDGETS: Final[Mapping[Effort, int]] = {
    "none": 0, "minimal": 1024, "low": 1024, "medium": 2048, "high": 4096, "xhigh": 8192, "max": 16384,
}  # fmt: skip
"""Tokens of thought for an effort: litellm's table, with Anthropic's minimum of 1024."""


def effort_of(reasoning: Reasoning) -> Effort | None:
    """The effort that was said, or the one whose budget is nearest below; None if neither was said."""
    if reasoning.effort is not None or reasoning.budget is None:
        return reasoning.effort
    fitting = [effort for effort in EFFORTS if BUDGETS[effort] <= reasoning.budget and effort != "minimal"]
    return "low" if len(fitting) < 2 else fitting[-1]


def budget_of(reasoning: Reasoning) -> int | None:
    """The budget that was said, or that of the effort; None if neither was said."""
    if reasoning.budget is not None or reasoning.effort is None:
        return reasoning.budget
    return BUDGETS[reasoning.effort]


def effort_within(effort: Effort, allowed: Iterable[Effort]) -> Effort:
    """The nearest effort that is allowed: not above if possible."""
    order = {name: at for at, name in enumerate(EFFORTS)}
    at = order[effort]
    return min(allowed, key=lambda name: (order[name] > at, abs(order[name] - at)))


def thinking_mode(
    mode: Literal["enabled", "adaptive", "disabled"], effort: Effort | None, rest: dict[Any, Any]
) -> Reasoning:
    """Anthropic's `thinking`; `rest` is what it says besides its type."""
    budget, display = rest.pop("budget_tokens", None), rest.pop("display", None)
    if budget is not None and (not isinstance(budget, int) or isinstance(budget, bool)):
        raise invalid("thinking.budget_tokens", "must be a whole number")
    if display is not None and not isinstance(display, str):
        raise invalid("thinking.display", "must be a string")
    return Reasoning(mode=mode, effort=effort, budget=budget, display=display, extra=extra_of(rest))


# --- addresses ----------------------------------------------------------------------------------------------------


def split_data_url(url: str) -> tuple[str, str] | None:
    """The media type and the base64 text of a data URL; None for other URLs and for data that is not base64."""
    if url[:5].lower() != "data:":
        return None
    head, comma, data = url[5:].partition(",")
    media_type, semicolon, coding = head.rpartition(";")
    if not comma or not semicolon or coding.strip().lower() != "base64":
        return None
    return media_type.partition(";")[0].strip().lower() or "text/plain", data


def data_url(data: str, media_type: str | None) -> str:
    return f"data:{media_type or 'application/octet-stream'};base64,{data}"
