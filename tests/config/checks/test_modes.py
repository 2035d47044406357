"""Models that are called in another way because of what they do."""

from __future__ import annotations

from typing import Any

import pytest

from gatewayd.config.snapshot import Deployment
from gatewayd.config.validator import ConfigValidator


def deployment(model: str, info: Any = None, **params: Any) -> Deployment:
    entry = {"model_name": "m", "litellm_params": {"model": model, "api_key": "sk-0123456789abcdef", **params}}
    snapshot = ConfigValidator(environ={}).validate(
        {"model_list": [entry | ({"model_info": info} if info else {})], "gatewayd": {"admin": "off"}}
    )
    return snapshot.deployments[0]


@pytest.mark.parametrize(
    ("model", "base"),
    [
        ("cohere/rerank-v3.5", "https://api.cohere.com/v2"),
        ("jina_ai/jina-reranker-v2-base-multilingual", "https://api.jina.ai/v1"),
        ("voyage/rerank-2", "https://api.voyageai.com/v1"),
    ],
)
def test_a_model_that_reranks_is_called_by_its_providers_api(model: str, base: str) -> None:
    made = deployment(model)
    assert (made.kind, made.api_base, made.unserved) == ("forward", base, "")
    made = deployment(model, api_base="http://127.0.0.1:9/v9/rerank")
    assert (made.kind, made.api_base) == ("forward", "http://127.0.0.1:9/v9")
    made = deployment(f"{model.partition('/')[0]}/of-my-own", {"mode": "rerank"})
    assert (made.kind, made.api_base) == ("forward", base)


@pytest.mark.parametrize("model", ["cohere/command-r", "voyage/voyage-3", "bedrock/amazon.rerank-v1:0"])
def test_others_are_translated(model: str) -> None:
    assert deployment(model).kind == "translate"
