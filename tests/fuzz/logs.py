"""The redactor: whatever is logged in whatever form, a known secret is not in it."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from random import Random

from gatewayd.observe.log import LineFormatter, LogFormat
from gatewayd.observe.redact import Redactor
from tests.fuzz.runner import Target

_ALPHABETS = (
    "abcdefghijklmnopqrstuvwxyz0123456789-_",
    "ab",
    "a*",
    'a"\\/b\n\t',
    "aäß\u2028\u00a0😀\x1b\x7f",
    "k=&%:;+ ",
)
_FILL = ("", " ", "Bearer ", "key=", '{"a":"', '"}', "\n", "sk-", "***", "\\n", "é", "\ud800", "\x00")


@dataclass(frozen=True)
class Case:
    secrets: list[str]
    text: str
    form: LogFormat
    how: str


def _make(rng: Random) -> Case:
    secrets = [_secret(rng) for _ in range(rng.choice((1, 1, 2, 3, 20, 60)))]
    if rng.random() < 0.2:  # one within another, one beginning like another
        secrets += [secrets[0] + "-more", "pre-" + secrets[0], secrets[0][: max(8, len(secrets[0]) // 2)]]
    parts = [rng.choice(secrets if rng.random() < 0.5 else _FILL) for _ in range(rng.randrange(1, 8))]
    how = rng.choice(("message", "argument", "repr", "field", "trace"))
    return Case(secrets, "".join(parts), rng.choice(("text", "json")), how)


def _secret(rng: Random) -> str:
    """With a letter at both ends: where two secrets meet at backslashes, nobody can tell which belong to whom."""
    alphabet = rng.choice(_ALPHABETS)
    inner = "".join(rng.choice(alphabet) for _ in range(rng.choice((6, 7, 14, 38, 98))))
    return f"{rng.choice('abnt')}{inner}{rng.choice('abnt')}"


def _check(case: Case) -> None:
    redactor = Redactor()
    redactor.know(case.secrets)
    clean = redactor.clean(case.text)
    if not any("*" in secret for secret in case.secrets):  # the mask could be a part of one
        assert redactor.clean(clean) == clean
    _search(case, clean)
    _search(case, redactor.clean(json.dumps(case.text)))
    line = LineFormatter(case.form, redactor).format(_record(case))
    if case.form == "json":
        json.loads(line)
    else:
        assert all(part.startswith("  | ") for part in line.split("\n")[1:])
    _search(case, line)


def _record(case: Case) -> logging.LogRecord:
    error = None
    if case.how == "trace":
        try:
            raise ValueError(case.text)
        except ValueError as raised:
            error = (type(raised), raised, raised.__traceback__)
    message = {"message": case.text, "argument": "said %s", "repr": "said %r"}.get(case.how, "nothing")
    args = (case.text,) if case.how in ("argument", "repr") else None
    record = logging.LogRecord("x", logging.INFO, "x.py", 1, message, args, error)
    if case.how == "field":
        record.fields = {"name": case.text}
    return record


def _search(case: Case, shown: str) -> None:
    for secret in case.secrets:
        for form in {secret, json.dumps(secret)[1:-1], repr(secret)[1:-1]}:
            # The mask may be a part of a secret, and of what it makes by standing beside other text.
            if len(form) >= 8 and "***" not in form and form in shown:
                raise AssertionError(f"{form!r} is shown in {shown!r}")


REDACTOR = Target("redactor", _make, _check, runs=1500)
