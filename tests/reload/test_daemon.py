"""Reloads of a whole daemon, in the test's own loop."""

from __future__ import annotations

from pathlib import Path

from gatewayd.engine.reload import Applied
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
