"""Every key that the installed litellm reads is known here, working or not, so that none is called a typo.

litellm's source is read as text: importing it takes seconds.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest

from gatewayd.config.checks.deployments import _HANDED_ON_PREFIXES
from gatewayd.config.checks.keys import _PROVIDER_PREFIXES, standing
from gatewayd.config.schema import callbacks
from gatewayd.config.schema.base import Section, family, known, unused
from gatewayd.config.schema.deployment import LitellmParams
from gatewayd.config.schema.general import GeneralSettings
from gatewayd.config.schema.litellm import LitellmSettings
from gatewayd.config.schema.root import Root
from gatewayd.config.schema.router import RouterSettings
from gatewayd.config.tables import table

_spec = importlib.util.find_spec("litellm")
assert _spec is not None
assert _spec.origin is not None
LITELLM = Path(_spec.origin).parent

# Attributes of the module that are not settings: clients, tables, functions and other inner things.
INNER = {
    "adapters", "blog_posts_url", "initialized_langfuse_clients", "models_by_provider", "prompt_name_config_map",
    "secret_manager_client", "model_list_set", "azure_llms", "autorouter_presets_url",
    "credential_list", "callback_settings", "model_list",  # sections of the file: check says so
}  # fmt: skip

# What litellm's functions are given by litellm itself, or by programs, and no file holds.
OF_PROGRAMS = {
    "acompletion", "aembedding", "aimg_generation", "allm_passthrough_route", "async_call", "atext_completion", "azure",
    "azure_ad_token_provider", "client", "client_side_timeout", "completion_call_id", "litellm_call_id",
    "litellm_logging_obj", "litellm_trusted_callback_vars", "model_file_id_mapping", "model_list",
    "proxy_server_request", "secret_fields", "shared_session", "text_completion", "use_client", "attempted_targets",
    "fallback_depth",
}  # fmt: skip


def source(name: str) -> ast.Module:
    return ast.parse((LITELLM / name).read_text(encoding="utf-8"))


def fields(module: ast.Module, name: str) -> Iterator[str]:
    for node in ast.walk(module):
        if isinstance(node, ast.ClassDef) and node.name == name:
            for line in node.body:
                if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
                    yield line.target.id


def looked_up(section: str) -> Iterator[str]:
    """Names in `general_settings.get("NAME")` and `general_settings["NAME"]` of the proxy."""
    pattern = re.compile(section + r'(?:\.get\(|\[)\s*"([a-z_0-9]+)"')
    for path in (LITELLM / "proxy").rglob("*.py"):
        yield from pattern.findall(path.read_text(encoding="utf-8"))


def unknown(section: type[Section], names: set[str]) -> list[str]:
    return sorted(name for name in names - known(section) if family(section, name) is None)


def test_general_settings() -> None:
    names = set(fields(source("proxy/_types.py"), "ConfigGeneralSettings")) | set(looked_up("general_settings"))
    assert len(names) > 100
    assert unknown(GeneralSettings, names) == []


def test_router_settings() -> None:
    arguments: set[str] = set()
    for node in ast.walk(source("router.py")):
        if isinstance(node, ast.ClassDef) and node.name == "Router":
            init = next(line for line in node.body if isinstance(line, ast.FunctionDef) and line.name == "__init__")
            arguments = {argument.arg for argument in init.args.args}
    assert len(arguments) > 40
    for_programs = {
        "self",
        "model_list",
        "fallback_access_check",
        "fallback_budget_check",
        "auto_router_capability_limit",
    }
    assert unknown(RouterSettings, arguments - for_programs) == []


def test_litellm_settings() -> None:
    names = set(looked_up("litellm_settings"))
    text = (LITELLM / "proxy/proxy_server.py").read_text(encoding="utf-8")
    loading = text[text.index('litellm_settings = config.get("litellm_settings", None)') :]
    handled = re.findall(r'if key == "([a-z_]+)"', loading[: loading.index("## GENERAL SERVER SETTINGS")])
    assert len(handled) > 20
    names |= set(handled)  # keys of its own that are no attributes
    for line in source("__init__.py").body:
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
            names.add(line.target.id)
    settings = {n for n in names if n.islower() and not n.startswith("_") and not n.endswith("_models")}
    assert len(settings) > 100
    assert unknown(LitellmSettings, settings - INNER) == []


def test_sections_of_the_file() -> None:
    """U-D11: every top-level section that litellm's proxy reads."""
    text = (LITELLM / "proxy/proxy_server.py").read_text(encoding="utf-8")
    names = set(re.findall(r'(?<![a-z_])config(?:\.get\(|\[)\s*"([a-z_]+)"', text))
    assert len(names) > 20
    assert unknown(Root, names - {"force_reload", "interval_hours"}) == []  # a config of the database


@pytest.mark.parametrize(
    ("section", "name", "reason"),
    [
        (GeneralSettings, "otel", "callbacks"),
        (GeneralSettings, "alerting", "alerts"),
        (GeneralSettings, "use_redis_transaction_buffer", "counters"),
        (LitellmSettings, "otel", "callbacks"),
        (LitellmSettings, "disable_end_user_cost_tracking", "costs"),
        (LitellmSettings, "enable_end_user_cost_tracking_prometheus_only", "costs"),
        (LitellmSettings, "modify_params", "does not rewrite"),
        (LitellmSettings, "openrouter_key", "for each deployment"),
        (LitellmSettings, "huggingface_key", "for each deployment"),
        (LitellmSettings, "model_alias_map", "model_group_alias"),
        (LitellmSettings, "global_gitlab_config", "prompts"),
        (RouterSettings, "ignore_invalid_deployments", "on_invalid_deployment"),
        (Root, "files_settings", "no such endpoint"),
        (Root, "mcp_servers", "MCP"),
    ],
)
def test_reason(section: type[Section], name: str, reason: str) -> None:
    """U-D11: the reason is about the key."""
    assert standing(section, name)[0] == "ignored"
    assert reason in standing(section, name)[1]


def test_litellm_params() -> None:
    module = source("types/router.py")
    names = {name for cls in ("GenericLiteLLMParams", "CredentialLiteLLMParams") for name in fields(module, cls)}
    assert len(names) > 50
    left = [name for name in unknown(LitellmParams, names) if not name.startswith(_PROVIDER_PREFIXES)]
    assert left == []


def test_what_litellm_keeps_for_itself() -> None:
    """Every argument that litellm takes out of a call before it reaches the provider has a meaning here or none: it
    must not go upstream as a parameter of the model's."""
    module = source("types/utils.py")
    names = set(runpy.run_path(str(LITELLM / "types/litellm_params.py"))["OWNED_KWARG_NAMES"])
    for cls in ("StandardCallbackDynamicParams", "MirroredPricingParams", "CustomPricingLiteLLMParams"):
        names |= set(fields(module, cls))
    assert len(names) > 200
    left = [
        name for name in unknown(LitellmParams, names - OF_PROGRAMS) if not name.startswith(("_", *_HANDED_ON_PREFIXES))
    ]
    assert left == []


def literals(module: ast.AST) -> Iterator[str]:
    yield from (node.value for node in ast.walk(module) if isinstance(node, ast.Constant) and type(node.value) is str)


def test_every_guarding_callback_of_litellm_is_known() -> None:
    """U-A3: what `litellm_settings.callbacks` makes of a name, less the names that only observe."""
    text = (LITELLM / "proxy/common_utils/callback_utils.py").read_text(encoding="utf-8")
    special = set(re.findall(r'callback == "(\w+)"', text.partition("def initialize_callbacks_on_proxy")[2]))
    observers = {
        "batch_redis_requests", "websearch_interception", "compression_interception", "code_interpreter_interception",
        "datadog_cost_management",
    }  # fmt: skip
    assert len(special) > 12
    assert special - observers - callbacks.guard_names() == set()
    guardrails: set[str] = set()
    for node in ast.walk(source("types/guardrails.py")):
        if isinstance(node, ast.ClassDef) and node.name == "SupportedGuardrailIntegrations":
            guardrails = {name.replace("-", "_") for name in literals(node)}
    assert len(guardrails) > 50
    assert guardrails - callbacks.guard_names() == {"rubrik"}  # litellm's logger of that name is the one a list means
    known_loggers: set[str] = set()
    for node in ast.walk(source("__init__.py")):
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]).endswith("_compatible_callbacks_literal"):
            known_loggers = set(literals(node.value))
    assert len(known_loggers) > 50
    assert known_loggers & callbacks.guard_names() == set()


def test_every_unused_key_whose_empty_value_is_not_litellms_default_is_known() -> None:
    """U-A4: true, a text, a list or a mapping by default, as far as litellm's source says so in so many words."""
    empty = {"None", "False", "''", "[]", "{}"}
    for section, file, cls in (
        (LitellmSettings, "__init__.py", None),
        (GeneralSettings, "proxy/_types.py", "ConfigGeneralSettings"),
    ):
        module: ast.AST = source(file)
        if cls is not None:
            module = next(n for n in ast.walk(module) if isinstance(n, ast.ClassDef) and n.name == cls)
        for line in ast.iter_child_nodes(module):
            if not isinstance(line, ast.AnnAssign) or not isinstance(line.target, ast.Name):
                continue
            name, value = line.target.id, line.value
            if isinstance(value, ast.Call) and ast.unparse(value.func) == "Field":
                given = [word.value for word in value.keywords if word.arg == "default"]
                value = value.args[0] if value.args else given[0] if given else None
            literal = isinstance(value, ast.Constant | ast.List | ast.Dict) and not isinstance(value, ast.Call)
            if not literal or value is None or ast.unparse(value) in empty:
                continue
            if isinstance(value, ast.Constant) and not isinstance(value.value, bool | str):
                continue  # a number: nobody writes `false` for it
            if name.endswith("_models") or name in INNER or name == "logging":
                continue
            if name in unused(section) or (name not in section.model_fields and family(section, name)):
                assert name in table("keys")["empty_counts"][section.__name__].split(), name
