"""A copy of the last live configuration, from which `gatewayd run --last-good` starts if the file is invalid.

The copy is the merged tree with its references and without secrets. A configuration that contains a secret as text is
not kept, and a warning says so. `keep` writes the copy next to its place when the configuration is valid, and `confirm`
moves it there when the configuration is live.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from gatewayd.config.checks.secrecy import literal_secret
from gatewayd.config.document import Document, dotted
from gatewayd.config.overrides import Overrides
from gatewayd.config.problems import Problem
from gatewayd.config.result import Result

_HEADER = re.compile(r"# gatewayd: revision (\w+) of (\".*\"), live since (\S+)")
_NOT_PLAIN = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
"""Characters that JSON leaves unescaped but YAML does not allow."""


def place(config: str, environ: Mapping[str, str]) -> str:
    """The place of the copy of a configuration file: in $STATE_DIRECTORY (systemd), else in the user's state folder."""
    folder = environ.get("STATE_DIRECTORY", "").partition(":")[0]
    if not folder:
        state = environ.get("XDG_STATE_HOME") or os.path.join(environ.get("HOME", "/"), ".local", "state")
        folder = os.path.join(state, "gatewayd")
    name = hashlib.sha256(os.fsencode(os.path.abspath(config))).hexdigest()[:12]
    return os.path.join(folder, f"last-good-{name}.yaml")


def check_and_keep(path: str, environ: Mapping[str, str], target: str, overrides: Overrides | None = None) -> Result:
    """`ConfigValidator.check` of a file. Keeps a valid one next to `target`, or adds a warning that says why not."""
    from gatewayd.config import source  # imports YAML and pydantic, which `confirm` does not need
    from gatewayd.config.validator import ConfigValidator

    document = source.read(path)
    result = ConfigValidator(environ=environ, overrides=overrides).check_document(document)
    if result.snapshot is None:
        return result
    problem = keep(document, result.snapshot.revision, target)
    return result if problem is None else replace(result, problems=(*result.problems, problem))


def keep(document: Document, revision: str, target: str) -> Problem | None:
    """Writes the copy for `confirm`, or returns why there is none. Never raises."""
    found = literal_secret(document.tree)
    if found is not None:
        at = document.locate(found, False)
        hint = "replace it by os.environ/NAME, file:PATH or credential:NAME"
        message = "no last good copy is kept: this is a secret as text"
        return Problem("last_good_secret", message, dotted(found), at.file, at.line, at.column, hint, "warning")
    try:
        tree = json.dumps(document.tree, ensure_ascii=False, allow_nan=False, default=lambda date: date.isoformat())
        text = _NOT_PLAIN.sub(lambda match: f"\\u{ord(match[0]):04x}", tree)
        origin = json.dumps(document.files[0])
        now = datetime.now(UTC).isoformat(timespec="seconds")
        os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
        new = os.open(_candidate(target), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with open(new, "w", encoding="utf-8") as file:
            file.write(f"# gatewayd: revision {revision} of {origin}, live since {now}\n{text}\n")
            file.flush()
            os.fsync(new)
    except (OSError, ValueError) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else type(error).__name__
        message = f"no last good copy is kept: {target} cannot be written: {reason}"
        return Problem("last_good_unwritable", message, severity="warning")
    return None


def confirm(revision: str, target: str) -> None:
    """The configuration of this revision is live: its copy, if there is one, replaces the earlier copy."""
    try:
        with open(_candidate(target), encoding="utf-8") as file:
            header = _HEADER.match(file.readline())
        if header is not None and header[1] == revision:
            os.replace(_candidate(target), target)
    except (OSError, ValueError):  # `keep` has reported why
        return


def load_last_good(target: str, environ: Mapping[str, str], overrides: Overrides | None = None) -> tuple[Result, str]:
    """The copy, checked again, with its earlier revision; and a description of it. Never raises for its content."""
    from gatewayd.config import source
    from gatewayd.config.validator import ConfigValidator

    document = source.read(target)
    try:
        with open(target, encoding="utf-8") as file:
            header = _HEADER.match(file.readline())
    except (OSError, ValueError):
        header = None
    if header is None:
        missing = Problem("last_good_missing", "there is no last good copy to start from", file=target)
        return Result(None, (missing,)), ""
    document.directory = os.path.dirname(json.loads(header[2]))
    result = ConfigValidator(environ=environ, overrides=overrides).check_document(document)
    if result.snapshot is not None:
        result = replace(result, snapshot=replace(result.snapshot, revision=header[1]))
    return result.packed(), f"revision {header[1]}, live since {header[3]}"


def _candidate(target: str) -> str:
    return f"{target}.new"
