"""First stage: every key of the file is known, in its right section, and does what the file's author expects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gatewayd.config.checks.report import Report
from gatewayd.config.document import Path
from gatewayd.config.schema import callbacks
from gatewayd.config.schema.base import Section, Support, asks_for_nothing, family, known, nested, unused
from gatewayd.config.schema.deployment import LitellmParams, ModelEntry
from gatewayd.config.schema.litellm import LitellmSettings
from gatewayd.config.schema.mock import MockResponse
from gatewayd.config.schema.root import SECTIONS, Root

# Keys that litellm files are known to have where they do nothing, and what was meant.
_MEANT: dict[str, str] = {
    "host": "the address is gatewayd.listen, such as `listen: 127.0.0.1:4000`",
    "port": "the address is gatewayd.listen, such as `listen: 127.0.0.1:4000`",
    "num_workers": "the number of processes is `gatewayd run --workers N`",
    "log_level": "the key is gatewayd.log.level",
    "debug": "the key is gatewayd.log.level",
    "default_model": "the keys are general_settings.completion_model and embedding_model",
    "disable_auth": "a key is asked for if there is a general_settings.master_key, and not otherwise",
    "api_keys": "clients use general_settings.master_key; providers' keys stand in litellm_params.api_key",
    "models": "the key is model_list",
    "providers": "each deployment is an entry of model_list",
    "tpm_limit": "the key is tpm",
    "rpm_limit": "the key is rpm",
    "context_window": "the key is max_input_tokens, in model_info",
    "retries": "the key is num_retries",
    "base_uri": "the key is api_base",
    "endpoint": "the key is api_base",
    "url": "the key is api_base",
    "key": "the key is api_key",
    "apikey": "the key is api_key",
}

# Facts about a model; under litellm_params they would be sent to the provider.
_FACTS = frozenset(
    {
        "mode", "max_input_tokens", "max_output_tokens", "supports_function_calling",
        "supports_vision", "supports_reasoning", "supports_response_schema", "supports_tool_choice",
        "supports_parallel_function_calling", "supports_system_messages", "supports_prompt_caching",
        "health_check_model", "health_check_timeout", "disable_background_health_check", "tier",
    }
)  # fmt: skip
# Parameters of completion endpoints: never taken for a mistyped key.
_PARAMETERS = frozenset(
    {
        "top_k", "min_p", "top_a", "typical_p", "user", "logprobs", "top_logprobs", "logit_bias", "tools",
        "tool_choice", "parallel_tool_calls", "stream_options", "store", "service_tier",
        "modalities", "audio", "prediction", "verbosity", "repetition_penalty", "best_of", "echo", "suffix",
        "encoding_format", "input_type", "guided_json", "guided_regex", "guided_choice", "web_search_options",
        "prompt_cache_key", "safety_identifier", "safety_settings", "num_ctx", "num_predict", "keep_alive",
        "format", "options", "functions", "function_call", "min_tokens", "ignore_eos", "include_reasoning",
        "reasoning", "enable_thinking", "chat_template_kwargs", "mirostat",
    }
)  # fmt: skip
_PROVIDER_PREFIXES = ("aws_", "vertex_", "azure_", "watsonx_", "s3_", "bedrock_", "anthropic_", "openai_", "gemini_")


def check_keys(tree: Mapping[str, Any], report: Report, accepted: frozenset[str]) -> set[Path]:
    """Reports unknown, misplaced, ignored and refused keys. `accepted`: refused names the file's author accepts.

    Returns the paths of keys that have no effect: what stands below them need not make sense.
    """
    visit = _Visit(report, accepted)
    visit.section(Root, tree, ())
    return visit.idle


def refusable() -> frozenset[str]:
    """Every key name that `gatewayd.ignore_unsupported` may list."""
    return frozenset(_refusable(Root))


def standing(section: type[Section], name: str) -> tuple[Support, str]:
    """How a key that is no field of the section is supported, and why not; (`full`, "") for an unknown one."""
    if name not in known(section) and name not in _MEANT and (why := family(section, name)) is not None:
        return "ignored", why
    return unused(section).get(name, ("full", ""))


class _Visit:
    def __init__(self, report: Report, accepted: frozenset[str]) -> None:
        self._report = report
        self._accepted = accepted
        self.idle: set[Path] = set()

    def section(self, section: type[Section], mapping: Mapping[str, Any], path: Path) -> None:
        fields = section.model_fields
        for name, value in mapping.items():
            if name not in fields:
                self._other(section, name, value, path)
        for name, inner, many in nested(section):
            value = mapping.get(name)
            if many == "one" and isinstance(value, dict):
                self.section(inner, value, (*path, name))
            elif many == "list" and isinstance(value, list):
                for index, item in enumerate(value):
                    if isinstance(item, dict):
                        self.section(inner, item, (*path, name, index))
            elif many == "values" and isinstance(value, dict):
                for key, item in value.items():
                    if isinstance(item, dict):
                        self.section(inner, item, (*path, name, key))
        if section is LitellmParams and isinstance(mapping.get("mock_response"), dict):
            self.section(MockResponse, mapping["mock_response"], (*path, "mock_response"))

    def _other(self, section: type[Section], name: str, value: Any, path: Path) -> None:
        support, reason = standing(section, name)
        here = (*path, name)
        if not section.OWN and (support != "full" or (name not in known(section) and not section.OPEN)):
            self.idle.add(here)
        if support == "refused" and section.OWN:
            self._report.error("unsupported_key", here, reason, at_key=True)
        elif support != "full" and asks_for_nothing(section, name, value):
            pass
        elif support == "refused":
            self._refuse(name, here, reason)
        elif section is LitellmSettings and name in callbacks.LISTS and (found := list(callbacks.guards(value))):
            for index, why in found:
                what = "this entry" if index is None else self._report.quote((*here, index), value[index])
                place = here if index is None else (*here, index)
                self._refuse(name, place, f"requests would pass unchecked: {what} {why}", at_key=index is None)
        elif support == "ignored":
            self._report.once("ignored_key", here, f"has no effect; {reason}")
        elif name in known(section) or (section is Root and name.startswith("x-")):
            pass
        elif section is LitellmParams:
            self._parameter(name, here)
        elif not section.OPEN:
            self._unknown(section, name, here)

    def _refuse(self, name: str, place: Path, reason: str, *, at_key: bool = True) -> None:
        if name in self._accepted:
            message = f"has no effect, as accepted in gatewayd.ignore_unsupported: {reason}"
            self._report.once("ignored_key", place, message)
        else:
            hint = f"remove it, or accept that: `gatewayd: {{ignore_unsupported: [{name}]}}`"
            self._report.error("unsupported_key", place, f"not supported, and {reason}", hint, at_key=at_key)

    def _unknown(self, section: type[Section], name: str, path: Path) -> None:
        hint = _MEANT.get(name)
        if section is ModelEntry and name in known(LitellmParams):
            hint = "it belongs in litellm_params: indent it"
        places: dict[str, type[Section]] = {
            other: keys for other, keys in SECTIONS.items() if keys is not section and name in known(keys)
        }
        if section is not Root and name in Root.model_fields:
            places["the top level"] = Root
        if places and hint is None:
            owner = min(places, key=lambda other: name in unused(places[other]))  # where it works, if anywhere
            hint = f"it belongs in {owner}"
            support, reason = unused(places[owner]).get(name, ("full", ""))
            if support == "ignored":
                hint += f", where it has no effect either: {reason}"
        hint = hint or self._report.suggest(name, known(section)) or self._similar_elsewhere(section, name)
        if section.OWN:
            self._report.error("unknown_key", path, "no such key", hint, at_key=True)
        else:
            self._report.warning("unknown_key", path, "no such key; it has no effect", hint, at_key=True)

    def _similar_elsewhere(self, section: type[Section], name: str) -> str | None:
        for other, keys in SECTIONS.items():
            if keys is not section and (found := self._report.suggest(name, known(keys))):
                return f"{found[:-1]} in {other}?"
        return None

    def _parameter(self, name: str, path: Path) -> None:
        """A key of litellm_params without a meaning of its own: sent upstream, unless that is surely not meant."""
        if name in _PARAMETERS or name.startswith(_PROVIDER_PREFIXES):
            return
        if name in _MEANT and name not in ("host", "port", "debug", "models", "providers", "log_level"):
            hint: str | None = _MEANT[name]
        elif name in _FACTS:
            hint = "it belongs in model_info, beside litellm_params"
        elif owner := next((other for other, keys in SECTIONS.items() if name in keys.model_fields), None):
            hint = f"it belongs in {owner}"
        else:
            hint = self._report.suggest(name, known(LitellmParams))
        if hint is not None:
            self._report.once("misplaced_key", path, "not a setting: it is sent to the provider as a parameter", hint)


def _refusable(section: type[Section]) -> Iterator[str]:
    if not section.OWN:
        yield from (
            name for table in (section.REFUSED, section.REFUSED_IN_PART) for names in table.values() for name in names
        )
    for _, inner, _ in nested(section):
        yield from _refusable(inner)
