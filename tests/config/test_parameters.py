"""The table of parameters, held against what the installed litellm does with every provider that is forwarded to."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gatewayd.config import parameters, providers
from gatewayd.upstream.rewrite import Rewriter
from tests.config.ask_litellm_parameters import MESSAGES, PROBES
from tests.upstream.doubles import call, deployment

ROOT = Path(__file__).parents[2]
FORWARD = sorted(name for name in providers.names() if (one := providers.get(name)) and one.kind == "forward")
FAMILIES = {
    "openai": [
        "gpt-4o", "gpt-4", "gpt-3.5-turbo", "gpt-4.1-mini", "gpt-5", "gpt-5-mini", "gpt-5.1", "gpt-5.2", "gpt-5.4-mini",
        "gpt-5.5", "gpt-6-sol", "gpt-6.1-sol", "gpt-5-chat-latest", "gpt-5.1-chat-latest", "gpt-5-codex",
        "gpt-5-search-api", "o1", "o3-mini", "o4-mini", "o1-mini", "ft:gpt-4o", "m1",
    ],
    "azure": [
        "gpt-4o", "gpt-35-turbo", "gpt-5", "gpt-5.1", "gpt-5.2", "gpt-5.4-mini", "gpt-5.5", "gpt-6-sol", "gpt-5-chat",
        "my-gpt-5", "o1", "o3-mini", "o4-mini", "o_series/mine", "gpt5_series/mine", "m1",
    ],
}  # fmt: skip
"""Representative models; of all others in litellm's price table those that it treats in another way are asked too."""


NATIVE = {"ollama", "ollama_chat", "anthropic", "gemini"}
"""litellm speaks Ollama's own API; gatewayd forwards to the one of OpenAI's form. Anthropic's and Gemini's APIs are
dialects."""
NO_CHAT = {"text-completion-openai"}
NO_CHAT_IN_LITELLM = {"openai_like", "vllm"}

EFFORT = ("reasoning_effort",)
TOOLS = ("tools", "tool_choice", "parallel_tool_calls", "functions", "function_call")
DIFFERENCES: dict[str, tuple[str, tuple[str, ...]]] = {
    "OpenAI's API takes it; litellm keeps it for its own logs": ("(openai|azure|litellm_proxy)/", ("metadata",)),
    "the gateway behind knows what to do with it": ("litellm_proxy/", ("context_management",)),
    "the API takes it for every model; litellm asks whether its price table has the name": (
        "(openai|azure)/",
        ("user",),
    ),
    "without its tools a call gets a wrong answer; litellm drops those of models that its price table does not know": (
        f"({'|'.join(sorted(name for name in FORWARD if not parameters.has_row(name)))}|sambanova)/",
        TOOLS,
    ),
    "hosts of open models: some models take it, others ignore it; litellm asks its price table for each": (
        f"({'|'.join(sorted(name for name in FORWARD if not parameters.has_row(name)))}"
        "|aiml|deepinfra|together_ai|wandb)/",
        EFFORT,
    ),
    "the API takes it, and without it a stream has no usage; litellm counts the tokens itself": (
        "(cerebras|deepinfra|hyperbolic|nvidia_nim)/",
        ("stream_options",),
    ),
    "a limit must not vanish: the API has it under the older name": ("(hyperbolic|zai)/", ("max_completion_tokens",)),
    "the API has fields of both kinds; a value is not made into another field": (
        "(deepseek|hosted_vllm|vllm)/",
        ("thinking", *EFFORT),
    ),
    "litellm gathers the stream itself; what is sent is the same": ("groq/", ("response_format",)),
    "litellm makes a tool of it": ("groq/openai/gpt-oss", ("web_search_options",)),
    "litellm writes a prompt instead": ("mistral/magistral", ("thinking", *EFFORT)),
    "Azure's models are named after OpenAI's; litellm reads flags that its price table has for some": (
        "azure/(eu/)?gpt-5",
        ("temperature", "top_p", *EFFORT),
    ),
    "o-series by its name; litellm asks its price table, which has not all of them": (
        "openai/o1-(mini|2024-12-17)",
        ("max_tokens", "temperature", "top_p", "presence_penalty", "frequency_penalty", "logprobs", "top_logprobs",
         "parallel_tool_calls", *EFFORT),
    ),
    "a model of this name takes tool_choice; litellm's price table does not say so": (
        "openai/gpt-5.5-cyber",
        ("tool_choice",),
    ),
    "all models of this host search": ("perplexity/m1", ("web_search_options",)),
    "newer models of this host take it, and they are what is new": ("zai/m1", ("thinking",)),
}  # fmt: skip
"""Where gatewayd does not do what litellm does: reason → (pattern of provider/model, fields)."""


def ours(provider: str, model: str, fields: dict[str, Any], *, endpoint: str = "chat/completions") -> Any:
    one = deployment("http://a", provider=provider, model=model, drop_params=True)
    sent = json.loads(Rewriter(one).body(call({**fields, "model": model}, endpoint=endpoint), model))
    del sent["model"]
    return sent


@pytest.fixture(scope="module")
def litellm_says() -> Any:
    def models(provider: str) -> list[str]:
        found = providers.models(provider)
        return [m for m in found if (providers.catalogue(provider, m) or {}).get("mode") in ("chat", None)]

    asked = {name: (FAMILIES.get(name, ["m1"]), models(name)) for name in FORWARD}
    done = subprocess.run(
        [sys.executable, "-m", "tests.config.ask_litellm_parameters"],
        cwd=ROOT,
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def reasons(full: str, probe: dict[str, Any]) -> list[str]:
    return [
        reason
        for reason, (pattern, fields) in DIFFERENCES.items()
        if re.match(pattern, full) and not probe.keys().isdisjoint(fields)
    ]


def test_litellm_sends_what_we_send(litellm_says: Any) -> None:
    """U-A5, U-A6: every difference from litellm's mapping has a reason beside it, and every reason a difference."""
    unexplained, used = [], set()
    for provider, said in litellm_says.items():
        if provider in NATIVE | NO_CHAT:
            continue
        for model, answers in said["models"].items():
            for probe, theirs in zip(PROBES, answers, strict=True):
                if (sent := ours(provider, model, probe)) == theirs:
                    continue
                found = reasons(f"{provider}/{model}", probe)
                used.update(found)
                if not found:
                    unexplained.append(f"{provider}/{model} {probe}: we send {sent}, litellm {theirs}")
    assert unexplained == []
    assert set(DIFFERENCES) - used == set()


def test_a_completions_api_gets_no_chat_fields(litellm_says: Any) -> None:
    """U-A5: litellm's row for OpenAI's completions is what any completions API takes."""
    (answers,) = list(litellm_says["text-completion-openai"]["models"].values())[:1]
    for probe, theirs in zip(PROBES, answers, strict=True):
        sent = ours("text-completion-openai", "m1", probe, endpoint="completions")
        assert sent == theirs or "max_tokens" in theirs, probe


MESSAGE_DIFFERENCES = {
    "OpenAI's API has the role; looking for it in every body would cost a tenth of a request": (
        "(openai|azure|litellm_proxy)", "developer",
    ),
    "as for every other server of this kind; litellm does it for those that its enumeration names": (
        f"({'|'.join(sorted(set(FORWARD) - {'openai', 'azure'}))})", "developer",
    ),
    "an image does not vanish: the API says that it takes none": (
        "(deepseek|docker_model_runner|sambanova)", "image",
    ),
    "vLLM takes parts": ("hosted_vllm", "texts of a model"),
    "litellm sends the parts as JSON text": ("deepinfra", "texts of a tool"),
}  # fmt: skip


def test_litellm_sends_the_messages_we_send(litellm_says: Any) -> None:
    """U-B13: roles and content lists, per provider."""
    unexplained, used = [], set()
    for provider, said in litellm_says.items():
        if provider in NATIVE | NO_CHAT | NO_CHAT_IN_LITELLM:
            continue
        for name, theirs in said["messages"].items():
            model = next(iter(said["models"]))
            if (sent := ours(provider, model, {"messages": MESSAGES[name]})["messages"]) == theirs:
                continue
            found = [
                r
                for r, (pattern, what) in MESSAGE_DIFFERENCES.items()
                if what == name and re.fullmatch(pattern, provider)
            ]
            used.update(found[:1])
            if not found:
                unexplained.append(f"{provider} {name}: we send {sent}, litellm {theirs}")
    assert unexplained == []
    assert set(MESSAGE_DIFFERENCES) - used == set()


def test_every_row_is_of_a_provider_that_is_forwarded() -> None:
    assert {name for name in providers.names() if parameters.has_row(name)} <= set(FORWARD)


def test_a_provider_without_a_row_is_one_of_the_listed_servers() -> None:
    row = parameters.of("poe", "any")
    assert row.renames == (("max_completion_tokens", "max_tokens"),)
    assert "tools" not in row.refuses
    assert parameters.of("meta", "any").renames == ()


@pytest.mark.parametrize(
    ("values", "refused"),
    [
        ({"temperature": 0.5}, set()),
        ({"temperature": 0.5, "reasoning_effort": "none"}, set()),
        ({"temperature": 0.5, "reasoning_effort": "low"}, {"temperature"}),
        ({"temperature": 1, "top_p": 0.5, "reasoning_effort": {"effort": "low"}}, {"top_p"}),
        ({"temperature": 0.5, "reasoning_effort": "minimal"}, {"reasoning_effort"}),
    ],
)
def test_what_a_model_takes_only_while_it_does_not_reason(values: dict[str, Any], refused: set[str]) -> None:
    assert parameters.of("openai", "gpt-5.1").refused_by_value(values) == refused


def test_the_table_is_part_of_the_package() -> None:
    """U-A5: the wheel holds it, as everything below gatewayd/."""
    assert (Path(parameters.__file__).parent / "parameters.toml").is_file()
    assert 'packages = ["gatewayd"]' in (ROOT / "pyproject.toml").read_text()
