"""Reading one regular file: what is no file, too large or unreadable is refused at once."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gatewayd.config.rawfile import Unreadable, read_regular

LIMIT = 1000


def refusal(path: Path | str, limit: int = LIMIT) -> tuple[str, str]:
    with pytest.raises(Unreadable) as caught:
        read_regular(str(path), limit)
    return caught.value.code, caught.value.message


@contextmanager
def without_privileges() -> Iterator[None]:
    """As a user whom permissions apply to."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * LIMIT)
    assert read_regular(str(path), LIMIT) == b"x" * LIMIT


def test_a_link_to_a_file_is_followed(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to("file")
    assert read_regular(str(tmp_path / "link"), LIMIT) == b"x"


def test_missing_and_dangling(tmp_path: Path) -> None:
    """E-06."""
    (tmp_path / "link").symlink_to("nowhere")
    assert refusal(tmp_path / "no") == ("config_missing", "does not exist")
    assert refusal(tmp_path / "link") == ("config_missing", "is a link to a file that does not exist")
    (tmp_path / "file").write_bytes(b"")
    assert refusal(tmp_path / "file" / "below") == ("config_missing", "does not exist")
    assert refusal("a\0b")[0] == "config_missing"


def test_what_is_no_file_is_refused_without_blocking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """E-06: a pipe without a writer would block a plain open() for ever."""
    os.mkfifo(tmp_path / "pipe")
    assert refusal(tmp_path / "pipe") == ("config_not_a_file", "is a named pipe, not a file")
    assert refusal(tmp_path) == ("config_not_a_file", "is a directory, not a file")
    assert refusal("/dev/zero") == ("config_not_a_file", "is a device, not a file")
    monkeypatch.chdir(tmp_path)  # the name of a socket must be short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        assert refusal(tmp_path / "socket") == ("config_not_a_file", "is a socket or a device, not a file")


def test_a_loop_of_links(tmp_path: Path) -> None:
    """E-06."""
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert refusal(tmp_path / "a") == ("config_unreadable", "is part of a loop of symbolic links")


def test_no_permission(tmp_path: Path) -> None:
    """E-06."""
    path = tmp_path / "file"
    path.write_bytes(b"x")
    path.chmod(0)
    with without_privileges():
        assert refusal(path) == ("config_unreadable", "may not be read by this user")


def test_other_errors_of_open_and_read(tmp_path: Path) -> None:
    assert refusal(tmp_path / ("x" * 300)) == ("config_unreadable", "cannot be opened: File name too long")
    assert refusal("/proc/self/mem") == ("config_unreadable", "cannot be read: Input/output error")


def test_size_is_checked_before_reading(tmp_path: Path) -> None:
    """E-07: a sparse file of 1 GB is refused by what fstat says."""
    path = tmp_path / "file"
    path.write_bytes(b"")
    os.truncate(path, 1 << 30)
    assert refusal(path, 16 << 20) == ("config_too_large", "is larger than 16777216 bytes")
    os.truncate(path, LIMIT + 1)
    assert refusal(path)[0] == "config_too_large"


def test_a_file_that_hides_its_size_is_not_read_beyond_the_limit() -> None:
    """E-07: files of /proc claim to be empty."""
    assert refusal("/proc/self/status", 10)[0] == "config_too_large"
    assert len(read_regular("/proc/self/status", 1 << 20)) > 10
