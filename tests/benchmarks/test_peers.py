"""The files that gateways are configured with."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from benchmarks import nginx, reload
from benchmarks.contestants import PEERS
from benchmarks.peers import Upstream, Wire, model_list
from gatewayd.config.validator import ConfigValidator


def test_names_are_unique() -> None:
    assert len({peer.name for peer in PEERS}) == len(PEERS)


@pytest.mark.parametrize("wire", ["openai", "anthropic"])
def test_the_shared_file_is_valid_for_gatewayd(wire: Wire) -> None:
    result = ConfigValidator(environ={}).check(yaml.safe_load(model_list(Upstream(9000, wire))))
    assert result.snapshot is not None
    assert {deployment.kind for deployment in result.snapshot.deployments} == {"forward"}
    dialect = "chat" if wire == "openai" else "messages"
    assert all(dialect in deployment.dialects for deployment in result.snapshot.deployments)
    assert len(result.snapshot.deployments) == 3


def test_the_file_of_the_reload_case_changes_where_it_should() -> None:
    def deployments(one: int, every: int) -> list[dict[str, object]]:
        text = reload.configuration(20, Upstream(9000), 4000, 4001, one=one, every=every)
        result = ConfigValidator(environ={}).check(yaml.safe_load(text))
        assert result.snapshot is not None
        assert [problem for problem in result.problems if problem.severity == "error"] == []
        loaded: list[dict[str, object]] = yaml.safe_load(text)["model_list"]
        return loaded

    base = deployments(0, 0)
    assert len(base) == 20
    assert [a == b for a, b in zip(base, deployments(1, 0), strict=True)] == [False] + [True] * 19
    assert not any(a == b for a, b in zip(base, deployments(0, 1), strict=True))


def test_nginx_configurations_are_balanced_and_quote_the_answer(tmp_path: Path) -> None:
    for text in (nginx.mock(tmp_path, 9000), nginx.proxy(tmp_path, 9001, "127.0.0.1:9000", buffering=False)):
        assert "daemon off;" in text
        assert str(tmp_path) in text
    assert "\\\\n" in nginx.mock(tmp_path, 9000)  # the answer holds escaped newlines
    assert "proxy_buffering off;" in nginx.proxy(tmp_path, 9001, "127.0.0.1:9000", buffering=False)
