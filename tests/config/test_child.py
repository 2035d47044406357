"""The child process that reads a configuration: what it sends when things go wrong inside it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from gatewayd.config.channel import HEADER, Assembler, body_length
from gatewayd.config.child import failed
from gatewayd.config.result import Result
from tests.config.children import ENVIRON, child_with_validator


def run(check: str) -> tuple[Result, subprocess.CompletedProcess[bytes]]:
    done = subprocess.run(child_with_validator(check), env=ENVIRON, capture_output=True, timeout=60, check=False)
    assembler, data, result = Assembler(), done.stdout, None
    while data:
        length = body_length(data[: HEADER.size])
        result = assembler.feed(data[HEADER.size : HEADER.size + length])
        data = data[HEADER.size + length :]
    assert result is not None
    return result, done


def test_the_result_is_sent_and_the_process_ends_well() -> None:
    result, done = run("return Result(Snapshot(os.path.abspath(path), ()))")
    assert result.snapshot is not None
    assert result.snapshot.revision == str(Path.cwd() / "some.yaml")
    assert (done.returncode, done.stderr) == (0, b"")


def test_stray_output_does_not_get_between_the_frames() -> None:
    result, done = run(
        """
        print("stray")
        os.write(1, b"bytes")
        os.system("echo from below")
        return Result(None)
        """
    )
    assert result == Result(None)
    assert done.returncode == 0
    assert b"bytes" in done.stderr
    assert b"from below" in done.stderr


@pytest.mark.parametrize(
    ("check", "name"),
    [
        ("raise ValueError('sk-canary')", "ValueError"),
        ("import no_such_module", "ModuleNotFoundError"),
        ("return Result(Snapshot('r', (), effective={'a': lambda: 'sk-canary'}))", "AttributeError|PicklingError"),
        ("def again(): again()\nagain()", "RecursionError"),
    ],
)
def test_an_exception_becomes_a_problem_without_its_message(check: str, name: str) -> None:
    """D-02: messages of exceptions quote values."""
    result, done = run(check)
    (problem,) = result.problems
    assert problem.code == "config_reader_failed"
    assert problem.file == "some.yaml"
    assert re.search(name, problem.message)
    assert "canary" not in problem.as_text()
    assert done.returncode == 0


def test_a_crash_leaves_no_core_file() -> None:
    """D-02: it would hold every secret of the configuration."""
    result, _ = run("import resource\nreturn Result(Snapshot(str(resource.getrlimit(resource.RLIMIT_CORE)), ()))")
    assert result.snapshot is not None
    assert result.snapshot.revision == "(0, 0)"


def test_the_place_of_a_failure_is_named() -> None:
    def deeper() -> None:
        raise KeyError("sk-canary")

    with pytest.raises(KeyError) as caught:
        deeper()
    (problem,) = failed("x.yaml", caught.value).problems
    assert problem.message.startswith("reading the configuration failed with KeyError at test_child.py:")
    (problem,) = failed("x.yaml", ValueError()).problems
    assert problem.message == "reading the configuration failed with ValueError"
