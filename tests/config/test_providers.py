from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gatewayd.config import parameters, providers
from gatewayd.config.providers import Provider
from tests.config.ask_litellm import BASE, FIELDS

ROOT = Path(__file__).parents[2]


def known(name: str) -> Provider:
    provider = providers.get(name)
    assert provider is not None
    return provider


FORWARD = sorted(name for name in providers.names() if known(name).kind == "forward")
# Where we differ from litellm on purpose.
NO_CHAT_IN_LITELLM = {"custom_openai", "openai_like", "vllm", "xinference"}
OTHER_WIRE_IN_LITELLM = {"ollama", "ollama_chat", "docker_model_runner", "anthropic", "gemini"}


@pytest.fixture(scope="module")
def litellm_says() -> Any:
    asked = {
        name: {"model": "m1", "keys": known(name).key_env, "bases": known(name).base_env}
        for name in FORWARD
        if name not in NO_CHAT_IN_LITELLM
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.config.ask_litellm"],
        cwd=ROOT,
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", [name for name in FORWARD if name not in NO_CHAT_IN_LITELLM])
def test_litellm_sends_where_we_send(name: str, litellm_says: Any) -> None:
    """An upgrade of litellm that moves a provider, or renames its variables, is seen here."""
    ours, said = known(name), litellm_says[name]
    endpoint = "/completions" if name == "text-completion-openai" else "/chat/completions"
    if name in OTHER_WIRE_IN_LITELLM:
        # For Google's newest models litellm asks v1alpha, and it takes a model that it does not know for one of them.
        version = "beta" if name == "gemini" else "/v1"
        assert said["plain"]["url"].startswith((ours.api_base or "").removesuffix(version))
    elif ours.api_base is not None:
        assert said["plain"]["url"] == ours.api_base + endpoint
    assert [sent["key"] for sent in said["keys"]] == [f"key-{variable}" for variable in ours.key_env]
    for variable, sent in zip(ours.base_env, said["bases"], strict=True):
        assert sent["url"].startswith(f"{BASE}{variable}/")
        if name not in OTHER_WIRE_IN_LITELLM and name != "azure":
            assert sent["url"] == f"{ours.base_url(BASE + variable)}{endpoint}"


@pytest.mark.parametrize(
    "name", [n for n in FORWARD if n not in NO_CHAT_IN_LITELLM | OTHER_WIRE_IN_LITELLM | {"text-completion-openai"}]
)
def test_litellm_renames_the_fields_we_rename(name: str, litellm_says: Any) -> None:
    body = next(sent["body"] for sent in (litellm_says[name]["plain"], *litellm_says[name]["keys"]) if sent)
    renames = dict(parameters.of(name, "m1").renames)
    for field, value in FIELDS.items():
        found = {key for key, sent in body.items() if sent == value}
        assert found <= {renames.get(field, field)}  # empty: litellm drops it, because the provider would refuse it


def test_the_providers_of_the_issue_are_forwarded() -> None:
    asked = "openai azure hosted_vllm ollama llamafile lm_studio groq together_ai deepseek mistral openrouter xai"
    assert set(asked.split()) <= set(FORWARD)


@pytest.mark.parametrize("name", ["vertex_ai", "bedrock", "cohere", "azure_ai", "fireworks_ai"])
def test_wires_of_their_own_are_translated(name: str) -> None:
    assert known(name).kind == "translate"


def test_an_entry_of_the_json_file_that_reshapes_is_translated() -> None:
    assert known("publicai").kind == "translate"  # special_handling: content lists become text
    assert known("poe").kind == "forward"
    assert known("poe").renames == (("max_completion_tokens", "max_tokens"),)


def test_unknown_names() -> None:
    assert providers.get("no-such-provider") is None
    assert "no-such-provider" not in providers.names()
    assert {"openai", "anthropic", "poe", "azure"} <= providers.names()


@pytest.mark.parametrize(
    ("model", "custom", "expected"),
    [
        ("groq/llama-3", None, ("groq", "llama-3")),
        ("openai/gpt-4", None, ("openai", "gpt-4")),
        ("openrouter/anthropic/claude-3.5-sonnet", None, ("openrouter", "anthropic/claude-3.5-sonnet")),
        ("openrouter/auto", None, ("openrouter", "openrouter/auto")),
        ("together_ai/meta-llama/Llama-3-8b", None, ("together_ai", "meta-llama/Llama-3-8b")),
        ("ollama/llama3:8b", None, ("ollama", "llama3:8b")),
        ("azure/o_series/my-deployment", None, ("azure", "my-deployment")),
        ("bedrock/us.anthropic.claude-x", None, ("bedrock", "us.anthropic.claude-x")),
        ("poe/gpt", None, ("poe", "gpt")),
        ("openai/*", None, ("openai", "*")),
        ("*", None, ("openai", "*")),
        ("gpt-4o", None, ("openai", "gpt-4o")),
        ("gpt-9-not-yet-known", None, ("openai", "gpt-9-not-yet-known")),
        ("text-embedding-3-small", None, ("openai", "text-embedding-3-small")),
        ("babbage-002", None, ("text-completion-openai", "babbage-002")),
        ("claude-3-opus", None, ("anthropic", "claude-3-opus")),
        ("claude-sonnet-4-5", None, ("anthropic", "claude-sonnet-4-5")),
        ("gemini-2.5-flash", None, ("vertex_ai", "gemini-2.5-flash")),
        ("command-r-08-2024", None, ("cohere_chat", "command-r-08-2024")),
        ("anthropic.claude-9", None, ("bedrock", "anthropic.claude-9")),
        ("gpt-oss-120b", None, None),
        ("meta-llama/Llama-3", None, None),
        ("my-model", None, None),
        ("", None, None),
        ("meta-llama/Llama-3", "openai", ("openai", "meta-llama/Llama-3")),
        ("groq/llama-3", "groq", ("groq", "llama-3")),
        ("groq/llama-3", "openai", ("openai", "groq/llama-3")),
        ("x", "no-such-provider", ("no-such-provider", "x")),
    ],
)
def test_split(model: str, custom: str | None, expected: tuple[str, str] | None) -> None:
    assert providers.split_model(model, custom) == expected


@pytest.mark.parametrize(
    ("name", "configured", "expected"),
    [
        ("groq", None, "https://api.groq.com/openai/v1"),
        ("groq", "http://proxy/v1/", "http://proxy/v1"),
        ("openai", "http://h/v1/chat/completions", "http://h/v1"),
        ("ollama", "http://gpu-box:11434", "http://gpu-box:11434/v1"),
        ("ollama", "http://gpu-box:11434/v1/", "http://gpu-box:11434/v1"),
        ("hosted_vllm", None, None),
        ("anthropic", None, "https://api.anthropic.com/v1"),
        ("anthropic", "http://h", "http://h/v1"),
        ("anthropic", "http://h/v1/messages", "http://h/v1"),
        ("cohere", "http://h", "http://h"),
        ("openai", "http://h/v1/embeddings", "http://h/v1"),
        ("openai", "http://h/v1/completions/", "http://h/v1"),
        ("azure", "https://r/openai/deployments/d/chat/completions?v=1", "https://r/openai/deployments/d?v=1"),
        ("azure", "https://r/openai/responses?api-version=1", "https://r/openai?api-version=1"),
        ("ollama", "http://h:11434?a=b", "http://h:11434/v1?a=b"),
    ],
)
def test_base_url(name: str, configured: str | None, expected: str | None) -> None:
    """U-B14: addresses as a provider's console shows them, with an endpoint and a version at their end."""
    assert known(name).base_url(configured) == expected


@pytest.mark.parametrize(
    ("name", "configured", "expected"),
    [
        ("openai", None, ("OPENAI_API_KEY",)),
        ("openai", "https://api.openai.com/v1/", ("OPENAI_API_KEY",)),
        ("openai", "http://somewhere.else/v1", ()),
        ("anthropic", None, ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN")),
        ("anthropic", "http://somewhere.else", ()),
        ("custom_openai", "http://somewhere.else/v1", ()),
        ("hosted_vllm", "http://gpu-box/v1", ("HOSTED_VLLM_API_KEY",)),
        ("azure", "https://me.openai.azure.com", ("AZURE_OPENAI_API_KEY", "AZURE_API_KEY")),
        ("azure_ai", "https://me.services.ai.azure.com", ("AZURE_AI_API_KEY",)),
        ("bedrock", None, ()),
    ],
)
def test_a_companys_key_goes_to_its_own_host_only(name: str, configured: str | None, expected: tuple[str, ...]) -> None:
    """F10: litellm sends OPENAI_API_KEY to whatever `api_base` says."""
    assert known(name).key_variables(configured) == expected


@pytest.mark.parametrize(
    ("provider", "model", "expected"),
    [
        ("openrouter", "*", "*"),
        ("openrouter", "anthropic/*", "anthropic/*"),
        ("openrouter", "anthropic/claude-x", "anthropic/claude-x"),
        ("openrouter", "auto", "openrouter/auto"),
        ("azure", "o_series/mine", "mine"),
        ("groq", "openai/gpt-oss-120b", "openai/gpt-oss-120b"),
    ],
)
def test_own_name(provider: str, model: str, expected: str) -> None:
    """U-A9: of a pattern the name is known only when it is filled in."""
    assert providers.own_name(provider, model) == expected


def test_catalogue() -> None:
    entry = providers.catalogue("openai", "gpt-4o")
    assert entry is not None
    assert entry["mode"] == "chat"
    assert entry["max_input_tokens"] == 128_000
    assert entry["input_cost_per_token"] > 0
    assert providers.catalogue("anthropic", "gpt-4o") is None
    assert providers.catalogue("azure", "gpt-4o") is not None
    assert providers.catalogue("bedrock", "us.anthropic.claude-opus-4-6-v1") is not None
    assert providers.catalogue("openai", "no-such-model") is None


def run(code: str, *options: str) -> str:
    done = subprocess.run([sys.executable, *options, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout


def test_it_works_without_litellm() -> None:
    code = (
        "import importlib.util as u; find = u.find_spec\n"
        "u.find_spec = lambda name: None if name == 'litellm' else find(name)\n"
        "from gatewayd.config import providers as p\n"
        "print(p.split_model('groq/x'), p.split_model('gpt-4o'), "
        "p.get('cohere').kind, p.catalogue('openai', 'gpt-4o'))"
    )
    assert run(code).strip() == "('groq', 'x') ('openai', 'gpt-4o') translate None"


def test_asking_does_not_import_litellm() -> None:
    code = (
        "import sys; from gatewayd.config import providers as p\n"
        "p.names(), p.split_model('gpt-4o'), p.catalogue('openai', 'gpt-4o'); print('litellm' in sys.modules)"
    )
    assert run(code).strip() == "False"
