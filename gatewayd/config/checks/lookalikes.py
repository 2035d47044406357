"""Texts that are clearly mistakes: references in the notation of other tools, placeholders, typographic quotes."""

from __future__ import annotations

import re
from collections.abc import Callable

from gatewayd.config.document import Path

_NAME = r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)"
# fmt: off
_REFERENCES = tuple(
    re.compile(pattern)
    for pattern in (
        rf"""os\.environ(\[|\.get\()\s*["']?{_NAME}["']?\s*(,.*)?[\])]""",  # Python
        rf"""os\.getenv\(\s*["']?{_NAME}["']?\s*(,.*)?\)""",
        rf"os\.environ[.:\\]{_NAME}", rf"(environment|environ|env|os\.env)/{_NAME}",
        r"(env|ENV|environ|os\.environ)[:.]\s*(?P<name>[A-Z][A-Z0-9_]+)",
        rf"""(env|ENV)[(\[]["']?{_NAME}["']?[)\]]""",
        rf"process\.env\.{_NAME}", rf"\$env:{_NAME}", r"%(?P<name>[A-Z][A-Z0-9_]+)%",  # Node, PowerShell, cmd
        rf"\$\{{\{{\s*(secrets|env|vars)\.{_NAME}\s*\}}\}}",  # GitHub Actions
        rf"\{{\{{-?\s*(env\.|\$env\.|\.Values\.|\.Env\.|\$)?{_NAME}\s*(\|.*)?-?\}}\}}",  # Jinja, Helm
        r"\{\{.*\}\}",
        r"\$\((?P<name>[A-Z][A-Z0-9_]+)\)",  # Kubernetes, make
        rf"!(ENV|env)\s+\$?\{{?{_NAME}\}}?",
    )
)
_WORDS = r"([a-z0-9]+[-_ ])*"
_PLACEHOLDER = re.compile(
    r"<.*>|\[.*\]|\.{3,}|…|[x*•]{3,}|todo|tbd|fixme|(api[-_ ]?key|apikey|secret|token)"
    r"|(sk|sk-ant|sk-proj|sk-or|gsk|xai|aiza|hf|key)[-_]?(x{3,}|\*{3,}|\.{2,}|…|your.*|here|<.*>)"
    rf"|(.*[-_ ])?your[-_ ]?{_WORDS}(apikey|key|token|secret|password)([-_ ]?here)?"
    rf"|(insert|replace|enter|put|add|paste|change)[-_ ]?{_WORDS}(apikey|key|token|secret|me|here|this|it)"
    rf"|my[-_ ]{_WORDS}(api[-_ ]?key|token|secret)|(api[-_ ]?)?key[-_ ](goes[-_ ])?here",
    re.IGNORECASE,
)
# fmt: on
_TEMPLATES = frozenset(
    {"mock_response", "model_info", "credential_info", "extra_body", "model_prompt", "initial_prompt_value", "roles"}
)
"""Keys below which text in braces is allowed."""
_QUOTES = "“”„‟‘’‚‛«»＂＇"  # these are the point


def other_reference(text: str, path: Path) -> tuple[str, str] | None:
    """If the text is a reference in another tool's notation: the problem, and what to write."""
    if text[:1] not in "$%{!oeEp" or not (2 < len(text) < 300) or not _TEMPLATES.isdisjoint(path):
        return None
    for pattern in _REFERENCES:
        if (found := pattern.fullmatch(text)) is not None:
            name = found.groupdict().get("name") or "NAME"
            return "is used as it is: gatewayd does not resolve this notation", f"write os.environ/{name}"
    return None


def is_placeholder(text: str) -> bool:
    """Whether a key is a placeholder from a manual."""
    return len(text) < 100 and _PLACEHOLDER.fullmatch(text.strip()) is not None


def odd_quotes(text: str, shown: Callable[[str], str]) -> tuple[str, str] | None:
    """If a text is in typographic quotes: the problem, and what to write. `shown` prepares a text for a hint."""
    if text[:1] not in _QUOTES and text[-1:] not in _QUOTES:
        return None
    inside = text.strip(_QUOTES)
    if not text or not inside or any(quote in inside for quote in "“”„«»"):
        return None
    return "is in typographic quotes, which YAML reads as part of the text", f'write "{shown(inside)}"'
