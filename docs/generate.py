"""Writes the parts of the documentation that are made from the code.

python docs/generate.py            writes configuration.md, ignored-keys.md, errors.md, reference.md,
                                   gatewayd.schema.json, and the table of developers/contracts.md
python docs/generate.py --check    writes nothing; exit status 1 if one of them is stale
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from docs.contracts import contracts  # noqa: E402  # the folder above is not on the path of a script in docs/
from docs.reference import reference  # noqa: E402
from gatewayd import errors  # noqa: E402
from gatewayd.config.codes import PROBLEM_CODES  # noqa: E402
from gatewayd.config.schema.base import Kind, Section, listed, nested  # noqa: E402
from gatewayd.config.schema.deployment import Credential, LitellmParams, ModelEntry, ModelInfo  # noqa: E402
from gatewayd.config.schema.export import json_schema  # noqa: E402
from gatewayd.config.schema.general import GeneralSettings  # noqa: E402
from gatewayd.config.schema.litellm import LitellmSettings  # noqa: E402
from gatewayd.config.schema.mock import MockFail, MockResponse, MockToolCall  # noqa: E402
from gatewayd.config.schema.own import Gatewayd  # noqa: E402
from gatewayd.config.schema.root import Root  # noqa: E402
from gatewayd.config.schema.router import AliasItem, RouterSettings  # noqa: E402
from gatewayd.config.snapshot import Address  # noqa: E402
from gatewayd.verdicts import BY_STATUS  # noqa: E402

SECTIONS: tuple[tuple[str, type[Section]], ...] = (
    ("The file", Root),
    ("model_list", ModelEntry),
    ("litellm_params", LitellmParams),
    ("model_info", ModelInfo),
    ("mock_response", MockResponse),
    ("mock_response.fail", MockFail),
    ("mock_response.tool_calls", MockToolCall),
    ("credential_list", Credential),
    ("router_settings", RouterSettings),
    ("model_group_alias", AliasItem),
    ("litellm_settings", LitellmSettings),
    ("general_settings", GeneralSettings),
    ("gatewayd", Gatewayd),
    *((f"gatewayd.{name}", section) for name, section, _ in nested(Gatewayd)),
)
"""Every section of the file, in the order of the page."""

_UNUSED: dict[Kind, str] = {
    "refused": "Refused",
    "refused_in_part": "Refused with some values, otherwise ignored",
    "ignored": "Ignored",
    "families": "Ignored, all keys that begin with",
}
"""What ignored-keys.md lists."""

INTRODUCTION = """\
# Configuration

<!-- Made by docs/generate.py from gatewayd/config/schema; edit there. -->

One YAML file in LiteLLM's format configures gatewayd. Settings that LiteLLM does not have are in the section
`gatewayd`. Save the file: gatewayd applies every key without a restart. `gatewayd check FILE` lists all problems of a
file, with places and fixes. `gatewayd schema` prints a JSON Schema for editors (the first line of each file in
[configs/](../configs) uses it). [errors.md](errors.md) lists the codes of all problems.

**Support** says how gatewayd handles a LiteLLM key. *full*: it works as in LiteLLM. *approximated*: it works with the
difference given. *translated*: gatewayd passes it to litellm, for deployments that litellm translates. *ignored*: it
has no effect, and `gatewayd check` says so. *refused*: it would protect something but does not work here. gatewayd
refuses such a file, unless `gatewayd.ignore_unsupported` lists the key. [ignored-keys.md](ignored-keys.md) lists the
ignored and refused keys.

An unknown key is an error in `gatewayd` and a warning in other sections. Under `litellm_params` it is a parameter of
requests, so it is allowed.

## References

A value may be a reference:

| Written | Means |
|---|---|
| `os.environ/NAME` | an environment variable, or an entry of `environment_variables`; anywhere in the file |
| `file:/path` | the text of a file, without line ends; a relative path starts at the configuration's folder |
| `credential:NAME` | a systemd credential (`LoadCredential=`), from `$CREDENTIALS_DIRECTORY` |
| `${NAME}`, `${NAME:-default}` | a variable inside a text; only in the section `gatewayd` |

An unresolved reference is an error. References under ignored keys are not resolved. Numbers and booleans may be
references too. gatewayd watches a referenced file like the configuration itself.

## YAML 1.1

Like LiteLLM, gatewayd reads YAML 1.1, in which `no` is false, `12:30` is 750, `010` is 8, `1e3` is text, and
`2024-10-21` is a date. gatewayd refuses such a value where it cannot be intended, and the message says what to write.
"""

UNUSED = """\
# LiteLLM keys without effect

<!-- Made by docs/generate.py from gatewayd/config/keys.toml; edit there. -->

This appendix of [configuration.md](configuration.md) lists the LiteLLM keys that gatewayd knows but does not use.

*Ignored* keys have no effect, and `gatewayd check` warns about them. *Refused* keys would protect something: gatewayd
refuses a file with such a key, unless `gatewayd.ignore_unsupported` lists it.
"""

ERRORS = """\
# Errors

<!-- Made by docs/generate.py from gatewayd/errors.py and gatewayd/config/codes.py; edit there. -->

## Errors of requests

gatewayd answers every failed request in OpenAI's form, `{{"error": {{"message", "type", "param", "code"}}}}`. It passes
an upstream's error in that form through unchanged. These are gatewayd's own codes:

| `error.code` | Status | Meaning |
|---|---|---|
{requests}

## Retries and cooldowns

| Upstream | gatewayd |
|---|---|
{verdicts}

After the first byte of an answer has been sent to the client, gatewayd does not retry.

A group gets `num_retries` retries (2) before its fallbacks. gatewayd tries another deployment immediately. When all
deployments have been tried, it tries them again after 0.5 s, 1 s, 2 s and so on up to 8 s, but not before `retry_after`
and the upstream's `retry-after`. A request waits at most a minute for that, or a second while it has a fallback left.
`gatewayd.retry_budget` limits all retries of a group together.

A deployment cools down immediately after a 429 or an error that a retry cannot fix (bad key, unknown model). Otherwise
it cools down after more than `allowed_fails` failures in a minute (3), or when more than half of at least five requests
failed. The caller's mistakes, 409 and 425 do not count. The cooldown lasts for the deployment's own `cooldown_time`,
else the upstream's `retry-after` (at most a minute), else `router_settings.cooldown_time` (5 s). The last available
deployment of a group cools down only for its `retry-after`. After a cooldown, one request probes the deployment.

## Problems of configurations

`gatewayd check`, a rejected startup and a rejected reload report each problem with one of these codes:

| Code | Meaning |
|---|---|
{problems}
"""

# Codes that no exception class has as its default.
_STATUS: dict[str, int | str] = {
    "upstream_error": "the upstream's",
    "duplicate_key": 400,
    "param_not_allowed": 400,
    "param_without_effect": 400,
    "endpoint_not_supported": 400,
    "response_not_found": 404,
    "previous_response_not_found": 400,
    "context_length_exceeded": 400,
    "content_policy_violation": 400,
    "upstream_rate_limited": 429,
    "upstream_idle_timeout": 504,
}


_TYPES = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "object": "mapping",
}


def configuration() -> str:
    schema = json_schema()
    parts = [INTRODUCTION]
    for title, section in SECTIONS:
        raw = schema if section is Root else schema["definitions"][section.__name__]
        parts.append(f"## {title}\n\n{section.__doc__ and _paragraphs(section.__doc__)}\n")
        head = ("Key", "Type", "Default", *(() if section.OWN else ("Support",)), "Meaning")
        parts.append(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
        parts.append("\n".join(_rows(section, raw["properties"])) + "\n")
        if table := listed(section, "refused" if section.OWN else "translated"):
            parts.append(_grouped("Not supported" if section.OWN else "Translated", table))
    return "\n".join(parts)


def ignored_keys() -> str:
    parts = [UNUSED]
    for title, section in SECTIONS:
        groups = {name: table for kind, name in _UNUSED.items() if (table := listed(section, kind))}
        if groups and not section.OWN:
            parts.append(f"## {title}\n")
            parts.extend(_grouped(name, table) for name, table in groups.items())
    return "\n".join(parts)


def error_codes() -> str:
    status = {**_statuses(errors.GatewayError), **_STATUS}
    requests = (f"| `{code}` | {status.get(code, '')} | {_cell(meaning)} |" for code, meaning in errors.CODES.items())
    problems = (f"| `{code}` | {_cell(meaning)} |" for code, meaning in PROBLEM_CODES.items())
    return ERRORS.format(
        requests="\n".join(requests), verdicts="\n".join(_verdict_rows()), problems="\n".join(problems)
    )


def _verdict_rows() -> Iterator[str]:
    kinds = (kind for kind in errors.UpstreamError.__subclasses__() if kind is not errors.UpstreamStatus)
    codes = {
        "upstream_auth_error": "rejected the key (401, 403, Google's 400)",
        "upstream_tls_error": "TLS failed",
        "upstream_redirect": "redirect",
        "upstream_connection_error": "no connection",
        "upstream_timeout": "timeout",
        "upstream_bad_response": "invalid answer",
        "upstream_incomplete": "incomplete answer",
    }
    did: dict[errors.Verdict, list[str]] = {verdict: [] for verdict in errors.Verdict}
    for status, (verdict, _) in BY_STATUS.items():
        if verdict is not errors.Verdict.FATAL or status == 400:
            did[verdict].append({400: "any other 4xx", 500: "5xx"}.get(status, str(status)))
    for kind in kinds:
        did[kind.verdict].append(codes[kind.code])
    did[errors.Verdict.NEXT_GROUP] += ["the request is too long", "a content filter refused the request"]
    then = {
        errors.Verdict.RETRY: "tries another deployment of the group, or the same one after a wait; then `fallbacks`",
        errors.Verdict.ELSEWHERE: "tries another deployment of the group, but not the same one; then `fallbacks`",
        errors.Verdict.NEXT_GROUP: "tries `context_window_fallbacks` or `content_policy_fallbacks`, else `fallbacks`",
        errors.Verdict.FATAL: "does not retry, because it is the caller's mistake",
    }
    yield from (f"| {', '.join(did[verdict])} | {meaning} |" for verdict, meaning in then.items())


def schema_text() -> str:
    return json.dumps(json_schema(), indent=1, ensure_ascii=False) + "\n"


PAGES = {
    "configuration.md": configuration,
    "ignored-keys.md": ignored_keys,
    "errors.md": error_codes,
    "gatewayd.schema.json": schema_text,
    "developers/contracts.md": contracts,
    "reference.md": reference,
}


def _rows(section: type[Section], properties: dict[str, Any]) -> Iterator[str]:
    for name, field in section.model_fields.items():
        extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        approximated = extra.get("x-approximated")
        support = "" if section.OWN else f" {'approximated' if approximated else 'full'} |"
        text = field.description or ""
        if approximated:
            text = f"{text} *Approximated: {approximated}.*"
        elif why := extra.get("x-why"):
            text = f"{text} *({why})*"
        default = "required" if field.is_required() else _default(field.get_default(call_default_factory=True))
        yield f"| `{name}` | {_type(properties[name])} | {default} |{support} {_cell(text)} |"


def _default(value: Any) -> str:
    if value is None or value in ((), [], {}) or isinstance(value, Section):
        return ""
    if isinstance(value, Address):
        return f"`{value}`"
    if isinstance(value, tuple):
        return ", ".join(_default(item) for item in value)
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _type(shape: dict[str, Any]) -> str:
    """The words for a JSON Schema, without references and quoted numbers, which are allowed everywhere."""
    if "allOf" in shape:
        return _type(shape["allOf"][0])
    if "anyOf" in shape:
        options = [_type(option) for option in shape["anyOf"] if not _is_stand_in(option)]
        return " or ".join(dict.fromkeys(options))
    if "$ref" in shape:
        return "mapping"
    if "enum" in shape:
        return ", ".join(f"`{json.dumps(one).strip(chr(34))}`" for one in shape["enum"])
    if "const" in shape:
        return f"`{shape['const']}`"
    if shape.get("type") == "array":
        inner = _type(shape["items"]) if "items" in shape else "anything"
        return f"list of {inner}" if " or " not in inner else f"list of ({inner})"
    return _TYPES.get(shape.get("type", ""), "anything")


def _is_stand_in(shape: dict[str, Any]) -> bool:
    quoted = shape.get("type") == "string" and str(shape.get("pattern", "")).startswith(("^-?[0-9]", "^([tT]"))
    return quoted or shape.get("type") == "null" or shape.get("$ref") == "#/definitions/reference"


def _grouped(title: str, table: Any) -> str:
    lines = [f"{title}:\n"]
    lines.extend(f"* {reason}: {', '.join(f'`{name}`' for name in names)}" for reason, names in table.items())
    return "\n".join(lines) + "\n"


def _statuses(kind: type[errors.GatewayError]) -> dict[str, int]:
    found = {kind.code: kind.status}
    for child in kind.__subclasses__():
        found = {**found, **{code: status for code, status in _statuses(child).items() if code not in found}}
    return found


def _paragraphs(text: str) -> str:
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def main(arguments: list[str]) -> int:
    stale = []
    for name, make in PAGES.items():
        path, text = HERE / name, make()
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if "--check" not in arguments:
            path.write_text(text, encoding="utf-8")
    verb = "stale, run `python docs/generate.py`" if "--check" in arguments else "written"
    sys.stdout.write("".join(f"docs/{name}: {verb}\n" for name in stale))
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
