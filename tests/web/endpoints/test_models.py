"""The models list, and one model by name."""

from __future__ import annotations

import json

import pytest

from tests.web.support import RawClient, Teller, serving

GROUPS = {name: {f"d-{index}": Teller()} for index, name in enumerate(["chat", "org/model:7b", "openai/*"])}


async def test_the_list_has_openais_shape() -> None:
    async with serving(GROUPS) as site, RawClient.to(site.port) as client:
        client.get("/v1/models")
        answer = await client.answer()
    listed = json.loads(answer.body)
    assert (answer.status, answer.headers["content-type"], listed["object"]) == (200, "application/json", "list")
    assert [entry["id"] for entry in listed["data"]] == ["chat", "openai/*", "org/model:7b"]
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
