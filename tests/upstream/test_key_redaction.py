"""What an upstream may not show of the keys it was given."""

from __future__ import annotations

import base64

import pytest

from gatewayd.errors import GatewayError
from gatewayd.secret import Secret
from gatewayd.upstream.hiding import Secrets
from gatewayd.wire.openai import error_event
from tests.fakeup import FakeUpstream, body_reply, json_reply, sse_reply
from tests.stand_ins import anthropic
from tests.upstream.doubles import KEY, SlowSink, call
from tests.upstream.forwarding import ANSWER, CHAT, forwarding, refusal
from tests.upstream.litellm.translating import KNOWN_WARNINGS, MESSAGES, WAYS, translating

pytestmark = KNOWN_WARNINGS

FORMS = {
    "plain": KEY,
    "escaped": "".join(f"\\u{ord(char):04x}" for char in KEY),
    "quoted twice": "".join(f"\\\\u{ord(char):04X}" for char in KEY),
    "base64": base64.b64encode(f"Bearer {KEY}".encode()).decode(),
}


def shows(text: bytes | str) -> bool:
    text = text.encode() if isinstance(text, str) else text
    return any(form.encode() in text for form in FORMS.values())


@pytest.mark.parametrize("form", FORMS)
async def test_an_error_in_the_middle_of_a_stream(form: str) -> None:
    """U-F8: the event is withheld, however it is cut, and the client gets one of ours."""
    failed = b'data: {"error": {"message": "bad key X", "code": 400}}\n\n'.replace(b"X", FORMS[form].encode())
    for pieces in ([CHAT[0], failed], [CHAT[0] + failed], [CHAT[0], failed[:20], failed[20:]]):
        async with forwarding(sse_reply(pieces)) as (_, forward):
            sink = SlowSink()
            reply = await forward.open(call(stream=True))
            with pytest.raises(GatewayError) as caught:
                await reply.pipe(sink)
            reply.close()
            assert bytes(sink.data) == CHAT[0]
            told = error_event(caught.value)
            assert told.count(b"data: ") == 1
            assert not shows(told)


async def test_another_error_in_the_middle_of_a_stream_passes() -> None:
    failed = b'data: {"error": {"message": "overloaded"}}\n\n'
    async with forwarding(sse_reply([CHAT[0], failed])) as (_, forward):
        sink = SlowSink()
        reply = await forward.open(call(stream=True))
        with pytest.raises(GatewayError) as caught:
            await reply.pipe(sink)
        reply.close()
        assert bytes(sink.data) == CHAT[0] + failed
        assert error_event(caught.value) == b""


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("stream", [False, True])
async def test_whole_errors(form: str, stream: bool) -> None:
    """U-F8"""
    body = b'{"id": "x", "error": {"message": "X"}}'.replace(b"X", FORMS[form].encode())
    for status in (200, 400):
        error = await refusal(body_reply(body, status=status), stream=stream)
        assert not shows(error.message)
        assert error.body is None


@pytest.mark.parametrize("stream", [False, True])
async def test_relayed_headers(stream: bool) -> None:
    """U-F8: the value is replaced, the others are as they came."""
    headers = [("x-request-id", f"for {FORMS['base64']}"), ("openai-version", KEY), ("x-ratelimit-a", "12345678")]
    reply = sse_reply(CHAT, headers=headers) if stream else json_reply(ANSWER, headers=headers)
    async with forwarding(reply) as (_, forward):
        answer = await forward.open(call(stream=stream))
        answer.close()
        relayed = [("x-upstream-request-id", "***"), ("openai-version", "***"), ("x-ratelimit-a", "12345678")]
        assert list(answer.headers)[1:] == relayed


@pytest.mark.parametrize("form", FORMS)
@WAYS
async def test_translated_errors(form: str, direct: bool) -> None:
    """U-F8: whole, as the first event, and in the middle of a stream."""
    whole = b'{"type": "error", "error": {"type": "invalid_request_error", "message": "X"}}'
    failed = anthropic.error_event("api_error", "X").replace(b"X", FORMS[form].encode())
    broken = sse_reply([*anthropic.stream("Good", "day")[:-3], failed])
    refused = body_reply(whole.replace(b"X", FORMS[form].encode()), status=400)
    async with FakeUpstream(refused, sse_reply([failed]), broken) as up:
        upstream = translating(up, direct=direct)
        with pytest.raises(GatewayError) as at_once:
            await upstream.open(call(messages=MESSAGES))
        with pytest.raises(GatewayError) as first:
            await upstream.open(call(messages=MESSAGES, stream=True))
        sink = SlowSink()
        reply = await upstream.open(call(messages=MESSAGES, stream=True))
        with pytest.raises(GatewayError) as later:
            await reply.pipe(sink)
        reply.close()
        for error in (at_once.value, first.value, later.value):
            assert not shows(error.message)
        assert not shows(bytes(sink.data))
        await upstream.aclose()


def test_the_key_behind_a_scheme_is_as_secret() -> None:
    secrets = Secrets([Secret("Token sk-behind-a-scheme")])
    assert secrets.found_in(b"no such key: sk-behind-a-scheme")
    assert not secrets.found_in(b"Token")
    assert not Secrets([Secret("short")]).found_in(b"short")
    assert not Secrets().found_in(b"anything")
