"""H-04: the moment between the fast path, which has given a request back, and the ordinary one, which has not begun."""

from __future__ import annotations

import asyncio

import pytest

from gatewayd.web.exchange import Exchange, Route
from gatewayd.web.loop import LoopConnection
from tests.fakeup import error_reply
from tests.web.fast import PATH, placed
from tests.web.support import RawClient, until


async def test_a_client_that_leaves_while_its_request_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lease ends and the request is accounted for once; a lease that stays keeps its configuration for ever."""
    go_on = LoopConnection.go_on

    def gone(connection: LoopConnection, exchange: Exchange, route: Route) -> None:
        connection.abort()  # the end of the connection is told before the connection's task is woken
        go_on(connection, exchange, route)

    async with asyncio.timeout(20), placed() as place:  # with a lease left, its end would not come
        async with RawClient.to(place.port) as client:
            await place.warm(client)
            monkeypatch.setattr(LoopConnection, "go_on", gone)
            place.up.then(error_reply(500))
            client.post(PATH)
            await until(lambda: place.gateway.in_flight == 0 and len(place.site.records.fields) == 1)
        record = place.site.records.fields[0]
        assert (record["outcome"], record["status"]) == ("client_left", 499)
        assert (record["group"], record["attempts"]) == ("chat", 1)
        assert place.ordinary == 0
