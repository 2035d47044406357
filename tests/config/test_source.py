"""Documents: from files and from mappings, whatever they hold."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gatewayd.config.document import Document, Position
from gatewayd.config.problems import errors
from gatewayd.config.source import from_mapping, read
from gatewayd.config.yaml_reader import MAX_CONFIG_BYTES, MAX_DEPTH

GOOD = b"include: [models.yaml]\nmodel_list:\n  - model_name: demo\nlitellm_settings: {timeout: 3}\n"
MODELS = b"model_list:\n  - model_name: other\n"


def write(folder: Path, data: bytes = GOOD, models: bytes = MODELS) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "models.yaml").write_bytes(models)
    (folder / "gatewayd.yaml").write_bytes(data)
    return folder / "gatewayd.yaml"


def only(document: Document) -> tuple[str, int, int]:
    (problem,) = document.problems
    return problem.code, problem.line, problem.column


def test_a_good_file(tmp_path: Path) -> None:
    path = write(tmp_path)
    document = read(path)
    assert document.problems == []
    assert document.tree == {
        "model_list": [{"model_name": "demo"}, {"model_name": "other"}],
        "litellm_settings": {"timeout": 3},
    }
    assert document.directory == str(tmp_path)
    assert document.files == (str(path), str(tmp_path / "models.yaml"))
    assert document.locate(("litellm_settings", "timeout"), True) == Position(str(path), 4, 20)
    assert document.spelling(("litellm_settings", "timeout")) == "3"


def test_a_relative_name_is_shown_as_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, b"a: 1\na: 2\n")
    monkeypatch.chdir(tmp_path)
    document = read("gatewayd.yaml")
    assert document.problems[0].file == "gatewayd.yaml"
    assert document.files == (str(tmp_path / "gatewayd.yaml"),)
    assert document.directory == str(tmp_path)


@pytest.mark.parametrize("data", [b"", b"# only\n# comments\n", b"---\n", b"null\n", b"~", b"\xef\xbb\xbf", b"\n\n"])
def test_an_empty_file_is_refused(tmp_path: Path, data: bytes) -> None:
    """E-12: an editor that truncates before it writes must not look like "no models"."""
    document = read(write(tmp_path, data))
    assert only(document) == ("config_empty", 1, 1)
    assert document.tree == {}


@pytest.mark.parametrize("data", [b"- a\n", b"text", b"3", b"[]", b"--- 'x'\n"])
def test_the_top_level_must_be_a_mapping(tmp_path: Path, data: bytes) -> None:
    assert only(read(write(tmp_path, data)))[0] == "config_not_mapping"


def test_missing_directory_pipe_and_loop(tmp_path: Path) -> None:
    """E-05, E-06."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("no")
    for name, code in (
        ("no", "config_missing"),
        ("dangling", "config_missing"),
        (".", "config_not_a_file"),
        ("pipe", "config_not_a_file"),
        ("loop", "config_unreadable"),
    ):
        document = read(tmp_path / name)
        assert only(document) == (code, 0, 0)
        assert document.problems[0].file == str(tmp_path / name)
        assert document.tree == {}
        assert document.locate(("model_list",), False) == Position()


def test_the_working_directory_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert only(read("gatewayd.yaml")) == ("config_missing", 0, 0)


def test_names_that_are_not_unicode(tmp_path: Path) -> None:
    document = read(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.yaml"))
    assert document.problems[0].code == "config_missing"
    document.problems[0].as_text().encode()
    assert read("a\0b").problems[0].code == "config_missing"


def test_too_large_alone_and_together(tmp_path: Path) -> None:
    """E-07."""
    path = write(tmp_path, b"a: 1\n")
    os.truncate(path, MAX_CONFIG_BYTES + 1)
    assert only(read(path)) == ("config_too_large", 0, 0)
    padding = b"#" * (MAX_CONFIG_BYTES // 2)
    document = read(write(tmp_path, GOOD + padding, MODELS + padding))
    assert only(document) == ("config_too_large", 1, 11)
    assert "16 MiB together" in document.problems[0].message


def test_thousands_of_brackets_in_a_file(tmp_path: Path) -> None:
    """E-08: 60 KB that kill a process which gives them to PyYAML's C loader."""
    assert only(read(write(tmp_path, b"model_list: " + b"[" * 30_000 + b"]" * 30_000))) == ("config_limit", 1, 76)


# --- revisions --------------------------------------------------------------------------------------------------------


def test_the_revision_follows_every_byte_and_nothing_else(tmp_path: Path) -> None:
    """E-02, E-29."""
    path = write(tmp_path / "a")
    revision = read(path).revision
    assert len(revision) == 12
    os.utime(path, (1, 1))
    assert read(path).revision == revision
    assert read(write(tmp_path / "elsewhere")).revision == revision
    write(tmp_path / "a", GOOD + b"\n")
    assert read(path).revision != revision
    write(tmp_path / "a", GOOD, MODELS + b"#")
    assert read(path).revision != revision


def test_moving_bytes_from_one_file_to_another_is_a_new_revision(tmp_path: Path) -> None:
    one = read(write(tmp_path, GOOD + b"# x\n", MODELS))
    other = read(write(tmp_path, GOOD, b"# x\n" + MODELS))
    assert one.tree == other.tree
    assert one.revision != other.revision


# --- any bytes --------------------------------------------------------------------------------------------------------


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=40) | st.text("ab:-?[]{},&*!'\"%<#\n\t ", max_size=40).map(str.encode))
def test_any_bytes_give_a_document(tmp_path: Path, data: bytes) -> None:
    document = read(write(tmp_path, data))
    assert isinstance(document.tree, dict)
    if not document.problems:
        assert document.tree == yaml.load(data, Loader=yaml.CSafeLoader)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(max_size=12) | st.sampled_from(["models.yaml", "*.yaml", "[z-a]*", "**/*", ".", "~", "a\nb"])))
def test_any_names_under_include_give_a_document(tmp_path: Path, names: list[str]) -> None:
    """E-31."""
    document = read(write(tmp_path, yaml.safe_dump({"include": names, "a": 1}).encode()))
    assert document.tree.get("a") == 1 or errors(document.problems)


def test_every_prefix_gives_a_document(tmp_path: Path) -> None:
    """E-03, E-04."""
    for end in range(len(GOOD)):
        document = read(write(tmp_path, GOOD[:end]))
        assert isinstance(document.tree, dict)


# --- mappings ---------------------------------------------------------------------------------------------------------


def test_a_mapping_is_copied() -> None:
    inner: list[Any] = [{"model_name": "demo", "since": date(2026, 11, 23)}, ("a", 1.5, None, True)]
    given_tree = MappingProxyType({"model_list": inner})
    document = from_mapping(given_tree)
    assert document.problems == []
    assert document.tree == {"model_list": [inner[0], ["a", 1.5, None, True]]}
    inner.clear()
    assert len(document.tree["model_list"]) == 2
    assert document.files == ()
    assert document.locate(("model_list",), False) == Position()


def test_the_revision_of_a_mapping_is_that_of_its_content() -> None:
    revision = from_mapping({"a": 1, "b": [2]}).revision
    assert from_mapping({"b": (2,), "a": 1}).revision == revision
    assert from_mapping({"a": 1, "b": [3]}).revision != revision
    assert len(revision) == 12


def test_what_no_file_could_hold_is_reported() -> None:
    circle: dict[str, Any] = {}
    circle["again"] = [circle]
    deep: Any = "x"
    for _ in range(MAX_DEPTH + 1):
        deep = [deep]
    tree: dict[Any, Any] = {"set": {1}, "huge": 10**1000, "circle": circle, "deep": deep, True: 1, 7: 7}
    document = from_mapping({**tree, "include": ["a.yaml"], "ok": 1})
    assert [(p.code, p.path, p.severity) for p in document.problems] == [
        ("config_value", "set", "error"),
        ("config_value", "huge", "error"),
        ("config_value", "circle.again[0]", "error"),
        ("config_limit", "deep", "error"),
        ("yaml_key", "True", "error"),
        ("yaml_key", "7", "warning"),
        ("include_invalid", "include", "error"),
    ]
    assert document.tree["ok"] == 1
    assert document.tree["7"] == 7


def test_a_lone_surrogate_in_a_mapping_does_not_break_the_revision() -> None:
    assert from_mapping({"a": "\ud800"}).revision


def test_a_key_that_is_no_text_is_shown_escaped() -> None:
    (problem,) = from_mapping({"\ud800\x1b": b""}).problems
    assert problem.path == r"\ud800\x1b"
