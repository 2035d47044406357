"""Responses that callers refer to later (`previous_response_id`, `GET /v1/responses/{id}`), and where they are.

A response of a deployment with the Responses API stays with its provider. The id that the caller gets carries the
deployment, sealed (`wire.response_ids`), and leads every later request there. A response that had to be converted is
kept here, in memory and within bounds (`wire.response_store`), unless the caller says `store: false`: the API's default
is to keep it, and SDKs that go on with it do not say so before. A caller sees its own responses only.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Sequence
from typing import Final

import msgspec

from gatewayd.errors import InvalidRequest
from gatewayd.text import printable
from gatewayd.upstream.base import Call, Flow, Reply, Sink
from gatewayd.wire.conversation import Answer, Request
from gatewayd.wire.headers import Header
from gatewayd.wire.openai import Intent, Usage, encode
from gatewayd.wire.response_ids import IdSealer
from gatewayd.wire.response_store import ResponseStore, StoredResponse, continued, raw_input

PREVIOUS: Final = "previous_response_id"
NOT_FOUND: Final = "previous_response_not_found"
"""The code that OpenAI has for a request that goes on with a response that is not known."""
_LONGEST: Final = 520
"""Bytes of a provider's id, quotes included, that may be cut by the end of a piece."""
_ID: Final = re.compile(rb'"id"\s*:\s*"(resp_[^"\\]{1,512})"')
_FALSE: Final = b"false"
_HERE: Final = ""
"""Stands for a deployment in the ids of responses that the gateway keeps itself."""


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
            raise no_previous(request.previous_id)
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
        """The provider's id and the deployment that has it; None for an id that was not sealed for one."""
        place = self._sealer.unseal(response_id, self.owner)
        return None if place is None or place[1] == _HERE else place

    def deployment_of(self, intent: Intent) -> str | None:
        """The deployment that has the response with which a request goes on, if it is one's. Raises InvalidRequest for
        an id that the gateway gave out, and that leads nowhere: no provider knows it."""
        named = previous_of(intent)
        if named is None or not self._sealer.is_sealed(named):
            return None
        place = self.place_of(named)
        if place is None and self.stored(named) is None:
            raise no_previous(named)
        return None if place is None else place[1]

    # --- ids

    def new_id(self) -> str:
        """For a response that is made here: the ids of local servers are not always different."""
        return self._sealer.seal(f"resp_{uuid.uuid4().hex}", _HERE, self.owner)


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


def no_response(response_id: str) -> InvalidRequest:
    error = InvalidRequest(f"There is no response {_unknown(response_id)}", code="response_not_found")
    error.status = 404
    return error


def not_configured(response_id: str, deployment: str) -> InvalidRequest:
    """The error for a response that a provider may have, which the gateway cannot ask any more."""
    error = no_response(response_id)
    error.message = (
        f"The response '{printable(response_id, 100)}' is kept by the deployment '{deployment}', which is not "
        "configured any more."
    )
    return error


def no_previous(response_id: str) -> InvalidRequest:
    """The same for a request that goes on with it."""
    message = f"The request cannot go on: there is no response {_unknown(response_id)} Send the whole conversation."
    return InvalidRequest(message, param=PREVIOUS, code=NOT_FOUND)


def _unknown(response_id: str) -> str:
    return (
        f"'{printable(response_id, 100)}'. It belongs to another key, or has expired, or the gateway kept it in the "
        "memory of a process that has ended or is another worker."
    )


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
        sealing = _SealingSink(sink, self._sealing)
        try:
            await self._reply.pipe(sealing)
        finally:
            self.usage = self._reply.usage
        sealing.flush()

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

    def half(self, data: bytes) -> int:
        """Where the beginning of an id is that the end of the data has cut; the length of the data if nowhere is."""
        at = data.rfind(b'"', -_LONGEST)
        if at >= 0 and any((b'"%b"' % theirs).startswith(data[at:]) for theirs, _ in self._pairs):
            return at
        return len(data)

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
        self._half = b""

    def attach(self, flow: Flow) -> None:
        self._sink.attach(flow)

    def write(self, data: bytes) -> None:
        # Events come whole, but for large ones, which may be cut inside of an id.
        data = self._sealing.of(self._half + data)
        end = self._sealing.half(data)
        data, self._half = data[:end], data[end:]
        if data:
            self._sink.write(data)

    def flush(self) -> None:
        if self._half:
            self._sink.write(self._half)
