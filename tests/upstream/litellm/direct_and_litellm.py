"""One call both ways, directly and through `litellm.acompletion`, at the same stand-in, and what came of it."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping
from typing import Any

from gatewayd.config.snapshot import Deployment
from gatewayd.errors import GatewayError
from gatewayd.secret import Secret
from gatewayd.upstream.base import Timeouts
from gatewayd.upstream.litellm.translate import TranslateUpstream
from gatewayd.wire.openai import DONE
from tests.fakeup import FakeUpstream, Received
from tests.stand_ins import anthropic, bedrock, cohere, gemini, vertex
from tests.upstream.doubles import LONG, call, deployment
from tests.upstream.litellm.translating import MESSAGES
from tests.upstream.sinks import ListSink

AWS = {
    "aws_access_key_id": Secret("AKIACANARY"),
    "aws_secret_access_key": Secret("aws-secret-canary"),
    "aws_region_name": "us-east-1",
}
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYGBgAAAABQABpfZFQAAAAABJRU5E"
    "rkJggg=="
)
CALLED = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Bern"}'}}
_DAY = {"type": "object", "properties": {"day": {"type": "string"}}, "required": ["day"], "additionalProperties": False}
JSON_OF_A_SCHEMA: dict[str, Any] = {
    "response_format": {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": _DAY}}
}
_MESSAGE = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x", "stop_sequence": None}

_RANDOM = re.compile(r'"(id|created|call_id)": ?("[^"]*"|\d+)')
_TRANSPORT = {"user-agent", "accept", "accept-encoding", "connection", "content-length", "host"}
_SIGNED = {"authorization", "x-amz-date"}


def of(family: str, up: FakeUpstream, **changes: Any) -> Deployment:
    """A deployment of that provider at the stand-in."""
    values: dict[str, Any] = {"kind": "translate", "provider": family}
    match family:
        case "anthropic":
            base, values["model"] = anthropic.base_url(up), "claude-sonnet-4-5"
        case "gemini":
            base, values["model"] = gemini.base_url(up), "gemini-2.5-flash"
        case "vertex_ai":
            base, values["model"] = gemini.base_url(up), "gemini-2.5-flash"
            account = {"vertex_credentials": vertex.credentials(up), "vertex_project": vertex.PROJECT}
            values |= {"api_key": None, "litellm_params": account | {"vertex_location": "us-east1"}}
        case "bedrock":
            base, values["model"] = bedrock.base_url(up), "converse/anthropic.claude-3-5-sonnet-20240620-v1:0"
            values |= {"api_key": None, "litellm_params": AWS}
        case _:
            base, values["model"] = cohere.chat_url(up), "command-r"
    return deployment(base, **{**values, **changes})


def claude_body(*content: dict[str, Any], reason: str = "end_turn", **usage: int) -> bytes:
    said = {"content": list(content), "stop_reason": reason}
    return json.dumps(_MESSAGE | said | {"usage": {"input_tokens": 11, "output_tokens": 7, **usage}}).encode()


async def same(up: FakeUpstream, deployed: Deployment, fields: Mapping[str, Any], **more: Any) -> Any:
    """What came of a call; fails if the ways differ."""
    directly, otherwise = await both(up, deployed, {"messages": MESSAGES, **copy.deepcopy(dict(fields))}, **more)
    assert directly == otherwise
    assert "chain" not in directly or directly["chain"] == (None, None)
    return directly


async def signed_in(up: FakeUpstream) -> Deployment:
    """A deployment of Vertex AI whose token has been fetched."""
    deployed = of("vertex_ai", up)
    upstream = TranslateUpstream(deployed)
    await upstream.open(call(messages=MESSAGES))
    await upstream.aclose()
    assert [request.path for request in up.requests][:1] == ["/token"]
    assert not went_directly(up.requests[1])
    return deployed


async def both(
    up: FakeUpstream,
    deployed: Deployment,
    fields: Mapping[str, Any],
    *,
    timeouts: Timeouts = LONG,
    may_differ: bool = False,
    **more: Any,
) -> tuple[Any, Any]:
    """What came of a call directly, and the other way. Fails if the first did not go directly, unless `may_differ`."""
    found = []
    for direct in (True, False):
        up.requests.clear()
        upstream = TranslateUpstream(deployed, direct=direct)
        outcome = await _outcome(upstream, fields, timeouts, more)
        asked = [_asked(request) for request in up.requests]
        if up.requests:
            assert went_directly(up.requests[0]) is direct or may_differ
        found.append({"asked": asked, **outcome})
        await upstream.aclose()
    return found[0], found[1]


def went_directly(request: Received) -> bool:
    return request.headers.get("user-agent", "").startswith("gatewayd/")


async def _outcome(upstream: TranslateUpstream, fields: Mapping[str, Any], timeouts: Timeouts, more: Any) -> Any:
    sink = ListSink()
    try:
        reply = await upstream.open(call(fields, timeouts=timeouts, **more))
    except GatewayError as error:
        return {"failed": told(error), "chain": (error.__cause__, error.__context__)}
    if reply.body is not None:
        return {"body": _tree(reply.body), "headers": list(reply.headers), "usage": reply.usage}
    failed = None
    try:
        await reply.pipe(sink)
    except GatewayError as error:
        failed = told(error)
    finally:
        reply.close()
    events = [event.removeprefix(b"data: ") for event in sink.data.split(b"\n\n") if event]
    return {
        "events": [event if event == b"[DONE]" else _tree(event) for event in events],
        "ended": sink.data.endswith(DONE),
        "failed": failed,
        "headers": list(reply.headers),
        "usage": reply.usage,
    }


def told(error: GatewayError) -> dict[str, Any]:
    names = ("status", "code", "message", "param", "verdict", "blames_deployment", "retry_after", "fallback", "told")
    found = {"class": type(error).__name__, **{name: getattr(error, name, None) for name in names}}
    if error.code == "upstream_incomplete":
        del found["message"]  # one way knows better than the other whether anything had come
    return found


def _tree(body: bytes) -> Any:
    tree = json.loads(_RANDOM.sub(r'"\1": "random"', body.decode()))
    if tree.get("object") == "chat.completion.chunk" and "usage" in tree:
        tree["usage"].pop("cost", None)  # litellm's own estimate, which it leaves out of whole answers
    return tree


def _asked(request: Received) -> Any:
    skipped = _TRANSPORT | (_SIGNED if "x-amz-date" in request.headers else set())
    headers = {name: value for name, value in request.headers.items() if name not in skipped}
    return request.method, request.target, headers, request.json()
