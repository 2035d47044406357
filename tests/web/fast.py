"""A data side whose requests take the fast path, in front of a scripted upstream; it counts those that do not."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass

from aiohttp import StreamReader
from aiohttp.http_parser import RawRequestMessage

from gatewayd.config.snapshot import Deployment, RoutingSettings, ServerSettings, Snapshot
from gatewayd.engine.build import build
from gatewayd.engine.runtime import Gateway
from gatewayd.observe.metrics import Metrics
from gatewayd.secret import Secret
from gatewayd.upstream.forward import ForwardUpstream
from gatewayd.web.app import data_listener
from gatewayd.web.connection import Connection, Deadlines
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
    """A data side in front of two deployments at one scripted upstream; `ordinary` counts what took the long way."""

    site: Site
    up: FakeUpstream
    ordinary: int = 0

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
        self.ordinary = 0
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
            answer = loop_server.answer

            def counted(message: RawRequestMessage, payload: StreamReader, connection: Connection) -> Awaitable[bool]:
                place.ordinary += 1
                return answer(message, payload, connection)

            loop_server.answer = counted
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
