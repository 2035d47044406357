"""The direct way is left: counted, and logged once for each reason."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from gatewayd.errors import GatewayError
from gatewayd.observe import detours
from gatewayd.observe.metrics import Metrics
from gatewayd.upstream.litellm import api, translate
from gatewayd.upstream.litellm.translate import TranslateUpstream
from tests.fakeup import FakeUpstream
from tests.stand_ins import anthropic
from tests.upstream.doubles import call
from tests.upstream.litellm.direct_and_litellm import of
from tests.upstream.litellm.translating import KNOWN_WARNINGS, MESSAGES

pytestmark = KNOWN_WARNINGS


@pytest.fixture(autouse=True)
def nothing_logged_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detours, "_logged", set())


def metrics() -> dict[str, float]:
    text = Metrics().render().decode()
    lines = [line for line in text.splitlines() if line.startswith("gatewayd_direct_path_left_total{")]
    return {line.split('"')[1]: float(line.split()[-1]) for line in lines}


async def ask(times: int = 2, **fields: Any) -> None:
    async with FakeUpstream(anthropic.answer) as up:
        upstream = TranslateUpstream(of("anthropic", up))
        for _ in range(times):
            (await upstream.open(call(messages=MESSAGES, **fields))).close()
        await upstream.aclose()


async def test_calls_that_go_directly_are_not_counted(caplog: pytest.LogCaptureFixture) -> None:
    """U-A12"""
    before = metrics()
    await ask()
    await ask(tools=[{"type": "bash_20250124", "name": "bash"}])  # not on the allowlist
    assert metrics() == before
    assert not caplog.records


async def test_an_unknown_litellm_is_counted_and_logged_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """U-A12: a private name of litellm's has moved."""
    before = metrics()["unknown_litellm"]
    monkeypatch.setattr(translate, "load_api", lambda: None)
    with caplog.at_level(logging.WARNING):
        await ask()
    assert metrics()["unknown_litellm"] == before + 2
    (record,) = caplog.records
    assert record.getMessage() == (
        "calls to anthropic use litellm.acompletion, which costs more than the direct path "
        "(unknown litellm version); gatewayd_direct_path_left_total counts them"
    )


async def test_a_litellm_that_behaves_otherwise_is_counted_and_logged_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """U-A12: a function of litellm's takes other arguments."""
    parts = api.load_api()
    assert parts is not None
    monkeypatch.setattr(parts, "_optional", lambda: None)
    before = metrics()["failed"]
    with caplog.at_level(logging.WARNING):
        await ask()
    assert metrics()["failed"] == before + 2
    (record,) = caplog.records
    assert "TypeError while preparing the call" in record.getMessage()


async def test_a_call_that_cannot_be_asked_is_no_detour(caplog: pytest.LogCaptureFixture) -> None:
    """U-A12: callers cannot fill the log."""
    before = metrics()
    with pytest.raises(GatewayError):
        await ask(logit_bias={"1": 2})
    assert metrics() == before
    assert not caplog.records
