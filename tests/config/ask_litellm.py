"""Asks the installed litellm, in a process of its own, where it would send a provider's call and with which key.

stdin: JSON `{provider: {"model": ..., "keys": [variables], "bases": [variables]}}`. stdout: JSON, per provider, URL,
key and body that went to litellm's transport (nothing leaves the process): `plain` with no base URL variable set;
`keys` with all key variables set, with all but the first, and so on; `bases` likewise for the base URL variables.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from typing import Any

import httpx

BASE = "http://base.invalid/"
FIELDS = {"max_completion_tokens": 71, "seed": 72, "temperature": 0.73}


class Recorder(httpx.AsyncBaseTransport):
    def __init__(self, seen: list[httpx.Request]) -> None:
        self._seen = seen

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        self._seen.append(request)
        return httpx.Response(400, json={"error": {"message": "recorded", "type": "x", "param": None, "code": None}})


async def sent(
    litellm: Any, seen: list[httpx.Request], provider: str, model: str, environment: dict[str, str]
) -> dict[str, Any] | None:
    seen.clear()
    os.environ.update(environment)
    try:
        with contextlib.suppress(Exception):
            if provider == "text-completion-openai":
                await litellm.atext_completion(model=f"{provider}/{model}", prompt="x", max_retries=0, num_retries=0)
            else:
                messages = [{"role": "user", "content": "x"}]
                await litellm.acompletion(
                    model=f"{provider}/{model}",
                    messages=messages,
                    max_retries=0,
                    num_retries=0,
                    drop_params=True,
                    **FIELDS,
                )
    finally:
        for name in environment:
            del os.environ[name]
    if not seen:
        return None
    request = seen[-1]
    headers = request.headers
    names = ("authorization", "api-key", "x-api-key", "x-goog-api-key")
    key = next((headers[name].removeprefix("Bearer ") for name in names if headers.get(name)), None)
    return {"url": str(request.url), "key": key, "body": json.loads(request.content)}


async def main() -> None:
    for name in list(os.environ):
        if name.endswith(("_API_KEY", "_API_BASE", "_BASE_URL", "_TOKEN")):
            del os.environ[name]
    os.environ |= {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MODE": "PRODUCTION"}
    import litellm
    from litellm.llms.custom_httpx.http_handler import AsyncHTTPHandler

    seen: list[httpx.Request] = []
    litellm.suppress_debug_info = True
    AsyncHTTPHandler.create_async_transport = staticmethod(lambda *_, **__: Recorder(seen))
    answer: dict[str, Any] = {}
    for provider, asked in json.load(sys.stdin).items():
        keys = {name: f"key-{name}" for name in asked["keys"]}
        bases = {name: f"{BASE}{name}" for name in asked["bases"]}
        answer[provider] = {
            "plain": await sent(litellm, seen, provider, asked["model"], keys),
            "keys": [
                await sent(litellm, seen, provider, asked["model"], dict(list(keys.items())[skip:]) | bases)
                for skip in range(len(keys))
            ],
            "bases": [
                await sent(litellm, seen, provider, asked["model"], keys | dict(list(bases.items())[skip:]))
                for skip in range(len(bases))
            ],
        }
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    asyncio.run(main())
