"""`ssl_verify` in the file: what it means, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gatewayd.config.problems import Problem
from gatewayd.config.snapshot import Snapshot, Trust
from gatewayd.config.validator import ConfigValidator
from tests.certificates import Authority


def checked(folder: Path, value: Any, **params: Any) -> tuple[Snapshot | None, list[Problem]]:
    params = {"model": "openai/m", "api_base": "https://h/v1", "api_key": "none", "ssl_verify": value, **params}
    file = folder / "gatewayd.yaml"
    file.write_text(repr({"model_list": [{"model_name": "a", "litellm_params": params}] * 2}))
    file.chmod(0o600)
    result = ConfigValidator(environ={}).check(file)
    return result.snapshot, list(result.problems)


def test_false_is_carried_out_with_a_warning(tmp_path: Path) -> None:
    """U-A4: one for all deployments."""
    snapshot, (problem,) = checked(tmp_path, False)
    assert snapshot is not None
    assert [d.trust for d in snapshot.deployments] == [Trust(verify=False)] * 2
    assert (problem.code, problem.path) == ("tls_unverified", "model_list[0].litellm_params.ssl_verify")
    assert "(2 times in all)" in problem.message
    assert checked(tmp_path, False, api_base="http://h/v1")[1] == []


def test_a_file_is_read_and_part_of_the_revision(tmp_path: Path) -> None:
    """U-A4"""
    (tmp_path / "ca.pem").write_text(Authority(tmp_path).pem)
    one, problems = checked(tmp_path, "ca.pem")
    assert problems == []
    assert one is not None
    assert one.deployments[0].trust.ca_file == str(tmp_path / "ca.pem")
    assert str(tmp_path / "ca.pem") in one.files
    (tmp_path / "ca.pem").write_text(Authority(tmp_path).pem)
    other, _ = checked(tmp_path, "ca.pem")
    assert other is not None
    assert one.revision != other.revision
    assert one.deployments[0].identity != other.deployments[0].identity


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("nothing.pem", "the file nothing.pem does not exist"),
        (".", "the file . is a directory, not a file"),
        ("gatewayd.yaml", "the file gatewayd.yaml contains no certificates in PEM format"),
        ("", "must not be empty"),
        ([], "must be true or false or text, but this is a list"),
        (1, "must be true or false or text, but YAML reads the unquoted 1 as a whole number"),
    ],
)
def test_what_is_no_file_of_authorities(value: Any, message: str, tmp_path: Path) -> None:
    """U-A4"""
    snapshot, problems = checked(tmp_path, value)
    assert snapshot is None
    assert message in problems[0].message
    assert problems[0].path == "model_list[0].litellm_params.ssl_verify"


def test_changing_it_is_another_deployment(tmp_path: Path) -> None:
    """U-A4: connections of the old kind are not used any more."""
    snapshots = [checked(tmp_path, value)[0] for value in (False, True)]
    identities = {snapshot.deployments[0].identity for snapshot in snapshots if snapshot is not None}
    assert len(identities) == 2
