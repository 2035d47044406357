"""Which upstream of a deployment is asked, and in which dialect."""

from __future__ import annotations

import pytest

from gatewayd.errors import InvalidRequest, Verdict
from gatewayd.upstream.base import Call
from gatewayd.upstream.convert import SplitUpstream, open_in_dialect
from gatewayd.wire.dialect import CHAT, MESSAGES
from tests.engine.fakes import FakeUpstream

BODY = b'{"model":"m"}'


async def test_a_dialect_that_a_deployment_does_not_speak_is_left_to_another() -> None:
    upstream = FakeUpstream()
    messages = Call(MESSAGES, MESSAGES.dialect.peek(BODY), "r")
    with pytest.raises(InvalidRequest) as caught:
        await open_in_dialect(upstream, ("chat",), messages)
    assert (caught.value.code, caught.value.verdict) == ("endpoint_not_supported", Verdict.ELSEWHERE)
    assert not upstream.calls
    assert (await open_in_dialect(upstream, ("chat", "messages"), messages)).body == b"{}"


async def test_each_dialect_has_its_upstream() -> None:
    chat, messages = FakeUpstream(), FakeUpstream()
    upstream = SplitUpstream({"chat": chat, "messages": messages})
    await upstream.open(Call(MESSAGES, MESSAGES.dialect.peek(BODY), "r"))
    await upstream.open(Call(CHAT, CHAT.dialect.peek(BODY), "r"))
    await upstream.aclose()
    assert [len(one.calls) for one in (chat, messages)] == [1, 1]
    assert [one.closed for one in (chat, messages)] == [1, 1]
    with pytest.raises(InvalidRequest):
        await SplitUpstream({"chat": chat}).open(Call(MESSAGES, MESSAGES.dialect.peek(BODY), "r"))
