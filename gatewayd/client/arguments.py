"""Checks of what users hand to the helper functions: types and ranges, with messages a person can act on.

Every refusal is a `ConfigurationError` that names the argument. A value is repeated only where it cannot be a secret.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from gatewayd.errors import ConfigurationError
from gatewayd.urls import url_problem

TIMEOUT = (1, 300)
MAX_RETRIES = (0, 10)
RETRY_DELAY = (0.1, 60)


def check_seconds(key: str, value: object, bounds: tuple[float, float]) -> float:
    """A number of seconds within `bounds`, both ends included."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong_type(key, value, "a number of seconds")
    return float(_within(key, value, bounds, "seconds"))


def check_count(key: str, value: object, bounds: tuple[int, int]) -> int:
    """A whole number within `bounds`, both ends included."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong_type(key, value, "a whole number")
    return int(_within(key, value, bounds, ""))


def check_name(key: str, value: object) -> str:
    """The name of a model or provider: text without blanks or control characters."""
    if not isinstance(value, str):
        raise _wrong_type(key, value, "text")
    if not value or not value.isprintable() or any(char.isspace() for char in value):
        raise ConfigurationError(
            f"{key}: this is not a valid name: {value!r}",
            config_key=key,
            invalid_value=value,
            suggestion="write the provider's own name, for example 'gpt-5.5' or 'anthropic/claude-sonnet-5-5'",
        )
    return value


def check_names(key: str, value: object) -> list[str]:
    """A list of names, doubles left out."""
    if isinstance(value, str):
        raise ConfigurationError(
            f"{key} must be a list of names, not one text",
            config_key=key,
            invalid_value=value,
            suggestion=f"{key}=[{value!r}]",
        )
    if not isinstance(value, Sequence | set | frozenset):
        raise _wrong_type(key, value, "a list of names", show=False)  # it may be a mapping of keys
    ordered = sorted(value, key=str) if isinstance(value, set | frozenset) else value
    return list(dict.fromkeys(check_name(f"{key}[{index}]", item) for index, item in enumerate(ordered)))


def check_texts(key: str, value: object, what: str) -> dict[str, str]:
    """A mapping of provider names to texts that are not empty. The texts may be keys: they are never repeated."""
    if not isinstance(value, Mapping):
        raise _wrong_type(key, value, f"a mapping of provider names to {what}", show=False)
    for provider, text in value.items():
        check_name(key, provider)
        here = f"{key}.{provider}"
        if not isinstance(text, str):
            raise _wrong_type(here, text, "text", show=False)
        if not text.strip() or not text.isprintable():
            raise ConfigurationError(f"{here} is empty or has control characters", config_key=here)
    return {provider: text.strip() for provider, text in value.items()}


def check_base_url(key: str, value: object) -> str:
    """The URL of a daemon's API, without a trailing slash. `/v1` is added if there is no path."""
    if not isinstance(value, str):
        raise _wrong_type(key, value, "text", show=False)
    parts = urlsplit(check_upstream_url(key, value.strip(), "http://127.0.0.1:4000/v1, which is the default"))
    if parts.query:
        raise ConfigurationError(
            f"{key} has a query", config_key=key, suggestion="pass the key as api_key or $GATEWAYD_API_KEY"
        )
    return parts._replace(path=parts.path.rstrip("/") or "/v1").geturl()


def check_upstream_url(key: str, value: str, example: str = "'http://127.0.0.1:8080/v1'") -> str:
    """The base URL of a provider's API, unchanged. It may not contain a user name or password."""
    if problem := url_problem(value):
        raise ConfigurationError(f"{key}: {problem}", config_key=key, suggestion=f"for example {example}")
    return value


def check_key_text(key: str, value: object) -> str:
    """An API key. Never repeated in a message."""
    if not isinstance(value, str):
        raise _wrong_type(key, value, "text", show=False)
    if not value.strip() or not value.isprintable() or not value.isascii():
        raise ConfigurationError(f"{key} is empty or has characters that are not allowed in a key", config_key=key)
    return value.strip()


def _within(key: str, value: float, bounds: tuple[float, float], unit: str) -> float:
    low, high = bounds
    if not low <= value <= high:
        raise ConfigurationError(
            f"{key} must be between {low:g} and {high:g}{f' {unit}' if unit else ''}, not {value!r}",
            config_key=key,
            invalid_value=value,
            suggestion=f"{key}={low:g}" if value < low else f"{key}={high:g}",
        )
    return value


def _wrong_type(key: str, value: Any, wanted: str, *, show: bool = True) -> ConfigurationError:
    return ConfigurationError(
        f"{key} must be {wanted}, not {type(value).__name__}",
        config_key=key,
        invalid_value=value if show else None,
    )
