"""The command line as a whole: what it loads, and how it ends."""

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

from gatewayd import cli
from gatewayd._version import __version__

ROOT = Path(__file__).parents[2]


def loaded_by(*arguments: str) -> set[str]:
    """The top-level packages that a command has imported when it ends."""
    script = (
        "import sys\nfrom gatewayd import cli\ncli.main(sys.argv[1:])\nprint(*sys.modules, sep='\\n', file=sys.stderr)"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return {name.partition(".")[0] for name in run.stderr.splitlines()}


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["version"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"gatewayd {__version__}"
    assert [line.split()[0] for line in lines] == ["gatewayd", "python", "aiohttp", "litellm"]


@pytest.mark.parametrize("closed", [">&-", "<&- >&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(
    ("command", "code"), [("version", 0), ("check configs/quickstart.yaml", 0), ("check tests/e2e", 78), ("--help", 0)]
)
def test_closed_streams_change_no_exit_code(command: str, code: int, closed: str) -> None:
    """F-09"""
    shell = f"exec {sys.executable} -m gatewayd {command} {closed}"
    run = subprocess.run(["/bin/sh", "-c", shell], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (code, "")


def test_quick_commands_load_nothing_slow() -> None:
    assert not loaded_by("version") & {"aiohttp", "litellm", "pydantic", "asyncio", "yaml"}
    assert not loaded_by("check", "configs/quickstart.yaml") & {"aiohttp", "litellm"}
    assert not loaded_by("schema") & {"aiohttp", "litellm"}


def test_the_schema_accepts_every_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    files = list((ROOT / "configs").glob("*.yaml"))
    assert len(files) >= 6
    for file in files:
        jsonschema.validate(yaml.safe_load(file.read_text()), schema)


@pytest.mark.parametrize(
    "arguments",
    [["fly"], ["run", "--po", "1"], ["--port", "1"], ["run", "--port", "70000"], ["check", "--format", "xml"]],
)
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert "usage: gatewayd" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "--port", "70000"], "--port: must be a number from 0 to 65535, not '70000'"),
        (["run", "--port", "http"], "--port: must be a number from 0 to 65535, not 'http'"),
        (["run", "--config", ""], "--config: must not be empty"),
        (["check", ""], "PATH: must not be empty"),
        (["run", "--workers", "0"], "--workers: must be a number from 1 to 256, not '0'"),
        (["statsu"], "there is no command 'statsu'; did you mean 'status'?"),
        (["help", "chekc"], "there is no command 'chekc'; did you mean 'check'?"),
        (["run", "--prot", "4000"], "unrecognized arguments: --prot; did you mean '--port'?"),
        (["reload", "--wiat"], "did you mean '--wait'?"),
        (["check", "a.yaml", "--config", "b.yaml"], "PATH and --config both name the file: a.yaml and b.yaml"),
        (["run", "--admin", "4001"], "--admin: a port is missing: write host:port, such as 127.0.0.1:4000; or off"),
    ],
)
def test_a_wrong_value_is_told_with_what_is_right(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        cli.main(arguments)
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("command", ["run", "check", "reload", "status", "schema", "version"])
def test_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main([command, "--help"])
    assert caught.value.code == 0
    assert f"usage: gatewayd {command}" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["help"]])
def test_without_a_command_there_is_help(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """U-E1"""
    assert cli.main(arguments) == 0
    assert "usage: gatewayd [-h]" in capsys.readouterr().out


def test_help_for_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    """U-E1"""
    with pytest.raises(SystemExit) as caught:
        cli.main(["help", "check"])
    assert caught.value.code == 0
    assert "usage: gatewayd check" in capsys.readouterr().out


def test_the_version_is_a_flag_too(capsys: pytest.CaptureFixture[str]) -> None:
    """U-E1"""
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith(f"gatewayd {__version__}\n")


def test_an_encoding_without_arrows(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    models = "".join(f"  - {{model_name: {name}, litellm_params: {{model: x, mock_response: x}}}}\n" for name in "abc")
    file.write_text(f"model_list:\n{models}fallbacks: {{a: [b], b: [c], c: [a]}}\n")
    run = subprocess.run(
        [sys.executable, "-m", "gatewayd", "check", str(file)],
        cwd=ROOT,
        env={"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert r"form a cycle: a \u2192 b \u2192 c \u2192 a" in run.stdout
    assert run.stderr == ""


def test_a_reader_that_has_seen_enough() -> None:
    run = subprocess.run(
        f"{sys.executable} -m gatewayd schema | head -n 1",
        shell=True,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout == "{\n"
    assert run.stderr == ""


@pytest.mark.parametrize("command", [["status"], ["reload"], ["reload", "--wait"]])
def test_no_daemon(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """F-12"""
    assert cli.main([*command, "--admin", "http://127.0.0.1:1"]) == 69
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "gatewayd: no daemon answers at http://127.0.0.1:1: connection refused\n"
