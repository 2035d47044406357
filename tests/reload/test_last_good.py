"""`gatewayd run --last-good`: what it keeps, what it starts from, and how loudly (E-33, G-05)."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

import pytest

from gatewayd.config.lastgood import check_and_keep, confirm, load_last_good, place
from gatewayd.config.loader import load_in_child
from tests.e2e.process import Daemon, command, config

ENVIRON = {"KEY": "sk-canary-0123456789", "PORT": "0"}
KEPT = """\
include: [more/models.yaml]
environment_variables: {REGION: os.environ/PORT}
model_list:
  - model_name: a 🙂
    model_info: {note: "a\\u2028b\\x7f\\n\\\\"}
    litellm_params: {model: azure/a, api_base: https://host.example, api_version: "2024-10-21", api_key: os.environ/KEY}
general_settings: {master_key: "file:more/master"}
gatewayd: {listen: "127.0.0.1:${PORT}", admin: "off"}
# sk-in-a-comment
"""
MORE = "model_list:\n  - {model_name: more, litellm_params: {model: openai/b, api_key: os.environ/KEY}}\n"


def write(folder: Path, text: str = KEPT) -> Path:
    (folder / "more").mkdir(parents=True, exist_ok=True)
    for name, content in (("more/models.yaml", MORE), ("more/master", "sk-master-9876543210\n"), ("g.yaml", text)):
        (folder / name).touch(mode=0o600)
        (folder / name).write_text(content)
    return folder / "g.yaml"


def test_the_copy_means_what_the_file_meant_and_holds_no_secret(tmp_path: Path) -> None:
    """E-33: also where it lies elsewhere and relative names would mean something else."""
    file, target = write(tmp_path / "conf"), str(tmp_path / "state" / "copy.yaml")
    result = check_and_keep(str(file), ENVIRON, target)
    assert result.snapshot is not None, result.problems
    assert not [problem for problem in result.problems if problem.code.startswith("last_good")]
    assert not Path(target).exists()
    confirm("another", target)
    assert not Path(target).exists()
    confirm(result.snapshot.revision, target)
    text = Path(target).read_text()
    assert "sk-" not in text
    assert stat.S_IMODE(Path(target).stat().st_mode) == 0o600
    file.write_text("model_list: [")

    kept, told = load_last_good(target, ENVIRON)
    assert kept.snapshot is not None, kept.problems
    assert f"revision {result.snapshot.revision}" in told
    assert kept.snapshot.revision == result.snapshot.revision
    assert [d.identity for d in kept.snapshot.deployments] == [d.identity for d in result.snapshot.deployments]
    assert [d.group for d in kept.snapshot.deployments] == ["a 🙂", "more"]
    assert kept.snapshot.deployments[0].info["note"] == "a\u2028b\x7f\n\\"
    assert kept.snapshot.server == result.snapshot.server
    assert kept.snapshot.routing == result.snapshot.routing
    assert kept.snapshot.environment == result.snapshot.environment


@pytest.mark.parametrize(
    ("edit", "path"),
    [
        (("os.environ/KEY}", "sk-live-0123456789}"), "model_list[0].litellm_params.api_key"),
        (("file:more/master", "sk-master-0123456789"), "general_settings.master_key"),
        (("note:", "docs: 'https://user:pass@host.example', note:"), "model_list[0].model_info.docs"),
        (("https://host.example", "https://host.example?key=x"), "model_list[0].litellm_params.api_base"),
        (("os.environ/PORT", "sk-live-0123456789"), "environment_variables.REGION"),
    ],
)
def test_a_configuration_with_a_secret_in_it_is_not_kept(edit: tuple[str, str], path: str, tmp_path: Path) -> None:
    file, target = write(tmp_path / "conf", KEPT.replace(*edit)), str(tmp_path / "state" / "copy.yaml")
    result = check_and_keep(str(file), ENVIRON, target)
    (problem,) = [problem for problem in result.problems if problem.code == "last_good_secret"]
    assert (problem.path, problem.severity) == (path, "warning")
    assert problem.line > 0
    assert not (tmp_path / "state").exists()


async def test_a_state_folder_that_cannot_be_written_is_told_and_no_more(tmp_path: Path) -> None:
    """G-05"""
    file = write(tmp_path / "conf")
    (tmp_path / "state").write_text("a file")
    result = await load_in_child(file, environ=ENVIRON, keep=str(tmp_path / "state" / "copy.yaml"))
    assert result.snapshot is not None
    (problem,) = [problem for problem in result.problems if problem.code == "last_good_unwritable"]
    assert problem.severity == "warning"
    assert "File exists" in problem.message or "Not a directory" in problem.message
    confirm(result.snapshot.revision, str(tmp_path / "state" / "copy.yaml"))


@pytest.mark.parametrize("text", ["", "model_list: []\n", "# gatewayd: revision x", "\0"])
def test_a_copy_that_is_none_is_no_copy(text: str, tmp_path: Path) -> None:
    target = tmp_path / "copy.yaml"
    target.write_text(text)
    assert [problem.code for problem in load_last_good(str(target), {})[0].problems] == ["last_good_missing"]
    assert [problem.code for problem in load_last_good(str(tmp_path / "no"), {})[0].problems] == ["last_good_missing"]


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({"STATE_DIRECTORY": "/var/lib/gatewayd:/var/lib/other", "HOME": "/h"}, "/var/lib/gatewayd"),
        ({"XDG_STATE_HOME": "/s", "HOME": "/h"}, "/s/gatewayd"),
        ({"HOME": "/h"}, "/h/.local/state/gatewayd"),
    ],
)
def test_where_it_lies(environ: Mapping[str, str], folder: str) -> None:
    one, other = place("/etc/one.yaml", environ), place("/etc/other.yaml", environ)
    assert one != other
    assert one.startswith(f"{folder}/last-good-")


async def test_the_daemon_starts_from_what_was_live_last_and_says_so(tmp_path: Path) -> None:
    """E-33: and goes on with the file as soon as it is mended."""
    file, environ = tmp_path / "g.yaml", {"STATE_DIRECTORY": str(tmp_path / "state")}
    file.write_text(config("a"))
    async with Daemon(file, "--last-good", environ=environ) as daemon:
        file.write_text(config("a", "b"))
        await daemon.answers("b")
        revision = (await daemon.status())["revision"]
        assert (await daemon.edit("model_list: [\n"))["result"] == "rejected"

    async with Daemon(file, "--last-good", environ=environ) as daemon:
        assert await daemon.chat("b") == (200, "Hello from b")
        status = await daemon.status()
        assert status["revision"] == revision
        assert status["last_reload"]["result"] == "rejected"
        assert [p["code"] for p in status["last_reload"]["problems"]] == ["last_good_served", "yaml_syntax"]
        assert "gatewayd_config_last_reload_successful 0.0" in await daemon.metrics()
        told = "\n".join(daemon.log)
        assert f"{file} is invalid; serving the last valid version: revision {revision}" in told
        assert "instead of" in told
        assert "yaml_syntax" in told
        file.write_text(config("a", "c"))
        await daemon.answers("c")
        assert "gatewayd_config_last_reload_successful 1.0" in await daemon.metrics()


async def test_it_must_be_asked_for(tmp_path: Path) -> None:
    """E-33: without the flag nothing is kept, and a bad file is a bad file."""
    file, state = tmp_path / "g.yaml", tmp_path / "state"
    file.write_text(config("a"))
    environ = {"STATE_DIRECTORY": str(state)}
    async with Daemon(file, environ=environ):
        assert not os.path.exists(place(str(file), environ))  # noqa: ASYNC240
    async with Daemon(file, "--last-good", environ=environ):
        assert os.path.exists(place(str(file), environ))  # noqa: ASYNC240
    file.write_text("model_list: [\n")
    code, _, told = await command("run", "--config", str(file), environ=environ)
    assert code == 78
    assert "yaml_syntax" in told


async def test_without_a_copy_a_bad_file_is_refused_with_all_problems(tmp_path: Path) -> None:
    """E-33"""
    file = tmp_path / "g.yaml"
    file.write_text(config("a") + "no_such_section: 1\ngatewayd: {}\n")
    code, _, told = await command(
        "run", "--last-good", "--config", str(file), environ={"STATE_DIRECTORY": str(tmp_path / "state")}
    )
    assert code == 78
    assert "yaml_duplicate_key" in told
    assert "last_good_missing" in told
