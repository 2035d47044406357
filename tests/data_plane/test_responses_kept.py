"""Responses that a later request refers to: kept by the gateway, or by the provider that made them."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest

from gatewayd.config.snapshot import RoutingSettings, ServerSettings
from gatewayd.errors import UpstreamStatus
from gatewayd.secret import Secret
from tests.data_plane.gateway import forward
from tests.data_plane.test_converted import TEXT, chat
from tests.fakeup import FakeUpstream, Received, Reply, json_reply, sse_reply
from tests.stand_ins import responses
from tests.web.support import OPEN, Answer, RawClient, Site, serving_deployments

PATH = "/v1/responses"


@contextlib.asynccontextmanager
async def converted(server: ServerSettings = OPEN) -> AsyncIterator[tuple[FakeUpstream, Site]]:
    """A deployment with chat only."""
    async with FakeUpstream(chat) as up, serving_deployments(forward(up), server=server) as site:
        yield up, site


def provider(name: str) -> Any:
    """A provider that keeps responses, whose ids tell which one it was."""
    made: list[str] = []

    def answer(request: Received) -> Reply:
        if request.method == "POST" and request.path == PATH:
            body = request.json()
            before = body.get("previous_response_id")
            if before not in (None, *made):
                return json_reply({"error": {"message": f"no {before}", "type": "invalid_request_error"}}, status=400)
            made.append(f"resp_{name}{len(made)}")
            changes = {"id": made[-1], "previous_response_id": before}
            if body.get("stream"):
                return sse_reply([e.replace(b"resp_stand_in", made[-1].encode()) for e in responses.stream()])
            return json_reply(responses.response("completed", [responses.message(TEXT)], **changes))
        found = request.path.removeprefix(f"{PATH}/").partition("/")[0]
        if found not in made:
            return json_reply({"error": {"message": "not found", "type": "invalid_request_error"}}, status=404)
        if request.method == "DELETE":
            return json_reply({"id": found, "object": "response", "deleted": True})
        if request.path.endswith("input_items"):
            return json_reply({"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False})
        return json_reply(responses.response("completed", [responses.message(TEXT)], id=found))

    return answer


@contextlib.asynccontextmanager
async def providers(count: int = 2, server: ServerSettings = OPEN) -> AsyncIterator[tuple[list[FakeUpstream], Site]]:
    async with contextlib.AsyncExitStack() as stack:
        ups = [await stack.enter_async_context(FakeUpstream(provider(f"p{n}"))) for n in range(count)]
        deployments = [forward(up, f"d{n}", dialects=("chat", "responses")) for n, up in enumerate(ups)]
        routing = RoutingSettings(num_retries=0)
        site = await stack.enter_async_context(serving_deployments(*deployments, routing=routing, server=server))
        yield ups, site


async def asked(
    site: Site, body: dict[str, Any] | None = None, target: str = PATH, *headers: str, method: str = "GET"
) -> Answer:
    async with RawClient.to(site.port) as client:
        if body is None:
            client.get(target, *headers, method=method)
        else:
            client.post(target, json.dumps({"model": "chat", **body}).encode(), *headers)
        return await client.answer()


@pytest.mark.parametrize("stream", [False, True])
async def test_a_conversation_goes_on_with_what_the_gateway_keeps(stream: bool) -> None:
    async with (
        converted() as (up, site),
        openai.AsyncOpenAI(base_url=site.base_url, api_key="x", max_retries=0) as client,
    ):
        if stream:
            async with client.responses.stream(model="chat", input="One", instructions="Be brief.") as events:
                async for _ in events:
                    pass
                first = await events.get_final_response()
        else:
            first = await client.responses.create(model="chat", input="One", instructions="Be brief.")  # type: ignore[assignment]
        second = await client.responses.create(model="chat", input="Two", previous_response_id=first.id)
        assert second.output_text == TEXT
        assert second.previous_response_id == first.id
        roles = [(message["role"], message["content"]) for message in up.requests[-1].json()["messages"]]
        assert roles == [("user", "One"), ("assistant", TEXT), ("user", "Two")]
        again = await client.responses.retrieve(first.id)
        assert (again.id, again.output_text) == (first.id, TEXT)
        items = await client.responses.input_items.list(first.id)
        assert [item.type for item in items.data] == ["message"]
        with pytest.raises(openai.BadRequestError, match="background"):
            await client.responses.cancel(first.id)
        await client.responses.delete(first.id)
        with pytest.raises(openai.NotFoundError, match="There is no response"):
            await client.responses.retrieve(first.id)


async def test_what_is_not_kept_is_not_found() -> None:
    async with converted() as (_, site):
        made = json.loads((await asked(site, {"input": "x", "store": False})).body)
        for target in (f"{PATH}/{made['id']}", f"{PATH}/resp_1/input_items", f"{PATH}/resp_gwdAAAA"):
            answer = await asked(site, target=target)
            assert (answer.status, answer.error["code"]) == (404, "response_not_found")
        answer = await asked(site, {"input": "x", "previous_response_id": "resp_1"})
        assert (answer.status, answer.error["param"]) == (400, "previous_response_id")
        answer = await asked(site, {"input": "x", "previous_response_id": made["id"]})
        assert (answer.status, answer.error["code"]) == (400, "previous_response_not_found")


async def test_queries_of_the_list_are_checked() -> None:
    async with converted() as (_, site):
        made = json.loads((await asked(site, {"input": "x"})).body)["id"]
        for query, status in (("limit=1&order=asc", 200), ("limit=x", 400), ("limit=0", 400), ("order=up", 400)):
            assert (await asked(site, target=f"{PATH}/{made}/input_items?{query}")).status == status
        assert (await asked(site, target=f"{PATH}/{made}?stream=true")).status == 400


@pytest.mark.parametrize("stream", [False, True])
async def test_a_conversation_stays_with_the_provider_that_keeps_it(stream: bool) -> None:
    """The id carries the deployment: every later request goes there, however many others there are."""
    async with providers() as (ups, site):
        answer = await asked(site, {"input": "One", "stream": stream})
        if stream:
            ids = {
                json.loads(line[6:])["response"]["id"] for line in answer.body.splitlines() if b'"response":{' in line
            }
            (first,) = ids
        else:
            first = json.loads(answer.body)["id"]
        at = int(answer.headers["x-gatewayd-deployment"][1])
        assert first.startswith("resp_")
        assert "_p" not in first
        for _ in range(6):
            body = json.loads((await asked(site, {"input": "Two", "previous_response_id": first})).body)
            assert body["previous_response_id"] == first
            assert body["id"] not in (first, f"resp_p{at}1")
        assert len(ups[1 - at].requests) == 0
        for method, target in (("GET", ""), ("GET", "/input_items?limit=2"), ("DELETE", "")):
            found = await asked(site, target=f"{PATH}/{first}{target}", method=method)
            assert found.status == 200
            assert json.loads(found.body).get("id", first) == first
            assert ups[at].requests[-1].target == f"{PATH}/resp_p{at}0{target}"
            assert ups[at].requests[-1].headers["authorization"].startswith("Bearer ")
        assert (await asked(site, target=f"{PATH}/{first[:-2]}AA")).status == 404


async def test_no_other_provider_is_asked_when_the_one_that_keeps_it_cannot_be() -> None:
    async with providers() as (ups, site):
        answer = await asked(site, {"input": "One"})
        first, at = json.loads(answer.body)["id"], answer.headers["x-gatewayd-deployment"]
        other = ups[1 - int(at[1])]
        runtime, now = site.gateway.current, time.monotonic()
        peers = [target.candidate for target in runtime.targets.values()]
        (kept_by,) = (peer for peer in peers if peer.id == at)
        runtime.health.failed(
            kept_by, UpstreamStatus("slow down", status=429, retry_after=60.0), now, peers=peers, policy=runtime.policy
        )
        answer = await asked(site, {"input": "Two", "previous_response_id": first})
        assert answer.status == 429
        assert f"kept by the deployment '{at}', which is out of rotation" in answer.error["message"]
        assert int(answer.headers["retry-after"]) > 0
        answer = await asked(site, {"input": "Two", "model": "other", "previous_response_id": first})
        assert answer.status == 404, "there is no such model"
        assert not other.requests
        sealed = site.gateway.memory("anonymous").sealed("resp_1", "gone")
        for body, status in (({"input": "Two", "previous_response_id": sealed}, 400), (None, 404)):
            answer = await asked(site, body, PATH if body else f"{PATH}/{sealed}")
            assert answer.status == status
            assert "kept by the deployment 'gone', which is not configured any more" in answer.error["message"]


async def test_a_response_belongs_to_its_key() -> None:
    for made in (converted, providers):
        async with made(server=ServerSettings(master_key=Secret("sk-0123456789"))) as (_, site):
            key = "authorization: Bearer sk-0123456789"
            first = json.loads((await asked(site, {"input": "x"}, PATH, key)).body)["id"]
            assert (await asked(site, None, f"{PATH}/{first}", key)).status == 200
            assert (await asked(site, None, f"{PATH}/{first}")).status == 401
            other = site.gateway.memory("another key")
            assert other.stored(first) is None
            assert other.place_of(first) is None


async def test_a_stateless_request_passes_byte_for_byte() -> None:
    """As Codex's do."""
    async with providers(1) as (_, site):
        answer = await asked(site, {"input": "x", "store": False})
        assert json.loads(answer.body)["id"] == "resp_p00"


async def test_a_conversation_of_the_gateways_goes_on_with_a_provider_too() -> None:
    """When a deployment with chat only has answered before."""
    async with FakeUpstream(chat) as old, FakeUpstream(provider("p")) as new:
        first, second = forward(old, "d1"), forward(new, "d2", "other", dialects=("chat", "responses"))
        async with serving_deployments(first, second) as site:
            made = json.loads((await asked(site, {"input": "One"})).body)["id"]
            answer = await asked(site, {"model": "other", "input": "Two", "previous_response_id": made})
            assert answer.status == 200
            asked_there = new.requests[-1].json()
            assert "previous_response_id" not in asked_there
            assert [item["role"] for item in asked_there["input"]] == ["user", "assistant", "user"]
