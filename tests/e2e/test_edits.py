"""The edit loop on the real process: every way to save, good edits and bad ones."""

import asyncio
import os
import shutil
import signal
import uuid
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from tests.e2e.process import Daemon, command, config, eventually


def in_place(file: Path, text: str) -> None:
    file.write_text(text)


def rename_over(file: Path, text: str) -> None:
    new = file.with_suffix(".tmp")
    new.write_text(text)
    os.replace(new, file)


def delete_and_create(file: Path, text: str) -> None:
    file.unlink()
    file.write_text(text)


def kubernetes(file: Path, text: str) -> None:
    """How the kubelet renews a ConfigMap: a new folder, then the `..data` link is swapped."""
    folder, data = file.parent, file.parent / "..data"
    new = folder / f"..{uuid.uuid4()}"
    new.mkdir()
    (new / file.name).write_text(text)
    link = folder / "..data_tmp"
    link.symlink_to(new.name)
    old = folder / os.readlink(data) if data.is_symlink() else None
    os.replace(link, data)
    if old is not None:
        shutil.rmtree(old)
    if not file.is_symlink():
        file.symlink_to("..data/" + file.name)


BROKEN = """\
model_list:
  - model_name: a
    litellm_params: {model: openai/a, mock_response: hi, rpm: soon}
litellm_settings:
  fallbacks: [{a: [nobody]}]
gatewayd:
  listen: 127.0.0.1:0
  admin: 127.0.0.1:0
  drain: -1
"""


@pytest.mark.parametrize("save", [in_place, rename_over, delete_and_create, kubernetes])
async def test_the_edit_loop(save: Callable[[Path, str], None], tmp_path: Path) -> None:
    """E-01, E-16, E-32"""
    file = tmp_path / "gatewayd.yaml"
    (kubernetes if save is kubernetes else in_place)(file, config("a"))
    async with Daemon(file) as daemon:
        assert await daemon.chat("a") == (200, "Hello from a")
        assert (await daemon.chat("b"))[0] == 404

        save(file, config("a", "b"))
        await daemon.answers("b")

        save(file, BROKEN)
        await daemon.logged("configuration rejected")
        assert await daemon.chat("a") == (200, "Hello from a")
        assert await daemon.chat("b") == (200, "Hello from b")
        waited = await command("reload", "--wait", "--admin", daemon.admin)
        checked = await command("check", str(file))
        for code, out, _ in (waited, checked):
            assert code == 78
            for line, key in ((3, "rpm"), (5, "fallbacks"), (9, "drain")):
                assert any(f"gatewayd.yaml:{line}:" in text and key in text for text in out.splitlines()), out
        status = await daemon.status()
        assert status["last_reload"]["result"] == "rejected"
        assert "gatewayd_config_last_reload_successful 0.0" in await daemon.metrics()

        save(file, config("a", "c"))
        await daemon.answers("c")
        assert (await daemon.chat("b"))[0] == 404
        assert "gatewayd_config_last_reload_successful 1.0" in await daemon.metrics()


async def test_a_storm_of_writes_ends_with_the_last_state(tmp_path: Path) -> None:
    """E-19"""
    file = tmp_path / "gatewayd.yaml"
    file.write_text(config("a"))
    async with Daemon(file) as daemon:
        for number in range(500):
            file.write_text(config("a", f"m{number}"))
            await asyncio.sleep(0.002)
        await daemon.answers("m499")
        assert (await daemon.status())["reloads"]["applied"] <= 10


async def test_touching_the_file_is_no_edit(tmp_path: Path) -> None:
    """E-02"""
    file = tmp_path / "gatewayd.yaml"
    file.write_text(config("a"))
    async with Daemon(file) as daemon:
        os.utime(file)
        rename_over(file, file.read_text())
        assert (await daemon.reload())["result"] == "unchanged"
        assert (await daemon.status())["reloads"] == {"applied": 0, "unchanged": 1, "rejected": 0}


async def test_a_deleted_file_changes_nothing_and_is_told_once(tmp_path: Path) -> None:
    """E-05"""
    file = tmp_path / "gatewayd.yaml"
    file.write_text(config("a"))
    async with Daemon(file) as daemon:
        file.unlink()
        await daemon.logged("config_missing")
        for _ in range(2):
            assert (await daemon.reload())["result"] == "rejected"
        assert await daemon.chat("a") == (200, "Hello from a")
        file.write_text(config("a", "b"))
        await daemon.answers("b")
        assert sum("config_missing" in line for line in daemon.log) == 1


async def test_a_file_cut_off_between_two_models_is_not_believed_at_once(tmp_path: Path) -> None:
    """E-04, U-F5"""
    file = tmp_path / "gatewayd.yaml"
    whole = config(*"abcdef")
    file.write_text(whole)
    async with Daemon(file) as daemon:
        file.write_text(config("a"))
        await daemon.logged("edit held: the file may be incomplete, because the edit removes 5 of 6 deployments")
        assert (await daemon.status())["held_edit"]["losses"] == ["removes 5 of 6 deployments"]
        code, out, _ = await command("status", "--admin", daemon.admin)
        assert code == 0
        assert "an edit waits: it removes 5 of 6 deployments, so the file may be incomplete" in out
        file.write_text(whole + "# done\n")

        async def the_whole_file_is_live() -> bool:
            assert (await daemon.chat("f"))[0] == 200
            return bool((await daemon.status())["reloads"]["applied"])

        await eventually(the_whole_file_is_live)
        assert (await daemon.chat("f"))[0] == 200
        assert (await daemon.status())["held_edit"] is None


async def test_an_edit_that_is_held_goes_live_when_it_is_asked_for(tmp_path: Path) -> None:
    """U-F5"""
    file = tmp_path / "gatewayd.yaml"
    file.write_text(config(*"abcdef"))
    async with Daemon(file) as daemon:
        file.write_text(config("a"))
        await daemon.logged("edit held")
        assert (await daemon.chat("f"))[0] == 200
        daemon.signal(signal.SIGHUP)
        await daemon.logged("configuration applied")
        assert (await daemon.chat("f"))[0] == 404


BOMBS = {
    "brackets": "x: " + "[" * 30_000 + "]" * 30_000,
    "dashes": "- " * 30_000 + "x",
    "aliases": "a: &a [x, x]\n"
    + "".join(f"{b}: &{b} [*{a}, *{a}, *{a}, *{a}]\n" for a, b in pairwise("abcdefghijklmno")),
    "merges": "a: &a {k: v}\n"
    + "".join(f"{b}: &{b} {{<<: [{', '.join(['*' + a] * 10)}]}}\n" for a, b in pairwise("abcdefghi")),
    "itself": "a: &a [*a]",
    "python": "a: !!python/object/apply:os.system ['touch bomb-went-off']",
    "huge": "#" * (17 * 2**20),
}


@pytest.mark.parametrize("bomb", BOMBS)
async def test_a_bomb_is_refused_while_serving(bomb: str, tmp_path: Path) -> None:
    """E-07, E-08, E-09, E-14: F1 of the traps: PyYAML's C loader dies of 30,000 brackets."""
    file = tmp_path / "gatewayd.yaml"
    file.write_text(config("a"))
    async with Daemon(file, cwd=tmp_path) as daemon:
        outcome = await daemon.edit(BOMBS[bomb])
        assert outcome["result"] == "rejected"
        assert outcome["problems"]
        assert await daemon.chat("a") == (200, "Hello from a")
        assert daemon.alive
        assert not (tmp_path / "bomb-went-off").exists()


async def test_an_include_that_appears_mends_the_file(tmp_path: Path) -> None:
    """E-31"""
    file, part = tmp_path / "gatewayd.yaml", tmp_path / "parts" / "models.yaml"
    file.write_text(config("a"))
    part.parent.mkdir()
    async with Daemon(file) as daemon:
        file.write_text("include: [parts/models.yaml]\n" + config("a"))
        await daemon.logged("include_missing")
        part.write_text("model_list:\n  - {model_name: b, litellm_params: {model: openai/b, mock_response: hi}}\n")
        await daemon.answers("b")
        part.write_text(part.read_text().replace("model_name: b", "model_name: c"))
        await daemon.answers("c")


async def test_a_secret_in_a_file_is_read_again(tmp_path: Path) -> None:
    """R12"""
    file, secret = tmp_path / "gatewayd.yaml", tmp_path / "key"
    secret.write_text("sk-first-key-0123456789\n")
    secret.chmod(0o600)
    file.write_text(config("a", general_settings="{master_key: 'file:key'}"))
    async with Daemon(file) as daemon:
        assert (await daemon.chat("a"))[0] == 401
        assert (await daemon.chat("a", key="sk-first-key-0123456789"))[0] == 200
        secret.write_text("sk-second-key-0123456789\n")

        async def the_second_opens() -> bool:
            return (await daemon.chat("a", key="sk-second-key-0123456789"))[0] == 200

        await eventually(the_second_opens)
        assert (await daemon.chat("a", key="sk-first-key-0123456789"))[0] == 401
        assert not any("key-0123456789" in line for line in daemon.log)
