"""What the tests of translated calls share."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gatewayd.config.snapshot import Deployment
from gatewayd.upstream.base import Reply
from gatewayd.upstream.litellm.translate import TranslateUpstream
from gatewayd.wire.openai import DONE
from tests.fakeup import FakeUpstream
from tests.stand_ins import anthropic
from tests.upstream.doubles import deployment
from tests.upstream.sinks import ListSink

KNOWN_WARNINGS = [
    pytest.mark.filterwarnings("ignore:.*`ReadOnly` qualifier:UserWarning"),
    pytest.mark.filterwarnings("ignore:Accessing the .* attribute on the instance is deprecated:DeprecationWarning"),
]
"""What pydantic has to say about litellm. Its own filters against that end where pytest's begin."""

WAYS = pytest.mark.parametrize("direct", [True, False], ids=["directly", "by acompletion"])

MESSAGES: list[Any] = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hello"}]
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells the weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def claude(up: FakeUpstream, **changes: Any) -> Deployment:
    values: dict[str, Any] = {"kind": "translate", "provider": "anthropic", "model": "claude-x"}
    return deployment(anthropic.base_url(up), **{**values, **changes})


def translating(up: FakeUpstream, *, direct: bool = True, **changes: Any) -> TranslateUpstream:
    """A deployment of Anthropic's wire at the stand-in, or what `changes` make of it."""
    return TranslateUpstream(claude(up, **changes), direct=direct)


def tree(reply: Reply) -> Any:
    assert reply.body is not None
    return json.loads(reply.body)


async def events(reply: Reply) -> list[Any]:
    """The events of a stream, without its end mark, which must be there; closes the reply."""
    sink = ListSink()
    await reply.pipe(sink)
    reply.close()
    assert sink.data.endswith(DONE)
    return [json.loads(event.removeprefix(b"data: ")) for event in sink.data.removesuffix(DONE).split(b"\n\n") if event]
