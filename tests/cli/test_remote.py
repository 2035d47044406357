"""How a daemon's answers read; the daemon runs in this process."""

import asyncio
import json
import re
from pathlib import Path

import pytest

from gatewayd import cli
from gatewayd.engine.reload import Pace
from tests.e2e.process import config
from tests.test_daemon import KEY, running


async def run(*arguments: str) -> int:
    return await asyncio.to_thread(cli.main, arguments)


async def test_reload_and_its_outcomes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """E-32"""
    file = tmp_path / "gatewayd.yaml"
    file.write_text(config("a"))
    async with running(str(file)) as daemon:
        daemon.reloader._pace = Pace(debounce=3600.0)  # the event of a save is never faster than the command
        ask = ("reload", "--admin", f"http://{daemon.admin_addresses[0]}")
        assert await run(*ask, "--wait") == 0
        assert re.fullmatch(r"unchanged: revision \w+, live for \d+ s\n", capsys.readouterr().out)
        file.write_text(config("a", "b") + "modle_list: []\n")
        assert await run(*ask, "--wait") == 0
        out = capsys.readouterr().out.splitlines()
        assert out[0].startswith("applied: revision ")
        assert out[1] == "+ group b (1 deployment: openai/b)"
        assert "warning[unknown_key]" in out[2]
        file.write_text("model_list:\n - {}\n - 5\n")
        assert await run(*ask, "--wait") == 78
        out = capsys.readouterr().out.splitlines()
        assert out[0].startswith("rejected")
        assert any(line.startswith(f"{file}:2:") for line in out)
        assert any(line.startswith(f"{file}:3:") for line in out)
        assert await run(*ask) == 0
        assert capsys.readouterr().out == "reload requested\n"


async def test_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "gatewayd.yaml"
    file.write_text(config("a", "b"))
    async with running(str(file)) as daemon:
        ask = ("status", "--admin", f"http://{daemon.admin_addresses[0]}")
        assert await run(*ask) == 0
        out = capsys.readouterr().out
        assert ", ready, up 0 s, 0 in flight" in out
        assert f"file      {file}" in out
        assert "\na\n  a: ok\n    openai/a, " in out
        file.write_text("modle_list: 5\nlitellm_settings: {no_key: 1}\n")
        await daemon.reloader.reload("test")
        assert await run(*ask) == 0
        out = capsys.readouterr().out
        assert "1 rejected" in out
        assert f"\n          {file}:1:1: error[no_models]" in out
        assert "\n              hint: 'modle_list' looks like a misspelling of it\n" in out
        assert out.index("error[no_models]") < out.index("warning[unknown_key]")  # as `gatewayd check` tells them
        assert await run(*ask, "--format", "json") == 0
        assert json.loads(capsys.readouterr().out)["revision"] == daemon.gateway.current.snapshot.revision


async def test_a_daemon_that_wants_a_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GATEWAYD_API_KEY", raising=False)
    file = tmp_path / "gatewayd.yaml"
    file.write_text(config("a", own="listen: 127.0.0.1:0\nadmin: 0.0.0.0:0", general_settings=f"{{master_key: {KEY}}}"))
    file.chmod(0o600)
    async with running(str(file)) as daemon:
        ask = ("status", "--admin", f"http://{daemon.admin_addresses[0]}")
        assert await run(*ask) == 69
        assert "$GATEWAYD_API_KEY" in capsys.readouterr().err
        monkeypatch.setenv("GATEWAYD_API_KEY", KEY)
        assert await run(*ask) == 0
