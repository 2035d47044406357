"""The data side between a scripted upstream and a client: what every test of this package needs."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from gatewayd.config.snapshot import Deployment, RoutingSettings, ServerSettings, ServerTimeouts
from gatewayd.secret import Secret
from gatewayd.wire.openai import DONE
from tests.engine.fakes import NO_RETRIES
from tests.fakeup import FakeUpstream, Reply, chat_events
from tests.web.support import OPEN, Answer, RawClient, Site, serving_deployments

KEY = "sk-upstream-canary"
MESSAGES: Any = [{"role": "user", "content": "Hello"}]
ASK = b'{"model":"chat","messages":[]}'
ASK_STREAM = b'{"model":"chat","stream":true,"messages":[]}'
COUNTS = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
EVENTS = chat_events("one", "two", "three")
NO_BEGIN = ServerSettings(timeouts=ServerTimeouts(first_byte=0.3))
NO_MORE = ServerSettings(timeouts=ServerTimeouts(idle=0.3))
"""For faults that are silence, before the answer or inside it; whatever does come has all the time it needs."""


def forward(up: FakeUpstream | str, id: str = "d1", group: str = "chat", **changes: Any) -> Deployment:
    base = up if isinstance(up, str) else up.base_url
    fields: dict[str, Any] = {"provider": "openai", "api_base": base, "api_key": Secret(KEY), **changes}
    return Deployment(id=id, identity=id, group=group, kind="forward", model="m", **fields)


@contextlib.asynccontextmanager
async def before(
    *replies: Reply, server: ServerSettings = OPEN, routing: RoutingSettings = NO_RETRIES
) -> AsyncIterator[tuple[FakeUpstream, Site]]:
    """A gateway with one deployment, and its upstream."""
    async with FakeUpstream(*replies) as up, serving_deployments(forward(up), server=server, routing=routing) as site:
        yield up, site


async def asked(site: Site, body: bytes = ASK) -> Answer:
    """One request on a connection of its own."""
    async with RawClient.to(site.port) as client:
        client.post("/v1/chat/completions", body)
        return await client.answer()


def errors_in(body: bytes) -> list[dict[str, Any]]:
    """The error events of a stream."""
    parts = [part for part in body.split(b"\n\n") if part.startswith(b"data: ") and part != DONE.strip()]
    values = []
    for part in parts:
        with contextlib.suppress(ValueError):
            values.append(json.loads(part.removeprefix(b"data: ")))
    return [value["error"] for value in values if "error" in value]
