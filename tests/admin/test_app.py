"""The admin side over real sockets."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace

import pytest

from gatewayd.admin.app import AdminApp
from gatewayd.config.problems import Problem
from gatewayd.config.result import Result
from gatewayd.config.snapshot import Address, Alias, RoutingSettings, ServerSettings, Snapshot
from gatewayd.engine.reload import Reloader
from gatewayd.engine.runtime import Gateway
from gatewayd.errors import UpstreamStatus
from gatewayd.observe.metrics import Metrics
from gatewayd.secret import Secret
from gatewayd.web.connection import HttpServer
from gatewayd.web.listener import Listener
from tests.engine.fakes import FakeUpstream, runtime_of
from tests.web.support import KEY, LOCAL, RawClient

EXPOSED = ServerSettings(admin=Address("0.0.0.0", 4001), master_key=Secret(KEY))
PROBLEM = Problem("unknown_key", "there is no such key", "model_list[0].x", "gatewayd.yaml", 3, 5, "did you mean y?")


class Sockets:
    """Listeners that are always ready."""

    def commit(self) -> None: ...

    async def rollback(self) -> None: ...


@dataclass
class Admin:
    gateway: Gateway
    reloader: Reloader
    port: int


@contextlib.asynccontextmanager
async def administered(
    server: ServerSettings | None = None, load: Callable[[Snapshot], Result] | None = None
) -> AsyncIterator[Admin]:
    gateway, metrics = Gateway(), Metrics()
    routing = RoutingSettings(num_retries=0, aliases={"nick": Alias("chat")})
    groups = {"chat": {"d1": FakeUpstream(), "d2": FakeUpstream()}}
    runtime = runtime_of(gateway, groups, server=server or ServerSettings(), routing=routing)
    runtime.snapshot = replace(runtime.snapshot, effective={"model_list": [{"api_key": "***"}]})
    gateway.swap(runtime)

    async def read(settled: object) -> Result:
        return (load or Result)(gateway.current.snapshot)

    async def prepare(snapshot: Snapshot) -> Sockets:
        return Sockets()

    reloader = Reloader(gateway, read, prepare=prepare, observe=lambda outcome: None)
    app = AdminApp(gateway, reloader, metrics)
    listener = Listener(HttpServer(app.answer, max_connections=lambda: 16))
    await listener.serve([LOCAL])
    try:
        yield Admin(gateway, reloader, listener.addresses[0].port)
    finally:
        await reloader.close()
        await listener.drain(0)
        await gateway.close()


async def test_status_tells_how_everything_is() -> None:
    async with administered() as admin, RawClient.to(admin.port) as client:
        runtime = admin.gateway.current
        candidate = runtime.targets["d2"].candidate
        runtime.health.started(candidate, 0.0)
        error = UpstreamStatus("slow down", status=429, retry_after=30)
        runtime.health.failed(candidate, error, 1e9, peers=[], policy=runtime.policy)
        client.get("/status")
        answer = await client.answer()
        status = json.loads(answer.body)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert (status["revision"], status["ready"], status["in_flight"], status["last_reload"]) == ("r1", True, 0, None)
    assert status["reloads"] == {"applied": 0, "unchanged": 0, "rejected": 0}
    assert status["aliases"] == {"nick": "chat"}
    assert status["listen"] == ["127.0.0.1:4000"]
    assert status["uptime_seconds"] >= 0
    [group] = status["groups"]
    first, second = group["deployments"]
    assert (group["name"], first["id"], first["state"], first["last_error"]) == ("chat", "d1", "ok", None)
    assert (second["state"], second["last_error"], second["in_flight"]) == ("cooling", "upstream_rate_limited", 1)
    assert second["cooling_for_seconds"] > 0
    assert (first["since"], first["recent"], first["last_failure"]) == (None, [], None)
    assert (second["recent"], second["last_failure"]["reason"]) == (
        ["upstream_rate_limited"],
        "answered 429: slow down",
    )
    assert second["since"] == second["last_failure"]["at"]


async def test_config_is_the_effective_one_redacted() -> None:
    async with administered() as admin, RawClient.to(admin.port) as client:
        client.get("/config")
        assert json.loads((await client.answer()).body) == {
            "revision": "r1",
            "files": [],
            "config": {"model_list": [{"api_key": "***"}]},
        }


async def test_metrics_are_there_for_prometheus() -> None:
    async with administered() as admin, RawClient.to(admin.port) as client:
        client.get("/metrics")
        answer = await client.answer()
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert b"gatewayd_build_info{" in answer.body


async def test_a_reload_that_changes_nothing_says_so() -> None:
    async with administered() as admin, RawClient.to(admin.port) as client:
        client.get("/reload", "content-length: 0", method="POST")
        answer = await client.answer()
        outcome = json.loads(answer.body)
        assert 0 <= outcome.pop("live_seconds") < 60
        assert (answer.status, outcome) == (200, {"result": "unchanged", "revision": "r1"})
        client.get("/status")
        last = json.loads((await client.answer()).body)["last_reload"]
        assert (last["result"], last["at"].endswith("+00:00")) == ("unchanged", True)


async def test_a_reload_that_is_applied_says_what_changed() -> None:
    def load(live: Snapshot) -> Result:
        return Result(replace(live, revision="r2", deployments=()), (replace(PROBLEM, severity="warning"),))

    async with administered(load=load) as admin, RawClient.to(admin.port) as client:
        client.get("/reload", "content-length: 0", method="POST")
        answer = await client.answer()
        outcome = json.loads(answer.body)
        assert admin.gateway.current.snapshot.revision == "r2"
    assert (answer.status, outcome["result"], outcome["revision"]) == (200, "applied", "r2")
    assert any(line.startswith("-") for line in outcome["changes"])
    assert [warning["code"] for warning in outcome["warnings"]] == ["unknown_key"]
    assert outcome["seconds"] >= 0


async def test_a_refused_reload_is_a_422_with_every_problem() -> None:
    """R8, E-32"""
    problems = (PROBLEM, replace(PROBLEM, line=9))
    async with administered(load=lambda live: Result(None, problems)) as admin, RawClient.to(admin.port) as client:
        client.get("/reload", "content-length: 0", method="POST")
        answer = await client.answer()
        assert admin.gateway.current.snapshot.revision == "r1"
    assert answer.status == 422
    assert json.loads(answer.body) == {"result": "rejected", "problems": [problem.as_dict() for problem in problems]}


@pytest.mark.parametrize(
    "fields",
    [
        ["origin: https://evil.example"],
        ["origin: http://localhost:3000"],
        ["origin: null"],
        ["sec-fetch-site: cross-site"],
        ["sec-fetch-site: same-site"],
    ],
)
async def test_a_page_cannot_make_it_reload(fields: list[str]) -> None:
    """D-13"""
    async with administered() as admin, RawClient.to(admin.port) as client:
        client.get("/reload", "content-length: 0", *fields, method="POST")
        answer = await client.answer()
        assert (answer.status, answer.error["code"]) == (403, "forbidden")
        assert admin.reloader.last is None
        client.get(
            "/reload", "content-length: 0", "origin: http://localhost", "sec-fetch-site: same-origin", method="POST"
        )
        assert (await client.answer()).status == 200


@pytest.mark.parametrize("path", ["/", "/status", "/config", "/metrics"])
async def test_a_rebound_name_reads_nothing(path: str) -> None:
    """D-08"""
    async with administered() as admin, RawClient.to(admin.port) as client:
        client.send(f"GET {path} HTTP/1.1\r\nhost: rebound.evil.example\r\n\r\n".encode())
        assert (await client.answer()).status == 403
        client.get(path)
        answer = await client.answer()
        assert answer.status == 200
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-request-id"].startswith("adm_")


@pytest.mark.parametrize("path", ["/", "/status", "/config", "/metrics", "/reload", "/nope"])
async def test_off_this_machine_everything_needs_the_master_key(path: str) -> None:
    """D-09"""
    method = "POST" if path == "/reload" else "GET"
    async with administered(EXPOSED) as admin, RawClient.to(admin.port) as client:
        client.get(path, "content-length: 0", method=method)
        answer = await client.answer()
        assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")
        assert answer.headers["www-authenticate"] == "Bearer"
        client.get(path, "content-length: 0", f"authorization: Bearer {KEY}", method=method)
        assert (await client.answer()).status == (404 if path == "/nope" else 200)


async def test_off_this_machine_without_a_master_key_nobody_is_let_in() -> None:
    async with administered(replace(EXPOSED, master_key=None)) as admin, RawClient.to(admin.port) as client:
        client.get("/status")
        assert (await client.answer()).status == 403


async def test_a_master_key_is_not_asked_for_on_loopback() -> None:
    server = ServerSettings(master_key=Secret(KEY))
    async with administered(server) as admin, RawClient.to(admin.port) as client:
        client.get("/status/")
        answer = await client.answer()
        assert answer.status == 200
        assert KEY.encode() not in answer.body


@pytest.mark.parametrize(
    ("method", "path", "status", "code", "allow"),
    [
        ("GET", "/nope", 404, "unknown_url", None),
        ("POST", "/v1/chat/completions", 404, "unknown_url", None),
        ("GET", "/reload", 405, "method_not_allowed", "POST"),
        ("PUT", "/config", 405, "method_not_allowed", "GET, HEAD"),
        ("DELETE", "/status", 405, "method_not_allowed", "GET, HEAD"),
        ("OPTIONS", "/status", 405, "method_not_allowed", "GET, HEAD"),
    ],
)
async def test_what_is_not_there_is_said_in_openais_shape(
    method: str, path: str, status: int, code: str, allow: str | None
) -> None:
    """B-22; nothing writes configuration, and the endpoints of the data listener are not here."""
    async with administered() as admin, RawClient.to(admin.port) as client:
        client.get(path, "content-length: 0", method=method)
        answer = await client.answer()
    assert (answer.status, answer.error["code"], answer.headers.get("allow")) == (status, code, allow)


async def test_the_index_lists_the_doors() -> None:
    async with administered() as admin, RawClient.to(admin.port) as client:
        client.get("/")
        text = (await client.answer()).body.decode()
        client.get("/", method="HEAD")
        assert (await client.answer(has_body=False)).status == 200
    assert "POST /reload" in text
    assert "GET  /status" in text


async def test_a_bug_is_a_500_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    async with administered() as admin, RawClient.to(admin.port) as client:
        admin.reloader.last = admin.reloader.last_at = 1  # type: ignore[assignment]
        client.get("/status")
        answer = await client.answer()
    assert (answer.status, answer.error["code"]) == (500, "internal_error")
    assert answer.headers["x-request-id"] in caplog.text
    assert b"int" not in answer.body.replace(b"internal", b"")


async def test_two_hosts_or_a_bent_one_are_refused() -> None:
    """B-05"""
    async with administered() as admin:
        for hosts in ("host: a@b", "host: a/?"):
            async with RawClient.to(admin.port) as client:
                client.send(f"GET /status HTTP/1.1\r\n{hosts}\r\n\r\n".encode())
                assert (await client.answer()).status == 400
