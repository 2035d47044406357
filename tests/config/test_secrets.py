"""References: resolved or explained, and never a value in an explanation."""

from __future__ import annotations

import hashlib
import os
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayd.config.document import Position
from gatewayd.config.secrets import MAX_SECRET_BYTES, Resolver, Unresolved, export_environment, is_reference

ENVIRON = {"OPENAI_API_KEY": "sk-canary", "NEWLINE": "sk-canary\r\n", "EMPTY": "", "BLANK": " \n", "HOST": "db"}


@pytest.fixture
def resolver(tmp_path: Path) -> Resolver:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "openai").write_text("from-systemd\n")
    (tmp_path / "key").write_text("from-file\n\n")
    (tmp_path / "pem").write_text("\ufeff-----BEGIN\nline\n-----END\r\n")
    return Resolver({**ENVIRON, "CREDENTIALS_DIRECTORY": str(credentials)}, str(tmp_path))


def refusal(resolver: Resolver, text: str, *, own_section: bool = False) -> tuple[str, str]:
    with pytest.raises(Unresolved) as caught:
        resolver.resolve(text, own_section=own_section)
    explained = caught.value.message + (caught.value.hint or "")
    assert "canary" not in explained
    return caught.value.message, caught.value.hint or ""


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("os.environ/OPENAI_API_KEY", "sk-canary"),
        ("os.environ/NEWLINE", "sk-canary"),
        ("file:key", "from-file"),
        ("file:./sub/../key", "from-file"),
        ("file:pem", "-----BEGIN\nline\n-----END"),
        ("credential:openai", "from-systemd"),
        ("plain", "plain"),
        ("", ""),
        ("see os.environ/OPENAI_API_KEY", "see os.environ/OPENAI_API_KEY"),
        ("${OPENAI_API_KEY}", "${OPENAI_API_KEY}"),
        ("$OPENAI_API_KEY", "$OPENAI_API_KEY"),
    ],
)
def test_everywhere(resolver: Resolver, text: str, value: str) -> None:
    assert resolver.resolve(text) == value
    assert is_reference(text) == (value != text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${HOST}", "db"),
        ("postgresql://u@${HOST}:${PORT:-5432}/x", "postgresql://u@db:5432/x"),
        ("${HOST:-other}", "db"),
        ("${EMPTY:-other}", "other"),
        ("${MISSING:-}", ""),
        ("${MISSING:-a:-b}", "a:-b"),
        ("$HOST", "$HOST"),
        ("os.environ/HOST", "db"),
    ],
)
def test_in_our_own_section(resolver: Resolver, text: str, value: str) -> None:
    assert resolver.resolve(text, own_section=True) == value


@pytest.mark.parametrize("text", ["os.environ/EMPTY", "os.environ/BLANK"])
def test_an_empty_variable_is_unresolved(resolver: Resolver, text: str) -> None:
    """E-15."""
    message, _ = refusal(resolver, text)
    assert message == f"the environment variable {text[11:]} is set, but empty"


def test_a_missing_variable_suggests_a_similar_name(resolver: Resolver) -> None:
    """E-15."""
    message, hint = refusal(resolver, "os.environ/OPENAI_KEY")
    assert message == "the environment variable OPENAI_KEY is not set"
    assert hint == "did you mean OPENAI_API_KEY, which is set?"
    assert "did you mean OPENAI_API_KEY" in refusal(resolver, "os.environ/openai_api_key")[1]
    assert "under environment_variables" in refusal(resolver, "os.environ/SOMETHING_ELSE")[1]


@pytest.mark.parametrize("text", ["os.environ/", "os.environ/sk-canary-123", "os.environ/${canary}", "os.environ/A B"])
def test_a_key_written_in_place_of_a_name_is_not_repeated(resolver: Resolver, text: str) -> None:
    """D-02."""
    message, _ = refusal(resolver, text)
    assert message == "the reference has no environment variable"


@pytest.mark.parametrize("text", ["${", "a${HOST", "${}", "${sk-canary}", "${HOST:canary}", "${ HOST }"])
def test_malformed_placeholders(resolver: Resolver, text: str) -> None:
    message, hint = refusal(resolver, text, own_section=True)
    assert message == "`${` is not followed by a variable's name and `}`"
    assert "${NAME:-default}" in hint


@pytest.mark.parametrize("text", ["${MISSING}", "${EMPTY}", "x${BLANK}y"])
def test_placeholders_without_a_value(resolver: Resolver, text: str) -> None:
    """E-15."""
    assert "the environment variable" in refusal(resolver, text, own_section=True)[0]


def test_files_that_cannot_be_used(resolver: Resolver, tmp_path: Path) -> None:
    """E-06, E-15."""
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xffcanary")
    (tmp_path / "nul").write_bytes(b"canary\0")
    (tmp_path / "large").write_bytes(b"x" * (MAX_SECRET_BYTES + 1))
    os.mkfifo(tmp_path / "pipe")
    assert refusal(resolver, "file:empty")[0] == "the secret file empty is empty"
    assert refusal(resolver, "file:binary")[0] == "the secret file binary is not UTF-8 text"
    assert refusal(resolver, "file:nul")[0] == "the secret file nul contains a NUL character"
    assert refusal(resolver, "file:large")[0] == f"the secret file large is larger than {MAX_SECRET_BYTES} bytes"
    assert refusal(resolver, "file:pipe")[0] == "the secret file pipe is a named pipe, not a file"
    assert refusal(resolver, "file:/no/such")[0] == "the secret file /no/such does not exist"
    assert refusal(resolver, "file: ")[0] == "the reference has no file"


def test_credentials_that_cannot_be_used(resolver: Resolver) -> None:
    """E-15."""
    assert refusal(resolver, "credential:other")[0] == "the credential other does not exist"
    for name in ("", "..", "../key", "/etc/passwd", "a\0b"):
        assert refusal(resolver, f"credential:{name}")[0] == "the reference has no credential name"
    del resolver.environ["CREDENTIALS_DIRECTORY"]
    message, hint = refusal(resolver, "credential:openai")
    assert "$CREDENTIALS_DIRECTORY is not set" in message
    assert "LoadCredential=openai:" in hint


def test_files_are_read_once_and_remembered(resolver: Resolver, tmp_path: Path) -> None:
    assert resolver.resolve("file:key") == "from-file"
    (tmp_path / "key").write_text("changed")
    assert resolver.resolve(f"file:{tmp_path}/key") == "from-file"
    resolver.resolve("credential:openai")
    refusal(resolver, "file:absent")
    assert resolver.files == {
        str(tmp_path / "key"): hashlib.sha256(b"from-file\n\n").hexdigest(),
        str(tmp_path / "credentials" / "openai"): hashlib.sha256(b"from-systemd\n").hexdigest(),
        str(tmp_path / "absent"): "",
    }


@settings(max_examples=200)
@given(
    st.text(max_size=30), st.sampled_from(["", "os.environ/", "file:", "credential:", "${", "a ${X:-"]), st.booleans()
)
def test_any_text_is_resolved_or_refused(text: str, prefix: str, own: bool) -> None:
    resolver = Resolver({"X": "1"}, "/nonexistent")
    try:
        value = resolver.resolve(prefix + text, own_section=own)
    except Unresolved:
        assert is_reference(prefix + text, own_section=own)
    else:
        assert value == prefix + text or is_reference(prefix + text, own_section=own)


# --- environment_variables --------------------------------------------------------------------------------------------


def export(mapping: dict[str, Any], resolver: Resolver) -> tuple[dict[str, str], list[tuple[str, str, str]]]:
    exported, problems = export_environment(mapping, resolver)
    assert "canary" not in "".join(p.as_text() for p in problems)
    return exported, [(p.code, p.path.removeprefix("environment_variables."), p.severity) for p in problems]


def test_exported_names_can_be_referred_to(resolver: Resolver) -> None:
    """litellm resolves first and exports second, so that such a file gets None for its key there."""
    exported, problems = export({"MY_KEY": "sk-1", "OTHER": "os.environ/MY_KEY", "FILE": "file:key"}, resolver)
    assert exported == {"MY_KEY": "sk-1", "OTHER": "sk-1", "FILE": "from-file"}
    assert problems == []
    assert resolver.resolve("os.environ/OTHER") == "sk-1"


def test_the_file_wins_over_the_process(resolver: Resolver) -> None:
    export({"HOST": "file-host"}, resolver)
    assert resolver.resolve("os.environ/HOST") == "file-host"


def test_the_given_environment_is_left_alone() -> None:
    environ = {"A": "1"}
    export_environment({"A": "2"}, Resolver(environ))
    assert environ == {"A": "1"}


def test_values_are_written_as_litellm_writes_them(resolver: Resolver) -> None:
    exported, problems = export({"N": 1, "F": 0.5, "B": True, "D": date(2026, 11, 1)}, resolver)
    assert exported == {"N": "1", "F": "0.5", "B": "True", "D": "2026-11-01"}
    assert problems == []


@pytest.mark.parametrize(
    "name",
    ["PATH", "LD_PRELOAD", "DYLD_INSERT_LIBRARIES", "PYTHONPATH", "HOME", "no_proxy", "litellm_enable_mcp_stdio"],
)
def test_blocked_names_are_skipped_with_a_warning(resolver: Resolver, name: str) -> None:
    exported, problems = export({name: "canary"}, resolver)
    assert exported == {}
    assert problems == [("environment_blocked", name, "warning")]
    assert name not in resolver.environ


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("LIST", ["canary"], "environment_value"),
        ("A=B", "canary", "environment_value"),
        ("", "canary", "environment_value"),
        ("NUL", "canary\0", "environment_value"),
        ("UNSET", "os.environ/NOT_THERE", "reference_unresolved"),
        ("LATER", "os.environ/BELOW", "reference_unresolved"),
    ],
)
def test_entries_that_cannot_be_exported(resolver: Resolver, name: str, value: object, code: str) -> None:
    exported, problems = export({name: value, "BELOW": "x"}, resolver)
    assert exported == {"BELOW": "x"}
    assert problems == [(code, name, "error")]


def test_problems_get_the_place_of_the_key() -> None:
    seen: list[tuple[object, bool]] = []

    def locate(path: tuple[str | int, ...], key: bool) -> Position:
        seen.append((path, key))
        return Position("f.yaml", 7, 3)

    _, (problem,) = export_environment({"UNSET": "os.environ/NO"}, Resolver({}), locate=locate)
    assert seen == [(("environment_variables", "UNSET"), True)]
    assert problem.as_text().startswith("f.yaml:7:3: error[reference_unresolved] environment_variables.UNSET: ")
