"""Responses that callers refer to later (`previous_response_id`, `GET /v1/responses/{id}`), and where they are.

A response of a deployment with the Responses API stays with its provider. The id that the caller gets carries the
deployment, sealed (`wire.response_ids`), and leads every later request there. A response that had to be converted is
kept here, in memory and within bounds (`wire.response_store`). A caller sees its own responses only.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Sequence
from typing import Final

import msgspec

from gatewayd.errors import InvalidRequest
from gatewayd.upstream.base import Call, Flow, Reply, Sink
from gatewayd.wire.conversation import Answer, Request
from gatewayd.wire.headers import Header
from gatewayd.wire.openai import Intent, Usage, encode
from gatewayd.wire.response_ids import IdSealer
from gatewayd.wire.response_store import ResponseStore, StoredResponse, continued, raw_input

PREVIOUS: Final = "previous_response_id"
_ID: Final = re.compile(rb'"id"\s*:\s*"(resp_[^"\\]{1,512})"')
_FALSE: Final = b"false"


class ResponseMemory:
    """What one caller may refer to."""

    def __init__(self, store: ResponseStore, sealer: IdSealer, owner: str) -> None:
        self._store = store
        self._sealer = sealer
        self.owner = owner
        """The name of the caller's key."""

    # --- responses that the gateway keeps

    def stored(self, response_id: str) -> StoredResponse | None:
        return self._store.get(self.owner, response_id, time.monotonic())

    def delete(self, response_id: str) -> bool:
        return self._store.delete(self.owner, response_id, time.monotonic())

    def kept_before(self, intent: Intent) -> bool:
        """Whether a request goes on with a response that is kept here."""
        named = previous_of(intent)
        return named is not None and self.stored(named) is not None

    def continued(self, request: Request) -> tuple[Request, StoredResponse | None]:
        """The request with the conversation that it goes on with. Raises InvalidRequest if that is not known here."""
        if request.previous_id is None:
            return request, None
        previous = self.stored(request.previous_id)
        if previous is None:
            raise no_response(request.previous_id, PREVIOUS)
        return continued(request, previous), previous

    def keep(self, call: Call, request: Request, previous: StoredResponse | None, answer: Answer, body: bytes) -> None:
        """Keeps an answer, unless the caller has said that it shall not be. `request`: as the caller sent it."""
        if request.store is False:
            return
        response_id = msgspec.json.decode(body, type=_Named).id
        given = raw_input(call.intent.body)
        now = time.monotonic()
        self._store.put(self.owner, response_id, request, answer, given=given, body=body, previous=previous, now=now)

    # --- responses that a provider keeps

    def sealed(self, response_id: str, deployment: str) -> str:
        return self._sealer.seal(response_id, deployment, self.owner)

    def place_of(self, response_id: str) -> tuple[str, str] | None:
        """The provider's id and the deployment that has it; None for an id that was not sealed here."""
        return self._sealer.unseal(response_id, self.owner)

    def deployment_of(self, intent: Intent) -> str | None:
        """The deployment that has the response with which a request goes on, if it is one's."""
        named = previous_of(intent)
        place = None if named is None else self.place_of(named)
        return None if place is None else place[1]


class _Named(msgspec.Struct):
    id: str


def previous_of(intent: Intent) -> str | None:
    """The response with which a request goes on."""
    named = intent.value(PREVIOUS) if PREVIOUS in intent.fields else None
    return named if isinstance(named, str) else None


def is_stateless(intent: Intent) -> bool:
    """Whether a request refers to no response, and none will be referred to."""
    raw = intent.fields.get("store")
    return raw is not None and bytes(raw) == _FALSE and PREVIOUS not in intent.fields


def new_response_id() -> str:
    """An id for a response that is made here: those of local servers are not always different."""
    return f"resp_{uuid.uuid4().hex}"


def no_response(response_id: str, param: str | None = None) -> InvalidRequest:
    error = InvalidRequest(
        f"There is no response '{response_id[:100]}': it is unknown to this gateway, belongs to another key, or has "
        "expired.",
        param=param,
        code="response_not_found",
    )
    error.status = 404 if param is None else 400
    return error


def unsealed(call: Call, memory: ResponseMemory) -> Call:
    """The call with the provider's own id of the response that it goes on with."""
    named = previous_of(call.intent)
    place = None if named is None else memory.place_of(named)
    if place is None:
        return call
    intent = call.intent
    fields: dict[str, msgspec.Raw] = {**intent.fields, PREVIOUS: msgspec.Raw(encode(place[0]))}
    return msgspec.structs.replace(call, intent=Intent(intent.model, intent.stream, fields, encode(fields)))


class SealedReply:
    """A `Reply` in which a response has the id that carries its deployment."""

    def __init__(self, reply: Reply, asked: Intent | None, memory: ResponseMemory, deployment: str) -> None:
        """`asked`: the caller's request, with the ids that the caller knows."""
        self._reply = reply
        self._sealing = _Sealing(asked, memory, deployment)
        self.status = reply.status
        self.headers: Sequence[Header] = reply.headers
        self.body = None if reply.body is None else self._sealing.of(reply.body)
        self.usage: Usage | None = reply.usage

    async def pipe(self, sink: Sink) -> None:
        try:
            await self._reply.pipe(_SealingSink(sink, self._sealing))
        finally:
            self.usage = self._reply.usage

    def close(self) -> None:
        self._reply.close()


class _Sealing:
    """Replaces the provider's ids in the bytes of one answer."""

    def __init__(self, asked: Intent | None, memory: ResponseMemory, deployment: str) -> None:
        self._memory = memory
        self._deployment = deployment
        self._found = False
        self._pairs: list[tuple[bytes, bytes]] = []
        named = None if asked is None else previous_of(asked)
        place = None if named is None else memory.place_of(named)
        if named is not None and place is not None:
            self._pairs.append((place[0].encode(), named.encode()))

    def of(self, data: bytes) -> bytes:
        if not self._found and (match := _ID.search(data)) is not None:
            self._found = True
            sealed = self._memory.sealed(match[1].decode("utf-8", "replace"), self._deployment)
            self._pairs.append((match[1], sealed.encode()))
        for theirs, ours in self._pairs:
            if data.rfind(theirs) >= 0:
                data = data.replace(b'"%b"' % theirs, b'"%b"' % ours)
        return data


class _SealingSink:
    def __init__(self, sink: Sink, sealing: _Sealing) -> None:
        self._sink = sink
        self._sealing = sealing

    def attach(self, flow: Flow) -> None:
        self._sink.attach(flow)

    def write(self, data: bytes) -> None:
        self._sink.write(self._sealing.of(data))
