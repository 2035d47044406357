"""Reads requests of Anthropic's Messages API into the neutral form. Part of `gatewayd.wire.messages`."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from gatewayd.wire.conversation import (
    Block,
    CacheMark,
    Citation,
    DialectName,
    FileBlock,
    ImageBlock,
    Json,
    OutputFormat,
    RawBlock,
    Reasoning,
    RedactedThinkingBlock,
    Request,
    Role,
    Sampling,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
    Turn,
)
from gatewayd.wire.converting import (
    BOOLEAN,
    EFFORTS,
    INTEGER,
    NUMBER,
    STRING,
    STRINGS,
    Members,
    as_json,
    cache_mark,
    extra_of,
    invalid,
    member_list,
    text_or_none,
    thinking_mode,
)
from gatewayd.wire.messages_tools import read_anthropic_choice, read_anthropic_tool
from gatewayd.wire.signatures import split_call_id

NAMES: Final = {
    "stop": "stop_sequences",
    "user": "metadata.user_id",
    "reasoning": "thinking",
    "output": "output_config.format",
    "parallel_tool_calls": "tool_choice.disable_parallel_tool_use",
}
_BINDING: Final = frozenset({"container", "mcp_servers"})
_ORIGINS: Final[dict[str, DialectName]] = {
    "chat": "chat",
    "responses": "responses",
    "gemini": "gemini",
    "converse": "converse",
}
_ROLES: Final[dict[str, Role]] = {"system": "system", "user": "user", "assistant": "assistant"}
_QUOTE: Final = ord('"')
_TIERS: Final = {"standard_only": "default"}


def read_request(body: bytes) -> Request:
    """Raises InvalidJson or InvalidRequest."""
    top = Members.of_body(body)
    messages = top.member_list("messages")
    if messages is None:
        raise invalid("messages", "is missing")
    tools = top.member_list("tools")
    choice, parallel = read_anthropic_choice(top.value("tool_choice"))
    config = top.members("output_config")
    metadata = top.members("metadata")
    user = None if metadata is None else metadata.take("user_id", STRING)
    system = top.raw("system")
    tier = top.take("service_tier", STRING)
    reasoning = _reasoning(top, config)
    request = Request(
        dialect="messages",
        model=top.take("model", STRING) or "",
        system=() if system is None else tuple(read_blocks(system, "system")),
        turns=tuple(map(_turn, messages)),
        tools=None if tools is None else tuple(map(read_anthropic_tool, tools)),
        tool_choice=choice,
        parallel_tool_calls=parallel,
        max_tokens=top.take("max_tokens", INTEGER),
        sampling=Sampling(
            temperature=top.take("temperature", NUMBER),
            top_p=top.take("top_p", NUMBER),
            top_k=top.take("top_k", INTEGER),
            stop=top.take("stop_sequences", STRINGS),
        ),
        output=_output(top, config),
        reasoning=reasoning,
        stream=top.take("stream", BOOLEAN) or False,
        include_usage=True,
        user=user,
        metadata=None if metadata is None else metadata.rest(),
        service_tier=None if tier is None else _TIERS.get(tier, tier),
        names=NAMES
        if reasoning is None or reasoning.mode is not None
        else {**NAMES, "reasoning": "output_config.effort"},
    )
    extra = top.rest()
    if config is not None and (rest := config.rest()):
        extra["output_config"] = as_json(rest)
    return msgspec.structs.replace(request, extra=extra, binding=_BINDING.intersection(extra)) if extra else request


def _reasoning(top: Members, config: Members | None) -> Reasoning | None:
    effort = None if config is None else config.take("effort", STRING)
    if effort is not None and effort not in EFFORTS:
        raise invalid("output_config.effort", f"must be one of {', '.join(EFFORTS[2:])}")
    level = next((name for name in EFFORTS if name == effort), None)
    match top.value("thinking"):
        case None:
            return None if level is None else Reasoning(effort=level)
        case {"type": "enabled" | "adaptive" | "disabled" as mode, **rest}:
            return thinking_mode(mode, level, rest)
        case _:
            raise invalid("thinking", "must be an object whose type is enabled, adaptive or disabled")


def _output(top: Members, config: Members | None) -> OutputFormat | None:
    """`output_config.format`, or `output_format` as it was called in its beta."""
    where = "output_config.format"
    form = None if config is None else config.members("format")
    if form is None:
        where = "output_format"
        form = top.members(where)
    if form is None:
        return None
    if form.take("type", STRING) != "json_schema":
        raise invalid(where, "must be an object of type json_schema")
    return OutputFormat(
        kind="json_schema",
        name=form.take("name", STRING),
        schema=form.raw("schema"),
        strict=True,
        extra=form.rest(),
    )


# --- messages -----------------------------------------------------------------------------------------------------


def _turn(message: Members) -> Turn:
    kind = message.take("role", STRING)
    role = _ROLES.get(kind) if kind is not None else None
    if role is None:
        raise invalid(message.path("role"), "must be one of system, user, assistant")
    where, content = message.path("content"), message.raw("content")
    if content is None:
        raise invalid(where, "is missing")
    return Turn(role, tuple(read_blocks(content, where)), extra=message.rest())


def read_blocks(content: Json, where: str) -> list[Block]:
    """A string, or a list of blocks."""
    if memoryview(content)[0] == _QUOTE:
        text = STRING.decode(content)
        return [TextBlock(text)] if text else []
    return list(map(_block, member_list(content, where)))


def _block(item: Members) -> Block:
    kind = item.peek("type", STRING)
    match kind:
        case "text":
            item.raw("type")
            return _text(item)
        case "image":
            return _image(item)
        case "document":
            return _document(item)
        case "thinking":
            return _thinking(item)
        case "redacted_thinking":
            origin, data = _origin(_required(item, "data"))
            return RedactedThinkingBlock(data=data, origin=origin)
        case "tool_use":
            item.raw("type")
            arguments = item.raw("input")
            call_id, signature = split_call_id(_required(item, "id"))
            return ToolUseBlock(
                call_id=call_id,
                signature=signature,
                name=_required(item, "name"),
                arguments="{}" if arguments is None else bytes(arguments).decode(),
                cache=_mark(item),
                extra=item.rest(),
            )
        case "tool_result":
            item.raw("type")
            content = item.raw("content")
            return ToolResultBlock(
                call_id=split_call_id(_required(item, "tool_use_id"))[0],
                blocks=() if content is None else tuple(read_blocks(content, item.path("content"))),
                is_error=item.take("is_error", BOOLEAN),
                cache=_mark(item),
                extra=item.rest(),
            )
        case None:
            raise invalid(item.path("type"), "is missing")
        case _:
            return RawBlock(dialect="messages", type=kind, raw=as_json(item.rest()))


def _required(item: Members, name: str) -> str:
    text = item.take(name, STRING)
    if text is None:
        raise invalid(item.path(name), "is missing")
    return text


def _mark(item: Members) -> CacheMark | None:
    return cache_mark(item.value("cache_control"), item.path("")) if "cache_control" in item else None


def _text(item: Members) -> TextBlock:
    text, mark = _required(item, "text"), _mark(item)
    citations = tuple(map(read_citation, item.items("citations") or ()))
    return TextBlock(text, mark, citations, extra=item.rest())


def read_citation(citation: dict[str, Any]) -> Citation:
    """All of it is in `extra` too: positions count differently for each kind of document."""

    def text(name: str) -> str | None:
        value = citation.get(name)
        return value if isinstance(value, str) else None

    return Citation(
        url=text("url"),
        title=text("title") or text("document_title"),
        cited=text("cited_text"),
        extra=extra_of(citation),
    )


def _image(item: Members) -> Block:
    whole = item.rest()
    mark = _mark(item)
    match item.value("source"):
        case {"type": "base64", "media_type": str(media_type), "data": str(data)}:
            return ImageBlock(media_type=media_type, data=data, cache=mark)
        case {"type": "url", "url": str(url)}:
            return ImageBlock(url=url, cache=mark)
        case {"type": "file", "file_id": str(file_id)}:
            return ImageBlock(file_id=file_id, cache=mark)
        case {"type": str()}:
            return RawBlock(dialect="messages", type="image", raw=as_json(whole))
        case _:
            raise invalid(item.path("source"), "must be an object with a type")


def _document(item: Members) -> Block:
    whole = item.rest()
    mark, source = _mark(item), item.value("source")
    name, context = item.take("title", STRING), item.take("context", STRING)
    cite = None
    match item.value("citations"):
        case {"enabled": bool(enabled)}:
            cite = enabled
        case _:
            pass
    document = FileBlock(name=name, context=context, cite=cite, cache=mark)
    match source:
        case {"type": "base64", "media_type": str(media_type), "data": str(data)}:
            return msgspec.structs.replace(document, media_type=media_type, data=data)
        case {"type": "text", "data": str(text), **rest}:
            return msgspec.structs.replace(
                document, media_type=text_or_none(rest.get("media_type")) or "text/plain", text=text
            )
        case {"type": "url", "url": str(url)}:
            return msgspec.structs.replace(document, url=url)
        case {"type": "file", "file_id": str(file_id)}:
            return msgspec.structs.replace(document, file_id=file_id)
        case {"type": str()}:
            return RawBlock(dialect="messages", type="document", raw=as_json(whole))
        case _:
            raise invalid(item.path("source"), "must be an object with a type")


def _thinking(item: Members) -> ThinkingBlock:
    text, signature = item.take("thinking", STRING) or "", item.take("signature", STRING)
    if not signature:
        return ThinkingBlock(text=text)
    return thought(text, signature)


def thought(text: str, signature: str) -> ThinkingBlock:
    """A thought whose proof may be that of another API, which then is named before it."""
    origin, proof = _origin(signature)
    if origin == "responses":
        item_id, _, encrypted = proof.partition(":")
        return ThinkingBlock(text=text, encrypted=encrypted or None, item_id=item_id or None, origin=origin)
    return ThinkingBlock(text=text, signature=proof, origin=origin)


def _origin(proof: str) -> tuple[DialectName, str]:
    """Anthropic's own proofs have no colon."""
    name, colon, rest = proof.partition(":")
    origin = _ORIGINS.get(name)
    return (origin, rest) if colon and origin is not None else ("messages", proof)


def proof_of(block: ThinkingBlock | RedactedThinkingBlock) -> str:
    """The inverse: a signature that a client keeps and sends back."""
    if isinstance(block, RedactedThinkingBlock):
        proof = block.data
    elif block.origin == "responses" or block.encrypted is not None:
        return f"responses:{block.item_id or ''}:{block.encrypted or ''}"
    else:
        proof = block.signature or ""
    if not proof or block.origin in (None, "messages"):
        return proof
    return f"{block.origin}:{proof}"
