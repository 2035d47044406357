"""An OpenAI-wire stand-in in a thread of its own, for tests whose calls block."""

from __future__ import annotations

import asyncio
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.fakeup import FakeUpstream, Received, Script
from tests.replies import Reply, chat_events, error_reply, json_reply, sse_reply

VECTOR = [0.5, -0.25, 0.125]


class Upstream(FakeUpstream):
    """One whose loop runs in a thread of its own."""

    loop: asyncio.AbstractEventLoop

    def let(self, event: asyncio.Event) -> None:
        """Sets an event that a reply waits for."""
        self.loop.call_soon_threadsafe(event.set)

    def forget(self) -> None:
        """Drops the notes about requests and connections, which would look like a leak."""
        self.requests.clear()
        self.peers.clear()


@contextmanager
def upstream(*replies: Reply | Script, tls: ssl.SSLContext | None = None) -> Iterator[Upstream]:
    """An upstream in the background; answers like `polite` unless told otherwise."""
    up = Upstream(*(replies or (polite,)), tls=tls)
    with asyncio.Runner() as runner:
        up.loop = loop = runner.get_loop()
        runner.run(up.__aenter__())
        thread = threading.Thread(target=loop.run_forever, name="upstream", daemon=True)
        thread.start()
        try:
            yield up
        finally:
            asyncio.run_coroutine_threadsafe(up.stop(), loop).result(10)
            loop.call_soon_threadsafe(loop.stop)
            thread.join()


def polite(request: Received) -> Reply:
    """Says back what was said, whole or word by word; embeds everything as `VECTOR`, scaled by its place; has gpt-4."""
    if request.path == "/v1/models":
        return json_reply(
            {"object": "list", "data": [{"id": "gpt-4", "object": "model", "owned_by": "us", "created": 1}]}
        )
    if request.path not in ("/v1/chat/completions", "/v1/embeddings"):
        return error_reply(404, "no such path")
    body = request.json()
    if request.path.endswith("/embeddings"):
        inputs = body["input"] if isinstance(body["input"], list) else [body["input"]]
        data = [
            {"object": "embedding", "index": i, "embedding": [x * (i + 1) for x in VECTOR]} for i in range(len(inputs))
        ]
        return json_reply({"object": "list", "model": body["model"], "data": data[::-1], "usage": usage()})
    text = f"{body['model']}: {body['messages'][-1]['content']}"
    if body.get("stream"):
        words = text.split(" ")
        return sse_reply(chat_events(*(f"{word} " for word in words[:-1]), words[-1]))
    return json_reply(completion(text, body["model"]))


def completion(text: str | None, model: str = "fake") -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": usage(),
    }


def usage() -> dict[str, int]:
    return {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}


def entry(up: FakeUpstream, group: str = "gpt-4", model: str = "openai/gpt-4", **params: Any) -> dict[str, Any]:
    """A `model_list` entry that leads to the stand-in."""
    return {
        "model_name": group,
        "litellm_params": {"model": model, "api_base": up.base_url, "api_key": "sk-up", **params},
    }


def eventually(true: Callable[[], object], within: float = 10.0) -> None:
    """Waits until `true()` is; for what other threads do."""
    deadline = time.monotonic() + within
    while not true():
        assert time.monotonic() < deadline, "did not come true"
        time.sleep(0.005)
