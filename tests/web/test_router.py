"""Paths to routes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.config.snapshot import Address, ServerSettings
from gatewayd.engine.request import Request
from gatewayd.web.router import Route, Router
from tests.web.support import OPEN, WITH_KEY, Answer, RawClient, Teller, serving


def _answer(request: Request) -> None: ...


THINGS = Route("GET", "/things", _answer)
MAKE = Route("POST", "/things", _answer, "model")
THING = Route("GET", "/things/{model}", _answer)
AZURE = Route("POST", "/openai/deployments/{model}/things", _answer, "model")
HEALTH = Route("GET", "/", _answer, "open")
ROUTER = Router([THINGS, MAKE, THING, AZURE, HEALTH])


@pytest.mark.parametrize(
    ("method", "path", "route", "model"),
    [
        ("GET", "/things", THINGS, None),
        ("HEAD", "/v1/things", THINGS, None),
        ("POST", "//v1///things//", MAKE, None),
        ("GET", "/", HEALTH, None),
        ("GET", "//", HEALTH, None),
        ("GET", "/things/a", THING, "a"),
        ("GET", "/v1/things/a/b%2Fc", THING, "a/b/c"),
        ("GET", "/things/%E2%82%AC", THING, "€"),
        ("POST", "/openai/deployments/a%2Fb/things", AZURE, "a/b"),
    ],
)
def test_found(method: str, path: str, route: Route, model: str | None) -> None:
    assert ROUTER.find(method, path) == (route, model)


@pytest.mark.parametrize("path", ["/Things", "/v2/things", "/thing", "/v1", "/things%2Fa", "/things/%ff", "", "things"])
def test_not_found_is_a_route_that_needs_a_key(path: str) -> None:
    """B-21"""
    route, model = ROUTER.find("GET", path)
    assert route not in (THINGS, MAKE, THING, AZURE, HEALTH)
    assert (route.kind, model) == ("info", None)


@given(st.sampled_from(["GET", "POST", "HEAD", "PUT"]), st.text(st.characters(), max_size=40))
def test_any_path_is_found_or_refused(method: str, path: str) -> None:
    for text in (path, f"/things/{path}", f"/{path}"):
        route, _ = ROUTER.find(method, text)
        assert route.kind != "open" or set(text) == {"/"}


async def _told(request: str, *headers: str, server: ServerSettings = OPEN) -> Answer:
    method, path = request.split(" ")
    async with serving(server=server) as site, RawClient.to(site.port) as client:
        client.get(path, *headers, method=method)
        return await client.answer()


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (
            "GET /v1/chat/completion",
            "/v1/chat/completion. Did you mean /v1/chat/completions? Served are: GET /livez",
        ),
        ("GET /chat/completion", "Did you mean /v1/chat/completions?"),
        ("POST /api/v1/embeddings", "Did you mean /v1/embeddings?"),
        ("POST /v1/v1/chat/completions", "Did you mean /v1/chat/completions?"),
        ("POST /openai/v1/v1/completions", "Did you mean /v1/completions?"),
        ("POST /v1/videos", "This gateway does not serve that API itself; gatewayd.pass_through"),
        ("GET /metrics", "It belongs to the admin listener, which listens at 127.0.0.1:4001."),
        ("GET /status?key=sk-secret", "GET /status. It belongs to the admin listener"),
        ("GET /nowhere", "GET /nowhere. Served are: "),
    ],
)
async def test_an_unknown_url_is_named_with_what_is_served(request_: str, said: str) -> None:
    """U-C8"""
    answer = await _told(request_, server=ServerSettings(admin=Address("127.0.0.1", 4001)))
    assert (answer.status, answer.error["code"]) == (404, "unknown_url")
    assert said in answer.error["message"]
    assert "POST /v1/chat/completions" in answer.error["message"]
    assert "secret" not in answer.error["message"]


async def test_an_unknown_url_is_shortened() -> None:
    """U-C8: other people's bytes, up to a length, and none that a terminal would obey."""
    answer = await _told("GET /" + "x" * 5000 + "%1b")
    short = await _told("GET /x")
    assert len(answer.error["message"]) < len(short.error["message"]) + 100


async def test_errors_below_the_messages_api_have_its_shape() -> None:
    """U-C8: also those of the key."""
    for server, status, kind in ((OPEN, 404, "not_found_error"), (WITH_KEY, 401, "authentication_error")):
        for path in ("/v1/messages/batches", "/messages/x", "/v1/messages/count_tokens/x"):
            answer = await _told(f"POST {path}", "content-length: 0", server=server)
            told = json.loads(answer.body)
            assert (answer.status, told["type"], told["error"]["type"]) == (status, "error", kind)
            assert told["request_id"] == answer.headers["request-id"] == answer.headers["x-request-id"]


async def test_an_unknown_model_is_named_with_what_was_meant() -> None:
    """U-C9"""
    async with serving({"gpt-4o-mini": {"d1": Teller()}}) as site, RawClient.to(site.port) as client:
        for model, hint in (("gpt-4o-mni", " Did you mean 'gpt-4o-mini'?"), ("something", "")):
            client.post("/v1/chat/completions", f'{{"model":"{model}"}}'.encode())
            answer = await client.answer()
            assert (answer.status, answer.error["code"]) == (404, "model_not_found")
            said = f"The model '{model}' does not exist.{hint} GET /v1/models lists the models."
            assert answer.error["message"] == said
