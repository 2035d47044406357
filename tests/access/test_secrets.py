"""What the log's redactor is told."""

from __future__ import annotations

from types import MappingProxyType

from gatewayd.access.secrets import secrets_by_part
from gatewayd.config.snapshot import Deployment, ServerSettings, Snapshot
from gatewayd.secret import Secret


def test_every_secret_of_a_snapshot_is_found_however_deep() -> None:
    """D-02"""
    deployment = Deployment(
        id="d1",
        identity="i",
        group="g",
        kind="forward",
        provider="openai",
        model="m",
        api_base="http://upstream.example/v1",
        api_key=Secret("the-api-key"),
        extra_headers={"x-auth": Secret("the-header")},
        litellm_params=MappingProxyType({"aws": [{"secret": Secret("the-deep-one")}], "region": "eu"}),
        params={"temperature": 1},
    )
    snapshot = Snapshot(
        "r",
        (deployment,),
        server=ServerSettings(master_key=Secret("the-master")),
        environment={"OPENAI_API_KEY": "the-env-key", "HF_TOKEN": "the-token", "LANG": "C.UTF-8"},
    )
    assert {text for part in secrets_by_part(snapshot) for text in part} == {
        "the-api-key", "the-header", "the-deep-one", "the-master", "the-env-key", "the-token",
    }  # fmt: skip
