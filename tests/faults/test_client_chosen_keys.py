"""H-03: whatever strangers make up is remembered within bounds."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
from collections.abc import Iterator
from itertools import count

import pytest

from gatewayd.observe.log import LineFormatter, LineHandler
from gatewayd.observe.redact import Redactor
from tests.test_daemon import KEY, running, tree
from tests.web.support import RawClient

BODY = b'{"model":"%b","messages":[{"role":"user","content":"Hello"}]}'
BATCH = 8192
"""Of each of four kinds a multiple of what the gateway remembers at most (1024 heads, 4096 names that match a pattern):
its memories are as full after each batch."""


@pytest.fixture(autouse=True)
def _unseen() -> Iterator[None]:
    """Log lines are made and go nowhere: pytest keeps every record it sees."""
    with open(os.devnull, "w") as nowhere:
        handler = LineHandler(nowhere, LineFormatter("text", Redactor()))
        logger = logging.getLogger("gatewayd")
        logger.addHandler(handler)
        logger.propagate = False
        yield
        logger.propagate = True
        logger.removeHandler(handler)


async def test_keys_names_ids_and_addresses_that_are_made_up_cost_no_memory() -> None:
    """H-03"""
    numbers = count(1)
    async with running(tree("known/*", general_settings={"master_key": KEY})) as daemon:
        port = daemon.addresses[0].port

        async def batch() -> int:
            """Blocks of memory in use after so many strangers."""
            async with asyncio.TaskGroup() as group:
                for _ in range(16):
                    group.create_task(_strangers(port, numbers, BATCH // 16))
            await asyncio.sleep(0.1)  # the log's lines are out
            gc.collect()
            return sys.getallocatedblocks()

        before = await batch()
        after = await batch()
    assert after - before < BATCH / 8, f"{after - before} blocks more for {BATCH} strangers"


async def _strangers(port: int, numbers: Iterator[int], requests: int) -> None:
    for number in (next(numbers) for _ in range(requests // 8)):
        address = f"127.{1 + number % 100}.{number // 250 % 250}.{1 + number % 250}"
        reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
        client = RawClient(reader, writer)
        for kind in range(8):
            key, model, status = KEY, f"known/{number}-{kind}", 200
            if kind % 4 == 1:
                key, status = f"sk-nobody-{number}-{kind}", 401
            elif kind % 4 == 2:
                model, status = f"nobody-{number}-{kind}", 404
            headers = (f"authorization: Bearer {key}", f"x-request-id: r{number}-{kind}")
            client.post("/v1/chat/completions", BODY % model.encode(), *headers)
            assert (await client.answer()).status == status
        client.close()
        await writer.wait_closed()
