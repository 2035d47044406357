"""The server's part of the configuration: files' permissions, addresses, log switches."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from gatewayd.config.problems import Problem
from gatewayd.config.snapshot import Address
from gatewayd.config.validator import ConfigValidator
from gatewayd.errors import ConfigInvalid

INLINE = "model_list: [{model_name: a, litellm_params: {model: openai/a, api_key: sk-inline-key}}]\n"
REFERENCE = "model_list: [{model_name: a, litellm_params: {model: openai/a, api_key: os.environ/KEY}}]\n"


def problems(path: Path) -> list[Problem]:
    return list(ConfigValidator(environ={"KEY": "sk-x"}).check(path).problems)


def written(folder: Path, text: str, mode: int) -> Path:
    path = folder / "c.yaml"
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    ("text", "mode", "expected"),
    [
        (INLINE, 0o600, []),
        (INLINE, 0o640, []),
        (INLINE, 0o644, [("secret_readable", "warning")]),
        (REFERENCE, 0o644, []),
        (REFERENCE, 0o666, [("file_writable", "error")]),
        (INLINE, 0o646, [("file_writable", "error"), ("secret_readable", "warning")]),
    ],
)
def test_permissions(tmp_path: Path, text: str, mode: int, expected: list[tuple[str, str]]) -> None:
    """D-15"""
    found = problems(written(tmp_path, text, mode))
    assert [(p.code, p.severity) for p in found] == expected
    assert not [p for p in found if "sk-inline" in p.as_text()]


def test_the_owners_private_group_may_write(tmp_path: Path) -> None:
    """D-15: `umask 002` with a group of one's own is the default of some systems, and harmless."""
    path = written(tmp_path, REFERENCE, 0o664)
    if os.getuid() == 0:
        os.chown(path, 4_000_000, 4_000_000)  # an owner nobody knows, with the group of the same number
        assert problems(path) == []
        os.chown(path, 4_000_000, 4_000_001)
    else:
        os.chmod(path, 0o666)
    assert [p.code for p in problems(path)] == ["file_writable"]


def test_included_files_count_too(tmp_path: Path) -> None:
    """D-15"""
    part = written(tmp_path, INLINE, 0o666)
    main = tmp_path / "main.yaml"
    main.write_text("include: [c.yaml]\n")
    main.chmod(0o600)
    found = problems(main)
    assert {p.code for p in found} == {"file_writable", "secret_readable"}
    assert all(part.name in p.message for p in found)


@pytest.mark.parametrize(
    ("key", "value", "secret"),
    [
        ("api_key", "sk-0123456789abcdef", True),
        ("api_key", "your-api-key", False),
        ("azure_ad_token", "oidc/google/https://example.com", False),
        ("azure_ad_token", "eyJhbGciOiJIUzI1NiJ9.e30.c2ln", True),
        ("vertex_credentials", "/run/secrets/service-account.json", False),
        ("vertex_credentials", "service-account.json", False),
        ("vertex_credentials", '{"private_key": "-----BEGIN"}', True),
        ("aws_web_identity_token", "/var/run/secrets/token", False),
        ("redis_url", "redis://cache.example:6379/0", False),
        ("redis_url", "redis://user:secret-word@cache.example:6379", True),
    ],
)
def test_only_a_secret_is_one(key: str, value: str, secret: bool, tmp_path: Path) -> None:
    """U-D10, D-15"""
    section = "router_settings" if key == "redis_url" else "x-notes"
    path = written(tmp_path, repr({**MODELS, section: {key: value}}), 0o644)
    assert ("secret_readable" in [p.code for p in problems(path)]) is secret


def test_a_dummy_key_is_no_secret(tmp_path: Path) -> None:
    text = (
        "model_list: [{model_name: a, litellm_params: {model: openai/a, api_base: 'http://h/v1', api_key: not-needed}}]"
    )
    assert problems(written(tmp_path, text, 0o644)) == []


def server(**sections: Any) -> Any:
    entry = {"model_name": "a", "litellm_params": {"model": "openai/a", "mock_response": "hi"}}
    return ConfigValidator(environ={}).validate({"model_list": [entry], **sections}).server


def test_a_relative_socket_starts_at_the_files_folder(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(REFERENCE + "gatewayd: {listen: 'unix:run/api.sock', admin: 'unix:/run/admin.sock'}\n")
    made = ConfigValidator(environ={"KEY": "k"}).validate(path).server
    assert made.listen == (Address(path=str(tmp_path / "run/api.sock")),)
    assert made.admin == Address(path="/run/admin.sock")


def test_ports_chosen_by_the_system_do_not_clash() -> None:
    made = server(gatewayd={"listen": ["127.0.0.1:0", "127.0.0.1:0"], "admin": "127.0.0.1:0"})
    assert len(made.listen) == 2


@pytest.mark.parametrize("off", [False, "off"])
def test_admin_off(off: Any) -> None:
    assert server(gatewayd={"admin": off}).admin is None


@pytest.mark.parametrize(
    ("sections", "level", "form"),
    [
        ({}, "info", "text"),
        ({"litellm_settings": {"set_verbose": True, "json_logs": True}}, "debug", "json"),
        ({"router_settings": {"set_verbose": "true"}}, "debug", "text"),
        ({"router_settings": {"debug_level": "DEBUG"}}, "debug", "text"),
        ({"router_settings": {"debug_level": "INFO"}}, "info", "text"),
        ({"litellm_settings": {"set_verbose": True}, "gatewayd": {"log": {"level": "error"}}}, "error", "text"),
        ({"litellm_settings": {"json_logs": True}, "gatewayd": {"log": {"format": "text"}}}, "info", "text"),
    ],
)
def test_litellms_log_switches(sections: dict[str, Any], level: str, form: str) -> None:
    log = server(**sections).log
    assert (log.level, log.format) == (level, form)


def test_the_body_limit_of_general_settings() -> None:
    assert server(general_settings={"max_request_size_mb": 3}).limits.body_mb == 3
    both = server(general_settings={"max_request_size_mb": 3}, gatewayd={"limits": {"body_mb": 4}})
    assert both.limits.body_mb == 4


def test_all_bodies_together_may_take_no_less_than_one() -> None:
    """B-13"""
    assert server().limits.bodies_mb == 256
    assert server(gatewayd={"limits": {"body_mb": 1000}}).limits.bodies_mb == 1000
    assert server(gatewayd={"limits": {"body_mb": 8, "bodies_mb": 8}}).limits.bodies_mb == 8
    with pytest.raises(ConfigInvalid, match="bodies_mb"):
        server(gatewayd={"limits": {"body_mb": 8, "bodies_mb": 7}})


@pytest.mark.parametrize(
    ("own", "litellms", "seconds"),
    [
        ({}, None, None),
        ({"keep_alive": 15}, None, 15.0),
        ({"keep_alive": "2.5"}, 9, 2.5),
        ({"keep_alive": "off"}, 9, None),
        ({"keep_alive": False}, 9, None),
        ({}, 9, 9.0),
        ({}, 0, None),
    ],
)
def test_when_a_silent_stream_is_kept_alive(own: dict[str, Any], litellms: int | None, seconds: float | None) -> None:
    made = server(
        gatewayd={"stream": own},
        litellm_settings={"sse_keepalive_ping_interval_seconds": litellms} if litellms is not None else {},
    )
    assert made.stream.keep_alive == seconds


KEY = "sk-0123456789abcdef0123"
MODELS = {"model_list": [{"model_name": "a", "litellm_params": {"model": "openai/a", "mock_response": "hi"}}]}


@pytest.mark.parametrize("section", [{}, {"general_settings": {}}, {"general_settings": {"master_key": None}}])
def test_litellms_variable_is_the_master_key(section: dict[str, Any]) -> None:
    """U-A2: LITELLM_MASTER_KEY is enforced where the file has no master_key, also on other machines' addresses."""
    tree = {**MODELS, **section, "gatewayd": {"listen": "0.0.0.0:4000"}}
    made = ConfigValidator(environ={"LITELLM_MASTER_KEY": KEY}).validate(tree).server
    assert made.master_key is not None
    assert made.master_key.reveal() == KEY
    assert made.master_key_source == "the environment variable LITELLM_MASTER_KEY"
    found = ConfigValidator(environ={"LITELLM_MASTER_KEY": " "}).check(tree).problems
    assert [p.code for p in found] == ["exposed_without_key"]


def test_litellms_variable_may_come_from_the_file() -> None:
    """U-A2"""
    tree = {**MODELS, "environment_variables": {"LITELLM_MASTER_KEY": KEY}}
    made = ConfigValidator(environ={}).validate(tree).server.master_key
    assert made is not None
    assert made.reveal() == KEY


def test_the_files_master_key_wins() -> None:
    """U-A2"""
    tree = {**MODELS, "general_settings": {"master_key": "sk-file-0123456789abcdef"}}
    made = ConfigValidator(environ={"LITELLM_MASTER_KEY": KEY}).validate(tree).server
    assert made.master_key is not None
    assert made.master_key.reveal() == "sk-file-0123456789abcdef"
    assert made.master_key_source == "general_settings.master_key"


@pytest.mark.parametrize(("key", "code"), [("short", "weak_master_key"), (f" {KEY}", "invalid_value")])
def test_a_bad_key_in_litellms_variable(key: str, code: str) -> None:
    """U-A2: the message names the variable and does not show the key."""
    (found,) = ConfigValidator(environ={"LITELLM_MASTER_KEY": key}).check(MODELS).problems
    assert found.code == code
    assert "LITELLM_MASTER_KEY" in found.message
    assert key not in found.as_text()
