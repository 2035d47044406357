"""`gatewayd check`, in this process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gatewayd import cli

GOOD = "model_list:\n  - {model_name: a, litellm_params: {model: openai/a, mock_response: hi}}\n"


def run(*arguments: str) -> int:
    return cli.main(["check", *arguments])


def test_a_good_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(GOOD)
    assert run(str(file)) == 0
    assert capsys.readouterr().out.startswith(f"{file}: ok: 1 model group, 1 deployment, 0 warnings, revision ")


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("model_list: [{model_name: a, litellm_params: {model: openai/a, mock_response: hi}}]", 0, "<stdin>: ok"),
        ("model_lst: 1\n", 78, "<stdin>:1:1: error[no_models]"),
        ("", 78, "<stdin>"),
    ],
)
def test_standard_input(text: str, code: int, said: str, tmp_path: Path) -> None:
    """U-E1: `check -`; what the file refers to is looked for in the current folder."""
    run = subprocess.run(
        [sys.executable, "-m", "gatewayd", "check", "-"],
        cwd=tmp_path,
        input=text,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert run.returncode == code
    assert said in run.stdout


def test_every_problem_at_once_with_its_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(GOOD + "gatewayd:\n  drain: -1\n  limits: {body_mb: none}\n")
    assert run("--config", str(file)) == 78
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith(f"{file}:4:10: error[") and "gatewayd.drain" in line for line in lines)
    assert any(line.startswith(f"{file}:5:") for line in lines)
    assert lines[-1] == f"{file}: 2 errors and 0 warnings"


def test_warnings_fail_only_when_strict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(GOOD + "modle_list: []\n")
    assert run(str(file)) == 0
    assert run(str(file), "--strict") == 78
    assert "did you mean 'model_list'" in capsys.readouterr().out


def test_json_is_json_and_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "c.yaml"
    for text, code in ((GOOD, 0), ("model_list: 5\n", 78)):
        file.write_text(text)
        assert run(str(file), "--format", "json") == code
        problems = json.loads(capsys.readouterr().out)
        assert bool(problems) == bool(code)


def test_github_annotations(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("model_list: 5\n")
    assert run(str(file), "--format", "github") == 78
    assert capsys.readouterr().out.startswith(f"::error file={file},line=1,col=")


@pytest.mark.parametrize("named", [True, False])
def test_no_such_file(
    named: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GATEWAYD_CONFIG", str(tmp_path / "nothing.yaml"))
    assert run(*([str(tmp_path / "no.yaml")] if named else [])) == 66
    out, err = capsys.readouterr()
    assert out == ""
    assert ("no.yaml" if named else "nothing.yaml") in err


def test_how_litellms_keys_are_supported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(
        GOOD.replace("mock_response: hi", "mock_response: hi, rpm: 5")
        + "router_settings: {num_retries: 1, routing_strategy: latency-based-routing}\n"
        + "litellm_settings: {telemetry: false, nonsense_key_of_mine: 1}\n"
    )
    run(str(file))
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.startswith("  ")}
    assert "model_list[].litellm_params.rpm" in rows["supported"]
    assert "router_settings.num_retries" in rows["supported"]
    assert "router_settings.routing_strategy" in rows["approximated"]
    assert "litellm_settings.nonsense_key_of_mine" in rows["ignored"]


def test_keys_that_do_nothing_are_not_called_supported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(
        GOOD.replace("hi}}", "hi, supports_vision: true}, model_info: {id: x, mode: chat}}")
        + "general_settings: {custom_auth: mine.auth}\n"
        + "router_settings: {fallbacks: [{a: [a]}]}\n"
        + "litellm_settings: {fallbacks: [{a: [a]}]}\n"
    )
    run(str(file))
    rows = {line[2:14].strip(): line[15:] for line in capsys.readouterr().out.splitlines() if line.startswith("  ")}
    assert "model_list[].model_info.id" in rows["supported"]
    assert "router_settings.fallbacks" in rows["supported"]
    assert rows["sent on"] == "model_list[].litellm_params.supports_vision"
    assert rows["only shown"] == "model_list[].model_info.mode"
    assert rows["ignored"] == "litellm_settings.fallbacks"
    assert rows["refused"] == "general_settings.custom_auth"


def test_colours_only_on_a_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("model_list: 5\n")
    run(str(file))
    assert "\x1b" not in capsys.readouterr().out
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    run(str(file))
    assert "\x1b[31merror\x1b[0m" in capsys.readouterr().out
    monkeypatch.setenv("NO_COLOR", "1")
    run(str(file))
    assert "\x1b" not in capsys.readouterr().out


def rows(file: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    run(str(file))
    return {line[2:14].strip(): line[15:] for line in capsys.readouterr().out.splitlines() if line.startswith("  ")}


def test_a_key_at_its_default_is_not_called_supported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """U-D11: a key without effect, and a value that asks for nothing."""
    file = tmp_path / "c.yaml"
    file.write_text(GOOD + "litellm_settings: {cache: false, drop_params: true, modify_params: true}\n")
    found = rows(file, capsys)
    assert found["default"] == "litellm_settings.cache"
    assert found["approximated"] == "litellm_settings.drop_params"
    assert found["ignored"] == "litellm_settings.modify_params"
    assert found["supported"] == "model_list[].litellm_params.model, model_list[].litellm_params.mock_response"


def test_sections_of_litellm_are_in_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """U-D11: sections at the top level, with and without effect; none of the author's own."""
    file = tmp_path / "c.yaml"
    file.write_text(
        GOOD + "mcp_servers: {a: {url: https://example.com}}\nguardrails: [{a: 1}]\nfallbacks: [a]\nx-mine: 1\n"
    )
    found = rows(file, capsys)
    assert found["ignored"] == "mcp_servers"
    assert found["refused"] == "guardrails"
    assert found["supported"].endswith(", fallbacks")
    assert "x-mine" not in str(found)


def test_problems_that_are_not_shown_make_no_key_supported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """U-D11: the table comes from the file, not from the capped list of problems; its rows are capped themselves."""
    file = tmp_path / "c.yaml"
    unknown = "".join(f"  nothing_like_it_{n}: 1\n" for n in range(700))
    file.write_text(
        GOOD + "litellm_settings:\n" + unknown + "router_settings: {retry_policy: {TimeoutErrorRetries: 3}}\n"
    )
    found = rows(file, capsys)
    assert "supported" not in found
    assert found["ignored"].endswith(" and 641 more")
    assert "supported keys are not listed" in str(found)


def test_an_invalid_or_overridden_key_is_not_called_supported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """U-D11: neither does what the file says."""
    file = tmp_path / "c.yaml"
    file.write_text(
        GOOD.replace("mock_response: hi", "mock_response: hi, timeout: 5, request_timeout: 6")
        + "router_settings: {num_retries: many, cooldown_time: 3}\n"
    )
    found = rows(file, capsys)
    assert found["invalid"] == "router_settings.num_retries"
    assert found["ignored"] == "model_list[].litellm_params.request_timeout"
    assert "router_settings.cooldown_time" in found["supported"]
