"""Responses that were made before: those of a provider are asked for there, those that the gateway keeps are here."""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qs, quote

from gatewayd.engine.request import Request
from gatewayd.errors import InvalidRequest
from gatewayd.upstream.convert import native_upstream
from gatewayd.upstream.response_memory import SealedReply, no_response, not_configured
from gatewayd.web.router import Route
from gatewayd.wire.dialect import RESPONSES
from gatewayd.wire.response_store import StoredResponse, deleted_body, input_items_body

_ITEMS: Final = "/input_items"
_CANCEL: Final = "/cancel"


async def retrieve_response(request: Request) -> None:
    stored = await _found(request)
    if stored is not None:
        request.send_json(stored.body)


async def delete_response(request: Request) -> None:
    stored = await _found(request)
    if stored is not None:
        request.gateway.memory(request.record.key or "").delete(stored.response_id)
        request.send_json(deleted_body(stored.response_id))


async def list_input_items(request: Request) -> None:
    stored = await _found(request, _ITEMS)
    if stored is None:
        return
    asked = {name: values[-1] for name, values in parse_qs(request.head.query).items()}
    limit = asked.get("limit", "20")
    if not limit.isdecimal():
        raise InvalidRequest("The parameter 'limit' must be a whole number.", param="limit")
    order, after = asked.get("order", "desc"), asked.get("after")
    request.send_json(input_items_body(stored, limit=int(limit[:4]), order=order, after=after))


async def cancel_response(request: Request) -> None:
    if await _found(request, _CANCEL) is not None:
        raise InvalidRequest("Only a response that was created with `background` can be cancelled.", param="background")


async def _found(request: Request, below: str = "") -> StoredResponse | None:
    """The response that the path names, if the gateway keeps it; None after the provider that does has been asked, and
    its answer sent. Raises InvalidRequest if nobody has it."""
    name = request.head.model or ""
    runtime = request.runtime
    if "stream=true" in request.head.query:
        raise InvalidRequest("A response that was made before cannot be streamed again.", param="stream")
    memory = request.gateway.memory(request.record.key or "")
    stored = memory.stored(name)
    if stored is not None:
        return stored
    place = memory.place_of(name)
    if place is None:
        raise no_response(name)
    target = runtime.targets.get(place[1])
    upstream = None if target is None else native_upstream(target.upstream, RESPONSES)
    if target is None or upstream is None:
        raise not_configured(name, place[1])
    path = f"responses/{quote(place[0], safe='')}{below}"
    method, query = request.head.method.replace("HEAD", "GET"), request.head.query
    reply = await upstream.ask_about(method, path, query, target.timeouts)
    sealed = SealedReply(reply, None, memory, place[1])
    request.send(reply.status, reply.headers, sealed.body or b"")
    return None


ROUTES = (
    Route("GET", f"/responses/{{id}}{_ITEMS}", list_input_items),
    Route("POST", f"/responses/{{id}}{_CANCEL}", cancel_response),
    Route("GET", "/responses/{id}", retrieve_response),
    Route("DELETE", "/responses/{id}", delete_response),
)
