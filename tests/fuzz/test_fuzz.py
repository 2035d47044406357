"""Some executions of every target; `make fuzz` does more of them."""

from __future__ import annotations

import subprocess
import sys
from random import Random

import pytest

from tests.config.corpus import ROOT
from tests.fuzz import mutate
from tests.fuzz.runner import Failed, Target, execute
from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_is_found(name: str) -> None:
    """H-06 is one of them."""
    target = TARGETS[name]
    execute(target, seed=1, first=0, runs=target.runs)


def test_an_input_is_made_again_from_its_number() -> None:
    for target in TARGETS.values():
        assert repr(target.make(Random(5))) == repr(target.make(Random(5)))


def test_pieces_are_the_whole() -> None:
    rng = Random(0)
    for _ in range(200):
        data = rng.randbytes(rng.randrange(40))
        assert b"".join(mutate.pieces(rng, data)) == data


def _breaks(made: int) -> None:
    if made % 50 == 7:
        raise ValueError("broken")


def test_a_broken_promise_names_the_input() -> None:
    target = Target("numbers", lambda rng: rng.randrange(100), _breaks, 0)
    with pytest.raises(
        Failed, match=r"ValueError: broken\ninput: (\d+)\nagain: .* numbers --seed 3 --first (\d+) --runs 1"
    ):
        execute(target, seed=3, first=0, runs=1000)


_SCRIPT = """
import itertools, os, signal, time
from tests.fuzz import runner
runner.HANG_WALL = 1.0
numbers = itertools.count()
def check(made):
    if made == 7:
        {harm}
print(runner.supervise(runner.Target("t", lambda rng: next(numbers), check, 0), 0, 0, 20))
"""


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "t: input 7 ended the process with signal 11"),
        ("time.sleep(3600)", "t: input 7 hangs"),
        ("raise ValueError", "t: input 7"),
        ("pass", ""),
    ],
)
def test_crashes_and_hangs_are_found(harm: str, said: str) -> None:
    run = subprocess.run([sys.executable, "-c", _SCRIPT.format(harm=harm)], capture_output=True, text=True, cwd=ROOT)
    assert run.stdout.splitlines()[-1] == said
    assert harm == "pass" or "in check" in run.stderr  # where it was
