"""H-05: the same configuration read once for every operation on a file that can fail."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from gatewayd.config.loader import load
from gatewayd.engine.watch import digests

CODES = {"config_unreadable", "config_missing", "reference_unresolved", "include_unreadable"}


class Failing:
    """Operations of `os` of which the `at`-th raises OSError; 0 = none."""

    def __init__(self, at: int, code: int) -> None:
        self.at = at
        self.code = code
        self.log: list[str] = []

    def __call__(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def operation(*arguments: Any, **options: Any) -> Any:
            self.log.append(name)
            if len(self.log) != self.at:
                return real(*arguments, **options)
            if name == "close":  # it is closed all the same: close(2)
                real(*arguments, **options)
            raise OSError(self.code, "sabotage")

        return operation

    @contextmanager
    def armed(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            for name in ("open", "fstat", "read", "close", "stat", "lstat"):
                patch.setattr(os, name, self(name, getattr(os, name)))
            yield


def still_open(folder: Path) -> list[str]:
    """What this process has open in the folder, and the folder itself. (Of all that is open in it, other tests' garbage
    may be closed at any time.)"""
    links = []
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the one that lists them
            links.append(os.readlink(f"/proc/self/fd/{number}"))
    return [link for link in links if link.startswith(str(folder))]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    main, more, secret = (tmp_path / name for name in ("gatewayd.yaml", "more.yaml", "secret"))
    secret.write_text("sk-0123456789abcdef\n")
    more.write_text("model_list:\n- {model_name: b, litellm_params: {model: openai/b, api_key: 'file:secret'}}\n")
    main.write_text("include: [more.yaml]\ngeneral_settings: {master_key: 'file:secret'}\n")
    for file in (main, more, secret):
        file.chmod(0o600)
    return main


def _each(do: Callable[[Failing], None]) -> int:
    """Does it with every operation failing in every way; returns how many operations there are."""
    count = 0
    for code in (errno.EIO, errno.EINTR, errno.ENOMEM, errno.EMFILE, errno.ESTALE):
        for at in range(1, 200):
            failing = Failing(at, code)
            do(failing)
            if len(failing.log) < at:
                count = at - 1
                break
        else:
            raise AssertionError("a reading without end")
    return count


def test_every_operation_on_a_file_fails_once(path: Path) -> None:
    """H-05: a problem that names the file, or nothing lost at all; never an exception, never an open file."""
    good = load(path, environ={})
    assert good.snapshot is not None, good.problems

    def read(failing: Failing) -> None:
        with failing.armed():
            result = load(path, environ={})
        if result.snapshot is None:
            assert {problem.code for problem in result.problems if problem.severity == "error"} <= CODES, failing.log
        else:
            assert result.snapshot.revision == good.snapshot.revision if good.snapshot else None
        assert not still_open(path.parent), failing.log

    assert _each(read) >= 12


def test_every_operation_of_the_watcher_fails_once(path: Path) -> None:
    """H-05: a file that cannot be looked at counts as none, and looking never fails. What this process has too little
    of to look (B-25) says nothing about the file: it counts as unchanged."""
    good = digests([str(path)])

    def look(failing: Failing) -> None:
        nothing = {str(path): b"seen"} if failing.code in (errno.EMFILE, errno.ENOMEM) else {str(path): None}
        with failing.armed():
            found = digests([str(path)], {str(path): b"seen"})
        assert found == (good if len(failing.log) < failing.at else nothing), failing.log
        assert not still_open(path.parent), failing.log

    assert _each(look) >= 3


def test_a_directory_in_the_place_of_a_file_costs_nothing(tmp_path: Path) -> None:
    """It is looked at every few seconds for as long as it is there."""
    assert digests([str(tmp_path)]) == {str(tmp_path): None}
    assert not still_open(tmp_path)
