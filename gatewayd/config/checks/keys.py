"""First stage: whether every key of the file is known, in its section, and does what the file's author expects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from gatewayd.config.checks.report import Report
from gatewayd.config.document import Path
from gatewayd.config.schema import callbacks
from gatewayd.config.schema.base import Section, Support, asks_for_nothing, family, known, listed, nested, unused
from gatewayd.config.schema.deployment import LitellmParams, ModelEntry
from gatewayd.config.schema.general import GeneralSettings
from gatewayd.config.schema.mock import MockResponse
from gatewayd.config.schema.root import SECTIONS, Root
from gatewayd.config.tables import table
from gatewayd.suggest import nearest

_PROVIDER_PREFIXES = ("aws_", "vertex_", "azure_", "watsonx_", "s3_", "bedrock_", "anthropic_", "openai_", "gemini_")


def check_keys(
    tree: Mapping[str, Any], report: Report, accepted: frozenset[str], *, has_master_key: bool = True
) -> set[Path]:
    """Reports unknown, misplaced, ignored and refused keys. `accepted`: refused names the file's author accepts.
    Without `has_master_key` a master key in a wrong place is an error.

    Returns the paths of keys without effect, because the values below them need not be valid.
    """
    visit = _Visit(report, accepted, has_master_key)
    visit.section(Root, tree, ())
    return visit.idle


def refusable() -> frozenset[str]:
    """Every key name that `gatewayd.ignore_unsupported` may list."""
    return frozenset(_refusable(Root))


def standing(section: type[Section], name: str) -> tuple[Support, str]:
    """The support of a key that is not a field of the section, and the reason; (`full`, "") for an unknown key."""
    if name not in known(section) and name not in table("keys")["meant"] and (why := family(section, name)) is not None:
        return "ignored", why
    return unused(section).get(name, ("full", ""))


@cache
def refused_in_part(section: type[Section]) -> frozenset[str]:
    """Keys that are refused with some values, and ignored with others."""
    return frozenset().union(*listed(section, "refused_in_part").values())


def is_parameter(name: str) -> bool:
    """Whether a key of litellm_params is a parameter of some provider's endpoint, and so not mistyped."""
    return name in _listed("parameters") or name.startswith(_PROVIDER_PREFIXES)


@cache
def _listed(group: str) -> frozenset[str]:
    return frozenset(table("keys")[group].split())


@cache
def _owners() -> Mapping[str, str]:
    """Key that works in a section of its own → the first such section."""
    return {name: owner for owner, section in reversed(list(SECTIONS.items())) for name in section.model_fields}


class _Visit:
    def __init__(self, report: Report, accepted: frozenset[str], has_master_key: bool) -> None:
        self._report = report
        self._accepted = accepted
        self._has_master_key = has_master_key
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
        elif name in refused_in_part(section) and (found := list(callbacks.guards(value))):
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
            hint = f"remove it, or accept this with `gatewayd: {{ignore_unsupported: [{name}]}}`"
            self._report.error("unsupported_key", place, f"not supported, and {reason}", hint, at_key=at_key)

    def _unknown(self, section: type[Section], name: str, path: Path) -> None:
        hint = table("keys")["meant"].get(name)
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
        elif not self._has_master_key and nearest(name, ("master_key",)):
            message = "a master key has no effect here, so gatewayd would answer requests without a key"
            hint = "did you mean 'master_key'?" if section is GeneralSettings else "it belongs in general_settings"
            self._report.error("misplaced_master_key", path, message, hint, at_key=True)
        else:
            self._report.warning("unknown_key", path, "no such key; it has no effect", hint, at_key=True)

    def _similar_elsewhere(self, section: type[Section], name: str) -> str | None:
        for other, keys in SECTIONS.items():
            if keys is not section and (found := self._report.suggest(name, known(keys))):
                return f"{found[:-1]} in {other}?"
        return None

    def _parameter(self, name: str, path: Path) -> None:
        """A key of litellm_params without a meaning here: sent upstream, unless it is clearly a mistake."""
        keys = table("keys")
        if is_parameter(name):
            return
        if name in keys["meant"] and name not in ("host", "port", "debug", "models", "providers", "log_level"):
            hint: str | None = keys["meant"][name]
        elif name in _listed("facts"):
            hint = "it belongs in model_info, beside litellm_params"
        elif owner := _owners().get(name):
            hint = f"it belongs in {owner}"
        else:
            hint = self._report.suggest(name, known(LitellmParams))
        if hint is not None:
            self._report.once("misplaced_key", path, "not a setting; it is sent to the provider as a parameter", hint)


def _refusable(section: type[Section]) -> Iterator[str]:
    if not section.OWN:
        yield from (name for names in listed(section, "refused").values() for name in names)
        yield from refused_in_part(section)
    for _, inner, _ in nested(section):
        yield from _refusable(inner)
