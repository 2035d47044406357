"""Which deployment gets requests to paths that gatewayd does not serve."""

from __future__ import annotations

import pytest

from gatewayd.config.snapshot import Deployment, ServerSettings
from gatewayd.web.passing import destination
from tests.web.support import serving_deployments


def deployment(id: str, provider: str, group: str = "chat", base: str = "http://127.0.0.1:9/v1") -> Deployment:
    return Deployment(id, id, group, "forward", provider, "m", api_base=base)


LIST = (
    deployment("o", "openai"),
    deployment("c", "anthropic", "claude"),
    deployment("z", "azure", "azure", "http://127.0.0.1:9"),
    deployment("g", "groq", "groq", "http://127.0.0.1:9/openai/v1"),
)


@pytest.mark.parametrize(
    ("names", "method", "path", "expected"),
    [
        (("o", "claude"), "GET", "/v1/files", ("o", "/files")),
        (("claude", "o"), "GET", "/v1/files", ("c", "/files")),
        (("o",), "GET", "/files/x", ("o", "/files/x")),
        (("o",), "GET", "/v1/new/thing", ("o", "/new/thing")),
        (("o",), "HEAD", "/v1/files", ("o", "/files")),
        (("o", "claude"), "GET", "/openai/v1/files", ("o", "/files")),
        (("claude", "z"), "GET", "/openai/files", ("z", "/files")),
        (("o", "claude"), "POST", "/anthropic/v1/messages/batches", ("c", "/messages/batches")),
        (("o", "groq"), "GET", "/groq/openai/v1/files", ("g", "/files")),
        (("o",), "GET", "/anthropic/v1/models", None),
        (("o",), "GET", "/other/x", None),
        (("o",), "GET", "/openai", None),
        (("o",), "GET", "/", None),
        (("o",), "OPTIONS", "/v1/files", None),
        (("o",), "GET", "/v1/../files", None),
        (("gone",), "GET", "/v1/files", None),
        ((), "GET", "/v1/files", None),
    ],
)
async def test_where_a_request_is_passed(
    names: tuple[str, ...], method: str, path: str, expected: tuple[str, str] | None
) -> None:
    async with serving_deployments(*LIST, server=ServerSettings(pass_through=names)) as site:
        found = destination(site.gateway.current, method, path)
    assert (None if found is None else (found.deployment, found.path)) == expected


async def test_a_translated_deployment_passes_if_its_provider_is_asked_as_it_is() -> None:
    translated = [
        Deployment(name, name, name, "translate", name, "m", api_base="http://127.0.0.1:9/v1", dialects=dialects)
        for name, dialects in (("anthropic", ("chat", "messages")), ("cohere", ("chat",)))
    ]
    async with serving_deployments(*translated, server=ServerSettings(pass_through=("anthropic", "cohere"))) as site:
        assert destination(site.gateway.current, "GET", "/anthropic/v1/files") is not None
        assert destination(site.gateway.current, "GET", "/cohere/v1/models") is None


async def test_a_group_of_several_deployments_is_nobody() -> None:
    several = (deployment("a", "openai"), deployment("b", "openai"))
    async with serving_deployments(*several, server=ServerSettings(pass_through=("chat",))) as site:
        assert destination(site.gateway.current, "GET", "/v1/files") is None
