"""Fixes for what litellm 1.106.2 gets wrong, applied to litellm itself, so that they hold for direct calls too.

For each fix a test checks what a caller gets; it fails when a release of litellm has moved what is fixed.
"""

from __future__ import annotations

import json
import logging
from typing import Any, Final

from gatewayd.errors import UpstreamBadResponse
from gatewayd.upstream.litellm.demands import unsupported

_log = logging.getLogger("gatewayd.upstream")


def apply_patches() -> None:
    """Call it once, when litellm has been imported. A fix for names that this litellm does not have is skipped."""
    for apply in (
        _disable_fetching,
        _disable_model_hub_lookup,
        _map_finish_reasons,
        _send_strict_to_claude,
        _send_tool_choice_to_cohere,
        _fix_cohere_answers,
        _fix_gemini_answers,
    ):
        try:
            apply()
        except (ImportError, AttributeError) as error:
            _log.warning("unknown litellm version (%s): gatewayd's fixes for it are not applied", error)


def _disable_fetching() -> None:
    """litellm fetches addresses that callers give (images, files), without our bounds. `media` has fetched before what
    is to be fetched; every way of litellm's leads through this function."""
    from litellm.litellm_core_utils import url_utils

    def refuse(url: str) -> Any:
        raise url_utils.SSRFError("litellm fetches nothing")

    url_utils.validate_url = refuse


def _disable_model_hub_lookup() -> None:
    """litellm asks Hugging Face's hub, or Lemonade's server, for the context length of a model: four times per call,
    past the bridge. Two of these block the event loop, for up to ten seconds."""
    from litellm import utils
    from litellm.llms.lemonade.chat.transformation import LemonadeChatConfig as Lemonade

    utils._get_max_position_embeddings = lambda model_name: None
    Lemonade.get_model_info = lambda self, model, **_: self._get_default_model_info(model.removeprefix("lemonade/"))


_FAILED: Final = frozenset(
    {
        # https://ai.google.dev/api/generate-content#FinishReason
        "MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE", "MISSING_THOUGHT_SIGNATURE", "TOO_MANY_TOOL_CALLS",
        "UNEXPECTED_TOOL_CALL",
        # https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html, stopReason
        "malformed_model_output", "malformed_tool_use",
        "ERROR", "TIMEOUT",  # Cohere's
        "error", "network_error",
    }
)  # fmt: skip
"""Reasons for the end of an answer that mean: the model failed, and the answer is not usable."""


def _map_finish_reasons() -> None:
    """litellm maps failures, and reasons that it does not know, to `stop`: the caller would take an answer that failed,
    or was cut off, for a complete one."""
    from litellm.litellm_core_utils import core_helpers

    class Reasons(dict[str, str]):
        def get(self, key: str, default: Any = None) -> Any:
            """Raises UpstreamBadResponse for a failure."""
            if key in _FAILED:
                raise UpstreamBadResponse(f"The model failed: its answer ended with '{key}'.")
            return super().get(key, default)

    core_helpers._FINISH_REASON_MAP = Reasons(core_helpers._FINISH_REASON_MAP, model_context_window_exceeded="length")


# --- Gemini's answers (https://ai.google.dev/api/generate-content#GenerateContentResponse)


def _fix_gemini_answers() -> None:
    """litellm raises for an answer without members that the API calls optional, and for some that are no answer."""
    from litellm.llms.vertex_ai.gemini import vertex_and_google_ai_studio_gemini as gemini

    config, reader = gemini.VertexGeminiConfig, gemini.ModelResponseIterator
    to_response, to_chunk = config._transform_google_generate_content_to_openai_model_response, reader.chunk_parser

    def transform(self: Any, completion_response: Any, *args: Any, **named: Any) -> Any:
        counted = "usageMetadata" in _gemini(completion_response)
        answer = to_response(self, {"usageMetadata": {}, **completion_response}, *args, **named)
        if not counted:
            del answer.usage  # unknown, which is not zero
        return answer

    config._transform_google_generate_content_to_openai_model_response = transform
    reader.chunk_parser = lambda self, chunk: to_chunk(self, _gemini(chunk))


def _gemini(answer: Any) -> dict[str, Any]:
    """An answer or a chunk, with arguments for each function call. Raises UpstreamBadResponse."""
    if not isinstance(answer, dict):
        raise UpstreamBadResponse("The upstream's answer could not be understood.")
    for candidate in answer.get("candidates") or ():
        for part in (candidate.get("content") or {}).get("parts") or ():
            if "functionCall" in part and part["functionCall"].get("args") is None:
                part["functionCall"]["args"] = {}
    return answer


def _send_strict_to_claude() -> None:
    """litellm leaves `strict` of a tool out, which Claude's API has for the models that have structured outputs."""
    from litellm.llms.anthropic.chat.transformation import AnthropicConfig

    mapped = AnthropicConfig.map_openai_params

    def map_openai_params(
        self: Any,
        non_default_params: Any,
        optional_params: Any,
        model: str,
        drop_params: bool,
        *rest: Any,
        **named: Any,
    ) -> Any:
        found = mapped(self, non_default_params, optional_params, model, drop_params, *rest, **named)
        functions = [tool.get("function") or {} for tool in non_default_params.get("tools") or ()]
        strict = {function.get("name") for function in functions if function.get("strict") is True}
        if not strict:
            return found
        known = AnthropicConfig._supports_model_capability(
            model, "supports_native_structured_output", self._resolved_provider
        )
        if not known and not drop_params:
            raise unsupported("a tool with 'strict' for this model", "tools", str(self.custom_llm_provider))
        for tool in found.get("tools") or ():
            if known and tool.get("name") in strict:
                tool["strict"] = True
        return found

    AnthropicConfig.map_openai_params = map_openai_params


# --- Cohere's answers (https://docs.cohere.com/reference/chat-stream)

_REASONS: Final = {"MAX_TOKENS": "length", "TOOL_CALL": "tool_calls"}
_CHOICES: Final = {"required": "REQUIRED", "none": "NONE"}


def _send_tool_choice_to_cohere() -> None:
    """litellm leaves `tool_choice` out. The configuration of the first API maps parameters for the second one too."""
    from litellm.llms.cohere.chat.transformation import CohereChatConfig

    mapped = CohereChatConfig.map_openai_params

    def map_openai_params(self: Any, non_default_params: dict[str, Any], **named: Any) -> Any:
        found = mapped(self, non_default_params=non_default_params, **named)
        choice = _CHOICES.get(str(non_default_params.get("tool_choice")))
        if choice is not None and not named["model"].startswith("v1/"):
            found["tool_choice"] = choice
        return found

    CohereChatConfig.map_openai_params = map_openai_params


def _fix_cohere_answers() -> None:
    """litellm takes every answer of Cohere's for a complete one, and looks for the parts of a stream where they are
    not: it loses tool calls, usage and the end."""
    from litellm.llms.cohere.chat.v2_transformation import CohereV2ChatConfig
    from litellm.llms.cohere.common_utils import CohereV2ModelResponseIterator as Reader

    to_response = CohereV2ChatConfig.transform_response

    def transform_response(self: Any, *args: Any, raw_response: Any, **named: Any) -> Any:
        answer = to_response(self, *args, raw_response=raw_response, **named)
        answer.choices[0].finish_reason = _reason(raw_response.json().get("finish_reason"))
        return answer

    CohereV2ChatConfig.transform_response = transform_response
    Reader.speechless = False
    Reader.convert_str_chunk_to_generic_chunk = lambda self, chunk: _generic(_event(chunk), self)


def _event(line: str | bytes) -> dict[str, Any]:
    """The event of a line: JSON alone, or as a server-sent event. Nothing, if the line holds none."""
    text = (line.decode() if isinstance(line, bytes) else line).strip()
    if not text.startswith("{"):
        name, _, text = text.partition(":")
        text = text.strip()
        if name != "data" or text == "[DONE]":
            return {}
    event: dict[str, Any] = json.loads(text)
    return event


def _generic(event: dict[str, Any], state: Any) -> dict[str, Any]:
    """litellm's chunk for an event. `state` is its reader, one for each stream."""
    delta = event.get("delta") or {}
    message = delta.get("message") or {}
    chunk: dict[str, Any] = {
        "text": "", "tool_use": None, "is_finished": False, "finish_reason": "", "usage": None, "index": 0,
    }  # fmt: skip
    match event.get("type"):
        case "content-delta":
            chunk["text"] = (message.get("content") or {}).get("text") or ""  # else it is a thought
        case "tool-call-start":
            call = message["tool_calls"]
            chunk["tool_use"] = _called(event, call["function"], id=call["id"])
            state.speechless = not call["function"].get("arguments")
        case "tool-call-delta":
            chunk["tool_use"] = _called(event, message["tool_calls"]["function"])
            state.speechless = state.speechless and not message["tool_calls"]["function"].get("arguments")
        case "tool-call-end" if state.speechless:  # what takes no arguments is called with an empty object
            chunk["tool_use"] = _called(event, {"arguments": "{}"})
        case "message-end":
            tokens = (delta.get("usage") or {}).get("tokens") or {}
            asked, answered = (int(tokens.get(name) or 0) for name in ("input_tokens", "output_tokens"))
            chunk |= {"is_finished": True, "finish_reason": _reason(delta.get("finish_reason"))}
            chunk["usage"] = {
                "prompt_tokens": asked, "completion_tokens": answered, "total_tokens": asked + answered,
            }  # fmt: skip
        case _:  # what has no place in OpenAI's answer
            pass
    return chunk


def _called(event: dict[str, Any], function: dict[str, Any], **more: Any) -> dict[str, Any]:
    said = {"name": function.get("name"), "arguments": function.get("arguments") or ""}
    return {"id": None, "type": "function", "function": said, "index": int(event.get("index") or 0), **more}


def _reason(told: Any) -> str:
    """Raises UpstreamBadResponse for an answer that is none."""
    if told in _FAILED:
        raise UpstreamBadResponse(f"The model failed: its answer ended with '{told}'.")
    return _REASONS.get(told, "stop")
