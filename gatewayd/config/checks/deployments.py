"""Third stage, for `model_list`: each entry becomes a `Deployment`, or the problems that prevent it.

`checks.target` decides address and key; this module does the rest.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import msgspec
from pydantic import ValidationError

from gatewayd.config.checks.circle import Listeners
from gatewayd.config.checks.dialects import served
from gatewayd.config.checks.ids import Ids
from gatewayd.config.checks.modes import RESPONSES_PREFIX, as_called
from gatewayd.config.checks.report import Report
from gatewayd.config.checks.secrecy import is_secret_name
from gatewayd.config.checks.target import Destination, check_provider, find_target, passed_on
from gatewayd.config.checks.trust import Trusts
from gatewayd.config.checks.values import explain
from gatewayd.config.document import Path, shortened
from gatewayd.config.schema.base import family, known
from gatewayd.config.schema.deployment import COMPLETION_PARAMETERS, LitellmParams, ModelEntry
from gatewayd.config.schema.mock import MockResponse, normalise
from gatewayd.config.search import every_model
from gatewayd.config.snapshot import Deployment, Trust
from gatewayd.secret import Secret

_HANDED_ON_PREFIXES = (
    "aws_", "vertex_", "azure_", "watsonx_", "bedrock_", "anthropic_", "openai_identity_", "openai_service_",
)  # fmt: skip
_DECIDES_PROVIDER = (
    "custom_llm_provider",
    "api_base",
    "base_url",
    "api_key",
    "litellm_credential_name",
    "mock_response",
)
_NO_HEADERS = frozenset({"host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer"})


@dataclass(frozen=True, slots=True)
class Shared:
    """Values that all entries share."""

    defaults: Mapping[str, Any]
    """`router_settings.default_litellm_params`, resolved."""
    credentials: Mapping[str, Mapping[str, Any]]
    """`credential_list` by name, values resolved."""
    drop_params: bool
    environ: Mapping[str, str]
    listeners: Listeners
    trusts: Trusts
    trust: Trust | None
    """`litellm_settings.ssl_verify`."""


@dataclass(frozen=True, slots=True)
class Built:
    """A deployment and its entry."""

    deployment: Deployment
    index: int
    """Of its entry in `model_list`."""
    written: Mapping[str, Any]
    """The entry, with its references."""


def build_deployments(
    written: Sequence[Any], resolved: Sequence[Any], shared: Shared, report: Report, place: Callable[[int], str]
) -> list[Built]:
    """The deployments of valid entries.

    `written` and `resolved`: `model_list` as in the file, and with resolved references. `place` gives file:line.
    """
    ids = Ids(resolved, report)
    deployments: list[Deployment] = []
    sources: list[tuple[int, Mapping[str, Any]]] = []
    orders: dict[str, list[int | None]] = defaultdict(list)
    for index, entry in enumerate(resolved):
        path: Path = ("model_list", index)
        if not isinstance(entry, dict):
            report.error("wrong_type", path, "must be a mapping with model_name and litellm_params")
            continue
        for number, variant in enumerate(_variants(entry, resolved, shared.environ)):
            built = _Entry(variant, path, shared, report).build(place(index))
            if built is not None:
                deployment, order = built
                name, identity = ids.take(deployment, path)
                name = f"{name}.{number}" if number else name
                deployments.append(replace(deployment, id=name, identity=identity))
                sources.append((index, _as_written(written[index], entry, variant)))
                orders[deployment.group].append(order)
    return [Built(one, *source) for one, source in zip(_ordered(deployments, orders), sources, strict=True)]


def _variants(
    entry: Mapping[str, Any], entries: Sequence[Any], environ: Mapping[str, str]
) -> Sequence[Mapping[str, Any]]:
    """The entry, or for `model: "*"` one entry for every provider whose key is in the environment. litellm does the
    same, but at each request. A pattern with its own entry is left to that entry."""
    params, group = entry.get("litellm_params"), entry.get("model_name")
    if not isinstance(params, Mapping) or params.get("model") != "*" or not isinstance(group, str) or "*" not in group:
        return (entry,)
    if any(params.get(name) for name in _DECIDES_PROVIDER):
        return (entry,)
    taken = {other.get("model_name") for other in entries if isinstance(other, Mapping)}
    variants = [
        {**entry, "model_name": name, "litellm_params": {**params, "model": model}}
        for pattern, model, _ in every_model(environ)
        if (name := group.replace("*", pattern, 1)) not in taken
    ]
    return variants or (entry,)


def _as_written(written: Any, entry: Any, variant: Mapping[str, Any]) -> Mapping[str, Any]:
    if variant is entry:
        return dict(written)
    params = {**written["litellm_params"], "model": variant["litellm_params"]["model"]}
    return {**written, "model_name": variant["model_name"], "litellm_params": params}


class _Entry:
    """One entry of `model_list` on its way to a deployment."""

    def __init__(self, entry: Mapping[str, Any], path: Path, shared: Shared, report: Report) -> None:
        self._entry = entry
        self._path = path
        self._shared = shared
        self._report = report
        own = entry.get("litellm_params")
        self._own: Mapping[str, Any] = own if isinstance(own, dict) else {}
        self._raw = self._merged()

    def build(self, place: str) -> tuple[Deployment, int | None] | None:
        entry = self._validated()
        if entry is None:
            check_provider(self._raw, (*self._path, "litellm_params"), self._report)
            return None
        params = entry.litellm_params
        mock, scripted = self._mock(params)
        shared = self._shared
        target = find_target(entry, self._raw, scripted, shared.environ, shared.listeners, self._path, self._report)
        headers = self._headers(params)
        if target is None or (scripted and mock is None) or not _name_is_sane(entry, self._path, self._report):
            return None
        target = as_called(target, self._entry.get("model_info"))
        handed_on, completion = self._others(params, target)
        what = served(entry, self._entry.get("model_info"), target, self._path, self._report)
        deployment = Deployment(
            id=entry.model_info.id or "",
            identity="",
            group=entry.model_name,
            kind=target.kind,
            provider=target.provider,
            model=target.model if target.kind == "translate" else target.model.removeprefix(RESPONSES_PREFIX),
            dialects=what.dialects,
            abilities=what.abilities,
            api_base=target.api_base,
            api_key=target.api_key,
            api_version=target.api_version,
            organization=params.organization,
            trust=self._trust(params, target),
            params=completion,
            extra_body=_plain(params.extra_body or {}),
            extra_headers={**target.headers, **headers},
            litellm_params=handed_on,
            drop_params=self._shared.drop_params if params.drop_params is None else params.drop_params,
            additional_drop_params=tuple(params.additional_drop_params or ()),
            allowed_openai_params=tuple(params.allowed_openai_params or ()),
            family=_family(entry, target),
            weight=params.weight,
            rpm=params.rpm if params.rpm is not None else entry.rpm,
            tpm=params.tpm if params.tpm is not None else entry.tpm,
            timeout=params.timeout if params.timeout is not None else params.request_timeout,
            stream_timeout=params.stream_timeout,
            num_retries=params.num_retries if params.num_retries is not None else params.max_retries,
            cooldown_time=params.cooldown_time,
            mock=mock,
            info=_plain(self._entry.get("model_info") or {}),
            unserved=what.unserved,
            place=place,
        )
        return deployment, params.order

    def _merged(self) -> Mapping[str, Any]:
        """Its own keys, then the credential's, then the defaults; a key without a value counts as missing."""
        name = self._own.get("litellm_credential_name")
        credential = self._shared.credentials.get(name) if isinstance(name, str) else None
        path = (*self._path, "litellm_params", "litellm_credential_name")
        if name is not None and credential is None and isinstance(name, str) and not self._report.failed(path):
            message = f"credential_list has no entry {self._report.quote(path, name)}"
            hint = self._report.suggest(name, frozenset(self._shared.credentials))
            self._report.error("unknown_credential", path, message, hint)
        if not credential and not self._shared.defaults:
            return self._own
        own = {key: value for key, value in self._own.items() if value is not None}
        return {**self._shared.defaults, **(credential or {}), **own}

    def _validated(self) -> ModelEntry | None:
        whole = self._entry
        if whole.get("model_info", whole) is None:
            whole = {key: value for key, value in whole.items() if key != "model_info"}
        if self._raw is not self._own:
            whole = {**whole, "litellm_params": self._raw}
        try:
            return ModelEntry.model_validate(whole)
        except ValidationError as error:
            # Values from a credential or from the defaults have been checked at their place.
            explain(error, whole, self._path, self._report, only=self._is_own)
            return None

    def _is_own(self, inner: Path) -> bool:
        return inner[:1] != ("litellm_params",) or len(inner) < 2 or inner[1] in self._own or inner[1] not in self._raw

    def _mock(self, params: LitellmParams) -> tuple[dict[str, Any] | None, bool]:
        if params.mock_response is None and not params.mock_timeout and not params.mock_tool_calls:
            return None, False
        fields = normalise(
            params.mock_response,
            delay=params.mock_delay,
            timeout=bool(params.mock_timeout),
            tool_calls=params.mock_tool_calls,
        )
        try:
            script = MockResponse.model_validate(fields)
        except ValidationError as error:
            path = (*self._path, "litellm_params", "mock_response")
            if isinstance(params.mock_response, dict):
                explain(error, fields, path, self._report)
            elif not self._report.failed(path):
                message = "must be text, a list of numbers (an embedding) or a mapping"
                self._report.error("wrong_type", path, message)
            return None, True
        return script.model_dump(exclude_unset=True), True

    def _effort(self, value: Mapping[str, Any]) -> str | None:
        """The part of litellm's form for the Responses API that chat completions have."""
        path = (*self._path, "litellm_params", "reasoning_effort")
        effort = value.get("effort")
        if not isinstance(effort, str):
            self._report.error("wrong_type", path, "must be text, or a mapping with the text `effort`")
            return None
        if value.get("summary") is not None:
            self._report.once("approximated", path, "gatewayd sends only the effort; summaries need the Responses API")
        return effort

    def _trust(self, params: LitellmParams, target: Destination) -> Trust:
        path = (*self._path, "litellm_params", "ssl_verify")
        trust = self._shared.trusts.of(params.ssl_verify, path)
        if trust is None:
            return self._shared.trust or Trust()
        if target.kind != "scripted" and not (target.api_base or "").startswith("http:"):
            self._shared.trusts.warn(trust, path)
        return trust

    def _headers(self, params: LitellmParams) -> dict[str, Secret]:
        headers: dict[str, Secret] = {}
        for key, values in (("headers", params.headers), ("extra_headers", params.extra_headers)):
            for name, value in (values or {}).items():
                path = (*self._path, "litellm_params", key, name)
                text = value.reveal()
                if not name or not name.isascii() or not all(c.isalnum() or c in "!#$%&'*+-.^_`|~" for c in name):
                    self._report.error("invalid_value", path, "this is not a valid HTTP header name", at_key=True)
                elif name.lower() in _NO_HEADERS:
                    self._report.error("invalid_value", path, "gatewayd sets this header itself", at_key=True)
                elif not _fits_header(text):
                    self._report.error("invalid_value", path, "has characters that are not allowed in an HTTP header")
                headers[name.lower()] = value
        return headers

    def _others(self, params: LitellmParams, target: Destination) -> tuple[dict[str, Any], dict[str, Any]]:
        """The keys for litellm besides the named fields, and the completion parameters."""
        handed_on: dict[str, Any] = {}
        completion: dict[str, Any] = {}
        for name in COMPLETION_PARAMETERS:
            value = getattr(params, name)
            if name == "reasoning_effort" and isinstance(value, Mapping):
                value = self._effort(value)
            if value is not None:
                completion[name] = _plain(value)
        for name, value in self._raw.items():
            if value is None or name in LitellmParams.model_fields:
                continue
            passed = name in passed_on()
            if not passed and (name in known(LitellmParams) or family(LitellmParams, name)):
                continue
            if name == "stream_options" and target.kind == "translate":
                continue  # gatewayd requests usage for every translated stream anyway
            if not passed and not name.startswith(_HANDED_ON_PREFIXES):
                completion[name] = _plain(value)
            elif target.kind == "translate":
                handed_on[name] = _secretive(name, value)
            elif target.kind == "forward" and name in self._own:
                path = (*self._path, "litellm_params", name)
                message = f"has no effect: gatewayd calls {target.provider} without litellm"
                self._report.once("unused_key", path, message)
        return handed_on, completion


def check_partial(values: Mapping[str, Any], path: Path, report: Report) -> bool:
    """Reports problems with keys of litellm_params in other places: in a credential or in the defaults."""
    whole = {"model": "openai/any", **{key: value for key, value in values.items() if value is not None}}
    try:
        LitellmParams.model_validate(whole)
    except ValidationError as error:
        explain(error, whole, path, report)
        return False
    return True


def _ordered(deployments: list[Deployment], orders: Mapping[str, list[int | None]]) -> list[Deployment]:
    """Entries without `order` come after the ordered ones of their group."""
    positions: dict[str, int] = defaultdict(int)
    last = {
        group: max((order for order in given if order is not None), default=-1) + 1 for group, given in orders.items()
    }
    result = []
    for deployment in deployments:
        order = orders[deployment.group][positions[deployment.group]]
        positions[deployment.group] += 1
        order = last[deployment.group] if order is None else order
        result.append(replace(deployment, order=order) if order else deployment)
    return result


def _family(entry: ModelEntry, target: Destination) -> str:
    """The name that shows the kind of model: `base_model`, or Azure's name with one of litellm's hints (`o_series/`,
    `gpt5_series/`). Forwarded requests need it only for Azure, where deployments can have any name."""
    azure = target.provider == "azure"
    if target.kind == "forward" and not azure:
        return ""
    base = entry.litellm_params.base_model or entry.model_info.base_model
    if base or not azure:
        return (base or "").removeprefix("azure/")
    written = entry.litellm_params.model.removeprefix("azure/")
    return "" if written == target.model else written


def _secretive(name: str, value: Any) -> Any:
    """Text under a secret name as `Secret`; a mapping under one (a service account) as the JSON text of it."""
    if not is_secret_name(name) or isinstance(value, bool | int | float):
        return _plain(value)
    return Secret(value if isinstance(value, str) else msgspec.json.encode(_plain(value)).decode())


def _plain(value: Any) -> Any:
    """A value for JSON: dates, which only YAML has, become text again."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, date):
        return value.isoformat()
    return value


def _fits_header(text: str) -> bool:
    """RFC 9110, section 5.5, less obs-text: visible ASCII, spaces and tabs inside."""
    return text.isascii() and text == text.strip() and all(c.isprintable() or c == "\t" for c in text)


def _name_is_sane(entry: ModelEntry, path: Path, report: Report) -> bool:
    for inner, text in (
        (("model_name",), entry.model_name),
        (("model_info", "id"), entry.model_info.id or ""),
        (("litellm_params", "model"), entry.litellm_params.model),
    ):
        if not text.isprintable() or len(text) > 500:
            report.error("invalid_value", (*path, *inner), "has line ends or control characters, or is too long")
            return False
        if text != text.strip():
            hint = f'write "{shortened(text.strip())}"' if (*path, *inner) not in report.referenced else None
            report.error("invalid_value", (*path, *inner), "begins or ends with a space", hint)
            return False
    return True
