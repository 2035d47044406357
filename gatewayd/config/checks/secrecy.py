"""What may be shown: which names hold secrets, and a tree without them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from gatewayd.config.checks.lookalikes import is_placeholder
from gatewayd.config.document import Path
from gatewayd.config.secrets import is_reference, looks_like_a_key
from gatewayd.secret import MASK, Secret

_WORDS = frozenset(
    {
        "key", "keys", "apikey", "token", "tokens", "secret", "secrets", "password", "passwd", "pass", "pwd",
        "credential", "credentials", "authorization", "auth", "cookie", "cookies", "passphrase", "signature",
        "sas", "dsn", "jwt", "username",
    }
)  # fmt: skip
_NAMES = frozenset({"database_url", "redis_url", "headers", "extra_headers", "environment_variables"})
_NO_SECRETS = re.compile(
    r"(max|min|n|budget|prompt|completion|total|input|output|num|bos|eos)_(.*_)?tokens?|custom_auth|tokenizer"
)
"""Names that sound like secrets, but are counts or names of functions."""
_ONE_VARIABLE = re.compile(r"\$\{\w+\}")
_FILE = re.compile(r"(~|\.{1,2})?(/[\w.@-]+){2,}|[\w./@~-]+\.(json|pem|key|crt|cer|p12|pfx|txt|ya?ml|toml)")
"""`/run/secrets/token`, `service-account.json`: the place of a secret, not the secret."""
_PARTS = re.compile(r"[^A-Za-z0-9]+|(?<=[a-z0-9])(?=[A-Z])")


@lru_cache(maxsize=4096)
def is_secret_name(name: str) -> bool:
    """Whether text under a key of this name is treated as secret; yes when in doubt. Numbers stay visible."""
    if _NO_SECRETS.fullmatch(name):
        return False
    return name in _NAMES or not _WORDS.isdisjoint(word.lower() for word in _PARTS.split(name))


@lru_cache(maxsize=4096)
def ends_as_secret(name: str) -> bool:
    """The same for warnings, no when in doubt: `api_key` and `headers` are secret, `key_management_system` is not."""
    return is_secret_name(name) and (name in _NAMES or _PARTS.split(name)[-1].lower() in _WORDS)


def holds_secret(text: str) -> bool:
    """Whether text under a secret name is a secret itself, for warnings: not a placeholder, not the path of a file, not
    litellm's `oidc/...` (which says where a token is fetched), and an address only with a password in it."""
    if is_placeholder(text) or text.startswith("oidc/") or _FILE.fullmatch(text):
        return False
    return "://" not in text or urlsplit(text).password is not None


def is_secret_path(path: tuple[str | int, ...]) -> bool:
    return any(isinstance(part, str) and is_secret_name(part) for part in path)


def redacted(value: Any, secret: bool = False) -> Any:
    """A plain copy for JSON, with `***` instead of secrets. References stay readable, because they are not secret."""
    if isinstance(value, Mapping):
        return {str(name): redacted(inner, secret or is_secret_name(str(name))) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(inner, secret) for inner in value]
    if isinstance(value, Secret):
        return MASK
    if isinstance(value, str):
        if is_reference(value):
            return value
        return MASK if (secret and value) or looks_like_a_key(value) else without_userinfo(value)
    if isinstance(value, date):
        return value.isoformat()
    return value


def literal_secret(value: Any, path: Path = (), secret: bool = False) -> Path | None:
    """The first place in a tree where a secret is text and not a reference."""
    if isinstance(value, Mapping):
        items = [(str(name), inner, secret or is_secret_name(str(name))) for name, inner in value.items()]
        found = (literal_secret(inner, (*path, name), deep) for name, inner, deep in items)
        return next((place for place in found if place is not None), None)
    if isinstance(value, list | tuple):
        found = (literal_secret(inner, (*path, index), secret) for index, inner in enumerate(value))
        return next((place for place in found if place is not None), None)
    if not isinstance(value, str) or not value or is_reference(value):
        return None
    if secret:
        return None if path[0] == "gatewayd" and _ONE_VARIABLE.fullmatch(value) else path
    return path if without_userinfo(value) != value else None


def without_userinfo(text: str) -> str:
    """A URL without user name, password and query; other text unchanged."""
    if "://" not in text:
        return text
    try:
        parts = urlsplit(text)
    except ValueError:
        return MASK
    if "@" in parts.netloc:
        parts = parts._replace(netloc=f"{MASK}@{parts.netloc.rpartition('@')[2]}")
    if parts.query:
        parts = parts._replace(query=MASK)
    return parts.geturl()
