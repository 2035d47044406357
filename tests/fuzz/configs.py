"""The configuration loader: any bytes become a snapshot or problems, and nothing else happens."""

from __future__ import annotations

import itertools
import os
import tempfile
from functools import cache
from pathlib import Path
from random import Random

from gatewayd.config import channel
from gatewayd.config.codes import PROBLEM_CODES
from gatewayd.config.loader import load
from gatewayd.config.problems import errors, render
from gatewayd.config.result import Result
from tests.config.corpus import BAD, CONFIGS, ENVIRON, GOOD, HERE
from tests.fuzz.mutate import mutated
from tests.fuzz.runner import Target

_LONGEST = 4000
_SAMPLES = [path.read_bytes() for path in (*CONFIGS, *GOOD, *BAD, *sorted((HERE / "bad_yaml").glob("*.yaml")))]
_CORPUS = [sample[:_LONGEST] for sample in _SAMPLES] + [
    b"model_list:\n- {model_name: a, litellm_params: {model: openai/a, api_key: sk-0123456789abcdef}}\n",
    b"x: &a [1]\ny: [*a, *a]\n<<: {z: 1}\nw: !!binary aGk=\n",
    b'gatewayd:\n  listen: ["127.0.0.1:0", "unix:/tmp/x"]\n  admin: off\n  log: {format: json}\n',
]
_WORDS = [
    *(b"- ", b": ", b"? ", b"{", b"}", b"[", b"]", b"&a ", b"*a", b"<<: *a", b"!!python/object:os.system ", b"!!map "),
    *(
        b"'",
        b'"',
        b"|\n",
        b">-\n",
        b"# ",
        b"---\n",
        b"...\n",
        b"%YAML 1.1\n",
        b"~",
        b"yes",
        b"0o17",
        b"1:30",
        b"2026-01-01",
    ),
    *(
        b"\n  ",
        b"\n",
        b"*",
        b"openai/*",
        b"os.environ/KEY",
        b"os.environ/NO",
        b"file:/dev/null",
        b"${KEY}",
        b"credential:x",
    ),
    *(
        b"model_list:",
        b"model_name: ",
        b"litellm_params:",
        b"model: ",
        b"router_settings:",
        b"fallbacks: ",
        b"include: ",
    ),
    *(b"general_settings:", b"master_key: ", b"gatewayd:", b"listen: ", b"timeout: ", b"mock_response: ", b"weight: "),
    *(b"[" * 1500, b"{a: " * 900, b"- " * 1500, b"? " * 1500, b"a: &b [*b]\n", b"&b [*b, *b]", b"a" * 1500),
]


@cache
def _folder() -> Path:
    """In memory: a million small files."""
    shm = "/dev/shm"
    folder = tempfile.TemporaryDirectory(prefix="gatewayd-fuzz-", dir=shm if os.access(shm, os.W_OK) else None)
    _kept.append(folder)
    return Path(folder.name)


_kept: list[tempfile.TemporaryDirectory[str]] = []
_count = itertools.count()


def _check(data: bytes) -> None:
    path = _folder() / "gatewayd.yaml"
    path.write_bytes(data)
    result = load(path, environ=ENVIRON)
    assert (result.snapshot is None) == bool(errors(result.problems)), result.problems
    lines = data.count(b"\n") + data.count(b"\r") + data.count(b"\x85") + data.count(b"\xa8") + data.count(b"\xa9") + 1
    for problem in result.problems:
        assert problem.code in PROBLEM_CODES, problem
        assert problem.code != "config_reader_failed", problem
        assert 0 <= problem.line <= lines + 1, problem  # 0: it has no place
    assert len(render(result.problems).splitlines()) >= len(result.problems)
    if next(_count) % 8 == 0:  # as costly as all the rest
        render(result.problems, "json").encode()
        assert _through_the_channel(result) == result
        assert load(path, environ=ENVIRON) == result


def _through_the_channel(result: Result) -> Result:
    assembler = channel.Assembler()
    for frame in channel.dump(result):
        size = channel.body_length(frame[: channel.HEADER.size])
        assert size == len(frame) - channel.HEADER.size
        if (got := assembler.feed(frame[channel.HEADER.size :])) is not None:
            return got
    raise AssertionError("no result came through")


def _prefix(rng: Random) -> bytes:
    """What a reader may see of a file that is being written."""
    sample = rng.choice(_SAMPLES)
    return sample[: rng.randrange(len(sample) + 1)]


CONFIG = Target("config", lambda rng: mutated(rng, _CORPUS, _WORDS, _LONGEST), _check, runs=2000)
PREFIXES = Target("prefixes", _prefix, _check, runs=1000)
