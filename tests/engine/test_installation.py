"""The secret that seals ids: where it comes from, and how long it lasts."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from gatewayd.engine.installation import ID_SECRET, id_secret


def test_an_installation_with_a_place_keeps_its_secret(tmp_path: Path) -> None:
    environ = {"STATE_DIRECTORY": f"{tmp_path}:/elsewhere"}
    first = id_secret(environ)
    assert len(first) == 32
    assert id_secret(environ) == first
    (file,) = tmp_path.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    other = {"STATE_DIRECTORY": str(tmp_path / "other")}
    assert id_secret(other) == id_secret(other) != first


def test_without_a_place_it_lasts_as_long_as_the_process() -> None:
    assert id_secret({}) != id_secret({})


def test_the_environments_goes_before(tmp_path: Path) -> None:
    """Of several machines, and of the workers of one."""
    ours = id_secret({})
    assert id_secret({ID_SECRET: ours.hex(), "STATE_DIRECTORY": str(tmp_path)}) == ours
    assert id_secret({ID_SECRET: "correct horse"}) == id_secret({ID_SECRET: "correct horse"}) != ours
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", ["", "x" * 64, "ä"])
def test_a_file_that_is_none_is_reported(tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "id-secret").write_text(content)
    assert len(id_secret({"STATE_DIRECTORY": str(tmp_path)})) == 32
    assert "cannot be used: it is damaged; ids of responses are valid until gatewayd stops" in caplog.text
    assert (tmp_path / "id-secret").read_text() == content


def test_a_place_that_cannot_be_used_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    assert len(id_secret({"STATE_DIRECTORY": str(tmp_path / "file" / "below")})) == 32
    assert os.strerror(errno.ENOTDIR) in caplog.text
