"""What gets installed, and what runs with it: pinned by hash, from nobody's own index, nothing at the start of Python.

Whether a pinned version has known holes is asked over the network (`pip-audit --strict -r requirements/run.lock`), so
not here.
"""

from __future__ import annotations

import re
import site
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]
LOCKS = sorted((ROOT / "requirements").glob("*.lock"))
MALICIOUS = ("1.82.7", "1.82.8", "1.107.0")
"""Of litellm, in March 2026: they stole what they found; the second one at every start of Python, by a `.pth` file."""


def entries(lock: Path) -> list[str]:
    """A lock's requirements, each with the lines that continue it; comments left out."""
    text = "\n".join(line for line in lock.read_text().splitlines() if not line.lstrip().startswith("#"))
    return [entry for entry in re.sub(r"\\\n\s*", "", text).splitlines() if entry.strip()]


def test_the_locks_are_there() -> None:
    """D-20"""
    assert [lock.name for lock in LOCKS] == ["dev.lock", "openai3.lock", "real.lock", "run.lock"]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_requirement_is_one_version_with_hashes_and_no_address(lock: Path) -> None:
    """D-20"""
    listed = entries(lock)
    assert len(listed) > 5
    for entry in listed:
        assert not entry.startswith("-"), f"an option: {entry[:80]}"  # --index-url, --find-links, --trusted-host, -e
        assert "://" not in entry, entry[:80]
        name, _, hashes = entry.partition("--hash=")
        requirement = Requirement(name)
        assert requirement.url is None
        assert re.fullmatch(r"==[^*,]+", str(requirement.specifier)), name
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}\s*", one) for one in hashes.split("--hash=")), name


def test_every_install_asks_for_the_hashes() -> None:
    """D-20"""
    for file in ("Makefile", "Dockerfile"):
        text = re.sub(r"\\\n\s*", "", (ROOT / file).read_text())
        installs = [line for line in text.splitlines() if "-r requirements/" in line or "-r $<" in line]
        assert installs, file
        for line in installs:
            assert "--require-hashes" in line, line
        assert not re.search(r"--(extra-)?index-url|--trusted-host|--find-links", text)


def test_no_version_of_litellm_that_steals_can_be_installed() -> None:
    """D-20: neither by the locks nor by whoever installs the package without them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    asked = [
        Requirement(text)
        for texts in [project["project"]["dependencies"], *project["project"]["optional-dependencies"].values()]
        for text in texts
    ]
    mine = [requirement for requirement in asked if requirement.name == "litellm"]
    assert mine
    for version in MALICIOUS:
        assert not any(Version(version) in requirement.specifier for requirement in mine)
        assert not any(entry.startswith(f"litellm=={version} ") for lock in LOCKS for entry in entries(lock))


def test_an_install_without_the_lock_gets_the_litellm_that_is_tested() -> None:
    """U-A12: a later one is slower without a word, and tells some errors differently."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    texts = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    asked = [found for text in texts if (found := Requirement(text)).name == "litellm"]
    assert len(asked) == 2
    for requirement in asked:
        assert "1.106.2" in requirement.specifier
        assert not any(version in requirement.specifier for version in ("1.107.0", "1.108.7", "1.110.2"))


def test_nothing_runs_at_the_start_of_python() -> None:
    """D-20: a `.pth` file may hold imports; known are setuptools' own and paths of what is installed in place."""
    found: dict[str, list[str]] = {}
    for folder in {*site.getsitepackages(), *(str(path) for path in ROOT.glob(".venv*/lib/python3*/site-packages"))}:
        for path in Path(folder).glob("*.pth"):
            lines = [line for line in path.read_text().splitlines() if line.startswith(("import ", "import\t"))]
            if lines:
                found.setdefault(path.name, []).extend(lines)
    assert found.keys() <= {"distutils-precedence.pth"}
    for line in found.get("distutils-precedence.pth", []):
        assert "_distutils_hack" in line
        assert len(line) < 200
