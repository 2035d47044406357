"""What a deployment's configuration changes in a request body; everything else stays the client's bytes.

Order, later wins: the client's fields, `params` where the client sent none, fields that the provider refuses (with
`drop_params`), provider-specific field names, fields to be dropped, messages, the model, `extra_body`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from gatewayd.config import parameters
from gatewayd.config.snapshot import Deployment
from gatewayd.errors import InvalidRequest, Verdict
from gatewayd.upstream.base import Call
from gatewayd.upstream.messages import mapper
from gatewayd.wire.dialect import CHAT, COMPLETIONS, EMBEDDINGS, MEDIA_API, OPENAI, Endpoint
from gatewayd.wire.openai import encode, parsed

_PATH: Final = re.compile(r"([^.\[\]]+)((?:\.[^.\[\]]+|\[(?:\*|\d+)\])+)")
_STEP: Final = re.compile(r"\.([^.\[\]]+)|\[(\*|\d+)\]")
_ANY: Final = "*"

_MOST_MODELS: Final = 256
"""Of a wildcard, whose rules are kept."""
_LIMITS: Final = ("max_tokens", "max_completion_tokens")
"""Two names of one thing."""

_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])

_Key = str | int
RawFields = Mapping[str, msgspec.Raw]


class Rewriter:
    """Made once per deployment."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._params = _raw(deployment.params)
        self._params_of_streams = "stream_options" in self._params  # upstreams refuse it in calls that do not stream
        self._extra = _raw(deployment.extra_body)
        self._dropped: frozenset[str] = frozenset()
        self._paths: list[tuple[str, list[_Key]]] = []
        for name in deployment.additional_drop_params:
            match = _PATH.fullmatch(name)
            if match is None:
                self._dropped |= {name}
            else:
                self._paths.append((match[1], [_step(*groups) for groups in _STEP.findall(match[2])]))
        self._quiet = not (self._params or self._extra or self._dropped or self._paths)
        self._model = deployment.model
        self._raw_model = msgspec.Raw(encode(deployment.model))
        self._rules: dict[str, _Rules] = {}
        if "*" not in deployment.model:
            self._rules[deployment.model] = self._rules_for(deployment.model)

    def body(self, call: Call, model: str) -> bytes:
        """The body for the upstream: the very bytes of the client if there is nothing to change.

        Raises InvalidRequest if a field out of which something is to be taken cannot be parsed, or that the API would
        ignore without a word.
        """
        if call.endpoint.dialect is not OPENAI:
            return self._in_dialect(call, model)
        intent = call.intent
        fields = intent.fields
        rules = self._rules.get(model) or self._rules_for(model)
        chat = call.endpoint is CHAT
        messages = None if rules.messages is None or not chat else rules.messages(intent)
        if messages is None and self._quiet and rules.touches[call.endpoint].isdisjoint(fields):
            if model == intent.model and "model" in fields:
                return intent.body
            return intent.rewritten({"model": self._raw(model)})
        changes: dict[str, msgspec.Raw] = {name: raw for name, raw in self._params.items() if name not in fields}
        if changes:
            self._settle(fields, changes, stream=intent.stream)
        dropped = self._dropped
        if rules.drops or rules.ignores:
            refused = rules.refused(call.endpoint, fields, changes) - dropped
            call.dropped = tuple(sorted(refused.intersection(fields)))
            dropped |= refused
        if rules.renames and chat:
            dropped |= self._rename(rules.renames, dropped, fields, changes)
        for name in dropped.intersection(changes):
            del changes[name]
        if messages is not None:
            changes["messages"] = messages
        for name, steps in self._paths:
            raw = changes.get(name, fields.get(name))
            if raw is not None and name not in dropped:
                changes[name] = _without(name, raw, steps)
        if model != intent.model or "model" not in fields:
            changes["model"] = self._raw(model)
        changes.update(self._extra)
        return intent.rewritten(changes, drop=dropped)

    def _in_dialect(self, call: Call, model: str) -> bytes:
        """The body in another dialect than OpenAI's, whose fields none of the provider's rules is about."""
        intent, fields = call.intent, call.intent.fields
        changes: dict[str, msgspec.Raw] = {}
        # An endpoint of the conversational APIs that does not stream counts or compares: it has no parameters.
        has_parameters = call.endpoint.streams or call.endpoint.dialect is MEDIA_API
        if has_parameters:
            names = call.endpoint.dialect.parameters
            for name, raw in self._params.items():
                theirs = names.get(name, name)
                if theirs is not None and theirs not in fields:
                    changes[theirs] = raw
            # Of a converted request they have been set already (`abilities`), in the form that the model takes.
            nested = call.endpoint.dialect.nested.items() if call.conversation is None else ()
            for name, (field, members) in nested:
                if name in self._params and name not in self._dropped:
                    default = members(self._deployment.params[name])
                    changes[field] = _with_members(changes.get(field, fields.get(field)), default)
        for name in self._dropped.intersection(changes):
            del changes[name]
        for name, steps in self._paths:
            raw = changes.get(name, fields.get(name))  # type: ignore[assignment]
            if raw is not None and name not in self._dropped:
                changes[name] = _without(name, raw, steps)
        dropped = self._dropped
        if call.endpoint.dialect.in_path:
            dropped |= {"model"}
        elif model != intent.model or "model" not in fields:
            changes["model"] = self._raw(model)
        if has_parameters:
            changes.update(self._extra)
        return intent.rewritten(changes, drop=dropped)

    def _raw(self, model: str) -> msgspec.Raw:
        return self._raw_model if model == self._model else msgspec.Raw(encode(model))

    def _rules_for(self, model: str) -> _Rules:
        if len(self._rules) >= _MOST_MODELS:  # callers choose the names
            self._rules.clear()
        rules = self._rules[model] = _Rules(self._deployment, model)
        return rules

    def _settle(self, fields: RawFields, changes: dict[str, msgspec.Raw], *, stream: bool) -> None:
        """Takes out defaults that do not belong to this call."""
        if self._params_of_streams and not stream:
            changes.pop("stream_options", None)
        for one, other in (_LIMITS, _LIMITS[::-1]):
            if one in fields and other in changes:
                del changes[other]  # both names mean the same, and the caller has said it

    def _rename(
        self,
        renames: Sequence[tuple[str, str]],
        dropped: frozenset[str],
        fields: RawFields,
        changes: dict[str, msgspec.Raw],
    ) -> frozenset[str]:
        """Puts renamed fields into `changes`; returns the client's that are replaced by them."""
        replaced: set[str] = set()
        for ours, theirs in renames:
            if ours in dropped:
                continue
            sent = fields.get(ours)
            if sent is not None:
                replaced.add(ours)
                if _is_null(fields.get(theirs)) and theirs not in dropped:
                    changes[theirs] = sent
            elif (default := changes.pop(ours, None)) is not None and theirs not in fields:
                changes.setdefault(theirs, default)
        return frozenset(replaced)


class _Rules:
    """What the provider's row of the table means for one deployment and model."""

    def __init__(self, deployment: Deployment, model: str) -> None:
        row = parameters.of(deployment.provider, deployment.family_of(model))
        allowed = frozenset(deployment.allowed_openai_params)
        self.renames = row.renames
        self.drops = deployment.drop_params
        self.messages = mapper(row)
        self.ignores = row.ignores - allowed
        self._row = row
        self._conditional = row.conditional
        self._allowed = allowed
        self._refused = {
            CHAT: (row.refuses | self.ignores) - allowed,
            COMPLETIONS: (parameters.completions() | self.ignores) - allowed,
            EMBEDDINGS: (row.embeddings | self.ignores) - allowed,
        }
        touches = self.ignores.union(*self._refused.values(), row.conditional) if self.drops else self.ignores
        self.touches: dict[Endpoint, frozenset[str]] = defaultdict(lambda: touches)
        """Per endpoint, the fields without which a body can go as it is."""
        if self.renames:
            self.touches[CHAT] = touches.union(ours for ours, _ in self.renames)

    def refused(self, endpoint: Endpoint, fields: RawFields, changes: RawFields) -> frozenset[str]:
        """Names of the fields to leave out, of the caller's and of the defaults. Raises InvalidRequest if one of the
        caller's has no effect and may not be left out."""
        if not self.drops:
            lost = self.ignores.intersection(fields)
            if lost:
                raise _without_effect(min(lost))
            return frozenset()
        refused = self._refused.get(endpoint, frozenset())
        out = refused.intersection(fields) | refused.intersection(changes)
        if self._conditional and endpoint is CHAT:
            sent = {**changes, **fields}
            values = {name: parsed(name, sent[name]) for name in self._conditional.intersection(sent)}
            given = {name: value for name, value in values.items() if value is not None}
            out |= self._row.refused_by_value(given) - self._allowed
        return out


def _without_effect(name: str) -> InvalidRequest:
    error = InvalidRequest(
        f"The field '{name}' has no effect in Ollama's OpenAI API. Set it in the gateway's configuration, or set "
        "`drop_params` there.",
        param=name,
        code="param_without_effect",
    )
    error.verdict = Verdict.ELSEWHERE  # another deployment may know it
    return error


def _is_null(raw: msgspec.Raw | None) -> bool:
    return raw is None or bytes(raw) == b"null"


def _with_members(raw: msgspec.Raw | None, default: Mapping[str, Any]) -> msgspec.Raw:
    """An object with the members that it has not."""
    try:
        return msgspec.Raw(encode({**default, **(_members.decode(raw) if raw is not None else {})}))
    except msgspec.DecodeError:
        assert raw is not None
        return raw  # it is no object, which the provider has to say


def _raw(values: Mapping[str, Any]) -> dict[str, msgspec.Raw]:
    return {name: msgspec.Raw(encode(value)) for name, value in values.items()}


def _step(key: str, index: str) -> _Key:
    return key or (_ANY if index == _ANY else int(index))


def _without(name: str, raw: msgspec.Raw, steps: Sequence[_Key]) -> msgspec.Raw:
    """A value with what the path leads to taken out. The only case in which a value is parsed and written anew."""
    value = parsed(name, raw)
    _remove(value, steps)
    return msgspec.Raw(encode(value))


def _remove(value: Any, steps: Sequence[_Key]) -> None:
    step, rest = steps[0], steps[1:]
    if isinstance(value, list):
        if step == _ANY and rest:
            for item in value:
                _remove(item, rest)
        elif step == _ANY:
            value.clear()
        elif isinstance(step, int) and step < len(value):
            if rest:
                _remove(value[step], rest)
            else:
                del value[step]
    elif isinstance(value, dict) and step in value:
        if rest:
            _remove(value[step], rest)
        else:
            del value[step]
