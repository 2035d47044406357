"""References to values outside the file: environment variables, secret files, systemd credentials.

    os.environ/NAME         a variable; the whole scalar, anywhere in the file (litellm's syntax)
    file:/path              a file's text; a relative path starts at the configuration's folder
    credential:NAME         a file in $CREDENTIALS_DIRECTORY (systemd.exec(5), LoadCredential=)
    ${NAME} ${NAME:-else}   a variable inside a string; in the `gatewayd` section only, litellm leaves it alone

Nothing here puts a value into a message: neither the resolved value, nor the text after a prefix unless it looks like a
name (people do write the key itself there).
"""

from __future__ import annotations

import difflib
import hashlib
import os
import re
from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

from gatewayd.config.document import Path, Position
from gatewayd.config.problems import Problem, Severity
from gatewayd.config.rawfile import Unreadable, read_regular
from gatewayd.errors import GatewaydError

MASTER_KEY_VARIABLE = "LITELLM_MASTER_KEY"
"""The variable for the master key if `general_settings` has none, as in litellm."""

MAX_SECRET_BYTES = 64 * 1024
"""Size cap of a secret file: service-account JSON and certificate chains are a few KiB."""

_ENVIRON = "os.environ/"
_FILE = "file:"
_CREDENTIAL = "credential:"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_EMBEDDED = re.compile(r"\$\{(?P<name>[^}:]*)(?P<default>:-[^}]*)?(?P<end>\}?)")

_BLOCKED = frozenset(
    {
        *("PATH", "LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "PYTHONPATH", "PYTHONSTARTUP", "PYTHONHOME"),
        *("HOME", "USER", "SHELL", "LOGNAME", "NO_PROXY", "no_proxy"),
    }
)
"""Variables that litellm's proxy does not accept from a file, and LD_AUDIT, which loads code too."""
_MCP_STDIO = "LITELLM_ENABLE_MCP_STDIO"
"""Lets requests start programs; litellm compares this one without regard to case."""


_KEY = re.compile(r"((sk|pk|rk|xai|gsk|hf|ghp|glpat|pplx|tvly)[-_]|AIza|AKIA|eyJ)[A-Za-z0-9_.-]{12,}")
"""How the keys of well-known services begin."""


def master_key_of(environ: Mapping[str, str]) -> str | None:
    """The key in litellm's variable; None if it is unset or blank (compose files pass on unset variables as empty)."""
    key = environ.get("LITELLM_MASTER_KEY", "")
    return key if key.strip() else None


_KEY_INSIDE = re.compile(rf"(?<![A-Za-z0-9]){_KEY.pattern}")


def looks_like_a_key(text: str) -> bool:
    """Whether a text looks like a key: people mistype names, and put keys in wrong places."""
    return _KEY.fullmatch(text) is not None


def without_keys(text: str) -> str:
    """The text with `***` instead of everything that looks like a key."""
    return _KEY_INSIDE.sub("***", text)


class Unresolved(GatewaydError):
    """An unresolved reference. `message` and `hint` have the variable or file, never a value."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class Resolver:
    """Replaces references by their values. Reads every secret file once and remembers it.

    `environ` is the environment (copied), `directory` the folder for relative paths. Use one resolver for one reading
    of a configuration, because it caches files.
    """

    def __init__(self, environ: Mapping[str, str], directory: str = ".") -> None:
        self.environ = dict(environ)
        """Grows by what `export_environment` exports."""
        self.directory = directory
        self.files: dict[str, str] = {}
        """Every requested secret file: absolute path → SHA-256 (hex) of its bytes, "" if it cannot be read."""
        self._texts: dict[str, str] = {}

    def resolve(self, text: str, *, own_section: bool = False) -> str:
        """`text` itself if it is not a reference, else the referenced value, without trailing line ends.

        Raises Unresolved; an empty or blank value counts as unresolved.
        """
        if text.startswith(_ENVIRON):
            return self._variable(text[len(_ENVIRON) :].strip())
        if text.startswith(_FILE):
            return self._file(text[len(_FILE) :])
        if text.startswith(_CREDENTIAL):
            return self._credential(text[len(_CREDENTIAL) :].strip())
        if own_section and "${" in text:
            return _EMBEDDED.sub(self._embedded, text)
        return text

    def _variable(self, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise Unresolved(
                "the reference has no environment variable",
                "write the variable's name after `os.environ/`, not its value",
            )
        value = self.environ.get(name)
        if value is None:
            raise Unresolved(f"the environment variable {name} is not set", self._similar(name))
        value = value.rstrip("\r\n")
        if not value.strip():
            raise Unresolved(f"the environment variable {name} is set, but empty")
        return value

    def _embedded(self, match: re.Match[str]) -> str:
        name, default = match["name"], match["default"]
        if not match["end"] or not _NAME.fullmatch(name):
            raise Unresolved("`${` is not followed by a variable's name and `}`", "write ${NAME} or ${NAME:-default}")
        if default is not None and not self.environ.get(name, "").strip():
            return default[2:]
        return self._variable(name)

    def _similar(self, name: str) -> str:
        upper = {other.upper(): other for other in self.environ}
        if close := difflib.get_close_matches(name.upper(), upper, n=1, cutoff=0.75):
            return f"did you mean {upper[close[0]]}, which is set?"
        return "set it where gatewayd is started, or under environment_variables"

    def _credential(self, name: str) -> str:
        if not name or "/" in name or "\0" in name or name in (".", ".."):
            raise Unresolved("the reference has no credential name", "write credential:NAME, without a folder")
        directory = self.environ.get("CREDENTIALS_DIRECTORY")
        if not directory:
            raise Unresolved(
                f"the credential {name} cannot be read: $CREDENTIALS_DIRECTORY is not set",
                f"systemd sets it for a service with LoadCredential={name}:/path",
            )
        return self._read(os.path.join(directory, name), f"the credential {name}")

    def _file(self, path: str) -> str:
        if not path.strip():
            raise Unresolved("the reference has no file", "write file:/path/to/the/secret")
        return self._read(path, "the secret file" if looks_like_a_key(path) else f"the secret file {path}")

    def _read(self, path: str, label: str) -> str:
        path = os.path.normpath(os.path.join(os.path.abspath(self.directory), path))
        if path in self._texts:
            return self._texts[path]
        self.files[path] = ""
        try:
            data = read_regular(path, MAX_SECRET_BYTES)
        except Unreadable as error:
            raise Unresolved(f"{label} {error.message}", error.hint) from None
        self.files[path] = hashlib.sha256(data).hexdigest()
        try:
            text = data.decode("utf-8-sig").rstrip("\r\n")
        except UnicodeDecodeError:
            raise Unresolved(f"{label} is not UTF-8 text") from None
        if not text.strip():
            raise Unresolved(f"{label} is empty")
        if "\0" in text:
            raise Unresolved(f"{label} contains a NUL character")
        self._texts[path] = text
        return text


def is_reference(text: str, *, own_section: bool = False) -> bool:
    """Whether `text` is a reference for `Resolver.resolve`."""
    return text.startswith((_ENVIRON, _FILE, _CREDENTIAL)) or (own_section and "${" in text)


def export_environment(
    mapping: Mapping[str, Any],
    resolver: Resolver,
    *,
    locate: Callable[[Path, bool], Position] = lambda path, key: Position(),
) -> tuple[dict[str, str], list[Problem]]:
    """The section `environment_variables`: what it exports, references resolved, and what is wrong with it.

    Entries are added to `resolver.environ` in order, so later entries and the rest of the file may refer to them. They
    override the process's variables, as in litellm. litellm resolves references before it exports, so a file that uses
    its own variables silently loses its keys there. Exporting first changes nothing for a file that works in litellm.
    `locate` is `Document.locate`, for the places of problems.
    """
    exported: dict[str, str] = {}
    problems: list[Problem] = []

    def report(code: str, name: str, message: str, hint: str | None = None, severity: Severity = "error") -> None:
        place = locate(("environment_variables", name), True)
        path = f"environment_variables.{name}"
        problems.append(Problem(code, message, path, place.file, place.line, place.column, hint, severity))

    for name, value in mapping.items():
        if not name or "=" in name or "\0" in name:
            report("environment_value", name, "this is not a valid name of an environment variable")
        elif name in _BLOCKED or name.startswith("DYLD_") or name.upper() == _MCP_STDIO:
            report(
                "environment_blocked",
                name,
                "this variable controls how programs are loaded or connected, so a configuration may not set it",
                "set it where gatewayd is started; the entry is skipped, as litellm does",
                "warning",
            )
        elif value is None:
            message = "has no value, so the variable does not change"
            report("environment_value", name, message, 'write "" for an empty text', "warning")
        elif not isinstance(value, str | int | float | date):
            kind = f"a {type(value).__name__}"
            report("environment_value", name, f"an environment variable is text, but this is {kind}", "quote the value")
        else:
            try:
                text = resolver.resolve(value) if isinstance(value, str) else str(value)
            except Unresolved as error:
                report("reference_unresolved", name, error.message, error.hint)
                continue
            if "\0" in text:
                report("environment_value", name, "the value contains a NUL character")
                continue
            exported[name] = resolver.environ[name] = text
    return exported, problems
