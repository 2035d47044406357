"""Streams over reloads: none is cut, none is altered (E-17, R3, R4)."""

import asyncio
from pathlib import Path

from tests.e2e.process import Daemon, config
from tests.e2e.test_signals import forwarded, streaming
from tests.fakeup import FakeUpstream, Received, Reply, json_reply, sse_reply
from tests.replies import chat_events

STREAMS = 200
WHOLE = json_reply({"object": "chat.completion", "choices": [{"message": {"content": "new upstream"}}]})


async def test_two_hundred_streams_over_eight_reloads(tmp_path: Path) -> None:
    """E-17, E-21, E-22: their deployment is changed, removed and replaced meanwhile, and the file is broken.

    `make storm` makes more edits."""
    file, opened, go = tmp_path / "gatewayd.yaml", asyncio.Semaphore(0), asyncio.Event()

    def script(request: Received) -> Reply:
        events = chat_events(*(f"{request.json()['user']} {part} " for part in range(20)))
        opened.release()
        return sse_reply([*events[:10], go, *events[10:]])

    async with FakeUpstream(script) as up:
        whole = forwarded(up.base_url)
        file.write_text(whole)
        edits = [
            whole.replace("model_name: up", "model_name: renamed"),
            config("a"),
            whole.replace("sk-fake", "sk-other"),
            whole,
        ]
        async with Daemon(file) as daemon:

            async def stream(user: str) -> None:
                body = {"model": "up", "stream": True, "user": user, "messages": []}
                async with daemon.session.post(f"{daemon.data}/chat/completions", json=body) as response:
                    assert response.status == 200
                    received = await response.content.read()
                assert received == b"".join(chat_events(*(f"{user} {part} " for part in range(20))))

            async with asyncio.TaskGroup() as streams:
                for number in range(STREAMS):
                    streams.create_task(stream(f"caller {number}"))
                for _ in range(STREAMS):
                    await opened.acquire()
                for edit in edits:
                    assert (await daemon.edit(edit))["result"] == "applied"
                    assert (await daemon.edit("model_list: [\n"))["result"] == "rejected"
                assert (await daemon.status())["in_flight"] == STREAMS
                go.set()
            assert (await daemon.status())["in_flight"] == 0


async def test_a_request_stays_on_the_configuration_it_came_in_on(tmp_path: Path) -> None:
    """E-21, E-22, R4"""
    file, go = tmp_path / "gatewayd.yaml", asyncio.Event()
    events = chat_events("old ", "upstream")
    async with FakeUpstream(sse_reply([events[0], go, *events[1:]])) as old, FakeUpstream(WHOLE) as new:
        file.write_text(forwarded(old.base_url))
        async with Daemon(file) as daemon, streaming(daemon) as response:
            revision = response.headers["x-gatewayd-revision"]
            applied = await daemon.edit(forwarded(new.base_url).replace("sk-fake", "sk-new"))
            assert applied["result"] == "applied"
            assert await daemon.chat("up") == (200, "new upstream")
            assert new.requests[-1].headers["authorization"] == "Bearer sk-new"
            await daemon.edit(config("a"))
            assert (await daemon.chat("up"))[0] == 404
            go.set()
            assert await response.content.read() == b"".join(events)
            assert revision != applied["revision"]
            assert len(old.requests) == 1
