"""The response object of OpenAI's Responses API, its usage and its errors. Part of `gatewayd.wire.responses`."""

from __future__ import annotations

import hashlib
import re
from typing import Any, Final

import msgspec

from gatewayd.wire.conversation import Request, StopReason, TextBlock, TokenUsage
from gatewayd.wire.converting import as_json
from gatewayd.wire.events import StreamError
from gatewayd.wire.responses_tools import write_choice, write_format, write_tools

_STEM: Final = re.compile(r"[^A-Za-z0-9]")
_MAX_STEM: Final = 40
"""Letters of an item's id that name the response. The API takes ids of 64."""
_CODES: Final = frozenset(
    {"server_error", "rate_limit_exceeded", "invalid_prompt", "context_length_exceeded", "insufficient_quota",
     "bio_policy", "image_content_policy_violation", "invalid_image", "invalid_image_url", "image_too_large"}
)  # fmt: skip
"""Codes of failed responses by which clients decide what to do. They know no others."""
_STATUSES: Final = {
    "server_error": 500,
    "server_is_overloaded": 503,
    "slow_down": 503,
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "vector_store_timeout": 504,
}
_INCOMPLETE: Final = {
    StopReason.LENGTH: "max_output_tokens",
    StopReason.CONTEXT_WINDOW: "max_output_tokens",
    StopReason.CONTENT_FILTER: "content_filter",
}


def response_id(answer_id: str) -> str:
    """The id of a response for the id of another API's answer."""
    return answer_id if answer_id.startswith("resp_") else f"resp_{_stem(answer_id)}"


def item_id(prefix: str, answer_id: str, index: int) -> str:
    stem = _stem(answer_id)
    if len(stem) > _MAX_STEM:
        stem = hashlib.sha256(stem.encode()).hexdigest()[:_MAX_STEM]
    return f"{prefix}_{stem}_{index}"


def _stem(answer_id: str) -> str:
    return _STEM.sub("", re.sub(r"^[a-z]+[-_]", "", answer_id)) or "0"


class ResponseForm:
    """What all response objects of one answer have in common: above all, the caller's settings."""

    def __init__(self, request: Request, answer_id: str, model: str, created: int | None, tier: str | None) -> None:
        self.response_id = response_id(answer_id)
        texts = [block.text for block in request.system if isinstance(block, TextBlock)]
        reasoning, sampling = request.reasoning, request.sampling
        choice = request.tool_choice
        self._head = {
            "id": self.response_id,
            "object": "response",
            "created_at": created or 0,
            "model": model,
            "background": False,
            "instructions": "\n\n".join(texts) or None,
            "max_output_tokens": request.max_tokens,
            "max_tool_calls": None,
            "metadata": request.metadata or {},
            "parallel_tool_calls": request.parallel_tool_calls is not False,
            "previous_response_id": request.previous_id,
            "prompt_cache_key": request.session,
            "reasoning": {
                "effort": None if reasoning is None else reasoning.effort,
                "summary": None if reasoning is None else reasoning.summary,
            },
            "safety_identifier": request.safety_id,
            "service_tier": tier or "default",
            "store": request.store is not False,
            "temperature": 1.0 if sampling.temperature is None else sampling.temperature,
            "text": {
                "format": {"type": "text"} if request.output is None else write_format(request.output),
                "verbosity": request.verbosity or "medium",
            },
            "tool_choice": "auto" if choice is None else write_choice(choice, None),
            "tools": as_json(write_tools(request, None)),
            "top_logprobs": sampling.top_logprobs or 0,
            "top_p": 1.0 if sampling.top_p is None else sampling.top_p,
            "truncation": request.extra.get("truncation", "disabled"),
            "user": request.user,
        }

    def begun(self) -> dict[str, Any]:
        return self._response("in_progress", [], None)

    def ended(self, stop: StopReason, output: list[Any], usage: TokenUsage | None) -> dict[str, Any]:
        reason = incomplete_reason(stop)
        response = self._response("completed" if reason is None else "incomplete", output, usage)
        if reason is not None:
            response["incomplete_details"] = {"reason": reason}
        return response

    def failed(self, error: StreamError, output: list[Any], usage: TokenUsage | None) -> dict[str, Any]:
        response = self._response("failed", output, usage)
        response["error"] = {"code": failure_code(error), "message": error.message}
        return response

    def _response(self, status: str, output: list[Any], usage: TokenUsage | None) -> dict[str, Any]:
        return {
            **self._head,
            "status": status,
            "error": None,
            "incomplete_details": None,
            "output": output,
            "usage": None if usage is None else write_tokens(usage),
        }


def incomplete_reason(stop: StopReason) -> str | None:
    """Why a response is incomplete; None if it is complete."""
    return _INCOMPLETE.get(stop)


def failure_code(error: StreamError) -> str:
    if error.code in _CODES:
        return error.code
    if error.status == 429 or error.type == "rate_limit_error":
        return "rate_limit_exceeded"
    return "invalid_prompt" if error.status is not None and error.status < 500 else "server_error"


def failure_status(code: str | None, kind: str | None) -> int | None:
    """The HTTP status that a code stands for; all that are not listed are about the request."""
    if code is not None:
        return _STATUSES.get(code, 400)
    return {"server_error": 500, "invalid_request_error": 400}.get(kind or "")


# --- usage --------------------------------------------------------------------------------------------------------


class _Details(msgspec.Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    audio_tokens: int | None = None


class _Tokens(msgspec.Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: _Details | None = None
    output_tokens_details: _Details | None = None


def read_tokens(usage: Any) -> TokenUsage | None:
    """`usage` of a decoded response; None for what is none."""
    try:
        counts = msgspec.convert(usage, _Tokens)
    except msgspec.ValidationError:
        return None
    read, written = counts.input_tokens_details or _Details(), counts.output_tokens_details or _Details()
    return TokenUsage(
        input=counts.input_tokens,
        output=counts.output_tokens,
        cache_read=read.cached_tokens,
        cache_write=read.cache_write_tokens,
        reasoning=written.reasoning_tokens,
        audio_input=read.audio_tokens,
        audio_output=written.audio_tokens,
    )


def write_tokens(usage: TokenUsage) -> dict[str, Any]:
    """The API's details are not optional: what is not known is 0."""
    read, written = usage.input or 0, usage.output or 0
    return {
        "input_tokens": read,
        "input_tokens_details": {
            "cached_tokens": usage.cache_read or 0,
            "cache_write_tokens": usage.cache_write or 0,
        },
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning or 0},
        "total_tokens": read + written,
    }
