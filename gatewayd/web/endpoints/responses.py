"""Responses that were made before: those of a provider are asked for there, those that the gateway keeps are here."""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qs, quote

from gatewayd.errors import InvalidRequest
from gatewayd.upstream.forward import ForwardUpstream
from gatewayd.upstream.response_memory import SealedReply, no_response
from gatewayd.web.exchange import Exchange, Route
from gatewayd.wire.response_store import StoredResponse, deleted_body, input_items_body

_ITEMS: Final = "/input_items"
_CANCEL: Final = "/cancel"


async def retrieve_response(exchange: Exchange) -> None:
    stored = await _found(exchange)
    if stored is not None:
        exchange.send_json(stored.body)


async def delete_response(exchange: Exchange) -> None:
    stored = await _found(exchange)
    if stored is not None:
        exchange.gateway.memory(exchange.record.key or "").delete(stored.response_id)
        exchange.send_json(deleted_body(stored.response_id))


async def list_input_items(exchange: Exchange) -> None:
    stored = await _found(exchange, _ITEMS)
    if stored is None:
        return
    asked = {name: values[-1] for name, values in parse_qs(exchange.inbound.query).items()}
    limit = asked.get("limit", "20")
    if not limit.isdecimal():
        raise InvalidRequest("The parameter 'limit' must be a whole number.", param="limit")
    order, after = asked.get("order", "desc"), asked.get("after")
    exchange.send_json(input_items_body(stored, limit=int(limit[:4]), order=order, after=after))


async def cancel_response(exchange: Exchange) -> None:
    if await _found(exchange, _CANCEL) is not None:
        raise InvalidRequest("Only a response that was created with `background` can be cancelled.", param="background")


async def _found(exchange: Exchange, below: str = "") -> StoredResponse | None:
    """The response that the path names, if the gateway keeps it; None after the provider that does has been asked, and
    its answer sent. Raises InvalidRequest if nobody has it."""
    name = exchange.inbound.model or ""
    runtime = exchange.runtime
    assert runtime is not None
    if "stream=true" in exchange.inbound.query:
        raise InvalidRequest("A response that was made before cannot be streamed again.", param="stream")
    memory = exchange.gateway.memory(exchange.record.key or "")
    stored = memory.stored(name)
    if stored is not None:
        return stored
    place = memory.place_of(name)
    target = None if place is None else runtime.targets.get(place[1])
    if place is None or target is None or not isinstance(target.upstream, ForwardUpstream):
        raise no_response(name)
    path = f"responses/{quote(place[0], safe='')}{below}"
    method, query = exchange.inbound.method, exchange.inbound.query
    reply = await target.upstream.ask_about(method, path, query, target.timeouts)
    sealed = SealedReply(reply, None, memory, place[1])
    exchange.record.status = reply.status
    exchange.responder.send(
        reply.status, [*reply.headers, ("x-request-id", exchange.record.request_id)], sealed.body or b""
    )
    return None


ROUTES = (
    Route("GET", f"/responses/{{id}}{_ITEMS}", list_input_items),
    Route("POST", f"/responses/{{id}}{_CANCEL}", cancel_response),
    Route("GET", "/responses/{id}", retrieve_response),
    Route("DELETE", "/responses/{id}", delete_response),
)
