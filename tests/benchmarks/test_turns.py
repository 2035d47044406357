"""Contestants take turns: real load generators in front of real processes that sleep in between."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks import client, payloads, turns
from benchmarks.client import Target
from benchmarks.process import Daemon, Failed, free_port
from benchmarks.turns import Contestant, Generator, Sample

CORE = min(os.sched_getaffinity(0))
PATH = "/v1/chat/completions"


@dataclass(frozen=True)
class Mock:
    name: str
    target: Target
    daemons: tuple[Daemon, ...]
    pid: int | None


@pytest.fixture
def mocks(tmp_path: Path) -> Iterator[list[Mock]]:
    """Two mock upstreams, stopped."""
    found = []
    with ExitStack() as stack:
        for name in ("west", "east"):
            port = free_port()
            command = [sys.executable, "-m", "benchmarks.upstream", "--port", str(port)]
            daemon = Daemon(command, core=CORE, folder=tmp_path / name)
            stack.callback(daemon.stop)
            daemon.listening(port, 30.0)
            daemon.pause()
            while _state(daemon.pid) != "T":
                time.sleep(0.001)
            found.append(Mock(name, Target(f"http://127.0.0.1:{port}{PATH}", {}), (daemon,), daemon.pid))
        yield found


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_each_is_loaded_in_its_slices_and_stopped_otherwise(mocks: list[Mock], tmp_path: Path) -> None:
    body = tmp_path / "body"
    body.write_bytes(payloads.chat_body())
    awake: list[set[str]] = []

    def generator(contestant: Contestant) -> Generator:
        assert isinstance(contestant, Mock)
        awake.append({mock.name for mock in mocks if mock.pid and _state(mock.pid) != "T"})
        return Generator(client.command(contestant.target, body, connections=2), turns.parse)

    found = turns.take(mocks, generator, seconds=0.05, slices=3)
    assert awake == [set(), set()]
    for mock in mocks:
        sample = found[mock.name]
        assert isinstance(sample, Sample)
        assert sample.load.errors == 0
        assert sample.load.requests > 2
        assert sample.cpu > 0
        assert mock.pid is not None
        while _state(mock.pid) != "T":
            time.sleep(0.001)


def test_a_load_generator_that_fails_is_noted_and_the_others_go_on(mocks: list[Mock], tmp_path: Path) -> None:
    body = tmp_path / "body"
    body.write_bytes(payloads.chat_body())

    def generator(contestant: Contestant) -> Generator:
        assert isinstance(contestant, Mock)
        if contestant.name == "west":
            return Generator([sys.executable, "-c", "import sys; sys.exit('no load today')"], turns.parse)
        return Generator(client.command(contestant.target, body, connections=1), turns.parse)

    found = turns.take(mocks, generator, seconds=0.05, slices=1)
    west = found["west"]
    assert isinstance(west, Failed)
    assert "no load today" in str(west)
    assert isinstance(found["east"], Sample)


def test_anything_but_the_line_of_a_load_generator_is_a_failure() -> None:
    with pytest.raises(Failed, match="what is this"):
        turns.parse("", "what is this")
