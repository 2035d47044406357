"""The watcher on real files: every way to save one is seen, and only differences count."""

import asyncio
import glob
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gatewayd.engine import watch
from gatewayd.engine.watch import Digest, Watcher, digests, spots
from gatewayd.tasks import spawn

PATIENCE = 20.0


class Bell:
    """Counts what the watcher reports."""

    def __init__(self) -> None:
        self.rings = 0
        self._news = asyncio.Event()

    def __call__(self) -> None:
        self.rings += 1
        self._news.set()

    async def rung(self) -> None:
        """Waits for a report since the last call."""
        async with asyncio.timeout(PATIENCE):
            await self._news.wait()
        self._news.clear()


@asynccontextmanager
async def watching(
    files: Iterable[Path], *, seen: Mapping[str, Digest] | None = None, poll: float = 30.0
) -> AsyncIterator[tuple[Watcher, Bell]]:
    """A running watcher whose kernel watch stands; the long poll makes sure that events alone are tested."""
    bell, up = Bell(), asyncio.Event()
    names = [str(f) for f in files]
    watcher = Watcher(
        lambda: names,
        bell,
        seen=digests(names) if seen is None else seen,
        poll=poll,
        observe=lambda is_up: up.set() if is_up else up.clear(),
    )
    task = spawn(watcher.run(), name="watch")
    try:
        async with asyncio.timeout(PATIENCE):
            await up.wait()
        yield watcher, bell
    finally:
        task.cancel()
        await asyncio.wait([task])


def _plain(folder: Path) -> Path:
    file = folder / "c.yaml"
    file.write_text("0")
    return file


def _kubernetes(folder: Path) -> Path:
    (folder / "..2026_0").mkdir()
    (folder / "..2026_0" / "c.yaml").write_text("0")
    (folder / "..data").symlink_to("..2026_0")
    (folder / "c.yaml").symlink_to("..data/c.yaml")
    return folder / "c.yaml"


def _linked(folder: Path) -> Path:
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere" / "real.yaml").write_text("0")
    (folder / "here").mkdir()
    (folder / "here" / "c.yaml").symlink_to("../elsewhere/real.yaml")
    return folder / "here" / "c.yaml"


def _in_place(file: Path, text: str) -> None:
    file.write_text(text)


def _rename_over(file: Path, text: str) -> None:
    new = file.with_suffix(".tmp")
    new.write_text(text)
    os.replace(new, file)


def _vim(file: Path, text: str) -> None:
    backup = file.with_name(file.name + "~")
    file.rename(backup)
    file.write_text(text)
    backup.unlink()


def _recreate(file: Path, text: str) -> None:
    file.unlink()
    file.write_text(text)


def _link_swap(file: Path, text: str) -> None:
    target = file.with_name(f"real-{text}")
    target.write_text(text)
    link = file.with_suffix(".link")
    link.symlink_to(target)
    os.replace(link, file)


def _data_swap(file: Path, text: str) -> None:
    folder = file.parent
    old = os.readlink(folder / "..data")
    new = folder / f"..2026_{text}"
    new.mkdir()
    (new / "c.yaml").write_text(text)
    (folder / "..data_tmp").symlink_to(new.name)
    os.rename(folder / "..data_tmp", folder / "..data")
    shutil.rmtree(folder / old)


def _behind_the_link(file: Path, text: str) -> None:
    _rename_over(file.resolve(), text)


STYLES = [
    (_plain, _in_place),
    (_plain, _rename_over),
    (_plain, _vim),
    (_plain, _recreate),
    (_plain, _link_swap),
    (_kubernetes, _data_swap),
    (_linked, _in_place),
    (_linked, _behind_the_link),
    (_linked, _rename_over),
]


@pytest.mark.parametrize(("arrange", "save"), STYLES, ids=[f"{a.__name__[1:]}-{s.__name__[1:]}" for a, s in STYLES])
async def test_every_way_to_save_is_seen_again_and_again(
    arrange: Callable[[Path], Path], save: Callable[[Path, str], None], tmp_path: Path
) -> None:
    """E-01"""
    file = arrange(tmp_path)
    async with watching([file]) as (_, bell):
        for round_ in range(1, 4):
            save(file, str(round_))
            await bell.rung()


async def test_touch_chmod_and_the_same_bytes_again_are_no_change(tmp_path: Path) -> None:
    """E-02"""
    file = _plain(tmp_path)
    async with watching([file]) as (_, bell):
        os.utime(file)
        file.chmod(0o600)
        _rename_over(file, "0")
        file.write_text("1")
        await bell.rung()
        assert bell.rings == 1


async def test_deleted_is_one_change_and_back_again_another(tmp_path: Path) -> None:
    """E-05"""
    file = _plain(tmp_path)
    async with watching([file], poll=0.05) as (_, bell):
        file.unlink()
        await bell.rung()
        (tmp_path / "neighbour").write_text("x")
        file.write_text("1")
        await bell.rung()
        assert bell.rings == 2


async def test_the_directory_itself_may_vanish_and_return(tmp_path: Path) -> None:
    """E-28"""
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    file = _plain(folder)
    async with watching([file]) as (_, bell):
        for text in "12":
            shutil.rmtree(tmp_path / "a")
            await bell.rung()
            folder.mkdir(parents=True)
            file.write_text(text)
            await bell.rung()
        os.rename(folder, tmp_path / "gone")
        await bell.rung()
        os.rename(tmp_path / "gone", folder)
        await bell.rung()
        file.write_text("3")
        await bell.rung()


async def test_directories_that_come_back_faster_than_the_watch_stands_are_watched_again(tmp_path: Path) -> None:
    """E-28: the watch was meant for the parent of what has returned by the time it stands."""
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    file = _plain(folder)
    async with watching([file]) as (_, bell):
        for round_ in range(10):
            shutil.rmtree(tmp_path / "a")
            await bell.rung()
            folder.mkdir(parents=True)
            file.write_text(f"{round_}")
            await bell.rung()
            file.write_text(f"{round_} again")
            await bell.rung()


async def test_a_directory_above_may_be_replaced(tmp_path: Path) -> None:
    """E-28: of which the kernel says nothing to who watches the directory below."""
    for version in "01":
        (tmp_path / version / "conf").mkdir(parents=True)
        (tmp_path / version / "conf" / "c.yaml").write_text(version)
    os.rename(tmp_path / "0", tmp_path / "live")
    file = tmp_path / "live" / "conf" / "c.yaml"
    async with watching([file], poll=0.05) as (_, bell):
        os.rename(tmp_path / "live", tmp_path / "0")
        os.rename(tmp_path / "1", tmp_path / "live")
        await bell.rung()


async def test_a_change_before_the_watch_stands_is_seen(tmp_path: Path) -> None:
    file = _plain(tmp_path)
    before = digests([str(file)])
    file.write_text("edited while the daemon started")
    async with watching([file], seen=before) as (_, bell):
        await bell.rung()


async def test_same_size_and_time_but_other_bytes(tmp_path: Path) -> None:
    """E-29"""
    file = _plain(tmp_path)
    status = file.stat()
    async with watching([file]) as (_, bell):
        file.write_text("1")
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
        await bell.rung()


async def test_without_the_kernels_help_the_poll_finds_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """E-27, E-34: inotify's limits are exhausted."""

    def exhausted(*paths: str, **options: object) -> AsyncIterator[object]:
        raise OSError(28, "OS file watch limit reached")

    monkeypatch.setattr(watch, "awatch", exhausted)
    file = _plain(tmp_path)
    bell, up = Bell(), asyncio.Event()
    watcher = Watcher(lambda: [str(file)], bell, seen=digests([str(file)]), poll=0.02, observe=lambda _: up.set())
    task = spawn(watcher.run(), name="watch")
    file.write_text("1")
    await bell.rung()
    assert not watcher.up
    monkeypatch.undo()
    async with asyncio.timeout(PATIENCE):
        await up.wait()
    task.cancel()
    await asyncio.wait([task])


async def test_files_that_join_are_watched_after_rearm(tmp_path: Path) -> None:
    """E-31: an edit that adds an include in another directory."""
    file = _plain(tmp_path)
    other = tmp_path / "parts" / "part.yaml"
    other.parent.mkdir()
    other.write_text("0")
    names = [str(file)]
    bell = Bell()
    watcher = Watcher(lambda: names, bell, seen=digests(names), poll=30.0)
    task = spawn(watcher.run(), name="watch")
    names.append(str(other))
    watcher.rearm()
    await bell.rung()  # a file that was not seen before counts as changed
    other.write_text("1")
    await bell.rung()
    task.cancel()
    await asyncio.wait([task])


async def test_a_file_that_begins_to_match_a_pattern_is_seen(tmp_path: Path) -> None:
    """E-31: `include: [conf.d/*.yaml]`; the folder itself may come later, and other files in it mean nothing."""
    file = _plain(tmp_path)
    folder = tmp_path / "[prod]" / "conf.d"
    pattern = Path(glob.escape(str(folder))) / "*.yaml"
    folder.parent.mkdir()
    async with watching([file, pattern]) as (_, bell):
        folder.mkdir()
        (folder / "one.yaml").write_text("0")
        await bell.rung()
        (folder / "notes.txt").write_text("0")
        (folder / "two.yaml").write_text("0")
        await bell.rung()
        (folder / "one.yaml").unlink()
        await bell.rung()
        assert bell.rings == 3


async def test_who_may_write_a_file_is_part_of_it(tmp_path: Path) -> None:
    """E-02: a file that was refused because others may write it is looked at again when they may not any more."""
    file = _plain(tmp_path)
    file.chmod(0o646)
    async with watching([file]) as (_, bell):
        file.chmod(0o644)
        await bell.rung()


def test_what_is_no_regular_file_is_nothing(tmp_path: Path) -> None:
    """E-06: and nothing blocks."""
    fifo, loop, folder = tmp_path / "fifo", tmp_path / "loop", tmp_path / "folder"
    os.mkfifo(fifo)
    loop.symlink_to(loop)
    folder.mkdir()
    paths = [str(p) for p in (fifo, loop, folder, tmp_path / "missing", Path("/dev/zero"))]
    assert digests(paths) == dict.fromkeys(paths)


def test_the_spots_of_a_pattern(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    assert spots(f"{tmp_path}/*.yaml") == {f"{tmp_path}/*.yaml"}
    assert spots(f"{tmp_path}/?/x.yaml*") == {f"{tmp_path}/a/x.yaml*", f"{tmp_path}/b/x.yaml*"}
    assert spots(f"{tmp_path}/no/such/*.yaml") == {f"{tmp_path}/*"}


def test_the_spots_of_a_link_chain(tmp_path: Path) -> None:
    file = _kubernetes(tmp_path)
    assert spots(str(file)) == {str(file), str(tmp_path / "..data"), str(tmp_path / "..2026_0" / "c.yaml")}
    loop = tmp_path / "loop"
    loop.symlink_to("loop")
    assert spots(str(loop)) == {str(loop)}
    assert spots(str(tmp_path / "no" / "such" / "file")) == {str(tmp_path / "no")}


async def test_other_files_of_the_directory_cause_no_look(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A log file beside the configuration must not keep the watcher busy, nor be fed by it."""
    file = _plain(tmp_path)
    asked = 0

    def files() -> list[str]:
        nonlocal asked
        asked += 1
        return [str(file)]

    bell, up = Bell(), asyncio.Event()
    watcher = Watcher(files, bell, seen=digests([str(file)]), poll=30.0, observe=lambda _: up.set())
    task = spawn(watcher.run(), name="watch")
    with caplog.at_level("DEBUG"):
        await up.wait()
        for number in range(20):
            (tmp_path / "log").write_text("x" * number)
            await asyncio.sleep(0.01)
        file.write_text("1")
        await bell.rung()
    assert asked < 10
    assert not [record for record in caplog.records if record.name.startswith("watchfiles")]
    task.cancel()
    await asyncio.wait([task])


def test_a_file_whose_reading_would_block_is_looked_at(tmp_path: Path) -> None:
    """U-F14: /proc/kmsg looks like an ordinary file, and holds nothing that can be read without waiting."""
    assert set(digests(["/proc/kmsg"])) == {"/proc/kmsg"}
