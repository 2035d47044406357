"""E-03, E-04: a file that somebody is still writing, cut wherever it may be."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from gatewayd.config.loader import load_in_child
from gatewayd.config.rawfile import is_being_written
from gatewayd.config.validator import ConfigValidator
from tests.e2e.process import Daemon, config

MODELS = "abcdef"


@pytest.fixture(autouse=True)
def lease_signal() -> Iterator[None]:
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGIO, before)


def test_who_writes_is_noticed_and_who_reads_is_not(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    assert not is_being_written(str(file))
    with file.open("rb"):
        assert not is_being_written(str(file))
    for mode in ("ab", "rb+", "wb"):
        with file.open(mode):
            assert is_being_written(str(file))
        assert not is_being_written(str(file))
    (tmp_path / "link").symlink_to("file")
    with file.open("ab"):
        assert is_being_written(str(tmp_path / "link"))


def test_what_cannot_be_known_is_no_reason_to_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path, tmp_path / "no", tmp_path / "fifo", Path("/dev/zero"), Path("/proc/version"), "a\0b"):
        assert not is_being_written(str(path))


async def test_a_file_is_read_when_its_writer_is_done_wherever_it_paused(tmp_path: Path) -> None:
    """E-04: every prefix that is valid by itself, with its writer still at it, gives the whole file in the end."""
    whole = config(*MODELS)
    ends = [
        end
        for end in range(1, len(whole))
        if ConfigValidator(environ={}).check(_written(tmp_path, whole[:end])).snapshot
    ]
    assert len(ends) > len(MODELS)

    async def cut(end: int) -> None:
        (folder := tmp_path / str(end)).mkdir()
        file, reading = _written(folder, ""), asyncio.Event()

        async def settled() -> None:
            reading.set()

        with file.open("w") as writer:
            writer.write(whole[:end])
            writer.flush()
            task = asyncio.create_task(load_in_child(file, environ={}, settled=settled))
            await reading.wait()
            await asyncio.sleep(1.0)  # it would have read the prefix by now, if it did not care
            writer.write(whole[end:])
        result = await task
        assert result.snapshot is not None, end
        assert [deployment.group for deployment in result.snapshot.deployments] == list(MODELS), end

    await asyncio.gather(*(cut(end) for end in ends[:: len(ends) // 4]))


async def test_a_writer_that_never_ends_is_not_waited_for_without_end(tmp_path: Path) -> None:
    file = _written(tmp_path, config("a"))
    with file.open("a"):
        async with asyncio.timeout(30):
            assert (await load_in_child(file, environ={})).snapshot is not None


async def test_a_slow_writer_is_waited_for(tmp_path: Path) -> None:
    """E-03, E-04: two models of six are missing for longer than a burst of events lasts; that state is never served."""
    file, whole = tmp_path / "gatewayd.yaml", config(*MODELS)
    cut = whole.index('  - model_name: "e"')
    file.write_text(whole)
    async with Daemon(file) as daemon:
        with file.open("w") as writer:
            writer.write(whole[:cut])
            writer.flush()
            await asyncio.sleep(1.0)
            writer.write(whole[cut:] + "# done\n")
        for _ in range(100):
            assert (await daemon.chat("f"))[0] == 200
            if (await daemon.status())["reloads"]["applied"]:
                break
            await asyncio.sleep(0.05)
        reloads = (await daemon.status())["reloads"]
        assert (reloads["applied"], reloads["rejected"]) == (1, 0)
        assert (await daemon.chat("f"))[0] == 200


def _written(folder: Path, text: str) -> Path:
    file = folder / "gatewayd.yaml"
    file.touch(mode=0o600)
    file.write_text(text)
    return file
