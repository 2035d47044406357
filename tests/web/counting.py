"""A data side in front of a scripted upstream; it counts the requests that were parsed, and those that made a task."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from typing import Any

from gatewayd.config.snapshot import Deployment, RoutingSettings, ServerSettings, Snapshot
from gatewayd.engine.build import build
from gatewayd.engine.head import ClientHeaders, RequestHead
from gatewayd.engine.runtime import Gateway
from gatewayd.errors import GatewayError
from gatewayd.observe.metrics import Metrics
from gatewayd.secret import Secret
from gatewayd.tasks import spawn
from gatewayd.upstream.forward import ForwardUpstream
from gatewayd.web.app import DataApp, data_listener
from gatewayd.web.connection import Deadlines
from gatewayd.web.loop import LoopServer
from tests.fakeup import (
    FakeUpstream,
    Reply,
    json_reply,
)
from tests.web.support import CHAT, LOCAL, Answer, RawClient, Records, Site, until

PATH = "/v1/chat/completions"
OWN = ("x-request-id", "x-litellm-call-id", "x-gatewayd-overhead-ms", "x-litellm-overhead-duration-ms",
       "x-litellm-response-duration-ms", "date", "x-gatewayd-deployment", "x-litellm-model-id")  # fmt: skip
"""Headers that differ from answer to answer."""
USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
GOOD = json_reply({"object": "chat.completion", "choices": [{}], "usage": USAGE})


@dataclass
class Place:
    """A data side in front of two deployments at one scripted upstream."""

    site: Site
    up: FakeUpstream
    parsed: int = 0
    """Requests whose head was parsed."""
    tasks: int = 0
    """Requests that had to wait, and so made a task."""

    @property
    def port(self) -> int:
        return self.site.port

    @property
    def gateway(self) -> Gateway:
        return self.site.gateway

    async def warm(self, client: RawClient, *headers: str) -> None:
        """Makes the head of `post(PATH, ...)` with these headers known, and leaves idle connections upstream."""
        for _ in range(100):
            client.post(PATH, CHAT, *headers)
            assert (await client.answer()).status == 200
            targets = self.gateway.current.targets.values()
            if all(isinstance(t.upstream, ForwardUpstream) and t.upstream._pool.idle_count for t in targets):
                break
        await asyncio.sleep(0)
        self.parsed = self.tasks = 0
        self.site.records.fields.clear()
        self.up.requests.clear()


def deployments(up: FakeUpstream) -> tuple[Deployment, ...]:
    return tuple(
        Deployment(
            name, name, "chat", "forward", "openai", "m", api_base=up.base_url, api_key=Secret("sk-x-0123456789")
        )
        for name in ("first", "second")
    )


RETRIES = RoutingSettings(num_retries=1, disable_cooldowns=True)
OPEN = ServerSettings()


@contextlib.asynccontextmanager
async def placed(
    *replies: Reply, server: ServerSettings = OPEN, deadlines: Deadlines | None = None
) -> AsyncIterator[Place]:
    gateway, metrics = Gateway(), Metrics()
    async with FakeUpstream(*replies or (GOOD,)) as up:
        gateway.swap(await build(Snapshot("r1", deployments(up), RETRIES, server), gateway))
        listener = data_listener(gateway, metrics, deadlines=deadlines)
        with Records() as records:
            place = Place(Site(gateway, metrics, listener, records), up)
            loop_server = listener._server
            assert isinstance(loop_server, LoopServer)
            app = loop_server.handler
            assert isinstance(app, DataApp)
            understand = app.understand

            def counted(
                method: str, path: str, query: str, headers: ClientHeaders, problem: GatewayError | None
            ) -> RequestHead:
                place.parsed += 1
                return understand(method, path, query, headers, problem)

            def counted_spawn(work: Coroutine[Any, Any, Any], *, name: str) -> asyncio.Task[Any]:
                place.tasks += 1
                return spawn(work, name=name)

            app.understand = counted  # type: ignore[method-assign]
            app.requests.spawn = counted_spawn
            await listener.serve([LOCAL])
            try:
                yield place
                await until(lambda: gateway.in_flight == 0)
                states = [
                    gateway.health.state(target.candidate.identity) for target in gateway.current.targets.values()
                ]
                assert [state.in_flight for state in states] == [0, 0]
            finally:
                await listener.drain(0)
                await gateway.close()


def shared(answer: Answer) -> tuple[int, dict[str, str], bytes]:
    return answer.status, {name: value for name, value in answer.headers.items() if name not in OWN}, answer.body


def request(number: int, extra: str = "") -> bytes:
    body = json.dumps({"model": "chat", "n": number}).encode()
    head = f"POST {PATH} HTTP/1.1\r\nhost: localhost\r\n{extra}content-length: {len(body)}\r\n\r\n"
    return head.encode() + body
