"""Reloads of a whole daemon, in the test's own loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from gatewayd.engine.reload import Applied, Pace
from tests.e2e.process import config
from tests.test_daemon import running
from tests.web.support import until


async def test_an_edit_that_was_asked_for_is_not_read_again_because_of_its_event(tmp_path: Path) -> None:
    """E-02: nor counted."""
    file = tmp_path / "gatewayd.yaml"
    file.touch(mode=0o600)
    file.write_text(config("a"))
    async with running(str(file)) as daemon:
        watcher = daemon._watcher
        assert watcher is not None
        await until(lambda: watcher.up)
        file.write_text(config("b"))
        assert isinstance(await daemon.reloader.reload("test"), Applied)
        await watcher._look()  # what an event makes it do
        assert daemon.reloader.counts == {"applied": 1}
        assert daemon.reloader._pending is None
        file.write_text(config("c"))
        await until(lambda: daemon.reloader.counts["applied"] == 2)
        assert daemon.reloader.counts["unchanged"] == 0


def in_place(file: Path, text: str) -> None:
    file.write_text(text)


def rename_over(file: Path, text: str) -> None:
    new = file.with_suffix(".new")
    new.write_text(text)
    new.rename(file)


@pytest.mark.parametrize("save", [in_place, rename_over])
async def test_ten_edits_are_applied_once_each(save: Callable[[Path, str], None], tmp_path: Path) -> None:
    """E-01, R6: and no edit is mistaken for two, or for a bad one, while it is being saved."""
    file = tmp_path / "gatewayd.yaml"
    file.write_text(config("a"))
    async with running(str(file)) as daemon:
        watcher = daemon._watcher
        assert watcher is not None
        await until(lambda: watcher.up)
        for number in range(10):
            save(file, config("a", f"m{number}"))
            await until(lambda: daemon.gateway.current.snapshot.deployments[-1].group == f"m{number}", 30)  # noqa: B023
        await watcher._look()
        if daemon.reloader._worker is not None:
            await asyncio.wait([daemon.reloader._worker])
        assert (daemon.reloader.counts["applied"], daemon.reloader.counts["rejected"]) == (10, 0)


def test_the_pace_is_the_promised_one() -> None:
    """E-19, E-04, R6: at most four loads a second, an edit within a second; U-F5: five if it looks cut off."""
    assert Pace().spacing >= 0.25
    assert Pace().debounce + Pace().spacing <= 0.5
    assert Pace().hold == 5.0
