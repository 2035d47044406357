"""H-04: the moment between a first attempt, which has failed, and the task that goes on, which has not begun."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from gatewayd.errors import ShuttingDown
from gatewayd.tasks import spawn
from gatewayd.web.app import DataApp
from gatewayd.web.loop import LoopServer
from tests.fakeup import error_reply
from tests.web.counting import PATH, placed
from tests.web.support import RawClient, until


@pytest.mark.parametrize("how", ["lost", "interrupted"])
async def test_a_request_that_ends_before_its_task_begins(how: str) -> None:
    """The lease ends and the request is accounted for once; a lease that stays keeps its configuration for ever."""
    async with asyncio.timeout(20), placed() as place:  # with a lease left, its end would not come
        server = place.site.listener._server
        assert isinstance(server, LoopServer)
        app = server.handler
        assert isinstance(app, DataApp)

        def ending_spawn(work: Coroutine[Any, Any, Any], *, name: str) -> asyncio.Task[Any]:
            (request,) = app.requests.live
            loop = asyncio.get_running_loop()
            if how == "lost":  # before the first step of the task
                loop.call_soon(request.lost)
            else:
                loop.call_soon(request.interrupt, ShuttingDown("The gateway is stopping."))
            return spawn(work, name=name)

        async with RawClient.to(place.port) as client:
            await place.warm(client)
            app.requests.spawn = ending_spawn
            place.up.then(error_reply(500))
            client.post(PATH)
            await until(lambda: place.gateway.in_flight == 0 and len(place.site.records.fields) == 1)
        record = place.site.records.fields[0]
        assert (record["outcome"], record["status"]) == (("client_left", 499) if how == "lost" else ("shutdown", 503))
        assert (record["group"], record["attempts"]) == ("chat", 1)
        assert place.parsed == 0
