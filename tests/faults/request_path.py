"""The whole request path in one loop: raw clients, the data listener, forwarding upstreams, scripted upstream servers.

`RequestPath.at_rest` says whether everything went back to where it was, whatever was done: the invariants of the
fault-injection tests, in one place.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from gatewayd.config.snapshot import Deployment, RoutingSettings, ServerSettings, Snapshot
from gatewayd.engine.build import build
from gatewayd.engine.runtime import Gateway
from gatewayd.errors import FallbackKind
from gatewayd.observe.metrics import Metrics
from gatewayd.secret import Secret
from gatewayd.tasks import spawn
from gatewayd.upstream.forward import ForwardUpstream
from gatewayd.upstream.pool import Pool
from gatewayd.web.app import DataApp
from gatewayd.web.listener import Listener
from gatewayd.web.loop import LoopServer
from tests.fakeup import FakeUpstream
from tests.web.support import LOCAL, RawClient, Records, until

Work = Coroutine[Any, Any, Any]
Around = Callable[[Work], Work]

ROUTING = RoutingSettings(num_retries=1, disable_cooldowns=True, fallbacks={FallbackKind.GENERAL: {"chat": ("spare",)}})
BODY = b'{"model":"%b","stream":%b,"messages":[]}'


@dataclass
class RequestPath:
    gateway: Gateway
    metrics: Metrics
    listener: Listener
    server: LoopServer
    app: DataApp
    records: Records
    primary: FakeUpstream
    spare: FakeUpstream
    complaints: list[dict[str, Any]] = field(default_factory=list)
    """What the event loop could give to nobody."""

    @property
    def port(self) -> int:
        return self.listener.addresses[0].port

    @property
    def pools(self) -> list[Pool]:
        targets = self.gateway.current.targets.values()
        return [target.upstream._pool for target in targets if isinstance(target.upstream, ForwardUpstream)]

    async def ask(self, *, stream: bool, model: str = "chat") -> bytes:
        """One request on a connection of its own, its body in two pieces; all bytes that come back."""
        body = BODY % (model.encode(), b"true" if stream else b"false")
        async with RawClient.to(self.port) as client:
            head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n"
            client.send(f"{head}connection: close\r\n\r\n".encode() + body[:5])
            await asyncio.sleep(0.001)  # so that the gateway begins to wait for the rest
            client.send(body[5:])
            return await client.ended()

    async def at_rest(self, records: int) -> None:
        """Raises TimeoutError or AssertionError unless nothing is left of the requests so far."""
        states = [self.gateway.health.state(t.candidate.identity) for t in self.gateway.current.targets.values()]
        with _explained(self):
            await until(lambda: self.gateway.in_flight == 0 and not self.app.requests.live and not self.server.open)
            await until(lambda: all(pool.open_count == pool.idle_count for pool in self.pools))
            await until(
                lambda: self.primary.open_count + self.spare.open_count == sum(pool.idle_count for pool in self.pools)
            )
        assert [state.in_flight for state in states] == [0] * len(states)
        assert not any(state.probing for state in states)
        assert len(self.records.fields) == records, self.records.fields
        assert self.complaints == []

    async def unheard(self) -> None:
        """Raises AssertionError if a future was forgotten: one whose exception nobody fetched complains as it goes."""
        gc.collect()
        await asyncio.sleep(0)
        assert self.complaints == []


@contextlib.contextmanager
def _explained(path: RequestPath) -> Any:
    try:
        yield
    except TimeoutError:
        raise AssertionError(
            f"in flight {path.gateway.in_flight}, live {len(path.app.requests.live)}, open {len(path.server.open)},"
            f" pools {[(pool.open_count, pool.idle_count) for pool in path.pools]},"
            f" upstreams {path.primary.open_count} {path.spare.open_count}"
        ) from None


@contextlib.asynccontextmanager
async def staged(
    primary: FakeUpstream, spare: FakeUpstream, around: Around = lambda work: work
) -> AsyncIterator[RequestPath]:
    """A path, serving: the two deployments of `chat` and the one of `alone` lead to `primary`, the fallback of
    `chat` to the other. `around` wraps what the task of a request does."""
    gateway, metrics = Gateway(), Metrics()
    app = DataApp(gateway, metrics)

    def around_spawn(work: Work, *, name: str) -> asyncio.Task[Any]:
        return spawn(around(work), name=name)

    app.requests.spawn = around_spawn
    server = LoopServer(app, bodies=app.bodies, max_connections=lambda: 1000)
    listener = Listener(server, interrupt=app.requests.interrupt)
    deployments = tuple(
        Deployment(name, name, group, "forward", "openai", "m", api_base=up.base_url, api_key=Secret("sk-x-0123456789"))
        for name, group, up in (
            ("first", "chat", primary),
            ("second", "chat", primary),
            ("third", "spare", spare),
            ("only", "alone", primary),
        )
    )
    loop = asyncio.get_running_loop()
    with Records() as records:
        path = RequestPath(gateway, metrics, listener, server, app, records, primary, spare)
        loop.set_exception_handler(lambda _, context: path.complaints.append(context))
        gateway.swap(await build(Snapshot("r1", deployments, ROUTING, ServerSettings()), gateway))
        await listener.serve([LOCAL])
        try:
            yield path
        finally:
            await listener.drain(0)
            await gateway.close()
            loop.set_exception_handler(None)
