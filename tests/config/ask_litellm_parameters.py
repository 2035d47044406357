"""Asks the installed litellm, in a process of its own, what it makes of a provider's parameters and messages.

stdin: JSON `{provider: [[models], [more models]]}`. stdout: JSON, per provider and model, what is sent for each of
`PROBES` and, for the first model, of `MESSAGES`. Of more models that litellm thinks alike
(`get_supported_openai_params`) one is asked. Nothing leaves the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
import os
import sys
from collections.abc import Iterator
from typing import Any

from tests.config.ask_litellm import Recorder

FUNCTION = {"name": "f", "parameters": {"type": "object", "properties": {}}}
PROBES: list[dict[str, Any]] = [
    {"temperature": 0.73}, {"temperature": 1}, {"top_p": 0.71}, {"n": 2}, {"stop": ["x"]}, {"max_tokens": 71},
    {"max_completion_tokens": 72}, {"presence_penalty": 0.3}, {"frequency_penalty": 0.4}, {"logit_bias": {"1": 2}},
    {"user": "u"}, {"response_format": {"type": "json_object"}}, {"seed": 74}, {"logprobs": True},
    {"top_logprobs": 3}, {"parallel_tool_calls": False}, {"modalities": ["text"]}, {"verbosity": "low"},
    {"prediction": {"type": "content", "content": "x"}}, {"audio": {"voice": "a", "format": "wav"}},
    {"tools": [{"type": "function", "function": FUNCTION}]}, {"tool_choice": "auto"}, {"functions": [FUNCTION]},
    {"function_call": "auto"}, {"thinking": {"type": "enabled", "budget_tokens": 1024}}, {"web_search_options": {}},
    {"service_tier": "auto"}, {"safety_identifier": "s"}, {"prompt_cache_key": "k"}, {"store": True}, {"top_k": 5},
    {"prompt_cache_retention": "24h"}, {"stream_options": {"include_usage": True}}, {"metadata": {"a": "b"}},
    {"context_management": [{"type": "compaction"}]}, {"reasoning_effort": "none"}, {"reasoning_effort": "minimal"},
    {"reasoning_effort": "low"}, {"reasoning_effort": "xhigh"}, {"reasoning_effort": "low", "temperature": 0.73},
    {"reasoning_effort": "none", "temperature": 0.73, "top_p": 0.71}, {"reasoning_effort": "high", "top_p": 0.71},
]  # fmt: skip
TEXTS = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
USER = {"role": "user", "content": "u"}
CALL = {"id": "a12345678", "type": "function", "function": {"name": "f", "arguments": "{}"}}
MESSAGES: dict[str, list[dict[str, Any]]] = {
    "developer": [{"role": "developer", "content": "d"}, USER],
    "texts": [{"role": "system", "content": TEXTS}, {"role": "user", "content": TEXTS}],
    "texts of a model": [USER, {"role": "assistant", "content": TEXTS}, USER],
    "texts of a tool": [
        USER,
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "a12345678", "content": TEXTS},
    ],
    "image": [{"role": "user", "content": [TEXTS[0], IMAGE]}],
    "reasoning": [USER, {"role": "assistant", "content": "x", "reasoning_content": "r"}, USER],
}


def unlike(litellm: Any, provider: str, models: list[str]) -> Iterator[str]:
    """The first of all models that are thought alike."""
    seen = set()
    for model in models:
        supported = frozenset(litellm.get_supported_openai_params(model=model, custom_llm_provider=provider) or ())
        if supported not in seen:
            seen.add(supported)
            yield model


def parameters(provider: str, model: str, probe: dict[str, Any]) -> Any:
    from litellm.utils import get_optional_params

    try:
        sent = get_optional_params(model=model, custom_llm_provider=provider, drop_params=True, **probe)
    except Exception as error:
        return type(error).__name__
    sent |= sent.pop("extra_body", None) or {}
    return {name: value for name, value in sent.items() if name != "stream"}


async def messages(litellm: Any, seen: list[Any], provider: str, model: str, asked: Any) -> Any:
    seen.clear()
    with contextlib.suppress(Exception):
        await litellm.acompletion(
            model=f"{provider}/{model}",
            messages=json.loads(json.dumps(asked)),
            api_key="k",
            api_base="http://base.invalid/v1",
            max_retries=0,
            num_retries=0,
        )
    return json.loads(seen[-1].content).get("messages") if seen else None


async def main() -> None:
    os.environ |= {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MODE": "PRODUCTION", "LITELLM_LOG": "CRITICAL"}
    import litellm
    from litellm.llms.custom_httpx.http_handler import AsyncHTTPHandler

    seen: list[Any] = []
    litellm.suppress_debug_info = True
    AsyncHTTPHandler.create_async_transport = staticmethod(lambda *_, **__: Recorder(seen))
    answer: dict[str, Any] = {}
    for provider, (told, listed) in json.load(sys.stdin).items():
        models = [*told, *(model for model in unlike(litellm, provider, told + listed) if model not in told)]
        answer[provider] = {
            # Copies, because litellm changes what it is given.
            "models": {
                model: [parameters(provider, model, copy.deepcopy(probe)) for probe in PROBES] for model in models
            },
            "messages": {
                name: await messages(litellm, seen, provider, models[0], asked) for name, asked in MESSAGES.items()
            },
        }
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    asyncio.run(main())
