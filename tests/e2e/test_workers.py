"""`gatewayd run --workers 2`: several processes, one gateway."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.e2e.process import PATIENCE, Daemon, command, config, eventually
from tests.e2e.test_rebinding import free_port
from tests.e2e.test_signals import EVENTS, forwarded, streaming
from tests.e2e.test_systemd import Supervisor
from tests.fakeup import FakeUpstream, sse_reply

TWO = ("--workers", "2")


async def workers(daemon: Daemon) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await daemon.status())["workers"]
    return found


async def ask(daemon: Daemon, model: str = "a") -> tuple[int, str | None]:
    """On a connection of its own, which whichever worker accepts: status and revision."""
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}]}
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE)) as stranger,
        stranger.post(f"{daemon.data}/chat/completions", json=body) as response,
    ):
        return response.status, response.headers.get("x-gatewayd-revision")


async def on_both(stack: AsyncExitStack, daemon: Daemon) -> dict[int, list[aiohttp.ClientResponse]]:
    """Opens streams, past their first event, until each worker has one; by the worker's process."""
    streams: dict[int, list[aiohttp.ClientResponse]] = {worker["pid"]: [] for worker in await workers(daemon)}
    busy = dict.fromkeys(streams, 0)
    while not all(streams.values()):
        response = await stack.enter_async_context(streaming(daemon))
        assert await response.content.readexactly(len(EVENTS[0])) == EVENTS[0]
        for worker in await workers(daemon):
            if worker["in_flight"] != busy[worker["pid"]]:
                busy[worker["pid"]] = worker["in_flight"]
                streams[worker["pid"]].append(response)
    return streams


async def gone(pid: int) -> bool:
    return not os.path.exists(f"/proc/{pid}")  # noqa: ASYNC240


async def test_all_workers_serve_and_are_told_of_as_one_gateway(tmp_path: Path) -> None:
    file, go = tmp_path / "gatewayd.yaml", asyncio.Event()
    async with FakeUpstream(sse_reply([EVENTS[0], go, *EVENTS[1:]])) as up, AsyncExitStack() as stack:
        file.write_text(forwarded(up.base_url))
        daemon = await stack.enter_async_context(Daemon(file, *TWO))
        streams = [response for several in (await on_both(stack, daemon)).values() for response in several]
        status = await daemon.status()
        assert status["in_flight"] == len(streams)
        (deployment,) = next(group["deployments"] for group in status["groups"] if group["name"] == "up")
        assert deployment["in_flight"] == len(streams)
        assert f"gatewayd_inflight_requests {float(len(streams))}\n" in await daemon.metrics()
        code, out, _ = await command("status", "--admin", daemon.admin)
        assert code == 0
        assert out.count("\nworker    ") == 2
        go.set()
        for response in streams:
            assert await response.content.read() == b"".join(EVENTS[1:])
        numbers = await daemon.metrics()
        assert f'gatewayd_requests_total{{group="up",outcome="ok"}} {float(len(streams))}\n' in numbers
        for number in (1, 2):
            assert f'process_open_fds{{worker="{number}"}} ' in numbers


async def test_a_worker_that_crashes_is_replaced_and_the_other_does_not_feel_it(tmp_path: Path) -> None:
    """F-05: also while the file is broken; what it had counted is not forgotten."""
    file, go = tmp_path / "gatewayd.yaml", asyncio.Event()
    async with FakeUpstream(sse_reply([EVENTS[0], go, *EVENTS[1:]])) as up, AsyncExitStack() as stack:
        file.write_text(forwarded(up.base_url))
        daemon = await stack.enter_async_context(Daemon(file, *TWO))
        for _ in range(20):
            assert (await ask(daemon))[0] == 200
        counted = 'gatewayd_requests_total{group="a",outcome="ok"} 20.0\n'
        assert counted in await daemon.metrics()
        file.write_text("model_list: [\n")
        await daemon.logged("configuration rejected")
        streams = await on_both(stack, daemon)
        victim, other = streams
        os.kill(victim, signal.SIGSEGV)
        line = await daemon.logged("its requests are lost")
        assert f"(pid {victim}) was ended by SIGSEGV" in line
        for response in streams[victim]:
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.content.read()

        async def replaced() -> bool:
            now = await workers(daemon)
            return victim not in [worker["pid"] for worker in now] and all(worker["serving"] for worker in now)

        await eventually(replaced)
        assert other in [worker["pid"] for worker in await workers(daemon)]
        numbers = await daemon.metrics()
        assert counted in numbers
        assert "gatewayd_worker_restarts_total 1.0\n" in numbers
        again = {pid for pid in await on_both(stack, daemon) if pid != other}
        assert len(again) == 1
        go.set()
        for response in streams[other]:
            assert await response.content.read() == b"".join(EVENTS[1:])


async def test_a_worker_that_crashes_again_and_again_is_given_longer_rests(tmp_path: Path) -> None:
    """F-05"""
    file = tmp_path / "gatewayd.yaml"
    file.write_text(config("a"))
    async with Daemon(file, *TWO) as daemon:
        victim, other = await workers(daemon)
        rests = []
        for times in range(1, 5):
            assert {await ask(daemon) for _ in range(20)} == {(200, (await daemon.status())["revision"])}
            counted = f'gatewayd_requests_total{{group="a",outcome="ok"}} {20.0 * times}\n'
            assert counted in await daemon.metrics()
            os.kill(victim["pid"], signal.SIGKILL)
            line = await daemon.logged("its requests are lost", times=times)
            rests.append(line.partition("its replacement starts ")[2])
            assert counted in await daemon.metrics()  # neither forgotten nor, while there is no other, counted twice

            async def another(dead: int = victim["pid"]) -> bool:
                return bool((await workers(daemon))[0]["pid"] != dead)

            await eventually(another)
            victim = (await workers(daemon))[0]
        assert rests == ["now", "in 0.25 s", "in 0.5 s", "in 1 s"]
        assert (await workers(daemon))[1]["pid"] == other["pid"]
        assert (await ask(daemon))[0] == 200


async def test_a_worker_that_is_stuck_is_ended_and_replaced(tmp_path: Path) -> None:
    """F-06, S8"""
    file = tmp_path / "gatewayd.yaml"
    file.write_text(config("a"))
    async with Daemon(file, *TWO, environ={"WATCHDOG_USEC": "2000000"}) as daemon:
        victim, _ = await workers(daemon)
        os.kill(victim["pid"], signal.SIGSTOP)
        line = await daemon.logged("has not responded")
        assert f"(pid {victim['pid']})" in line
        os.kill(victim["pid"], signal.SIGCONT)  # stopped processes take no signal; one that is busy does
        assert "SIGABRT" in await daemon.logged("its requests are lost")
        assert any("Fatal Python error: Aborted" in text for text in daemon.log)
        await eventually(lambda: gone(victim["pid"]))


async def test_a_worker_that_is_stopped_is_killed_and_replaced(tmp_path: Path) -> None:
    """U-F10: a stopped process takes no SIGABRT."""
    file = tmp_path / "gatewayd.yaml"
    file.write_text(config("a"))
    async with Daemon(file, *TWO, environ={"WATCHDOG_USEC": "2000000"}) as daemon:
        victim, _ = await workers(daemon)
        os.kill(victim["pid"], signal.SIGSTOP)
        assert "SIGKILL" in await daemon.logged("its requests are lost")
        await eventually(lambda: gone(victim["pid"]))


async def test_an_edit_does_not_wait_for_a_worker_that_is_stopped(tmp_path: Path) -> None:
    """U-F10: it goes live in the others at once, and in the stopped one when that goes on."""
    file = tmp_path / "gatewayd.yaml"
    file.write_text(config("a"))
    async with Daemon(file, *TWO) as daemon:
        victim, _ = await workers(daemon)
        os.kill(victim["pid"], signal.SIGSTOP)
        assert (await daemon.edit(config("b")))["result"] == "applied"
        assert not any("has not responded" in line for line in daemon.log)
        assert [worker["serving"] for worker in await workers(daemon)] == [False, True]
        os.kill(victim["pid"], signal.SIGCONT)

        async def both_serve() -> bool:
            return all(worker["serving"] for worker in await workers(daemon))

        await eventually(both_serve)
        for _ in range(8):
            assert (await ask(daemon, "b"))[0] == 200


async def test_an_edit_goes_live_in_all_workers_or_in_none(tmp_path: Path) -> None:
    """E-32, R1, R2: one outcome, whichever worker one meets."""
    file = tmp_path / "gatewayd.yaml"
    file.write_text(config("a"))
    async with Daemon(file, *TWO) as daemon:
        first = (await daemon.status())["revision"]
        assert {await ask(daemon) for _ in range(20)} == {(200, first)}
        file.write_text(config("a", "b"))
        code, out, _ = await command("reload", "--wait", "--admin", daemon.admin)
        assert code == 0
        assert (
            len([word for word in out.split() if word in ("applied:", "unchanged:")]) == 1
        )  # or the watcher was first
        second = (await daemon.status())["revision"]
        assert {await ask(daemon, "b") for _ in range(20)} == {(200, second)}
        file.write_text("model_list: 5\n")
        code, out, _ = await command("reload", "--wait", "--admin", daemon.admin)
        assert (code, out.count("rejected")) == (78, 1)
        assert {await ask(daemon, "b") for _ in range(20)} == {(200, second)}
        file.write_text(config("c"))
        daemon.signal(signal.SIGHUP)
        await daemon.logged("+ group c")
        assert [status for status, _ in [await ask(daemon, "b") for _ in range(20)]] == [404] * 20
        assert sum("configuration applied" in line for line in daemon.log) == 2
        assert all(worker["restarts"] == 0 for worker in await workers(daemon))


async def test_an_edit_that_a_worker_cannot_make_live_is_applied_by_none(tmp_path: Path) -> None:
    """R1, E-26: the supervisor does not load litellm, the workers cannot."""
    file, broken = tmp_path / "gatewayd.yaml", tmp_path / "modules" / "tiktoken"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ImportError('broken')\n")
    file.write_text(config("a"))
    path = f"{broken.parent}:{Path(__file__).parents[2]}"
    async with Daemon(file, *TWO, environ={"PYTHONPATH": path}) as daemon:
        entry = "  - {model_name: t, litellm_params: {model: cohere_chat/command-r, api_key: sk-x-0123456789}}\n"
        file.write_text(config("b").replace("model_list:\n", "model_list:\n" + entry))
        outcome = await daemon.reload()
        assert [problem["code"] for problem in outcome["problems"]] == ["litellm_unavailable"]
        assert [(await ask(daemon))[0] for _ in range(20)] == [200] * 20
        assert [(await ask(daemon, "b"))[0] for _ in range(20)] == [404] * 20
        assert (await daemon.edit(config("b")))["result"] == "applied"
        assert [(await ask(daemon, "b"))[0] for _ in range(20)] == [200] * 20


@pytest.mark.parametrize("kind", ["port", "file"])
async def test_the_data_side_moves_under_workers(kind: str, tmp_path: Path) -> None:
    """E-24, R3, D7"""
    file, go, port = tmp_path / "gatewayd.yaml", asyncio.Event(), free_port()
    place = f"127.0.0.1:{port}" if kind == "port" else f"unix:{tmp_path}/data.sock"
    async with FakeUpstream(sse_reply([EVENTS[0], go, *EVENTS[1:]])) as up, AsyncExitStack() as stack:
        file.write_text(forwarded(up.base_url))
        daemon = await stack.enter_async_context(Daemon(file, *TWO))
        streams = [response for several in (await on_both(stack, daemon)).values() for response in several]
        old = daemon.data
        for _ in range(2):  # there and back and there again
            outcome = await daemon.edit(forwarded(up.base_url, f"listen: {place}\nadmin: 127.0.0.1:0"))
            assert outcome["result"] == "applied"
            with pytest.raises(aiohttp.ClientConnectorError):
                async with aiohttp.ClientSession() as stranger:
                    await stranger.get(f"{old}/models")
            connector = aiohttp.UnixConnector(f"{tmp_path}/data.sock") if kind == "file" else None
            url = "http://x" if kind == "file" else f"http://{place}"
            async with aiohttp.ClientSession(connector=connector) as friend, friend.get(f"{url}/v1/models") as response:
                assert response.status == 200
            assert (await daemon.edit(forwarded(up.base_url)))["result"] == "applied"
            assert not (tmp_path / "data.sock").exists()
            old = f"http://{(await daemon.status())['listen'][0]}/v1"
        with socket.create_server(("127.0.0.1", 0)) as taken:
            own = f"listen: 127.0.0.1:{taken.getsockname()[1]}\nadmin: 127.0.0.1:0"
            file.write_text(forwarded(up.base_url, own))
            assert [problem["code"] for problem in (await daemon.reload())["problems"]] == ["listen_failed"]
        go.set()
        for response in streams:
            assert await response.content.read() == b"".join(EVENTS[1:])


async def test_they_drain_together(tmp_path: Path) -> None:
    """F-01, S1, S2"""
    file, go = tmp_path / "gatewayd.yaml", asyncio.Event()
    async with FakeUpstream(sse_reply([EVENTS[0], go, *EVENTS[1:]])) as up, AsyncExitStack() as stack:
        file.write_text(forwarded(up.base_url))
        daemon = await stack.enter_async_context(Daemon(file, *TWO))
        streams = await on_both(stack, daemon)
        daemon.signal(signal.SIGTERM)
        await daemon.logged("stopping; waiting for requests in flight")
        await eventually(lambda: refuses(daemon.data))
        go.set()
        for several in streams.values():
            for response in several:
                assert await response.content.read() == b"".join(EVENTS[1:])
        assert await daemon.exit_code() == 0
        for pid in streams:
            assert await gone(pid)


@pytest.mark.parametrize("how", ["deadline", "second signal"])
async def test_what_outlasts_the_drain_is_told_by_every_worker(how: str, tmp_path: Path) -> None:
    """F-02, F-03, S4, S5"""
    file, never = tmp_path / "gatewayd.yaml", asyncio.Event()
    drain = 0.3 if how == "deadline" else 3600
    async with FakeUpstream(sse_reply([EVENTS[0], never])) as up, AsyncExitStack() as stack:
        file.write_text(forwarded(up.base_url, f"listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\ndrain: {drain}"))
        daemon = await stack.enter_async_context(Daemon(file, *TWO))
        streams = await on_both(stack, daemon)
        daemon.signal(signal.SIGTERM)
        if how == "second signal":
            await daemon.logged("stopping; waiting for requests in flight")
            daemon.signal(signal.SIGTERM)
        for several in streams.values():
            for response in several:
                (event,) = [line for line in (await response.content.read()).splitlines() if line]
                assert json.loads(event.removeprefix(b"data: "))["error"]["code"] == "server_shutting_down"
        assert await daemon.exit_code() == 0
        count = sum(map(len, streams.values()))
        assert any(f"interrupted requests: {count}" in line for line in daemon.log)
        for pid in streams:
            assert await gone(pid)


async def test_when_the_deciding_process_is_killed_its_workers_are_in_nobodys_way(tmp_path: Path) -> None:
    """F-04: they let go of the port at once and end when their requests have."""
    file, go, port = tmp_path / "gatewayd.yaml", asyncio.Event(), free_port()
    async with FakeUpstream(sse_reply([EVENTS[0], go, *EVENTS[1:]])) as up, AsyncExitStack() as stack:
        file.write_text(forwarded(up.base_url, f"listen: 127.0.0.1:{port}\nadmin: 127.0.0.1:0"))
        dead = await stack.enter_async_context(Daemon(file, *TWO))
        streams = await on_both(stack, dead)
        dead.signal(signal.SIGKILL)
        await eventually(lambda: refuses(dead.data))
        async with Daemon(file, *TWO) as daemon:
            assert (await ask(daemon))[0] == 200
            go.set()
            for several in streams.values():
                for response in several:
                    assert await response.content.read() == b"".join(EVENTS[1:])
        for pid in streams:
            await eventually(lambda pid=pid: gone(pid))  # type: ignore[misc]


async def test_a_start_that_fails_leaves_no_worker(tmp_path: Path) -> None:
    """E-25, R13"""
    file = tmp_path / "gatewayd.yaml"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for own in (f"listen: 127.0.0.1:{port}\nadmin: off", f"listen: 127.0.0.1:0\nadmin: 127.0.0.1:{port}"):
            file.write_text(config("a", own=own))
            code, _, err = await command("run", "-c", str(file), *TWO)  # ends when all who hold its stderr have ended
            assert code == 1
            assert "address already in use" in err


IN_WORKERS = """
import importlib.abc, os, signal, sys

class Meddler(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "gatewayd.workers.worker":
            for number in ({numbers}):
                os.kill(os.getpid(), number)

sys.meta_path.insert(0, Meddler())
"""
"""A `sitecustomize` that sends each worker signals before the first of its imports."""


def meddled(folder: Path, numbers: str) -> dict[str, str]:
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(IN_WORKERS.format(numbers=numbers))
    return {"PYTHONPATH": f"{folder}:{Path(__file__).parents[2]}"}


async def test_a_worker_that_dies_at_the_start_is_no_fault_of_the_file(tmp_path: Path) -> None:
    """S7: exit 1; after 78 systemd would not start it again."""
    file, modules = tmp_path / "gatewayd.yaml", tmp_path / "modules"
    file.write_text(config("a"))
    code, _, err = await command("run", "-c", str(file), *TWO, environ=meddled(modules, "signal.SIGKILL,"))
    assert code == 1
    assert err.count("was ended by SIGKILL before it could serve") == 2


async def test_signals_for_all_processes_are_not_for_workers(tmp_path: Path) -> None:
    """F-01, F-03: also while they start; `KillMode=control-group` sends SIGTERM to everybody."""
    file, modules = tmp_path / "gatewayd.yaml", tmp_path / "modules"
    file.write_text(config("a"))
    environ = meddled(modules, "signal.SIGTERM, signal.SIGINT, signal.SIGHUP")
    async with Daemon(file, *TWO, environ=environ) as daemon:
        for worker in await workers(daemon):
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                os.kill(worker["pid"], number)
        assert {await ask(daemon) for _ in range(20)} == {(200, (await daemon.status())["revision"])}
        assert [worker["restarts"] for worker in await workers(daemon)] == [0, 0]
        assert not any("configuration" in line for line in daemon.log)  # nobody took SIGHUP for a reload


async def test_systemd_sees_one_service(tmp_path: Path) -> None:
    """R9, R13, S8"""
    file, supervisor = tmp_path / "gatewayd.yaml", Supervisor(tmp_path / "notify")
    file.write_text(config("a"))
    try:
        async with Daemon(file, *TWO, environ={**supervisor.environ, "WATCHDOG_USEC": "4000000"}) as daemon:
            ready = await supervisor.told("READY")
            assert ready["STATUS"].startswith("serving revision ")
            assert (await ask(daemon))[0] == 200
            file.write_text(config("b"))
            await supervisor.told("RELOADING")
            assert (await supervisor.told("READY"))["STATUS"] != ready["STATUS"]
            await supervisor.told("WATCHDOG")
            daemon.signal(signal.SIGTERM)
            assert (await supervisor.told("STOPPING"))["STATUS"] == "draining"
            assert await daemon.exit_code() == 0
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await supervisor.told("READY")
    finally:
        supervisor.close()


async def test_sockets_of_systemd_with_workers(tmp_path: Path) -> None:
    """F-11: who knocks during a restart is answered after it."""
    file = tmp_path / "gatewayd.yaml"
    with socket.create_server(("127.0.0.1", 0)) as data:
        file.write_text(config("a", own=f"listen: 127.0.0.1:{data.getsockname()[1]}\nadmin: 127.0.0.1:0"))
        async with Daemon(file, *TWO, sockets=[data]) as old:
            assert (await ask(old))[0] == 200
            old.signal(signal.SIGTERM)
            assert await old.exit_code() == 0
            waiting = asyncio.get_running_loop().create_task(ask(old))
            async with Daemon(file, *TWO, sockets=[data]):
                assert (await waiting)[0] == 200


async def refuses(url: str) -> bool:
    try:
        async with aiohttp.ClientSession() as stranger, stranger.get(f"{url}/models"):
            return False
    except aiohttp.ClientConnectorError:
        return True
    except aiohttp.ClientError:
        return False
