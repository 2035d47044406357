"""The tests of sockets run on both event loops: asyncio's, and uvloop, on which the daemon runs where it can."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop

_ON_BOTH = (
    "test_abuse",
    "test_bodies",
    "test_connection",
    "test_crowds",
    "test_request_life",
    "test_fairness",
    "test_hidden",
    "test_known",
    "test_known_heads",
    "test_listener",
    "test_patience",
    "test_relay",
)


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    factories: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
    if item.path.stem in _ON_BOTH:
        factories["uvloop"] = uvloop.new_event_loop
    return factories
