"""The models list, and one model by name."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

import pytest

from gatewayd.config import providers
from gatewayd.config.listing import MOST_LISTED, retired
from gatewayd.config.snapshot import Deployment
from tests.upstream.doubles import deployment
from tests.web.support import RawClient, Teller, serving, serving_deployments

GROUPS = {name: {f"d-{index}": Teller()} for index, name in enumerate(["chat", "org/model:7b", "openai/*"])}


async def test_the_list_has_openais_shape() -> None:
    """U-C10: a pattern whose provider is not known is left out."""
    async with serving(GROUPS) as site, RawClient.to(site.port) as client:
        client.get("/v1/models")
        answer = await client.answer()
    listed = json.loads(answer.body)
    assert (answer.status, answer.headers["content-type"], listed["object"]) == (200, "application/json", "list")
    assert [entry["id"] for entry in listed["data"]] == ["chat", "org/model:7b"]
    for entry in listed["data"]:
        assert entry == {"id": entry["id"], "object": "model", "created": 1677610602, "owned_by": "gatewayd"}
    assert answer.headers["x-gatewayd-revision"] == "r1"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/models/chat", "chat"),
        ("/models/chat", "chat"),
        ("/v1/models/org/model:7b", "org/model:7b"),
        ("/v1/models/org%2Fmodel:7b", "org/model:7b"),
        ("/v1/models/org%2Fmodel%3A7b/", "org/model:7b"),
        ("/v1/models/openai/gpt-4o", "openai/gpt-4o"),
        ("/v1/models/openai/*", "openai/*"),
    ],
)
async def test_one_model_is_found_by_its_name_however_it_is_encoded(path: str, name: str) -> None:
    """Names with slashes, which the SDKs send percent-encoded; and what a pattern catches."""
    async with serving(GROUPS) as site, RawClient.to(site.port) as client:
        client.get(path)
        answer = await client.answer()
    assert (answer.status, json.loads(answer.body)["id"]) == (200, name)


@pytest.mark.parametrize("path", ["/v1/models/nope", "/v1/models/CHAT", "/v1/models/%00"])
async def test_an_unknown_model_is_a_404(path: str) -> None:
    async with serving(GROUPS) as site, RawClient.to(site.port) as client:
        client.get(path)
        answer = await client.answer()
    assert (answer.status, answer.error["code"]) == (404, "model_not_found")


def pattern(group: str, model: str, provider: str = "openai") -> Deployment:
    return deployment("http://127.0.0.1:9/v1", id=group, identity=group, group=group, model=model, provider=provider)


async def get(*deployments: Deployment, path: str = "/v1/models", headers: Sequence[str] = ()) -> Any:
    async with serving_deployments(*deployments) as site, RawClient.to(site.port) as client:
        client.get(path, *headers)
        first = await client.answer()
        client.get(path, *headers)
        again = await client.answer()
    assert (first.status, first.body) == (200, again.body)
    return json.loads(first.body)


async def test_a_pattern_is_listed_as_the_models_that_are_known() -> None:
    """U-C10: clients cannot ask for `openai/*`, which was listed."""
    answer = await get(pattern("openai/*", "*"), pattern("gpt-4.1*", "gpt-4.1*"), pattern("any/*", "fixed"))
    names = [entry["id"] for entry in answer["data"]]
    assert {"openai/gpt-4o", "openai/text-embedding-3-small", "gpt-4.1-mini"} <= set(names)
    assert not any("*" in name or "dall-e" in name or "whisper" in name or "any/" in name for name in names)
    assert len(names) <= 2 * MOST_LISTED
    assert names == sorted(set(names))


async def test_models_that_are_retired_are_not_listed() -> None:
    """U-C10"""
    day = date.fromisoformat(str((providers.catalogue("anthropic", "claude-sonnet-4-5") or {})["deprecation_date"]))
    assert retired("anthropic", "claude-sonnet-4-5", day) == day
    assert retired("anthropic", "claude-sonnet-4-5", day - timedelta(days=1)) is None
    assert retired("anthropic", "no-such-model", day) is None


async def test_anthropics_clients_get_anthropics_shape() -> None:
    """U-C10"""
    version = ["anthropic-version: 2023-06-01"]
    answer = await get(pattern("b", "b"), pattern("a", "a"), headers=version)
    assert [entry["id"] for entry in answer["data"]] == ["a", "b"]
    assert (answer["has_more"], answer["first_id"], answer["last_id"]) == (False, "a", "b")
    one = await get(pattern("a", "a"), path="/v1/models/a", headers=version)
    assert one == answer["data"][0] == {
        "type": "model", "id": "a", "display_name": "a", "created_at": "2023-02-28T18:56:42Z",
    }  # fmt: skip


async def test_azures_clients_get_azures_shape() -> None:
    """U-C10"""
    listed = await get(pattern("a", "a"), path="/openai/models?api-version=2024-10-21")
    (one,) = listed["data"]
    assert (one["id"], one["object"], one["status"]) == ("a", "model", "succeeded")
    assert await get(pattern("a", "a"), path="/openai/models/a?api-version=2024-10-21") == one
    newer = await get(pattern("a", "a"), path="/openai/v1/models")
    assert newer["data"][0]["owned_by"] == "gatewayd"
    assert await get(pattern("a", "a"), path="/openai/v1/models/a") == newer["data"][0]


@pytest.mark.parametrize("endpoint", ["chat/completions", "completions", "embeddings"])
async def test_azures_newer_paths_are_served(endpoint: str) -> None:
    """U-C10"""
    upstream = Teller()
    async with serving({"chat": {"d1": upstream}}) as site, RawClient.to(site.port) as client:
        client.post(f"/openai/v1/{endpoint}?api-version=preview")
        assert (await client.answer()).status == 200
    assert upstream.calls[0].endpoint.path == endpoint
