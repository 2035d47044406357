"""litellm, loaded once for all tests of this folder."""

from __future__ import annotations

import asyncio
import gc
import warnings

import pytest

from gatewayd.upstream.litellm.translate import load_litellm


@pytest.fixture(scope="session", autouse=True)
def litellm() -> None:
    """Hundreds of thousands of objects: the garbage collector need not look at them again."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        asyncio.run(load_litellm("anthropic", "bedrock", "cohere_chat", "gemini", "vertex_ai"))
    gc.collect()
    gc.freeze()
