"""Ids that lead to where a response is; the requests that use them are in tests/data_plane/test_responses_kept.py."""

from __future__ import annotations

from gatewayd.upstream.base import WholeReply
from gatewayd.upstream.response_memory import ResponseMemory, SealedReply, is_stateless, previous_of
from gatewayd.wire.openai import peek
from gatewayd.wire.response_ids import IdSealer
from gatewayd.wire.response_store import ResponseStore


def memory(owner: str = "alice") -> ResponseMemory:
    return ResponseMemory(ResponseStore(max_count=9, max_bytes=9999, max_age=9.0), IdSealer(b"secret"), owner)


def test_an_id_leads_to_its_deployment_for_its_owner_only() -> None:
    sealed = memory().sealed("resp_1", "west")
    assert memory().place_of(sealed) == ("resp_1", "west")
    assert memory("bob").place_of(sealed) is None
    intent = peek(b'{"model":"m","previous_response_id":"%b"}' % sealed.encode())
    assert memory().deployment_of(intent) == "west"
    assert memory("bob").deployment_of(intent) is None


def test_which_requests_leave_nothing() -> None:
    for body, stateless in (
        (b'{"model":"m","store":false}', True),
        (b'{"model":"m"}', False),
        (b'{"model":"m","store":true}', False),
        (b'{"model":"m","store":false,"previous_response_id":"resp_1"}', False),
    ):
        assert is_stateless(peek(body)) is stateless
    assert previous_of(peek(b'{"model":"m","previous_response_id":7}')) is None


def test_only_ids_are_replaced() -> None:
    body = b'{"id":"resp_1","output":[{"id":"msg_1","text":"resp_1 is \\"resp_1\\""}]}'
    reply = SealedReply(WholeReply(200, [], body), None, memory(), "west")
    assert reply.body == body.replace(b'"resp_1"', b'"%b"' % memory().sealed("resp_1", "west").encode(), 1)
    assert SealedReply(WholeReply(200, [], b"{}"), None, memory(), "west").body == b"{}"
