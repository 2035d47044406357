"""What a deployment's configuration changes in a request body; everything else stays the client's bytes.

Order, later wins: the client's fields, `params` where the client sent none, provider-specific field names, fields to be
dropped, the model, `extra_body`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from gatewayd.config.snapshot import Deployment
from gatewayd.upstream.base import Call
from gatewayd.wire.openai import encode, parsed

_PATH: Final = re.compile(r"([^.\[\]]+)((?:\.[^.\[\]]+|\[(?:\*|\d+)\])+)")
_STEP: Final = re.compile(r"\.([^.\[\]]+)|\[(\*|\d+)\]")
_ANY: Final = "*"

Step = str | int


class Rewriter:
    """Made once per deployment. `renames` are (OpenAI's, the provider's) names of chat fields."""

    def __init__(self, deployment: Deployment, renames: Sequence[tuple[str, str]] = ()) -> None:
        self._renames = tuple(renames)
        self._params = _raw(deployment.params)
        self._params_of_streams = "stream_options" in self._params  # upstreams refuse it in calls that do not stream
        self._extra = _raw(deployment.extra_body)
        self._dropped: frozenset[str] = frozenset()
        self._paths: list[tuple[str, list[Step]]] = []
        for name in deployment.additional_drop_params:
            match = _PATH.fullmatch(name)
            if match is None:
                self._dropped |= {name}
            else:
                self._paths.append((match[1], [_step(*groups) for groups in _STEP.findall(match[2])]))
        self._plain = not (self._params or self._extra or self._dropped or self._paths or self._renames)
        self._model = deployment.model
        self._raw_model = msgspec.Raw(encode(deployment.model))

    def body(self, call: Call, model: str) -> bytes:
        """The body for the upstream: the very bytes of the client if there is nothing to change.

        Raises InvalidRequest if a field out of which something is to be taken cannot be parsed.
        """
        intent = call.intent
        fields = intent.fields
        if self._plain:
            if model == intent.model and "model" in fields:
                return intent.body
            return intent.rewritten({"model": self._raw(model)})
        changes: dict[str, msgspec.Raw] = {name: raw for name, raw in self._params.items() if name not in fields}
        if self._params_of_streams and not intent.stream:
            changes.pop("stream_options", None)
        dropped = self._dropped
        if self._renames and call.endpoint == "chat/completions":
            dropped |= self._rename(fields, changes)
        for name in self._dropped.intersection(changes):
            del changes[name]
        for name, steps in self._paths:
            raw = changes.get(name, fields.get(name))
            if raw is not None and name not in dropped:
                changes[name] = _without(name, raw, steps)
        if model != intent.model or "model" not in fields:
            changes["model"] = self._raw(model)
        changes.update(self._extra)
        return intent.rewritten(changes, drop=dropped)

    def _raw(self, model: str) -> msgspec.Raw:
        return self._raw_model if model == self._model else msgspec.Raw(encode(model))

    def _rename(self, fields: Mapping[str, msgspec.Raw], changes: dict[str, msgspec.Raw]) -> frozenset[str]:
        """Puts renamed fields into `changes`; returns the client's that are replaced by them."""
        replaced: set[str] = set()
        for ours, theirs in self._renames:
            if ours in self._dropped:
                continue
            raw = fields.get(ours)
            if raw is not None:
                replaced.add(ours)
            else:
                raw = changes.pop(ours, None)
            if raw is not None and theirs not in fields:
                changes[theirs] = raw
        return frozenset(replaced)


def _raw(values: Mapping[str, Any]) -> dict[str, msgspec.Raw]:
    return {name: msgspec.Raw(encode(value)) for name, value in values.items()}


def _step(key: str, index: str) -> Step:
    return key or (_ANY if index == _ANY else int(index))


def _without(name: str, raw: msgspec.Raw, steps: Sequence[Step]) -> msgspec.Raw:
    """A value with what the path leads to taken out. The only case in which a value is parsed and written anew."""
    value = parsed(name, raw)
    _remove(value, steps)
    return msgspec.Raw(encode(value))


def _remove(value: Any, steps: Sequence[Step]) -> None:
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
