"""Responses that the gateway keeps for callers of deployments that keep none: for `store` and `previous_response_id`.

Bounded by count and by bytes; the oldest go first. A conversation is a chain, in which every response has the turns
that it added, and the response before it. What has been dropped or deleted is kept while a later response needs it, and
is counted until then.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from gatewayd.errors import InvalidRequest
from gatewayd.wire.conversation import Answer, Request, Turn
from gatewayd.wire.openai import encode
from gatewayd.wire.responses_object import item_id

_OVERHEAD: Final = 500
"""Bytes that a response takes beside its texts."""
_MAX_LIMIT: Final = 100
_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_input: Final = msgspec.json.Decoder(str | list[Any])


class StoredResponse:
    """One response of a conversation."""

    __slots__ = (
        "_given",
        "body",
        "counted",
        "expires_at",
        "input",
        "listed",
        "needed_by",
        "previous",
        "response_id",
        "size",
    )

    def __init__(
        self,
        response_id: str,
        turns: tuple[Turn, ...],
        given: bytes,
        body: bytes,
        previous: StoredResponse | None,
        expires_at: float,
    ) -> None:
        self.response_id = response_id
        self._given = turns
        self.input = given
        """The `input` of the request, as it came."""
        self.body = body
        """The response object."""
        self.expires_at = expires_at
        self.previous = previous
        self.needed_by = 0
        """Counted responses whose conversation goes through this one."""
        self.listed = self.counted = False
        self.size = len(given) + len(body) + len(response_id) + _OVERHEAD

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The conversation up to and with this response, without its instructions."""
        chain: list[tuple[Turn, ...]] = []
        at: StoredResponse | None = self
        while at is not None:
            chain.append(at._given)
            at = at.previous
        return tuple(turn for turns in reversed(chain) for turn in turns)


class ResponseStore:
    """Times are seconds of any one clock, given by the caller. A key sees its own responses only."""

    def __init__(self, *, max_count: int, max_bytes: int, max_age: float) -> None:
        self._max_count = max_count
        self._max_bytes = max_bytes
        self._max_age = max_age
        self._listed: OrderedDict[tuple[str, str], StoredResponse] = OrderedDict()
        self.bytes = 0
        """Of all that is kept, with what is only kept for later responses."""

    def __len__(self) -> int:
        return len(self._listed)

    def put(
        self,
        key: str,
        response_id: str,
        request: Request,
        answer: Answer,
        *,
        given: bytes,
        body: bytes,
        previous: StoredResponse | None,
        now: float,
    ) -> bool:
        """Keeps a response. `request` has the turns that the caller sent, `given` is their JSON (`input`), `previous`
        what `get` returned for `previous_response_id`. False if it is larger than all that may be kept."""
        turns = (*request.turns, Turn("assistant", answer.choices[0].blocks))
        stored = StoredResponse(response_id, turns, given, body, previous, now + self._max_age)
        self._drop((key, response_id))
        self._listed[key, response_id] = stored
        stored.listed = True
        self._count(stored)
        self._bound(now)
        return stored.listed

    def get(self, key: str, response_id: str, now: float) -> StoredResponse | None:
        stored = self._listed.get((key, response_id))
        return None if stored is None or stored.expires_at <= now else stored

    def delete(self, key: str, response_id: str, now: float) -> bool:
        """Whether there was one."""
        found = self.get(key, response_id, now) is not None
        self._drop((key, response_id))
        return found

    def _bound(self, now: float) -> None:
        while self._listed:
            name, oldest = next(iter(self._listed.items()))
            if len(self._listed) <= self._max_count and self.bytes <= self._max_bytes and oldest.expires_at > now:
                return
            self._drop(name)

    def _drop(self, name: tuple[str, str]) -> None:
        stored = self._listed.pop(name, None)
        if stored is not None:
            stored.listed = False
            self._uncount(stored)

    def _count(self, stored: StoredResponse) -> None:
        at: StoredResponse | None = stored
        while at is not None and not at.counted:  # some may have been dropped since the request began
            at.counted = True
            self.bytes += at.size
            at = at.previous
            if at is not None:
                at.needed_by += 1

    def _uncount(self, stored: StoredResponse) -> None:
        at: StoredResponse | None = stored
        while at is not None and not at.listed and not at.needed_by:
            at.counted = False
            self.bytes -= at.size
            at = at.previous
            if at is not None:
                at.needed_by -= 1


def continued(request: Request, previous: StoredResponse) -> Request:
    """The request with the conversation before it; its own instructions count, as in the API."""
    return msgspec.structs.replace(request, turns=previous.turns + request.turns, previous_id=None)


# --- what the endpoints below /v1/responses/{id} answer with -------------------------------------------------------


def raw_input(body: bytes) -> bytes:
    """The `input` of a request's body, as it came."""
    return bytes(_members.decode(body).get("input", b"[]"))


def deleted_body(response_id: str) -> bytes:
    return encode({"id": response_id, "object": "response", "deleted": True})


def input_items_body(
    stored: StoredResponse, *, limit: int = 20, order: str = "desc", after: str | None = None
) -> bytes:
    """The list of what the request of a response had as its input. Raises InvalidRequest."""
    if not 1 <= limit <= _MAX_LIMIT:
        raise InvalidRequest(f"The parameter 'limit' must be between 1 and {_MAX_LIMIT}.", param="limit")
    if order not in ("asc", "desc"):
        raise InvalidRequest("The parameter 'order' must be asc or desc.", param="order")
    items = _listed_items(stored)
    if order == "desc":
        items.reverse()
    ids = [item["id"] for item in items]
    if after is not None:
        if after not in ids:
            raise InvalidRequest(f"The response has no input item '{after[:100]}'.", param="after")
        items = items[ids.index(after) + 1 :]
    page = items[:limit]
    return encode(
        {
            "object": "list",
            "data": page,
            "first_id": page[0]["id"] if page else None,
            "last_id": page[-1]["id"] if page else None,
            "has_more": len(items) > len(page),
        }
    )


_PREFIXES: Final = {"message": "msg", "function_call": "fc", "custom_tool_call": "ctc", "reasoning": "rs"}


def _listed_items(stored: StoredResponse) -> list[dict[str, Any]]:
    given = _input.decode(stored.input)
    items: Sequence[Any] = [{"role": "user", "content": given}] if isinstance(given, str) else given
    return [_listed_item(item, stored.response_id, index) for index, item in enumerate(items)]


def _listed_item(item: dict[str, Any], response_id: str, index: int) -> dict[str, Any]:
    """An item in its long form: with its type, an id and parts."""
    kind = item.get("type", "message")
    whole = {"id": item_id(_PREFIXES.get(kind, "item"), f"{response_id}in", index), **item, "type": kind}
    if kind == "message":
        content = item.get("content")
        if isinstance(content, str):
            assistant = item.get("role") == "assistant"
            part = {"type": "output_text", "annotations": []} if assistant else {"type": "input_text"}
            whole["content"] = [{**part, "text": content}]
        whole.setdefault("status", "completed")
    return whole
