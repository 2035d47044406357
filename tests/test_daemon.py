"""The daemon inside a test's own loop: what embedding programs see, and what no process of its own is needed for."""

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from watchfiles import awatch

from gatewayd.config.overrides import Overrides
from gatewayd.config.snapshot import Snapshot
from gatewayd.daemon import Daemon
from gatewayd.engine.reload import Applied, Rejected, Unchanged
from gatewayd.errors import ConfigInvalid
from gatewayd.observe.redact import Redactor
from gatewayd.observe.sdnotify import Notifier
from gatewayd.web.cannot_listen import CannotListen
from tests.e2e.process import config
from tests.fakeup import FakeUpstream, Reply, json_reply
from tests.web.support import until

KEY = "sk-master-0123456789abcdef"
OWN = {"listen": "127.0.0.1:0", "admin": "127.0.0.1:0"}


def tree(*models: str, **sections: Any) -> dict[str, Any]:
    entries = [
        {"model_name": name, "litellm_params": {"model": f"openai/{name}", "mock_response": f"Hello from {name}"}}
        for name in models
    ]
    return {"model_list": entries, "gatewayd": OWN, **sections}


@asynccontextmanager
async def running(source: str | Mapping[str, Any], **options: Any) -> AsyncIterator[Daemon]:
    daemon = Daemon(source, **options)
    await daemon.start()
    try:
        yield daemon
    finally:
        await daemon.stop(drain=0.0)


async def chat(daemon: Daemon, model: str) -> int:
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}]}
    url = f"http://{daemon.addresses[0]}/v1/chat/completions"
    async with aiohttp.ClientSession() as session, session.post(url, json=body) as response:
        return response.status


async def test_a_configuration_from_code_is_served() -> None:
    async with running(tree("a")) as daemon:
        assert await chat(daemon, "a") == 200
        (address,) = daemon.addresses
        assert address.port
        assert len(daemon.admin_addresses) == 1
        assert isinstance(await daemon.reloader.reload("test"), Unchanged)
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(f"http://{address}/livez")


async def test_many_daemons_in_one_loop_leave_nothing_behind() -> None:
    before = asyncio.all_tasks()
    files = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        async with running(tree("a")) as one, running(tree("b")) as other:
            assert await chat(one, "a") == 200
            assert await chat(other, "b") == 200
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
    assert len(os.listdir("/proc/self/fd")) <= files


async def test_the_metrics_say_what_is_open() -> None:
    """What grows when something leaks: connections on both sides, and tasks."""

    def opened(daemon: Daemon) -> list[float | None]:
        sample = daemon.metrics.registry.get_sample_value
        upstreams = [sample("gatewayd_upstream_connections", {"state": state}) for state in ("busy", "idle")]
        return [sample("gatewayd_client_connections"), *upstreams]

    release = asyncio.Event()
    async with FakeUpstream(Reply([release, *json_reply({"choices": [{}]}).steps])) as up:
        forward = {"model": "openai/m", "api_base": up.base_url, "api_key": "sk-0123456789"}
        source = {"model_list": [{"model_name": "a", "litellm_params": forward}], "gatewayd": OWN}
        async with running(source) as daemon:
            sample = daemon.metrics.registry.get_sample_value
            assert opened(daemon) == [0, 0, 0]
            before = sample("gatewayd_tasks")
            asking = asyncio.create_task(chat(daemon, "a"))
            await until(lambda: bool(up.requests))
            assert opened(daemon) == [1, 1, 0]
            assert (sample("gatewayd_tasks") or 0) > (before or 0)
            release.set()
            assert await asking == 200
            await until(lambda: opened(daemon) == [0, 0, 1])
        assert opened(daemon) == [0, 0, 0]


async def test_an_invalid_configuration_raises_and_leaves_nothing() -> None:
    before = asyncio.all_tasks()
    with pytest.raises(ConfigInvalid) as caught:
        await Daemon({"model_list": 5}).start()
    assert caught.value.problems
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize("side", ["listen", "admin"])
async def test_an_address_in_use_raises_and_leaves_nothing(side: str) -> None:
    """E-25: not even the other side's socket."""
    files = len(os.listdir("/proc/self/fd"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(CannotListen) as caught:
            await Daemon(tree("a", gatewayd={**OWN, side: place})).start()
    (problem,) = caught.value.problems
    assert problem.path == f"gatewayd.{side}"
    assert problem.message == f"cannot listen on {place}: address already in use"
    assert problem.hint is not None
    assert "another gatewayd" in problem.hint
    assert len(os.listdir("/proc/self/fd")) <= files


@pytest.mark.parametrize(
    ("place", "said", "hint"),
    [
        ("nobody:0", ": name or service not known", "host name"),
        ("192.0.2.1:0", ": cannot assign requested address", "no such address"),
        ("unix:nowhere/api.sock", ": no such file or directory", "folder"),
    ],
)
async def test_what_cannot_be_listened_on_is_named_with_what_may_help(
    place: str, said: str, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E-25: the one address of several; that somebody else has it is not the only reason there is."""
    look_up = socket.getaddrinfo

    def known(host: str, *arguments: Any, **options: Any) -> Any:
        if host == "nobody":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return look_up(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", known)
    sections = {
        "gatewayd": {**OWN, "listen": ["127.0.0.1:0", place]},
        "general_settings": {"master_key": "sk-12345678"},
    }
    with pytest.raises(CannotListen) as caught:
        await Daemon(tree("a", **sections)).start()
    (problem,) = caught.value.problems
    assert problem.message.startswith(f"cannot listen on {place}{said}".replace("unix:", f"unix:{os.getcwd()}/"))
    assert problem.hint is not None
    assert hint in problem.hint


async def test_a_refused_edit_closes_what_it_had_opened(tmp_path: Path) -> None:
    """E-24, E-26: the data plane's new socket was open when the admin side's could not be."""
    file = tmp_path / "gatewayd.yaml"
    file.write_text(config("a"))
    async with running(str(file)) as daemon:
        with socket.create_server(("127.0.0.1", 0)) as taken, socket.create_server(("127.0.0.1", 0)) as free:
            place, port = f"127.0.0.1:{taken.getsockname()[1]}", free.getsockname()[1]
            free.close()
            file.write_text(config("b", own=f"listen: 127.0.0.1:{port}\nadmin: {place}"))
            assert isinstance(await daemon.reloader.reload("test"), Rejected)
        with socket.create_server(("127.0.0.1", port)):
            pass
        assert await chat(daemon, "a") == 200


async def test_environment_variables_come_and_go_with_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GW_TEST_OLD", "mine")
    monkeypatch.delenv("GW_TEST_NEW", raising=False)
    file = tmp_path / "gatewayd.yaml"
    file.write_text(config("a", environment_variables="{GW_TEST_OLD: theirs, GW_TEST_NEW: theirs}"))
    async with running(str(file)) as daemon:
        assert (os.environ["GW_TEST_OLD"], os.environ["GW_TEST_NEW"]) == ("theirs", "theirs")
        file.write_text(config("a"))
        assert isinstance(await daemon.reloader.reload("test"), Applied)
        assert os.environ["GW_TEST_OLD"] == "mine"
        assert "GW_TEST_NEW" not in os.environ
        file.write_text(config("a", environment_variables="{GW_TEST_NEW: again}"))
        await daemon.reloader.reload("test")
        assert os.environ["GW_TEST_NEW"] == "again"
    assert "GW_TEST_NEW" not in os.environ


async def test_references_mean_what_they_meant_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """R12: an exported variable cannot change what another reference means."""
    file = tmp_path / "gatewayd.yaml"
    file.write_text(config("a", general_settings="{master_key: os.environ/GW_TEST_KEY}"))
    monkeypatch.setenv("GW_TEST_KEY", KEY)
    async with running(str(file)) as daemon:
        monkeypatch.delenv("GW_TEST_KEY")
        file.write_text(config("a", "b", general_settings="{master_key: os.environ/GW_TEST_KEY}"))
        assert isinstance(await daemon.reloader.reload("test"), Applied)


async def test_who_is_told_what(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """R9, E-18: one log line for each outcome, and the same refusal only once."""
    file, live, redactor = tmp_path / "gatewayd.yaml", list[Snapshot](), Redactor()
    file.write_text(config("a", general_settings=f"{{master_key: {KEY}}}"))
    file.chmod(0o600)
    caplog.set_level(logging.INFO, "gatewayd.daemon")
    async with running(str(file), went_live=live.append, redactor=redactor) as daemon:
        assert redactor.clean(f"key {KEY}") == "key ***"
        file.write_text(config("a", "b", general_settings=f"{{master_key: {KEY}}}"))
        await daemon.reloader.reload("test")
        await daemon.reloader.reload("test")
        file.write_text("model_list: [")
        await daemon.reloader.reload("test")
        await daemon.reloader.reload("test")
        numbers = daemon.metrics.render().decode()
    assert [s.deployments[-1].group for s in live] == ["a", "b"]
    lines = [record.getMessage() for record in caplog.records if "configuration" in record.getMessage()]
    assert [line.split()[1] for line in lines] == ["applied", "unchanged:", "rejected;"]
    assert "  + group b (1 deployment: openai/b)" in caplog.messages
    assert any("error[yaml_syntax]" in message for message in caplog.messages)
    assert not any(KEY in message for message in caplog.messages)
    for name, value in (
        ('reloads_total{result="applied"}', 2.0),
        ('reloads_total{result="unchanged"}', 1.0),
        ('reloads_total{result="rejected"}', 2.0),
        ("last_reload_successful", 0.0),
        (f'info{{hash="{live[-1].revision}"}}', 1.0),
        ("watcher_up", 1.0),
    ):
        assert f"gatewayd_config_{name} {value}\n" in numbers


async def test_a_reload_wanted_before_the_start_is_remembered(tmp_path: Path) -> None:
    """E-20"""
    file = tmp_path / "gatewayd.yaml"
    file.write_text(config("a"))
    daemon = Daemon(str(file))
    daemon.reload_soon("SIGHUP")
    daemon.reload_soon("SIGHUP")
    await daemon.start()
    assert isinstance(await daemon.reloader.reload("test"), Unchanged)
    await daemon.stop(drain=0.0)
    daemon.reload_soon("SIGHUP")
    assert daemon.reloader.counts == {"unchanged": 1}


async def test_a_watcher_that_fails_is_started_again_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """F-07: edits are noticed afterwards as before."""
    file = tmp_path / "gatewayd.yaml"
    file.write_text(config("a"))
    failed = 0

    def broken(*places: Any, **options: Any) -> Any:
        nonlocal failed
        failed += 1
        if failed <= 2:
            raise ValueError("a bug")
        return awatch(*places, **options)

    monkeypatch.setattr("gatewayd.engine.watch.awatch", broken)
    async with running(str(file)) as daemon:
        await until(lambda: failed == 3, seconds=30)
        file.write_text(config("a", "b"))
        await until(lambda: daemon.reloader.counts["applied"] == 1, seconds=30)
        numbers = daemon.metrics.render().decode()
    assert 'gatewayd_background_task_failures_total{task="watch the configuration"} 2.0' in numbers
    told = [message for message in caplog.messages if "failed" in message]
    assert told == ["background task watch the configuration failed and is restarted: ValueError"]


async def test_a_loop_that_is_stuck_gives_no_sign_of_life(tmp_path: Path) -> None:
    """F-06, S8: threads that go on must not hide it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(str(tmp_path / "notify"))
        supervisor.setblocking(False)

        def signs() -> int:
            """How many came since the last look."""
            count = 0
            with contextlib.suppress(BlockingIOError):
                while True:
                    count += supervisor.recv(4096) == b"WATCHDOG=1"
            return count

        async def several() -> None:
            seen = 0
            while seen < 3:
                seen += signs()
                await asyncio.sleep(0.01)

        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "40000"})
        async with running(tree("a"), notifier=notifier), asyncio.timeout(30):
            await several()
            signs()
            time.sleep(0.5)  # noqa: ASYNC251  # the fault itself
            assert signs() == 0
            await several()


@pytest.mark.parametrize(
    ("overrides", "listen", "expected"),
    [
        (Overrides(), "127.0.0.1:4000", ["127.0.0.1:4000"]),
        (Overrides(port=5000), "127.0.0.1:4000", ["127.0.0.1:5000"]),
        (Overrides(host="::1"), "127.0.0.1:4000", ["[::1]:4000"]),
        (Overrides(port=0), "[unix:/run/x, '127.0.0.2:4000', '127.0.0.1:1']", ["127.0.0.2:0"]),
        (Overrides(port=1), "unix:/run/x", ["127.0.0.1:1"]),
    ],
)
def test_flags_take_the_place_of_the_files_addresses(
    overrides: Overrides, listen: str, expected: list[str], tmp_path: Path
) -> None:
    from gatewayd.config.loader import load

    file = tmp_path / "gatewayd.yaml"
    file.write_text(config("a", own=f"listen: {listen}"))
    snapshot = overrides.apply(load(str(file), environ={})).snapshot
    assert snapshot is not None
    assert [str(address) for address in snapshot.server.listen] == expected
