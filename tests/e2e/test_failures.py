"""Upstreams that fail, through the whole process.

While somebody can answer it costs the client nothing; when nobody can, the client is told once, in OpenAI's shape,
what was tried.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.process import Daemon
from tests.fakeup import HANG, RST, FakeUpstream, error_reply, json_reply, raw_reply, sse_reply
from tests.replies import Reply, chat_events, head

GOOD = {"object": "chat.completion", "choices": [{"message": {"role": "assistant", "content": "from the good one"}}]}
STREAM = chat_events("from ", "the good one")
SSE_HEAD = head(200, [("content-type", "text/event-stream"), ("transfer-encoding", "chunked")])

FAILURES = {
    "500": error_reply(500),
    "429": error_reply(429),
    "401": error_reply(401),
    "reset": raw_reply(RST),
    "hang": raw_reply(HANG),
    "closed": raw_reply(close=True),
    "html": raw_reply(head(200, [("content-type", "text/html"), ("content-length", "6")]) + b"<html>"),
    "cut": raw_reply(head(200, [("content-type", "application/json"), ("content-length", "99")]) + b"{", close=True),
}
STREAM_FAILURES = {
    "error first": sse_reply([b'data: {"error": {"message": "overloaded"}}\n\n']),
    "empty": sse_reply([]),
    "cut before the first event": raw_reply(SSE_HEAD, RST),
    "silent before the first event": raw_reply(SSE_HEAD, HANG),
}


def config(bad: FakeUpstream, good: FakeUpstream | None, *, same_group: bool, retries: int = 1) -> str:
    """The good one is the same group's second deployment (tried second: `order`) or the fallback group."""
    models: list[dict[str, Any]] = [_entry("asked", bad, order=1)]
    if good is not None:
        models.append(_entry("asked" if same_group else "spare", good, order=2))
    return json.dumps(
        {
            "model_list": models,
            "router_settings": {"num_retries": retries, "timeout": 2},
            **({"fallbacks": [{"asked": ["spare"]}]} if good is not None and not same_group else {}),
            "gatewayd": {"listen": "127.0.0.1:0", "admin": "127.0.0.1:0", "timeouts": {"first_byte": 0.5}},
        }
    )


def _entry(group: str, up: FakeUpstream, **params: Any) -> dict[str, Any]:
    return {
        "model_name": group,
        "litellm_params": {"model": "openai/m", "api_base": up.base_url, "api_key": "sk-upstream-key", **params},
    }


async def _raw(daemon: Daemon, **fields: Any) -> tuple[int, Mapping[str, str], bytes]:
    body = {"model": "asked", "messages": [], **fields}
    async with daemon.session.post(f"{daemon.data}/chat/completions", json=body) as response:
        return response.status, response.headers, await response.read()


@pytest.mark.parametrize("same_group", [True, False], ids=["another deployment", "a fallback group"])
async def test_a_failure_costs_the_client_nothing_while_somebody_can_answer(tmp_path: Path, same_group: bool) -> None:
    """A-08, A-12, A-18, A-27, A-28, A-31, A-38"""
    file = tmp_path / "gatewayd.yaml"
    async with FakeUpstream() as bad, FakeUpstream() as good:
        file.write_text(config(bad, good, same_group=same_group))
        async with Daemon(file) as daemon:
            for stream, failures in ((False, FAILURES), (True, FAILURES | STREAM_FAILURES)):
                for name, failure in failures.items():
                    bad.then(failure)
                    good.then(sse_reply(STREAM) if stream else json_reply(GOOD))
                    asked = len(good.requests)
                    status, headers, body = await _raw(daemon, stream=stream)
                    assert (status, len(good.requests) - asked) == (200, 1), (name, body)
                    assert body == b"".join(STREAM) if stream else json.loads(body) == GOOD, name
                    assert headers.get("x-gatewayd-fallback") == (None if same_group else "spare")


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [
        (error_reply(503), 503, None),
        (error_reply(429), 429, None),
        (error_reply(401), 502, "upstream_auth_error"),
        (raw_reply(RST), 502, "upstream_connection_error"),
        (raw_reply(HANG), 504, "upstream_timeout"),
    ],
    ids=["503", "429", "401", "reset", "hang"],
)
async def test_when_nobody_can_the_client_is_told_once_what_was_tried(
    tmp_path: Path, failure: Reply, status: int, code: str | None
) -> None:
    file = tmp_path / "gatewayd.yaml"
    async with FakeUpstream(failure) as bad:
        file.write_text(config(bad, None, same_group=True))
        async with Daemon(file) as daemon:
            for stream in (False, True):
                answered, headers, body = await _raw(daemon, stream=stream)
                error = json.loads(body)["error"]
                assert (answered, set(error)) == (status, {"message", "type", "param", "code"})
                assert headers["x-should-retry"] == "false"
                assert headers["content-type"].startswith("application/json")
                assert "sk-upstream-key" not in body.decode()
                assert str(bad.port) not in body.decode()
                if code is not None:
                    assert error["code"] == code
                    assert " (tried asked" in error["message"], "the message says what each deployment answered"


async def test_the_callers_mistake_is_passed_on_and_asked_of_nobody_else(tmp_path: Path) -> None:
    """A-29"""
    file = tmp_path / "gatewayd.yaml"
    mistake = {"error": {"message": "no such role", "type": "invalid_request_error", "param": "messages", "code": None}}
    async with FakeUpstream(json_reply(mistake, status=400)) as strict, FakeUpstream(json_reply(GOOD)) as good:
        file.write_text(config(strict, good, same_group=False))
        async with Daemon(file) as daemon:
            status, _, body = await _raw(daemon)
            assert (status, json.loads(body)) == (400, mistake)
            assert (len(strict.requests), len(good.requests)) == (1, 0)


async def test_a_failing_deployment_is_left_alone_for_a_while(tmp_path: Path) -> None:
    file = tmp_path / "gatewayd.yaml"
    async with FakeUpstream(error_reply(500)) as bad, FakeUpstream(json_reply(GOOD)) as good:
        file.write_text(config(bad, good, same_group=True))
        async with Daemon(file) as daemon:
            for _ in range(20):
                assert (await _raw(daemon))[0] == 200
            assert len(bad.requests) < 10
            status = await daemon.status()
            assert "cool" in json.dumps(status)
