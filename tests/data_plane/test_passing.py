"""Files, batches, fine-tuning and unknown paths: passed to the deployments that `gatewayd.pass_through` names."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest

from gatewayd.config.snapshot import Limits, ServerSettings
from gatewayd.secret import Secret
from tests.data_plane.gateway import KEY, forward
from tests.fakeup import (
    FIN,
    HANG,
    FakeUpstream,
    Received,
    Reply,
    Script,
    body_reply,
    chunk,
    error_reply,
    head,
    json_reply,
    raw_reply,
)
from tests.web.support import KEY as MASTER
from tests.web.support import RawClient, Site, serving_deployments, until

PASSING = ServerSettings(pass_through=("d1",))
DATA = bytes(range(256)) * 4096
FILE = {"id": "file-1", "object": "file", "bytes": 3, "created_at": 1, "filename": "a.jsonl", "purpose": "batch"}
BATCH = {
    "id": "batch_1", "object": "batch", "endpoint": "/v1/chat/completions", "input_file_id": "file-1",
    "completion_window": "24h", "status": "validating", "created_at": 1,
}  # fmt: skip


@contextlib.asynccontextmanager
async def before(
    *replies: Reply | Script, server: ServerSettings = PASSING, **changes: Any
) -> AsyncIterator[tuple[FakeUpstream, Site, openai.AsyncOpenAI]]:
    async with (
        FakeUpstream(*replies) as up,
        serving_deployments(forward(up, **changes), server=server) as site,
        openai.AsyncOpenAI(base_url=site.base_url, api_key=MASTER, timeout=20, max_retries=0) as client,
    ):
        yield up, site, client


async def asked(site: Site, line: str, body: bytes = b"", *headers: str) -> tuple[int, Any]:
    async with RawClient.to(site.port) as client:
        method, path = line.split(" ")
        length = [f"content-length: {len(body)}"] if body else []
        client.get(path, *length, *headers, method=method)
        client.send(body)
        answer = await client.answer()
        return answer.status, answer.body


async def test_files() -> None:
    def provider(request: Received) -> Reply:
        match request.method, request.path:
            case "POST", "/v1/files":
                assert DATA in request.body
                assert request.headers["content-type"].startswith("multipart/form-data; boundary=")
                return json_reply(FILE)
            case "GET", "/v1/files":
                assert request.target == "/v1/files?limit=1&purpose=batch"
                return json_reply({"object": "list", "data": [FILE], "has_more": False})
            case "GET", "/v1/files/file-1":
                return json_reply(FILE)
            case "GET", "/v1/files/file-1/content":
                return body_reply(DATA, content_type="application/octet-stream")
            case "DELETE", "/v1/files/file-1":
                return json_reply({"id": "file-1", "object": "file", "deleted": True})
            case _:
                return error_reply(404, f"no {request.path}")

    async with before(provider) as (up, site, client):
        assert (await client.files.create(file=("a.jsonl", DATA), purpose="batch")).id == "file-1"
        page = await client.files.list(limit=1, purpose="batch")
        assert [file.id for file in page.data] == ["file-1"]
        assert (await client.files.retrieve("file-1")).filename == "a.jsonl"
        content = await client.files.content("file-1")
        assert content.content == DATA
        assert (await client.files.delete("file-1")).deleted
        with pytest.raises(openai.NotFoundError, match="no /v1/files/other"):
            await client.files.retrieve("other")
        assert {request.headers["authorization"] for request in up.requests} == {f"Bearer {KEY}"}
        await until(lambda: len(site.records.fields) == 6)
        assert {record["deployment"] for record in site.records.fields} == {"d1"}


async def test_batches() -> None:
    def provider(request: Received) -> Reply:
        match request.method, request.path:
            case "POST", "/v1/batches":
                assert request.json()["input_file_id"] == "file-1"
                return json_reply(BATCH)
            case "GET", "/v1/batches":
                return json_reply({"object": "list", "data": [BATCH], "has_more": False})
            case "GET", "/v1/batches/batch_1":
                return json_reply(BATCH | {"status": "in_progress"})
            case "POST", "/v1/batches/batch_1/cancel":
                assert request.body == b""
                return json_reply(BATCH | {"status": "cancelling"})
            case _:
                return error_reply(404)

    async with before(provider) as (_, _, client):
        made = await client.batches.create(
            completion_window="24h", endpoint="/v1/chat/completions", input_file_id="file-1"
        )
        assert made.id == "batch_1"
        assert (await client.batches.retrieve("batch_1")).status == "in_progress"
        assert [batch.id async for batch in client.batches.list()] == ["batch_1"]
        assert (await client.batches.cancel("batch_1")).status == "cancelling"


async def test_whatever_else_is_below_v1() -> None:
    async with before(json_reply({"ok": True})) as (up, site, client):
        assert await client.post("/videos", body={"prompt": "a cat"}, cast_to=object) == {"ok": True}
        await client.fine_tuning.jobs.with_raw_response.list()
        assert (await asked(site, "PATCH /v1/new/thing%2Fx?a=%20b", b"data", "content-type: text/x"))[0] == 200
        assert [(one.method, one.target) for one in up.requests] == [
            ("POST", "/v1/videos"),
            ("GET", "/v1/fine_tuning/jobs"),
            ("PATCH", "/v1/new/thing%2Fx?a=%20b"),
        ]
        assert (up.requests[2].body, up.requests[2].headers["content-type"]) == (b"data", "text/x")


async def test_below_the_name_of_a_provider() -> None:
    async with FakeUpstream(json_reply({"ok": True})) as up, FakeUpstream(json_reply({"ok": True})) as other:
        claude = forward(other, "d2", "claude", provider="anthropic")
        server = ServerSettings(pass_through=("d1", "claude"))
        async with serving_deployments(forward(up), claude, server=server) as site:
            for path in ("/openai/v1/files", "/openai/files"):
                assert (await asked(site, f"GET {path}"))[0] == 200
            for path in ("/anthropic/v1/models", "/anthropic/models"):
                assert (await asked(site, f"GET {path}"))[0] == 200
            assert (await asked(site, "GET /gemini/v1beta/models"))[0] == 404
        assert [request.target for request in up.requests] == ["/v1/files"] * 2
        assert [request.target for request in other.requests] == ["/v1/models"] * 2
        assert other.requests[0].headers["x-api-key"] == KEY


@pytest.mark.parametrize(
    "line", ["GET /v1/../admin", "GET /v1/files/..%2f..%2fx", "GET /other", "GET /metrics", "GET /v10/x"]
)
async def test_what_is_not_below_does_not_pass(line: str) -> None:
    async with before(json_reply({"ok": True})) as (up, site, _):
        status, body = await asked(site, line)
        assert (status, json.loads(body)["error"]["code"]) == (404, "unknown_url")
        assert up.requests == []


async def test_what_gatewayd_serves_does_not_pass() -> None:
    async with before(json_reply({"object": "chat.completion", "choices": [{}]})) as (up, site, client):
        assert [model.id async for model in client.models.list()] == ["chat"]
        assert (await asked(site, "DELETE /v1/chat/completions"))[0] == 405
        assert up.requests == []


async def test_without_the_setting_nothing_passes() -> None:
    async with before(json_reply({}), server=ServerSettings()) as (up, _, client):
        with pytest.raises(openai.NotFoundError, match=r"does not serve that API.*pass_through"):
            await client.files.list()
        assert up.requests == []


async def test_a_key_is_needed() -> None:
    server = ServerSettings(master_key=Secret(MASTER), pass_through=("d1",))
    async with before(json_reply({"ok": True}), server=server) as (up, site, client):
        assert (await asked(site, "GET /v1/files"))[0] == 401
        assert up.requests == []
        await client.get("/files", cast_to=object)
        assert MASTER not in up.requests[0].head.decode()


async def test_the_limit_of_bodies_holds() -> None:
    server = ServerSettings(pass_through=("d1",), limits=Limits(body_mb=0.5))
    async with before(json_reply(FILE), server=server) as (up, _, client):
        with pytest.raises(openai.APIStatusError) as caught:
            await client.files.create(file=("a", DATA), purpose="batch")
        assert caught.value.status_code == 413
        assert up.requests == []


async def test_a_cut_answer_cannot_pass_for_whole() -> None:
    cut = raw_reply(head(200, [("Transfer-Encoding", "chunked")]), chunk(DATA), FIN)
    async with before(cut) as (_, site, client):
        with pytest.raises(openai.APIConnectionError):
            await client.files.content("file-1")
        assert (await site.record())["outcome"] == "broken_stream"


async def test_a_client_that_disconnects_ends_the_upstreams_request() -> None:
    hanging = raw_reply(head(200, [("Transfer-Encoding", "chunked")]), chunk(DATA), HANG)
    async with before(hanging) as (up, site, _):
        async with RawClient.to(site.port) as client:
            client.get("/v1/files/file-1/content")
            await client.head()
        await up.peers[0].gone.wait()
        assert (await site.record())["outcome"] == "client_left"


async def test_a_connection_that_fails_is_an_error_of_the_upstreams() -> None:
    async with FakeUpstream() as up:
        base = up.base_url
    async with serving_deployments(forward(base), server=PASSING) as site:
        status, body = await asked(site, "GET /v1/files")
        assert (status, json.loads(body)["error"]["code"]) == (502, "upstream_connection_error")
        assert (await site.record())["outcome"] == "error"
