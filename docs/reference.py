"""The page docs/reference.md: commands, endpoints, headers, metrics and environment variables, from the code.

Names without a description in the code are described here. A name that only the code or only this module has is an
error.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Mapping, Sequence

from gatewayd.admin.app import AdminApp
from gatewayd.cli import make_parser
from gatewayd.cli.exits import CONFIG, FAILURE, INTERRUPTED, NO_INPUT, OK, UNAVAILABLE
from gatewayd.engine.render import success_headers
from gatewayd.engine.runtime import Gateway
from gatewayd.observe.metrics import Metrics
from gatewayd.observe.record import Attempt, Record
from gatewayd.upstream.base import DROPPED
from gatewayd.upstream.convert import ESTIMATED
from gatewayd.web.app import TABLE
from gatewayd.web.router import usual_path
from gatewayd.wire.headers import REQUEST_HEADERS, RESPONSE_HEADERS, RESPONSE_PREFIXES, RESPONSE_RENAMED

PAGE = """\
# Reference

<!-- Made by docs/reference.py from the code; edit there. -->

The keys of the file are in [configuration.md](configuration.md), the codes of errors in [errors.md](errors.md), the
Python functions in [python.md](python.md).

## Commands

{commands}
Exit codes: {exits}; signals and the daemon's own are in [running.md](running.md).

## Endpoints for clients

On `gatewayd.listen`, by default 127.0.0.1:4000. If the file has a `master_key` or the environment has
`LITELLM_MASTER_KEY`, all endpoints except the health checks need that key: `Authorization: Bearer KEY`,
`x-api-key: KEY` or `api-key: KEY`.

| | |
|---|---|
{endpoints}

The `/v1` is optional. In paths of Azure's form, `{{model}}` takes precedence over the body's `model`.

## Headers of requests

| Header | Meaning |
|---|---|
{asked}

gatewayd sends these to the upstream unchanged: {passed}. It sends no others, such as the client's credentials or
cookies.

## Headers of answers

| Header | Meaning |
|---|---|
{answered}

gatewayd also forwards these headers from the upstream: {relayed}.

## Endpoints for administration

On `gatewayd.admin`, by default 127.0.0.1:4001. If other machines can reach the address, requests need the `master_key`.

| | |
|---|---|
{administration}

## Metrics

In Prometheus' text format. Labels are bounded: groups are those of the file, and all other values are `other`.

| Metric | Type | Labels | Meaning |
|---|---|---|---|
{metrics}

## Environment variables

| Variable | Meaning |
|---|---|
{environment}

gatewayd reads variables that the file refers to (`os.environ/NAME`), and the providers' variables for missing keys,
once when it starts.
"""

_EXITS = {
    OK: "done",
    FAILURE: "gatewayd failed or could not listen on an address",
    2: "wrong usage",
    NO_INPUT: "no configuration file",
    UNAVAILABLE: "no daemon answers",
    CONFIG: "invalid configuration",
    INTERRUPTED: "interrupted",
}
_OPTIONS = {"format": "the output format"}
"""Options without a help text."""
_ENDPOINTS = {
    "/chat/completions": "chat, whole or as a stream",
    "/completions": "OpenAI's older text completions, whole or as a stream",
    "/embeddings": "embeddings",
    "/responses": "OpenAI's Responses API, whole or as a stream",
    "/responses/compact": "a shorter form of such a conversation",
    "/responses/input_tokens": "the tokens of such a request",
    "/messages": "Anthropic's Messages API, whole or as a stream",
    "/messages/count_tokens": "the tokens of such a request",
    "/images/generations": "images, whole or as a stream",
    "/images/edits": "changed images, whole or as a stream; a form with files, or JSON",
    "/images/variations": "variations of an image; a form with a file",
    "/audio/transcriptions": "the text of speech, whole or as a stream; a form with a file",
    "/audio/translations": "the text of speech, in English; a form with a file",
    "/audio/speech": "speech; the audio passes while it arrives",
    "/moderations": "the classification of texts; without a `model`, `general_settings.moderation_model` is used",
    "/rerank": "documents by relevance, in the format of Jina's, Cohere's and vLLM's APIs",
    "/responses/{id}": "a response that was made before, or its end; the deployment that made it is asked, or it is in "
    "this process's memory: for a day, 10 000 of them and 64 MB at most, each for the key that asked for it",
    "/responses/{id}/input_items": "the input of the request for it",
    "/responses/{id}/cancel": "ends a response that is made in the background, which deployments with this API can do",
    "/models": "the model groups; in the format of Anthropic's API for requests with `anthropic-version`",
    "/models/{model}": "one of them",
    "/openai/models": "the model groups, in the format of Azure's API",
    "/openai/models/{model}": "one of them",
    "live": "200 while the process lives",
    "ready": "200 while gatewayd accepts requests, 503 while starting, stopping or overloaded",
}
_ASKED = {
    "x-request-id": "the request's id in the answer and the log; up to 128 visible ASCII characters",
    "x-litellm-timeout": "seconds for this request, at most `gatewayd.timeouts.total`",
}
_ANSWERED = {
    "x-request-id": "the request's id, the client's own if it sent one; in every answer",
    "x-gatewayd-revision": "the revision of the configuration that answered",
    "x-gatewayd-deployment": "the deployment that answered: its `model_info.id`, else a generated name",
    "x-gatewayd-attempts": "the number of attempts",
    "x-gatewayd-dropped": "fields that were left out: by `drop_params`, or because the upstream's API cannot say them",
    "x-gatewayd-estimated": "fields of the answer whose value is gatewayd's estimate",
    "x-gatewayd-fallback": "the group that answered, if it is not the requested group",
    "x-gatewayd-overhead-ms": "milliseconds that gatewayd itself needed before the start of the answer",
    "request-id": "as `x-request-id`, for requests in Anthropic's API",
    "x-litellm-call-id": "as `x-request-id`",
    "x-litellm-model-id": "as `x-gatewayd-deployment`; with an error, the deployment that failed last",
    "x-litellm-model-group": "the requested group",
    "x-litellm-attempted-retries": "retries in a group",
    "x-litellm-attempted-fallbacks": "fallback groups tried",
    "x-litellm-overhead-duration-ms": "as `x-gatewayd-overhead-ms`",
    "x-litellm-response-duration-ms": "milliseconds to the start of the answer",
}
_OF_ERRORS = {
    "x-gatewayd-tried": "the deployments of the failed attempts, each with its reason: `west x2: answered 503`",
    "retry-after": "whole seconds after which to try again",
    "x-should-retry": "`false` if gatewayd has retried enough, so that SDKs do not multiply its retries",
    "www-authenticate": "with 401",
    "allow": "with 405",
}
_ADMINISTRATION = {
    "/": "this list",
    "/status": "the live groups, their deployments with their health, and the last reload",
    "/config": "the effective configuration, with defaults, without secrets",
    "/metrics": "the metrics below",
    "/reload": "reads the file again and waits for the outcome: 200 `applied` or `unchanged`, 422 `rejected` with all "
    "problems",
}
_ENVIRONMENT = {
    "GATEWAYD_CONFIG": "the configuration file, if `--config` is not used",
    "GATEWAYD_ADMIN": "the daemon's admin listener, for `reload` and `status`",
    "GATEWAYD_API_KEY": "the key for the admin listener and for the Python functions",
    "LITELLM_MASTER_KEY": "the master key, if the file has no `general_settings.master_key`",
    "GATEWAYD_BASE_URL": "the daemon that the Python functions attach to",
    "XDG_CONFIG_HOME": "the folder of `gatewayd/gatewayd.yaml` (default: `~/.config`)",
    "XDG_STATE_HOME": "where `--last-good` keeps its copy without systemd (default: `~/.local/state`)",
    "NO_COLOR": "no colours, whatever its value",
    "GATEWAYD_ID_SECRET": "seals the ids of responses; the same on all machines that serve the same clients. Default: "
    "kept in `$STATE_DIRECTORY`, else new at each start, so earlier ids are then unknown",
    "STATE_DIRECTORY": "set by systemd: where `--last-good` keeps its copy, and the secret of ids is",
    "CREDENTIALS_DIRECTORY": "set by systemd: the folder for `credential:NAME`",
    "NOTIFY_SOCKET": "set by systemd: for readiness and status",
    "JOURNAL_STREAM": "set by systemd: log lines carry their priority",
    "WATCHDOG_USEC": "set by systemd: the interval of the watchdog",
    "WATCHDOG_PID": "set by systemd: the process that the watchdog expects",
    "LISTEN_FDS": "set by systemd: the number of sockets that it passes",
    "LISTEN_PID": "set by systemd: the process that gets them",
}


def reference() -> str:
    return PAGE.format(
        commands="\n".join(_commands()),
        exits=", ".join(f"{code} {meaning}" for code, meaning in _EXITS.items()),
        endpoints="\n".join(_endpoints()),
        asked=_table(_ASKED),
        passed=_names(REQUEST_HEADERS),
        answered=_table({**_described(_answered(), _ANSWERED), **_OF_ERRORS}),
        relayed=_names([name.decode() for name in RESPONSE_HEADERS])
        + ", "
        + ", ".join(f"`{prefix.decode()}...`" for prefix in RESPONSE_PREFIXES)
        + "".join(f", and `{old.decode()}` as `{new}`" for old, new in RESPONSE_RENAMED.items()),
        administration="\n".join(_administration()),
        metrics="\n".join(_metrics()),
        environment=_table(_ENVIRONMENT),
    )


def _commands() -> Iterator[str]:
    (commands,) = (a for a in make_parser()._actions if isinstance(a, argparse._SubParsersAction))
    told = {action.dest: action.help or "" for action in commands._choices_actions}
    for name, parser in commands.choices.items():
        yield f"### gatewayd {name}\n\n{_sentence(told[name])}\n"
        actions = [action for action in parser._actions if action.dest != "help"]
        if actions:
            yield "| | |\n|---|---|"
            yield from (f"| {_usage(action)} | {_cell(action.help or _OPTIONS[action.dest])} |" for action in actions)
            yield ""


def _usage(action: argparse.Action) -> str:
    value = ""
    if action.choices is not None:
        value = " " + "\\|".join(map(str, action.choices))
    elif action.nargs != 0:
        value = f" {action.metavar or action.dest.upper()}"
    return ", ".join(f"`{name}{value}`" for name in action.option_strings) or f"`{value.strip()}`"


def _endpoints() -> Iterator[str]:
    described: set[str] = set()
    for route in TABLE:
        if "?" in route.path:
            continue
        name = route.path
        if route.endpoint is not None:
            name = f"/{route.endpoint.path}"
        elif route.kind == "open" and route.respond is not None:
            name = route.respond.__name__
        described.add(name)
        yield f"| `{route.method} {usual_path(route)}` | {_ENDPOINTS[name]} |"
    _described(described, _ENDPOINTS)
    yield "| any method, other paths below `/v1` | passed as they are to the first of `gatewayd.pass_through` |"
    yield "| any method, `/{provider}/...` | passed to the deployment of that provider in `gatewayd.pass_through` |"


_FALLBACK = Record(path="/v1/messages", group="asked", attempts=[Attempt("", "answered", 0.0, status=200)])


def _answered() -> Sequence[str]:
    """Every header that an answer may have; one that came from a fallback has them all."""
    return [DROPPED, ESTIMATED, *(name for name, _ in success_headers(_FALLBACK, 0.0, 0.0))]


def _administration() -> Iterator[str]:
    routes = AdminApp(Gateway(), None, Metrics()).routes  # type: ignore[arg-type]  # only looked at
    _described([path for _, path in routes], _ADMINISTRATION)
    yield from (f"| `{method} {path}` | {_ADMINISTRATION[path]} |" for method, path in routes)


def _metrics() -> Iterator[str]:
    metrics = Metrics()
    metrics.request_ended(Record(kind="model", group="group"))  # so that there are samples, which have labels
    declared = {getattr(collector, "_name", ""): collector for collector in metrics.registry._collector_to_names}
    for family in metrics.registry.collect():
        if family.name.startswith("gatewayd_"):
            name = f"{family.name}_total" if family.type == "counter" else family.name
            found = dict.fromkeys(label for sample in family.samples for label in sample.labels if label != "le")
            labels: Iterable[str] = found or getattr(declared.get(family.name), "_labelnames", [])
            yield f"| `{name}` | {family.type} | {', '.join(labels)} | {_cell(family.documentation)} |"
    yield "| `process_...` | | | of the process, as prometheus_client has them |"


def _described(names: Sequence[str] | set[str], texts: Mapping[str, str]) -> Mapping[str, str]:
    if missing := set(names) ^ set(texts):
        raise LookupError(f"docs/reference.py and the code differ: {', '.join(sorted(missing))}")
    return texts


def _table(texts: Mapping[str, str]) -> str:
    return "\n".join(f"| `{name}` | {_cell(text)} |" for name, text in texts.items())


def _names(names: Sequence[str] | frozenset[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
