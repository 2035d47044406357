"""Ids that lead to where a response is; the requests that use them are in tests/data_plane/test_responses_kept.py."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from gatewayd.errors import InvalidRequest
from gatewayd.upstream.base import Gate, Sink, WholeReply
from gatewayd.upstream.response_memory import ResponseMemory, SealedReply, is_stateless, previous_of
from gatewayd.wire.openai import peek
from gatewayd.wire.response_ids import IdSealer
from gatewayd.wire.response_store import ResponseStore
from tests.upstream.sinks import ListSink


class Pieces(WholeReply):
    """A stream in given pieces."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        super().__init__(200, [], None)
        self._pieces = pieces

    async def pipe(self, sink: Sink) -> None:
        sink.attach(Gate())
        for piece in self._pieces:
            sink.write(piece)


def memory(owner: str = "alice") -> ResponseMemory:
    return ResponseMemory(ResponseStore(max_count=9, max_bytes=9999, max_age=9.0), IdSealer(b"secret"), owner)


def test_an_id_leads_to_its_deployment_for_its_owner_only() -> None:
    sealed = memory().sealed("resp_1", "west")
    assert memory().place_of(sealed) == ("resp_1", "west")
    assert memory("bob").place_of(sealed) is None
    intent = peek(b'{"model":"m","previous_response_id":"%b"}' % sealed.encode())
    assert memory().deployment_of(intent) == "west"


def test_an_id_that_leads_nowhere_is_not_asked_of_a_provider() -> None:
    """Another key's, or one of a process that has ended."""
    for named in (memory("bob").sealed("resp_1", "west"), memory().new_id()):
        assert named.startswith("resp_")
        assert memory().place_of(named) is None
        with pytest.raises(InvalidRequest) as caught:
            memory().deployment_of(peek(b'{"model":"m","previous_response_id":"%b"}' % named.encode()))
        assert (caught.value.code, caught.value.param) == ("previous_response_not_found", "previous_response_id")
    assert memory().deployment_of(peek(b'{"model":"m","previous_response_id":"resp_1"}')) is None, "a provider's own"


@pytest.mark.parametrize("size", [1, 7, 100])
async def test_an_id_that_is_cut_by_the_end_of_a_piece_is_replaced(size: int) -> None:
    """As in an event that is too large to wait for its end."""
    first = b'data: {"response":{"id":"resp_1"}}\n\n'
    rest = b'data: {"response":{"output":["' + b"x" * 300 + b'"],"id":"resp_1","a":"resp_"}}\n\n'
    pieces = [first, *(rest[at : at + size] for at in range(0, len(rest), size))]
    sink = ListSink()
    await SealedReply(Pieces(pieces), None, memory(), "west").pipe(sink)
    ours = b'"%b"' % memory().sealed("resp_1", "west").encode()
    assert sink.data == (first + rest).replace(b'"resp_1"', ours)


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
