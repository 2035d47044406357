"""The data side as a client sees it: routes, answers, headers, errors."""

from __future__ import annotations

import json

import pytest

from gatewayd.web.app import TABLE
from tests.web.support import CHAT, KEY, STREAM, WITH_KEY, RawClient, Stream, Teller, serving, whole


async def test_answers_with_the_upstreams_body_and_says_how_it_came_about() -> None:
    """The response headers of interface.md, and LiteLLM's."""
    upstream = Teller([whole({"id": "x"})])
    async with serving({"chat": {"d1": upstream}}) as site, RawClient.to(site.port) as client:
        client.post("/v1/chat/completions", CHAT, "x-request-id: mine-1", "x-litellm-timeout: 2.5")
        answer = await client.answer()
    assert answer.status == 200
    assert json.loads(answer.body) == {"id": "x"}
    expected = {
        "content-type": "application/json",
        "x-request-id": "mine-1",
        "x-gatewayd-revision": "r1",
        "x-gatewayd-deployment": "d1",
        "x-gatewayd-attempts": "1",
        "x-litellm-call-id": "mine-1",
        "x-litellm-model-id": "d1",
        "x-litellm-model-group": "chat",
        "x-litellm-attempted-retries": "0",
        "x-litellm-attempted-fallbacks": "0",
    }
    assert expected.items() <= answer.headers.items()
    for name in ("x-gatewayd-overhead-ms", "x-litellm-overhead-duration-ms", "x-litellm-response-duration-ms"):
        assert float(answer.headers[name]) >= 0
    assert "x-gatewayd-fallback" not in answer.headers
    assert answer.headers["date"].endswith("GMT")
    call = upstream.calls[0]
    assert (call.endpoint.path, call.intent.body, call.request_id, call.timeout) == (
        "chat/completions",
        CHAT,
        "mine-1",
        2.5,
    )


async def test_streams_as_chunks_with_headers_that_keep_proxies_from_buffering() -> None:
    async with serving({"chat": {"d1": Teller([Stream()])}}) as site, RawClient.to(site.port) as client:
        client.post("/v1/chat/completions", STREAM)
        answer = await client.answer()
        assert answer.chunks == [b"data: {}\n\n", b"data: [DONE]\n\n"]
        assert answer.headers["content-type"] == "text/event-stream"
        assert answer.headers["cache-control"] == "no-cache"
        assert answer.headers["x-accel-buffering"] == "no"
        assert "content-length" not in answer.headers
        client.get("/v1/models")  # the connection lives on
        assert (await client.answer()).status == 200


@pytest.mark.parametrize(
    "path",
    [
        "/v1/chat/completions",
        "/chat/completions",
        "//v1//chat/completions",
        "/v1/chat/completions/",
        "/v1/chat/completions?api-version=1",
        "/openai/deployments/other/chat/completions?api-version=2024-10-21",
        "http://elsewhere.example/v1/chat/completions",
    ],
)
async def test_tolerates_every_way_to_write_the_url(path: str) -> None:
    """B-04, B-21: an absolute-form target is routed by its path; its authority is ignored."""
    upstream = Teller()
    async with serving({"chat": {"d1": upstream}}) as site, RawClient.to(site.port) as client:
        client.post(path)
        assert (await client.answer()).status == 200
    assert upstream.calls[0].endpoint.path == "chat/completions"


@pytest.mark.parametrize("endpoint", ["completions", "embeddings", "chat/completions"])
async def test_azure_clients_name_the_model_in_the_path(endpoint: str) -> None:
    upstream = Teller()
    async with serving({"org/chat": {"d1": upstream}}) as site, RawClient.to(site.port) as client:
        client.post(f"/openai/deployments/org%2Fchat/{endpoint}?api-version=1", b"{}")
        assert (await client.answer()).status == 200
    assert upstream.calls[0].intent.model == "org/chat"
    assert upstream.calls[0].endpoint.path == endpoint


async def test_the_model_in_the_path_wins_as_with_azure() -> None:
    """Azure's clients put any name into the body; only the path says which deployment is meant."""
    asked, other = Teller(), Teller()
    async with serving({"asked": {"d1": asked}, "chat": {"d2": other}}) as site, RawClient.to(site.port) as client:
        for model in (b"gpt-4o", b"chat"):
            client.post("/openai/deployments/asked/chat/completions", b'{"n":1e0,"model":"%b","x":[ ]}' % model)
            assert (await client.answer()).headers["x-litellm-model-group"] == "asked"
    assert [call.intent.body for call in asked.calls] == [b'{"n":1e0,"model":"asked","x":[ ]}'] * 2
    assert not other.calls


@pytest.mark.parametrize("path", ["/v1/nope", "/V1/models", "/v1/models/%ff", "/..%2fetc/passwd", "/v1/chat", "*"])
async def test_unknown_paths_are_404_in_openais_shape(path: str) -> None:
    """B-21: one reading of the path; case and encodings are no way around it."""
    async with serving() as site, RawClient.to(site.port) as client:
        client.get(path, method="OPTIONS" if path == "*" else "GET")
        answer = await client.answer()
    assert (answer.status, answer.error["code"]) == (404, "unknown_url")
    assert answer.headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/v1/chat/completions", "POST"),
        ("DELETE", "/v1/models", "GET, HEAD"),
        ("OPTIONS", "/v1/chat/completions", "POST"),
        ("PUT", "/livez", "GET, HEAD"),
    ],
)
async def test_wrong_methods_are_405_with_allow_and_without_cors(method: str, path: str, allow: str) -> None:
    """B-22, B-23"""
    async with serving() as site, RawClient.to(site.port) as client:
        client.get(path, method=method)
        answer = await client.answer()
    assert (answer.status, answer.error["code"], answer.headers["allow"]) == (405, "method_not_allowed", allow)
    assert answer.error["message"].startswith(f"{path} takes ")
    assert answer.error["message"].endswith(f", not {method}.")
    assert not any(name.startswith("access-control") for name in answer.headers)


async def test_head_answers_where_get_does() -> None:
    """B-23"""
    async with serving() as site, RawClient.to(site.port) as client:
        for path in ("/", "/livez", "/v1/models"):
            client.get(path, method="HEAD")
            answer = await client.answer(has_body=False)
            assert answer.status == 200
            assert int(answer.headers["content-length"]) > 0


async def test_only_health_is_open() -> None:
    """The explicit list of endpoints that need no key."""
    assert {route.path for route in TABLE if route.kind == "open"} == {
        "/", "/livez", "/readyz", "/health", "/healthz", "/health/liveliness", "/health/liveness", "/health/readiness",
    }  # fmt: skip


@pytest.mark.parametrize("path", ["/v1/models", "/v1/chat/completions", "/v1/nope", "/v1/models/chat"])
async def test_everything_else_needs_the_key(path: str) -> None:
    """Deny by default: even the question which paths there are."""
    async with serving(server=WITH_KEY) as site, RawClient.to(site.port) as client:
        client.get(path)
        answer = await client.answer()
        assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")
        assert answer.headers["www-authenticate"] == "Bearer"
        client.get("/v1/models", f"authorization: bearer {KEY}")
        assert (await client.answer()).status == 200


async def test_a_wrong_key_is_refused_before_the_body_is_read() -> None:
    """B-16: no `100 Continue`, and the connection closes, as the body may still come."""
    async with serving(server=WITH_KEY) as site, RawClient.to(site.port) as client:
        client.send(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nauthorization: Bearer no\r\n"
            b"content-length: 9999\r\nexpect: 100-continue\r\n\r\n"
        )
        answer = await client.answer()
        assert answer.status == 401
        assert answer.headers["connection"] == "close"
        assert await client.ended() == b""


async def test_a_page_of_another_site_cannot_use_a_gateway_without_a_key() -> None:
    """D-08"""
    async with serving() as site, RawClient.to(site.port) as client:
        client.get("/v1/models", "origin: https://evil.example")
        answer = await client.answer()
        assert (answer.status, answer.error["code"]) == (403, "forbidden")
        client.send(b"GET /v1/models HTTP/1.1\r\nhost: rebound.evil.example\r\n\r\n")
        assert (await client.answer()).status == 403


async def test_unknown_models_are_404_and_counted_as_other() -> None:
    """C-07, C-08, D-10: a client's text reaches neither a header nor a label, and the log only escaped."""
    async with serving() as site, RawClient.to(site.port) as client:
        for model in ("nope", "a\\r\\nx-evil: 1", "\\u0000", "x" * 5000):
            client.post("/v1/chat/completions", b'{"model":"%b"}' % model.encode())
            answer = await client.answer()
            assert (answer.status, answer.error["code"]) == (404, "model_not_found")
            assert len(answer.body) < 400
            assert "x-evil" not in answer.headers
        assert site.sample("gatewayd_requests_total", group="other", outcome="rejected") == 4
    assert all("group" not in fields for fields in site.records.fields)


@pytest.mark.parametrize("told", ["0", "-1", "inf", "nan", "soon"])
async def test_a_clients_timeout_must_be_a_positive_number(told: str) -> None:
    async with serving() as site, RawClient.to(site.port) as client:
        client.post("/v1/chat/completions", CHAT, f"x-litellm-timeout: {told}")
        assert (await client.answer()).status == 400


async def test_a_clients_timeout_cannot_exceed_the_configured_one() -> None:
    upstream = Teller()
    async with serving({"chat": {"d1": upstream}}) as site, RawClient.to(site.port) as client:
        client.post("/v1/chat/completions", CHAT, "x-litellm-timeout: 999999")
        await client.answer()
    assert upstream.calls[0].timeout == 600


@pytest.mark.parametrize("told", ["has space", "x" * 129, "é", ""])
async def test_an_insane_request_id_is_replaced(told: str) -> None:
    async with serving() as site, RawClient.to(site.port) as client:
        client.get("/v1/models", f"x-request-id: {told}")
        assert (await client.answer()).headers["x-request-id"].startswith("req_")


async def test_only_listed_headers_go_upstream() -> None:
    """D-05"""
    upstream = Teller()
    async with serving({"chat": {"d1": upstream}}) as site, RawClient.to(site.port) as client:
        client.post("/v1/chat/completions", CHAT, "authorization: Bearer mine", "cookie: a=b", "OpenAI-Beta: x=v1")
        await client.answer()
    assert upstream.calls[0].headers == [("openai-beta", "x=v1")]


async def test_http_1_0_gets_its_answer_unchunked() -> None:
    async with serving({"chat": {"d1": Teller([Stream()])}}) as site:
        async with RawClient.to(site.port) as client:
            client.send(b"POST /chat/completions HTTP/1.0\r\ncontent-length: %d\r\n\r\n%b" % (len(STREAM), STREAM))
            status, headers = await client.head()
            assert (status, headers["connection"]) == (200, "close")
            assert "transfer-encoding" not in headers
            assert await client.ended() == b"data: {}\n\ndata: [DONE]\n\n"
        async with RawClient.to(site.port) as client:
            client.send(b"GET /v1/models HTTP/1.0\r\nconnection: keep-alive\r\n\r\n")
            assert (await client.answer()).headers["connection"] == "keep-alive"
