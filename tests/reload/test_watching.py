"""A whole daemon whose file events do not come: exhausted inotify, network mounts, directories that come and go."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from watchfiles import awatch

from gatewayd import daemon as module
from gatewayd.daemon import Daemon
from gatewayd.engine import watch
from gatewayd.engine.reload import Applied, Rejected
from gatewayd.engine.watch import Watcher
from tests.e2e.process import config
from tests.test_daemon import running
from tests.web.support import until

UP, DOWN = "gatewayd_config_watcher_up 1.0", "gatewayd_config_watcher_up 0.0"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "conf").mkdir()
    path = tmp_path / "conf" / "gatewayd.yaml"
    path.write_text(config("a"))
    return path


def save(file: Path, text: str) -> None:
    file.write_text(text)


def models(daemon: Daemon) -> list[str]:
    return [deployment.group for deployment in daemon.gateway.current.snapshot.deployments]


@pytest.fixture(autouse=True)
def quick_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "Watcher", partial(Watcher, poll=0.05))


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "OS file watch limit reached."),
        OSError(24, "Too many open files"),
        RuntimeError("error in underlying watcher"),
    ],
    ids=["ENOSPC", "EMFILE", "thread"],
)
async def test_without_file_events_the_poll_takes_over(
    error: Exception, file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """E-27: told once, seen in a metric; edits and SIGHUP work; when events come again, that is seen too."""
    exhausted, tries = True, 0

    def limited(*paths: str, **options: Any) -> AsyncIterator[Any]:
        nonlocal tries
        tries += 1
        if exhausted:
            raise error
        return awatch(*paths, **options)

    monkeypatch.setattr(watch, "awatch", limited)
    async with running(str(file)) as daemon:
        await until(lambda: tries > 3)
        assert DOWN in daemon.metrics.render().decode()
        save(file, config("a", "b"))
        await until(lambda: models(daemon) == ["a", "b"])
        save(file, config("a", "c"))
        assert isinstance(await daemon.reloader.reload("SIGHUP"), Applied)
        assert [text for text in caplog.messages if "file events do not work" in text] == [
            f"file events do not work ({error}); checking for changes every 0.05 s"
        ]
        exhausted = False
        await until(lambda: UP in daemon.metrics.render().decode())


async def test_a_watch_that_breaks_later_is_told_too(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """E-27: the thread that waits for the kernel dies."""
    dead = asyncio.Event()

    async def mortal(*paths: str, **options: Any) -> AsyncIterator[Any]:
        if dead.is_set():
            raise RuntimeError("no more threads")
        async for changes in awatch(*paths, **options):
            if dead.is_set():
                raise RuntimeError("the thread died")
            yield changes

    monkeypatch.setattr(watch, "awatch", mortal)
    async with running(str(file)) as daemon:
        await until(lambda: UP in daemon.metrics.render().decode())
        dead.set()
        await until(lambda: DOWN in daemon.metrics.render().decode())
        save(file, config("a", "b"))
        await until(lambda: models(daemon) == ["a", "b"])


async def test_a_file_system_that_tells_nothing_is_polled(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """E-34, E-29: NFS: the watch stands and nothing ever comes of it; the clock of the server may be behind."""

    def silent(*paths: str, watch_filter: object, **options: Any) -> AsyncIterator[Any]:
        return awatch(*paths, watch_filter=lambda change, path: False, **options)

    monkeypatch.setattr(watch, "awatch", silent)
    async with running(str(file)) as daemon:
        await until(lambda: UP in daemon.metrics.render().decode())
        for number, time in enumerate((2_000_000_000, 1, 1)):
            save(file, config("a", f"m{number}"))
            os.utime(file, (time, time))
            await until(lambda: models(daemon) == ["a", f"m{number}"])  # noqa: B023


def test_what_is_not_told_is_noticed_within_half_a_minute() -> None:
    """E-34"""
    watcher = Watcher(list, lambda: None, seen={})
    assert watcher._poll <= 30


async def test_a_directory_that_goes_and_comes_back_is_watched_again(file: Path) -> None:
    """E-28, E-05: the daemon serves on meanwhile, and follows edits afterwards."""
    async with running(str(file)) as daemon:
        await until(lambda: UP in daemon.metrics.render().decode())
        for number in range(3):
            shutil.rmtree(file.parent)
            await until(lambda: isinstance(daemon.reloader.last, Rejected))
            assert daemon.gateway.ready
            assert "gatewayd_config_last_reload_successful 0.0" in daemon.metrics.render().decode()
            file.parent.mkdir()
            save(file, config("a", f"m{number}"))
            await until(lambda: models(daemon) == ["a", f"m{number}"])  # noqa: B023
        save(file, config("a", "edited in place"))
        await until(lambda: models(daemon) == ["a", "edited in place"])
