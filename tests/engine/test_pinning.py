"""Which deployment a request is asked of that goes on with a response; the rest is in tests/data_plane."""

from __future__ import annotations

import time

import pytest

from gatewayd.engine.dispatch import dispatch
from gatewayd.engine.pinning import pinned_deployment
from gatewayd.engine.runtime import Gateway, Runtime
from gatewayd.errors import InvalidRequest, NoDeploymentAvailable, UpstreamStatus
from gatewayd.observe.record import Record
from gatewayd.upstream.base import Call
from gatewayd.wire.dialect import RESPONSES
from gatewayd.wire.openai import encode
from tests.engine.fakes import FakeUpstream, runtime_of


def asking(gateway: Gateway, deployment: str, model: str = "a") -> Call:
    memory = gateway.memory("key")
    body = encode({"model": model, "input": "x", "previous_response_id": memory.sealed("resp_1", deployment)})
    return Call(RESPONSES, RESPONSES.dialect.peek(body), "r", memory=memory)


def pinned(runtime: Runtime, call: Call) -> str | None:
    return pinned_deployment(runtime, runtime.table.chain(call.intent.model), call)


async def test_the_deployment_that_keeps_the_response_is_asked() -> None:
    gateway = Gateway()
    runtime = runtime_of(gateway, {"a": {"a1": FakeUpstream(), "a2": FakeUpstream()}, "b": {"b1": FakeUpstream()}})
    assert pinned(runtime, asking(gateway, "a2")) == "a2"
    body = RESPONSES.dialect.peek(b'{"model":"a","input":"x"}')
    assert pinned(runtime, Call(RESPONSES, body, "r", memory=gateway.memory("key"))) is None
    assert pinned(runtime, Call(RESPONSES, body, "r")) is None


@pytest.mark.parametrize(
    ("deployment", "why"), [("b1", "does not serve the model"), ("gone", "is not configured any more")]
)
async def test_no_other_deployment_is_asked(deployment: str, why: str) -> None:
    gateway = Gateway()
    runtime = runtime_of(gateway, {"a": {"a1": FakeUpstream()}, "b": {"b1": FakeUpstream()}})
    with pytest.raises(InvalidRequest, match=f"kept by the deployment '{deployment}', which {why}") as caught:
        pinned(runtime, asking(gateway, deployment))
    assert (caught.value.param, caught.value.code) == ("previous_response_id", "previous_response_not_found")


async def test_a_deployment_that_is_out_of_rotation_is_named() -> None:
    gateway, other = Gateway(), FakeUpstream()
    runtime = runtime_of(gateway, {"a": {"a1": FakeUpstream(), "a2": other}})
    one, two = (runtime.targets[name].candidate for name in ("a1", "a2"))
    busy = UpstreamStatus("slow down", status=429, retry_after=60.0)
    gateway.health.failed(one, busy, time.monotonic(), peers=(one, two), policy=runtime.policy)
    with pytest.raises(NoDeploymentAvailable) as caught:
        await dispatch(runtime, asking(gateway, "a1"), Record())
    assert "kept by the deployment 'a1', which is out of rotation after failures" in caught.value.message
    assert caught.value.retry_after is not None
    assert 0 < caught.value.retry_after < 1000
    assert not other.calls
