"""Asks the installed litellm, in a process of its own, what it makes of chat requests and of providers' answers.

stdin: JSON, a list of `{"model": ..., "asked": a chat request, "answered": the provider's answer}`. stdout: for each,
the request that went to litellm's transport (`sent`; nothing leaves the process) and the chat answer that litellm made
(`answer`), or the name of its exception (`failed`).
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

import httpx


class Answerer(httpx.AsyncBaseTransport):
    """Records a request and gives the next answer."""

    def __init__(self) -> None:
        self.sent: Any = None
        self.answered: Any = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.sent = json.loads(await request.aread())
        return httpx.Response(200, json=self.answered, request=request)


async def main() -> None:
    os.environ |= {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MODE": "PRODUCTION", "LITELLM_LOG": "CRITICAL"}
    os.environ |= {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION_NAME": "us-east-1"}
    import litellm
    from litellm.llms.custom_httpx.http_handler import AsyncHTTPHandler

    transport = Answerer()
    litellm.suppress_debug_info = True
    AsyncHTTPHandler.create_async_transport = staticmethod(lambda *_, **__: transport)
    found: list[dict[str, Any]] = []
    for case in json.load(sys.stdin):
        transport.sent, transport.answered = None, case["answered"]
        said: dict[str, Any] = {}
        try:
            keys = {} if case["model"].startswith("bedrock") else {"api_key": "k"}
            answer = await litellm.acompletion(
                model=case["model"], max_retries=0, num_retries=0, drop_params=True, **keys, **case["asked"]
            )
            said["answer"] = answer.model_dump(exclude_none=True)
        except Exception as error:
            said["failed"] = f"{type(error).__name__}: {error}"
        found.append({"sent": transport.sent, **said})
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    asyncio.run(main())
