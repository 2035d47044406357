"""Which texts can be the base URL of an API."""

from __future__ import annotations

import pytest

from gatewayd.urls import url_problem


@pytest.mark.parametrize(
    "text",
    [
        "https://api.openai.com/v1",
        "http://127.0.0.1:8000",
        "http://[::1]:8000/v1/",
        "https://host/openai/deployments/x?api-version=1",
        "http://vllm.models.svc.cluster.local:8000/v1",
        "HTTPS://HOST/v1",
    ],
)
def test_valid_base_urls(text: str) -> None:
    assert url_problem(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "", "localhost:8000", "/v1", "ftp://host", "http://", "http:///v1", "http://host:0/", "http://host:99999/",
        "http://[::1", "http://u:p@host/", "http://u@host/", "http://host/a b", "http://host/\n", "http://host/#x",
        "http://ho\x00st/", "http://{host}/v1", "file:///etc/passwd",
    ],
)  # fmt: skip
def test_invalid_base_urls_are_not_repeated(text: str) -> None:
    problem = url_problem(text)
    assert problem
    assert len(text) < 8 or text not in problem
