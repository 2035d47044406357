"""Second stage: resolves references, and checks that every value has the type and range of its key.

pydantic finds mistakes; this module reports them with a place, in terms of YAML. It quotes texts from the file only if
they cannot be secret.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Set
from datetime import date
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from gatewayd.config.checks.lookalikes import odd_quotes, other_reference
from gatewayd.config.checks.report import Report
from gatewayd.config.checks.secrecy import is_secret_path
from gatewayd.config.document import Path, shortened
from gatewayd.config.schema.base import Section
from gatewayd.config.schema.units import number_meant
from gatewayd.config.secrets import Resolver, Unresolved, is_reference

S = TypeVar("S", bound=Section)

_SHELL = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(:?[-?][^}]*)?\}")
_SHELL_BARE = re.compile(r"\$[A-Z][A-Z0-9]*(_[A-Z0-9]+)+")
"""`$OPENAI_API_KEY`. The underscore and the key distinguish it from other texts that begin with a dollar sign."""
_EMBEDDED = re.compile(r"(?<![\w.])os\.environ/[A-Za-z_]")
_NOTES = frozenset({"mock_response", "model_info", "credential_info"})
"""Keys below which any text is allowed."""
_PLAIN_NUMBER = re.compile(r"[-+]?(0|[1-9][0-9_]*)?(\.[0-9]*)?([eE][-+]?[0-9]+)?")
_LIKE_NUMBER = re.compile(r"[-+]?[0-9][0-9_]*(\.[0-9_]*)?([eE][-+]?[0-9]+)?")

_EXPECTED: dict[str, str] = {
    "string_type": "text",
    "string_sub_type": "text",
    "is_instance_of": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "mapping_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}
_KINDS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (int, "a whole number"),
    (float, "a number with a fraction"),
    (str, "text"),
    (date, "a date"),
    ((list, tuple), "a list"),
    (Mapping, "a mapping"),
)
_RANGES: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "greater_than": lambda c: f"must be greater than {c['gt']:g}",
    "greater_than_equal": lambda c: f"must be at least {c['ge']:g}",
    "less_than": lambda c: f"must be less than {c['lt']:g}",
    "less_than_equal": lambda c: f"must be at most {c['le']:g}",
    "finite_number": lambda c: "must be a finite number",
    "string_too_short": lambda c: "must not be empty",
    "string_too_long": lambda c: f"may have {c['max_length']} characters at most",
    "too_short": lambda c: "must not be empty",
}


def resolve(tree: Mapping[str, Any], resolver: Resolver, report: Report, idle: Set[Path]) -> dict[str, Any]:
    """The tree with every reference replaced by its value; reports unresolved references.

    The exported variables are in `resolver` already. `environment_variables` itself is not changed. Values below a path
    in `idle` are not changed either, because former litellm users may not have a DATABASE_URL any more.
    """

    def walk(value: Any, path: Path, own: bool, live: bool) -> Any:
        live = live and path not in idle
        if isinstance(value, dict):
            return {
                _unicode(name, (*path, name), report): walk(inner, (*path, name), own, live)
                for name, inner in value.items()
            }
        if isinstance(value, list):
            return [walk(inner, (*path, index), own, live) for index, inner in enumerate(value)]
        if isinstance(value, str):
            return _unicode(text(value, path, own) if live else value, path, report)
        if isinstance(value, int | float) and not isinstance(value, bool):
            _check_number(value, path, report, live)
        return value

    def text(value: str, path: Path, own: bool) -> str:
        if is_reference(value, own_section=own):
            report.referenced.add(path)
            try:
                return resolver.resolve(value, own_section=own)
            except Unresolved as error:
                report.error("reference_unresolved", path, error.message, error.hint)
        elif not own and value.startswith("$") and (found := _SHELL.fullmatch(value)) and "mock_response" not in path:
            message = "is used as it is: gatewayd resolves ${...} only in the gatewayd section"
            report.error("unexpanded_variable", path, message, f"write os.environ/{found[1]}")
        elif value.startswith("$") and _SHELL_BARE.fullmatch(value) and is_secret_path(path):
            message = "is used as it is: gatewayd does not resolve $NAME"
            report.error("unexpanded_variable", path, message, f"write os.environ/{value[1:]}")
        elif (mistake := other_reference(value, path)) is not None:
            report.error("unexpanded_variable", path, *mistake)
        elif "os.environ/" in value and _EMBEDDED.search(value) and _NOTES.isdisjoint(path):
            message = "is used as it is: gatewayd resolves os.environ/NAME only as the whole value"
            hint = "put the whole value in a variable"
            report.error("unexpanded_variable", path, message, hint if not own else f"{hint}, or write ${{NAME}} in it")
        elif value[:1].isdigit() and "e" in value.lower() and _LIKE_NUMBER.fullmatch(value) and report.spelling(path):
            _trap_text_number(value, path, report)
        elif not value.isascii() and _NOTES.isdisjoint(path):
            mistake = odd_quotes(value, lambda inside: "..." if is_secret_path(path) else shortened(inside))
            if mistake is not None:
                report.error("invalid_value", path, *mistake)
        return value

    return {
        name: value if name in ("environment_variables", "include") else walk(value, (name,), name == "gatewayd", True)
        for name, value in tree.items()
    }


def _unicode(text: str, path: Path, report: Report) -> str:
    """The text, if it is valid UTF-8: half a surrogate pair (`"\\ud800"`) cannot be in a body or a header."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        found = "the referenced value is not UTF-8 text"  # bytes of the environment that Python could not decode
        written = "contains half a surrogate pair, which is not a character"
        report.error("invalid_value", path, found if path in report.referenced else written)
        return text.encode(errors="replace").decode()
    return text


def validated(section: type[S], value: Mapping[str, Any], path: Path, report: Report) -> S:
    """The section as an object. `value` is resolved, `path` is its path. Reports keys with errors and leaves them out.

    For sections without required keys.
    """
    try:
        return section.model_validate(value)
    except ValidationError as error:
        explain(error, value, path, report)
        wrong = {details["loc"][0] for details in error.errors(include_url=False)}
    return section.model_validate({name: inner for name, inner in value.items() if name not in wrong})


def explain(
    error: ValidationError, value: Any, path: Path, report: Report, *, only: Callable[[Path], bool] = lambda _: True
) -> None:
    """Reports pydantic's findings in `value`, which is at `path`; `only` restricts them to these inner paths."""
    found: dict[Path, list[ErrorDetails]] = {}
    for details in error.errors(include_url=False):
        found.setdefault(_inner_path(details, value), []).append(details)
    for inner, several in found.items():
        deeper = any(other != inner and other[: len(inner)] == inner for other in found)
        here = (*path, *inner)
        if deeper or not only(inner) or any(report.failed(here[:end]) for end in range(len(path), len(here) + 1)):
            continue  # another form of a union, or reported elsewhere or already
        _explain_one(several, _lookup(value, inner), here, report)


def _explain_one(several: list[ErrorDetails], value: Any, path: Path, report: Report) -> None:
    # In a union, the member with the value's type gives the best message.
    first = next((details for details in several if details["type"] not in _EXPECTED), several[0])
    kind, context = first["type"], first.get("ctx", {})
    if kind == "missing":
        report.error("missing_key", path, "this key is required")
    elif all(details["type"] in _EXPECTED for details in several):
        expected = " or ".join(dict.fromkeys(_EXPECTED[details["type"]] for details in several))
        _wrong_type(expected, value, path, report)
    elif kind in _RANGES:
        report.error("out_of_range", path, _RANGES[kind](context))
    elif kind in ("literal_error", "enum"):
        allowed = context["expected"]
        names = frozenset(name.strip("'") for name in allowed.replace(" or ", ", ").split(", "))
        hint = report.suggest(value, names) if isinstance(value, str) else None
        report.error("invalid_value", path, f"must be {allowed}", hint or _quoting(value, path, report))
    else:
        report.error("invalid_value", path, first["msg"])


def _wrong_type(expected: str, value: Any, path: Path, report: Report) -> None:
    spelling = report.spelling(path)
    kind = kind_of(value)
    if spelling is None or value is None or expected == "a list":
        report.error("wrong_type", path, f"must be {expected}, but this is {kind}", _form(expected, value, path))
    elif isinstance(value, str) and "number" in expected and _LIKE_NUMBER.fullmatch(value):
        _trap_text_number(value, path, report)
    elif (
        isinstance(value, str) or spelling.lower() == kind or not ("text" in expected or isinstance(value, bool | date))
    ):
        hint = _quoting(value, path, report) if "text" in expected else _form(expected, value, path)
        report.error("wrong_type", path, f"must be {expected}, but this is {kind}", hint)
    else:
        written = "this" if is_secret_path(path) else f"the unquoted {spelling}"
        message = f"must be {expected}, but YAML reads {written} as {kind}"
        hint = _quoting(value, path, report) or "put it in quotes"
        report.error("yaml_trap", path, message, hint if "text" in expected else None)


def _form(expected: str, value: Any, path: Path) -> str | None:
    if expected == "a list" and isinstance(value, str):
        return "put it in brackets; a list may have one entry"
    if expected == "a mapping" and path[-1] == "log" and isinstance(value, str):
        return f"write `log: {{{'format' if value in ('json', 'text') else 'level'}: {shortened(value)}}}`"
    if path[-1] == "drop_params" and isinstance(value, list):
        return "names of parameters belong in litellm_params.additional_drop_params"
    if "number" in expected and isinstance(value, str) and not is_secret_path(path):
        meant = number_meant(value)
        return None if meant is None else f"write {meant}"
    return None


def _quoting(value: Any, path: Path, report: Report) -> str | None:
    spelling = report.spelling(path)
    if spelling is None or isinstance(value, str) or is_secret_path(path):
        return None
    return f'put it in quotes: "{spelling}"'


def _check_number(value: float, path: Path, report: Report, live: bool) -> None:
    """`12:30`, `010`, `0x1F`: YAML 1.1 reads numbers that are rarely intended. `20_000` is clear."""
    if not math.isfinite(value):  # JSON has no such number
        report.error("out_of_range", path, "must be a finite number")
        return
    spelling = report.spelling(path) if live else None
    if spelling is None or _PLAIN_NUMBER.fullmatch(spelling):
        return
    if is_secret_path(path):
        report.error("yaml_trap", path, "YAML 1.1 reads this as a number in a special notation", "put it in quotes")
        return
    report.error(
        "yaml_trap",
        path,
        f"YAML 1.1 reads the unquoted {spelling} as the number {value}",
        f'write {value} for the number, or "{spelling}" in quotes for the text',
    )


def _trap_text_number(value: str, path: Path, report: Report) -> None:
    if report.failed(path):
        return
    if is_secret_path(path):
        report.error("yaml_trap", path, "YAML 1.1 reads this number as text", "put it in quotes if it is text")
        return
    number = float(value.replace("_", ""))
    written = f"{number:.0f}" if number.is_integer() and abs(number) < 1e16 else repr(number)
    hint = f'write {written} for the number, or "{value}" in quotes for the text'
    report.error("yaml_trap", path, f"YAML 1.1 reads the unquoted {value} as text, not as a number", hint)


def kind_of(value: Any) -> str:
    """The kind of a YAML value, for messages."""
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return "true" if value else "false"
    for types, words in _KINDS:
        if isinstance(value, types):
            return words
    return f"a {type(value).__name__}"


def _inner_path(details: ErrorDetails, whole: Any) -> Path:
    """pydantic's location without the names of union members, which are not in the value."""
    path: list[str | int] = []
    location = details["loc"]
    value: Any = whole
    for index, part in enumerate(location):
        inside = isinstance(value, list | tuple) and isinstance(part, int) and 0 <= part < len(value)
        if inside or (isinstance(value, Mapping) and part in value):
            value = value[part]
        elif not (details["type"] == "missing" and index == len(location) - 1):
            continue
        path.append(part)
    return tuple(path)


def _lookup(value: Any, path: Path) -> Any:
    for part in path:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return None
    return value
