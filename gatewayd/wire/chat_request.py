"""Reads requests of OpenAI's chat completions API into the neutral form. Part of `gatewayd.wire.chat`."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from gatewayd.wire.chat_tools import read_output, read_tool, read_tool_choice
from gatewayd.wire.conversation import (
    DEFAULT_SAMPLING,
    AudioBlock,
    Block,
    DialectName,
    FileBlock,
    ImageBlock,
    RawBlock,
    Reasoning,
    RedactedThinkingBlock,
    RefusalBlock,
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
    MEMBERS,
    NUMBER,
    STRING,
    STRINGS,
    Members,
    as_json,
    cache_mark,
    extra_of,
    invalid,
    split_data_url,
    text_or_none,
    thinking_mode,
)
from gatewayd.wire.signatures import split_call_id

_BIAS: Final = msgspec.json.Decoder(dict[str, float])
_ROLES: Final[dict[str, Role]] = {role: role for role in ("system", "developer", "user", "assistant")}
_BINDING: Final = frozenset({"audio", "functions", "function_call", "web_search_options", "guided_json", "grammar"})
"""Fields that change what is asked. Others that only chat knows are advisory."""
_SAMPLING: Final = frozenset(Sampling.__struct_fields__)
"""Their names in chat are those of the neutral form."""
_AUDIO: Final = {"wav": "audio/wav", "mp3": "audio/mp3"}
_ORIGINS: Final[dict[str, DialectName]] = {"messages": "messages", "responses": "responses", "gemini": "gemini"}


def read_request(body: bytes) -> Request:
    """Raises InvalidJson or InvalidRequest."""
    top = Members.of_body(body)
    names: dict[str, str] = {"session": "prompt_cache_key", "safety_id": "safety_identifier"}
    names |= {"output": "response_format", "reasoning": "reasoning_effort", "include_usage": "stream_options"}
    limit, older = top.take("max_completion_tokens", INTEGER), top.take("max_tokens", INTEGER)
    if limit is not None:
        names["max_tokens"] = "max_completion_tokens"
    messages = top.items("messages")
    if messages is None:
        raise invalid("messages", "is missing")
    reasoning = _reasoning(top)
    if reasoning is not None and reasoning.effort is None:
        names["reasoning"] = "thinking"
    include_usage = _include_usage(top)
    tools = top.member_list("tools")
    choice = top.value("tool_choice")
    output = top.value("response_format")
    request = Request(
        dialect="chat",
        model=top.take("model", STRING) or "",
        turns=tuple(_turn(message, f"messages[{at}]") for at, message in enumerate(messages)),
        tools=None if tools is None else tuple(map(read_tool, tools)),
        tool_choice=None if choice is None else read_tool_choice(choice),
        parallel_tool_calls=top.take("parallel_tool_calls", BOOLEAN),
        max_tokens=older if limit is None else limit,
        sampling=_sampling(top),
        output=None if output is None else read_output(output),
        verbosity=top.take("verbosity", STRING),
        reasoning=reasoning,
        modalities=top.take("modalities", STRINGS),
        stream=top.take("stream", BOOLEAN) or False,
        include_usage=include_usage,
        user=top.take("user", STRING),
        metadata=top.take("metadata", MEMBERS),
        session=top.take("prompt_cache_key", STRING),
        safety_id=top.take("safety_identifier", STRING),
        service_tier=top.take("service_tier", STRING),
        store=top.take("store", BOOLEAN),
        names=names,
    )
    extra = top.rest()
    return msgspec.structs.replace(request, extra=extra, binding=_BINDING.intersection(extra)) if extra else request


def _include_usage(top: Members) -> bool:
    match top.value("stream_options"):
        case {"include_usage": True}:
            return True
        case _:
            return False


def _sampling(top: Members) -> Sampling:
    if top.has_none_of(_SAMPLING):
        return DEFAULT_SAMPLING
    stop = top.value("stop")
    if isinstance(stop, str):
        stop = (stop,)
    elif stop is not None:
        if not isinstance(stop, list) or not all(isinstance(word, str) for word in stop):
            raise invalid("stop", "must be a string or a list of strings")
        stop = tuple(stop)
    return Sampling(
        temperature=top.take("temperature", NUMBER),
        top_p=top.take("top_p", NUMBER),
        top_k=top.take("top_k", INTEGER),
        min_p=top.take("min_p", NUMBER),
        seed=top.take("seed", INTEGER),
        frequency_penalty=top.take("frequency_penalty", NUMBER),
        presence_penalty=top.take("presence_penalty", NUMBER),
        repetition_penalty=top.take("repetition_penalty", NUMBER),
        logit_bias=top.take("logit_bias", _BIAS),
        logprobs=top.take("logprobs", BOOLEAN),
        top_logprobs=top.take("top_logprobs", INTEGER),
        n=top.take("n", INTEGER),
        stop=stop,
    )


def _reasoning(top: Members) -> Reasoning | None:
    """`reasoning_effort`, and `thinking` in Anthropic's form, as LiteLLM's clients send it."""
    effort, thinking = top.take("reasoning_effort", STRING), top.value("thinking")
    if effort is not None and effort not in EFFORTS:
        raise invalid("reasoning_effort", f"must be one of {', '.join(EFFORTS)}")
    level = next((name for name in EFFORTS if name == effort), None)
    match thinking:
        case None:
            return None if level is None else Reasoning(effort=level)
        case {"type": "enabled" | "adaptive" | "disabled" as mode, **rest}:
            return thinking_mode(mode, level, rest)
        case _:
            raise invalid("thinking", "must be an object whose type is enabled, adaptive or disabled")


# --- messages -----------------------------------------------------------------------------------------------------


def _turn(message: dict[str, Any], where: str) -> Turn:
    message = {name: value for name, value in message.items() if value is not None}
    kind = message.pop("role", None)
    name = message.pop("name", None)
    blocks = read_content(message.pop("content", None), f"{where}.content")
    if (mark := cache_mark(message.pop("cache_control", None), where)) is not None and blocks:
        blocks[-1] = _marked(blocks[-1], mark)
    if kind == "tool":
        call_id = message.pop("tool_call_id", None)
        if not isinstance(call_id, str):
            raise invalid(f"{where}.tool_call_id", "must be a string")
        cache = next((block.cache for block in reversed(blocks) if isinstance(block, TextBlock)), None)
        call_id = split_call_id(call_id)[0]
        result = ToolResultBlock(call_id=call_id, blocks=tuple(blocks), name=text_or_none(name), cache=cache)
        return Turn("user", (result,), extra=extra_of(message))
    role = _ROLES.get(kind) if isinstance(kind, str) else None
    if role is None:
        raise invalid(f"{where}.role", "must be one of system, developer, user, assistant, tool")
    if role == "assistant":
        blocks = _assistant(message, blocks, where)
    return Turn(role, tuple(blocks), text_or_none(name), extra_of(message))


def _marked(block: Block, mark: Any) -> Block:
    return block if "cache" not in block.__struct_fields__ else msgspec.structs.replace(block, cache=mark)


def _assistant(message: dict[str, Any], content: list[Block], where: str) -> list[Block]:
    blocks = thinking_of(message)
    blocks += content
    if isinstance(refusal := message.pop("refusal", None), str) and refusal:
        blocks.append(RefusalBlock(refusal))
    match message.pop("audio", None):
        case {"id": str(audio_id)}:
            blocks.append(AudioBlock(audio_id=audio_id))
        case _:
            pass
    for image in _list(message, "images", where):
        blocks += read_content([image], f"{where}.images")
    for at, call in enumerate(_list(message, "tool_calls", where)):
        blocks.append(tool_use(call, f"{where}.tool_calls[{at}]"))
    for name in ("provider_specific_fields", "annotations", "reasoning_details"):
        message.pop(name, None)  # of the answer, which clients send back whole
    return blocks


def _list(message: dict[str, Any], name: str, where: str) -> list[Any]:
    value = message.pop(name, [])
    if not isinstance(value, list):
        raise invalid(f"{where}.{name}", "must be a list")
    return value


def thinking_of(message: dict[str, Any]) -> list[Block]:
    """The thoughts of an assistant message, which are taken out of it. `thinking_blocks` have the signatures."""
    text = message.pop("reasoning_content", None) or message.pop("reasoning", None)
    signed = message.pop("thinking_blocks", None)
    blocks: list[Block] = []
    for block in signed if isinstance(signed, list) else ():
        match block:
            case {"type": "redacted_thinking", "data": str(data)}:
                blocks.append(RedactedThinkingBlock(data=data, origin=_origin(block)))
            case {"type": "thinking", "thinking": str(thinking)}:
                origin = _origin(block)
                proof, item = text_or_none(block.get("signature")) or None, text_or_none(block.get("id"))
                if origin == "responses":
                    blocks.append(ThinkingBlock(text=thinking, encrypted=proof, item_id=item, origin=origin))
                else:
                    blocks.append(ThinkingBlock(text=thinking, signature=proof, origin=origin if proof else None))
            case _:
                pass
    if not blocks and isinstance(text, str) and text:
        blocks.append(ThinkingBlock(text=text))
    return blocks


def _origin(block: dict[str, Any]) -> DialectName:
    return _ORIGINS.get(text_or_none(block.get("origin")) or "", "messages")


def tool_use(call: Any, where: str) -> ToolUseBlock:
    """Raises InvalidRequest, which a reader of answers turns into its own."""
    match call:
        case {"function": {"name": str(name), **function}}:
            kind, arguments = "function", function.get("arguments")
        case {"custom": {"name": str(name), **function}}:
            kind, arguments = "custom", function.get("input")
        case _:
            raise invalid(where, "must be a call of a function or of a custom tool")
    if arguments is None:
        arguments = ""
    elif not isinstance(arguments, str):  # some servers and clients write an object
        arguments = as_json(arguments)
        arguments = bytes(arguments).decode()
    call_id = call.get("id")
    call_id, signature = split_call_id(call_id if isinstance(call_id, str) else "")
    return ToolUseBlock(
        call_id=call_id,
        name=name,
        arguments=arguments,
        kind="custom" if kind == "custom" else "function",
        signature=call_signature(call) or signature,
        cache=cache_mark(call.get("cache_control"), where),
    )


def call_signature(call: dict[str, Any]) -> str | None:
    """Gemini's thought signature, where Google's own API puts it in chat, and where LiteLLM does."""
    match call:
        case {"extra_content": {"google": {"thought_signature": str(signature)}}}:
            return signature
        case {"provider_specific_fields": {"thought_signature": str(signature)}}:
            return signature
        case {"function": {"provider_specific_fields": {"thought_signature": str(signature)}}}:
            return signature
        case _:
            return None


def read_content(content: Any, where: str) -> list[Block]:
    if content is None or content == "":
        return []
    if isinstance(content, str):
        return [TextBlock(content)]
    if not isinstance(content, list):
        raise invalid(where, "must be a string or a list of parts")
    return [_part(part, f"{where}[{at}]") for at, part in enumerate(content)]


def _part(part: Any, where: str) -> Block:
    if isinstance(part, str):
        return TextBlock(part)
    if not isinstance(part, dict):
        raise invalid(where, "must be an object")
    mark = cache_mark(part.get("cache_control"), where)
    match part:
        case {"type": "text", "text": str(text), **rest}:
            rest.pop("cache_control", None)
            return TextBlock(text, mark, extra=extra_of(rest))
        case {"type": "image_url", "image_url": str(url)} | {"type": "image_url", "image_url": {"url": str(url)}}:
            image = part["image_url"]
            detail = text_or_none(image.get("detail")) if isinstance(image, dict) else None
            if (found := split_data_url(url)) is not None:
                return ImageBlock(media_type=found[0], data=found[1], detail=detail, cache=mark)
            media_type = text_or_none(image.get("format")) if isinstance(image, dict) else None
            return ImageBlock(url=url, media_type=media_type, detail=detail, cache=mark)
        case {"type": "input_audio", "input_audio": {"data": str(data), "format": str(form)}}:
            return AudioBlock(data=data, media_type=_AUDIO.get(form, f"audio/{form}"), cache=mark)
        case {"type": "file", "file": dict(file)}:
            return _file(file, mark, where)
        case {"type": "refusal", "refusal": str(refusal)}:
            return RefusalBlock(refusal)
        case {"type": str(kind)}:
            return RawBlock(dialect="chat", type=kind, raw=as_json(part))
        case _:
            raise invalid(f"{where}.type", "must be a string")


def _file(file: dict[str, Any], mark: Any, where: str) -> FileBlock:
    name, media_type = text_or_none(file.get("filename")), text_or_none(file.get("format"))
    match file:
        case {"file_data": str(data)}:
            if (found := split_data_url(data)) is not None:
                return FileBlock(data=found[1], media_type=media_type or found[0], name=name, cache=mark)
            return FileBlock(data=data, media_type=media_type, name=name, cache=mark)
        case {"file_id": str(found_id)}:
            if found_id.startswith(("http://", "https://", "gs://", "s3://")):  # as LiteLLM's clients write it
                return FileBlock(url=found_id, media_type=media_type, name=name, cache=mark)
            return FileBlock(file_id=found_id, media_type=media_type, name=name, cache=mark)
        case _:
            raise invalid(f"{where}.file", "must have file_data or file_id")
