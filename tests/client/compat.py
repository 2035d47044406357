"""What an attached gateway promises, checked in whatever environment runs this file.

    python tests/client/compat.py BASE_URL API_KEY

It needs gatewayd (installed with `--no-deps`, or on PYTHONPATH) and the `openai` package in any version that is
supported, and nothing else; `test_compat.py` starts the daemon with the model groups used here.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

import openai

import gatewayd

TEXT = "Good day to you"


def raises(kind: type[Exception], call: Callable[[], Any]) -> Any:
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was not raised")


def with_threads(gateway: gatewayd.LiteLLMGateway) -> None:
    assert gatewayd.generate_text(gateway, "Hi", temperature=0.5, top_k=1) == TEXT
    pieces = list(gatewayd.stream_text(gateway, "Hi"))
    assert "".join(pieces) == TEXT
    assert len(pieces) > 1
    assert [len(vector) for vector in gatewayd.generate_embeddings(gateway, ["a", "b"])] == [8, 8]
    assert gatewayd.batch_generate(gateway, ["a"] * 20) == [TEXT] * 20
    for _ in gatewayd.stream_text(gateway, "Hi", model="silent"):
        break
    assert gateway.health().models == ("cut", "demo", "failing", "silent")
    assert gateway.openai.with_options(timeout=5).models.retrieve("demo").id == "demo"


def with_errors(gateway: gatewayd.LiteLLMGateway) -> None:
    raises(openai.NotFoundError, lambda: gatewayd.generate_text(gateway, "Hi", model="nobody"))
    raises(openai.InternalServerError, lambda: gatewayd.generate_text(gateway, "Hi", model="failing"))
    raises(openai.InternalServerError, lambda: list(gatewayd.stream_text(gateway, "Hi", model="failing")))
    raises(openai.APITimeoutError, lambda: gatewayd.generate_text(gateway, "Hi", model="silent", timeout=0.3))
    raises(openai.APITimeoutError, lambda: list(gatewayd.stream_text(gateway, "Hi", model="silent", timeout=0.3)))
    cut = raises(openai.APIError, lambda: list(gatewayd.stream_text(gateway, "Hi", model="cut")))
    assert cut.code == "upstream_incomplete", cut.code
    results = gatewayd.batch_generate(gateway, ["a"], model="failing", return_exceptions=True)
    assert isinstance(results[0], openai.InternalServerError)
    stranger = gatewayd.create_gateway(base_url=gateway.base_url, api_key="sk-guess", default_model="demo")
    raises(openai.AuthenticationError, lambda: stranger.generate("Hi"))
    assert not stranger.health()
    stranger.close()
    nobody = gatewayd.create_gateway(base_url="http://127.0.0.1:1", default_model="demo", max_retries=0)
    raises(openai.APIConnectionError, lambda: nobody.generate("Hi"))
    nobody.close()


async def with_coroutines(gateway: gatewayd.LiteLLMGateway) -> None:
    assert await gatewayd.generate_text_async(gateway, "Hi") == TEXT
    assert "".join([piece async for piece in gatewayd.stream_text_async(gateway, "Hi")]) == TEXT
    assert len(await gatewayd.generate_embeddings_async(gateway, "a")) == 1
    assert await gatewayd.batch_generate_async(gateway, ["a"] * 20) == [TEXT] * 20
    async for _ in gatewayd.stream_text_async(gateway, "Hi", model="silent"):
        break
    cut = gatewayd.stream_text_async(gateway, "Hi", model="cut")
    ended = "quietly"
    try:
        async for _ in cut:
            pass
    except openai.APIError as error:
        ended = str(error.code)
    assert ended == "upstream_incomplete", ended
    assert gatewayd.generate_text(gateway, "Hi") == TEXT  # inside a running loop
    assert gatewayd.batch_generate(gateway, ["a"]) == [TEXT]


def main(base_url: str, api_key: str) -> None:
    with gatewayd.create_gateway(base_url=base_url, api_key=api_key, default_model="demo", max_retries=0) as gateway:
        with_threads(gateway)
        with_errors(gateway)
        asyncio.run(with_coroutines(gateway))
        asyncio.run(with_coroutines(gateway))
    sys.stdout.write(f"openai {openai.__version__}: all promises kept\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
