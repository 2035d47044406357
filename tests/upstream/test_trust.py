"""`ssl_verify`: whose certificates an upstream may show, from the file to the connection."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gatewayd.config.snapshot import Deployment, Trust
from gatewayd.config.validator import ConfigValidator
from gatewayd.errors import ConfigurationError, UpstreamTls
from gatewayd.upstream.forward import ForwardUpstream
from gatewayd.upstream.litellm.translate import TranslateUpstream
from tests.certificates import Authority
from tests.fakeup import FakeUpstream, json_reply
from tests.stand_ins import cohere
from tests.test_daemon import chat, running
from tests.upstream.doubles import call, deployment
from tests.upstream.litellm.translating import KNOWN_WARNINGS, MESSAGES, WAYS

pytestmark = KNOWN_WARNINGS


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    made = Authority(tmp_path)
    (tmp_path / "ca.pem").write_text(made.pem)
    return made


def configured(model: str, base: str, folder: Path, **sections: Any) -> Deployment:
    params = {"model": model, "api_base": base, "api_key": "sk-upstream-canary", **sections.pop("params", {})}
    file = folder / "gatewayd.yaml"
    file.write_text(repr({"model_list": [{"model_name": "a", "litellm_params": params}], **sections}))
    return ConfigValidator(environ={}).validate(file).deployments[0]


SETTINGS: list[dict[str, Any]] = [
    {"params": {"ssl_verify": False}},
    {"params": {"ssl_verify": "false"}},
    {"params": {"ssl_verify": "ca.pem"}},
    {"litellm_settings": {"ssl_verify": False}},
    {"litellm_settings": {"ssl_verify": "ca.pem"}},
    {"litellm_settings": {"ssl_verify": True}, "params": {"ssl_verify": "ca.pem"}},
    {"router_settings": {"default_litellm_params": {"ssl_verify": False}}},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
async def test_a_forwarded_call(settings: dict[str, Any], authority: Authority, tmp_path: Path) -> None:
    """U-A4"""
    async with FakeUpstream(json_reply({"choices": [{}]}), tls=authority.server("localhost")) as up:
        forward = ForwardUpstream(configured("openai/m", up.base_url, tmp_path, **dict(settings)))
        assert (await forward.open(call())).status == 200
        await forward.aclose()


@WAYS
@pytest.mark.parametrize("settings", [{"params": {"ssl_verify": False}}, {"params": {"ssl_verify": "ca.pem"}}], ids=str)
async def test_a_translated_call(settings: dict[str, Any], direct: bool, authority: Authority, tmp_path: Path) -> None:
    """U-A4"""
    async with FakeUpstream(cohere.answer, tls=authority.server("localhost")) as up:
        model, base = "cohere_chat/command-r", cohere.chat_url(up)
        made = TranslateUpstream(configured(model, base, tmp_path, **dict(settings)), direct=direct)
        assert (await made.open(call(messages=MESSAGES))).status == 200
        await made.aclose()


@pytest.mark.parametrize(
    "settings", [{}, {"litellm_settings": {"ssl_verify": False}, "params": {"ssl_verify": True}}], ids=str
)
async def test_certificates_are_checked_otherwise(
    settings: dict[str, Any], authority: Authority, tmp_path: Path
) -> None:
    """U-A4, A-33: by default, and where the deployment says so itself."""
    async with FakeUpstream(json_reply({}), tls=authority.server("localhost")) as up:
        forward = ForwardUpstream(configured("openai/m", up.base_url, tmp_path, **dict(settings)))
        with pytest.raises(UpstreamTls):
            await forward.open(call())
        assert up.requests == []
        await forward.aclose()


async def test_a_file_of_authorities_replaces_the_systems(authority: Authority, tmp_path: Path) -> None:
    """U-A4: and hosts are compared still."""
    (tmp_path / "other").mkdir()
    for server in (Authority(tmp_path / "other").server("localhost"), authority.server("elsewhere.example")):
        async with FakeUpstream(json_reply({}), tls=server) as up:
            forward = ForwardUpstream(
                configured("openai/m", up.base_url, tmp_path, params={"ssl_verify": str(tmp_path / "ca.pem")})
            )
            with pytest.raises(UpstreamTls):
                await forward.open(call())
            await forward.aclose()


def test_a_file_that_went_away_is_an_error_of_the_configuration(tmp_path: Path) -> None:
    """U-A4: between the check and the building of the deployment."""
    made = deployment("https://localhost/v1", trust=Trust(ca_file=str(tmp_path / "gone.pem")))
    with pytest.raises(ConfigurationError, match="ssl_verify"):
        ForwardUpstream(made)


async def test_a_new_file_of_authorities_goes_live(authority: Authority, tmp_path: Path) -> None:
    """U-A4: the file is watched, and another content makes new connections."""
    (tmp_path / "other").mkdir()
    (tmp_path / "ca.pem").write_text(Authority(tmp_path / "other").pem)
    file = tmp_path / "gatewayd.yaml"
    async with FakeUpstream(json_reply({"choices": [{}]}), tls=authority.server("localhost")) as up:
        params = {"model": "openai/m", "api_base": up.base_url, "api_key": "none", "ssl_verify": "ca.pem"}
        own = {"listen": "127.0.0.1:0", "admin": "off"}
        text = {"model_list": [{"model_name": "a", "litellm_params": params}], "gatewayd": own}
        file.write_text(repr(text))
        async with running(str(file)) as daemon:
            assert str(tmp_path / "ca.pem") in daemon.gateway.current.snapshot.files
            assert await chat(daemon, "a") == 502
            (tmp_path / "ca.pem").write_text(authority.pem)
            outcome = await daemon.reloader.reload("test")
            assert "ssl_verify" in str(outcome)
            assert await chat(daemon, "a") == 200
