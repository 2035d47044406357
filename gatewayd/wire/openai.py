"""Facts about OpenAI's wire: reading a request's top level, changing it without touching the rest, error bodies.

The body is never parsed below its top level: values stay the caller's bytes (`msgspec.Raw`), so numbers, key order
inside values and escapes reach the upstream as they came. Parsing rules are those of RFC 8259, UTF-8 only.
"""

from __future__ import annotations

import contextlib
import enum
import re
import threading
from collections.abc import Generator, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from gatewayd.errors import GatewayError, InvalidJson, InvalidRequest
from gatewayd.wire.large import check_utf8

DONE = b"data: [DONE]\n\n"
"""The end mark of a chat or completion stream."""

_top_level = msgspec.json.Decoder(dict[str, msgspec.Raw])
_string_or_null = msgspec.json.Decoder(str | None)
_boolean_or_null = msgspec.json.Decoder(bool | None)
_any = msgspec.json.Decoder()
encode = msgspec.json.encode

# Fields with which a caller could steer the gateway or an SDK below it: never forwarded, never merged into a call.
FORBIDDEN_FIELDS = frozenset(
    {
        "api_base", "base_url", "api_key", "api_version", "api_type", "organization", "custom_llm_provider",
        "user_config", "model_list", "fallbacks", "context_window_fallbacks", "content_policy_fallbacks",
        "context_window_fallback_dict", "num_retries", "max_retries", "timeout", "request_timeout", "stream_timeout",
        "extra_headers", "headers", "provider_specific_header", "litellm_credential_name", "litellm_params",
        "litellm_logging_obj", "proxy_server_request", "secret_fields", "model_info", "specific_deployment",
        "tenant_id", "client_id", "client_secret", "region_name", "custom_prompt_dict", "hf_model_name", "client",
        "http_client", "proxy", "ssl_verify", "use_litellm_proxy", "callbacks", "success_callback", "failure_callback",
        "mock_response", "mock_timeout", "mock_delay", "mock_testing_fallbacks",
    }
)  # fmt: skip
USUAL_FIELDS = frozenset(
    {
        "messages", "model", "stream", "stream_options", "temperature", "top_p", "max_tokens", "max_completion_tokens",
        "n", "stop", "tools", "tool_choice", "parallel_tool_calls", "response_format", "seed", "user", "metadata",
        "presence_penalty", "frequency_penalty", "reasoning_effort", "prompt", "input", "dimensions", "encoding_format",
        "system", "thinking", "output_config", "context_management", "stop_sequences", "top_k", "instructions",
        "include", "reasoning", "store", "prompt_cache_key", "client_metadata", "text", "max_output_tokens",
    }
)  # fmt: skip
"""Fields of which nothing has to be looked at but their values: what most bodies consist of."""
MOST_FIELDS = 1000
"""On the top level of a body."""
_SHORT = 2000
"""Bytes of a body up to which counting is faster than listing its names."""
FORBIDDEN_PREFIXES = ("aws_", "vertex_", "azure_", "watsonx_", "mock_", "langfuse_", "langsmith_", "s3_", "gcs_")


class Usage(msgspec.Struct, frozen=True):
    """Token counts as the upstream told them."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0


class Intent(msgspec.Struct):
    """What a body asks for: the model, whether to stream, and the top-level fields as raw bytes."""

    model: str
    stream: bool
    fields: dict[str, msgspec.Raw]
    body: bytes

    def value(self, name: str) -> Any:
        """One top-level field, fully parsed; None when absent. Raises InvalidRequest, see `parsed`."""
        raw = self.fields.get(name)
        return None if raw is None else parsed(name, raw)

    def asking(self, model: str) -> Intent:
        """The same request, for a model of this name."""
        fields = {**self.fields, "model": msgspec.Raw(encode(model))}
        return Intent(model, self.stream, fields, encode(fields))

    def whole(self) -> Intent:
        """The same request, for an answer in one piece."""
        fields = {name: raw for name, raw in self.fields.items() if name != "stream"}
        return Intent(self.model, False, fields, encode(fields))

    def rewritten(self, changes: Mapping[str, Any], *, drop: frozenset[str] = frozenset()) -> bytes:
        """The body with top-level fields replaced or added (`changes`) and removed (`drop`), all else byte for byte.

        Fields keep their place; new ones are appended. Without any effective change the caller's bytes come back.
        """
        fields = self.fields
        if not drop.isdisjoint(fields):
            fields = {k: v for k, v in fields.items() if k not in drop}
        elif not changes:
            return self.body
        return encode({**fields, **changes})


def parsed(name: str, raw: msgspec.Raw) -> Any:
    """The value of a top-level field. Raises InvalidRequest for what passes as long as nobody looks into it: a number
    out of range, nesting that the stack has no room for here."""
    try:
        return _any.decode(raw)
    except msgspec.DecodeError:  # the syntax was checked when the body came in; `1e999` is valid JSON and no double
        raise InvalidRequest(f"The field '{name}' has a number that is out of range.", param=name) from None
    except RecursionError:
        raise InvalidRequest(f"The field '{name}' is nested too deeply.", param=name) from None


def peek(body: bytes, *, default_model: str | None = None, own: frozenset[str] = frozenset()) -> Intent:
    """Reads the top level of a JSON request body. `own`: names in FORBIDDEN_FIELDS that the API has for other things.

    Raises InvalidJson (not one JSON object in UTF-8) or InvalidRequest (`model` or `stream` missing or of a wrong
    type, a forbidden field, a duplicate of a field that decides routing). A `model` of null is one that is missing.
    """
    names = None if len(body) <= _SHORT else _names(body)
    try:
        fields = _top_level.decode(body)
        if not body.isascii():
            body.decode()  # the raw values below the top level have not been looked into
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidJson(_describe(body, error)) from None
    return _intent(body, fields, names, default_model, own)


def peek_in_steps(
    body: bytes, *, default_model: str | None = None, own: frozenset[str] = frozenset()
) -> Generator[None, None, Intent]:
    """The same for a large body: the longest of its steps takes a millisecond for each megabyte."""
    names = _names(body)
    yield
    try:
        fields = _top_level.decode(body)
        yield
        if not body.isascii():
            yield from check_utf8(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidJson(_describe(body, error)) from None
    return _intent(body, fields, names, default_model, own)


def _intent(
    body: bytes,
    fields: dict[str, msgspec.Raw],
    names: list[object] | None,
    default_model: str | None,
    own: frozenset[str],
) -> Intent:
    """`names` are those of the top level, if they have been listed."""
    if not USUAL_FIELDS.issuperset(fields):
        refuse_forbidden(fields.keys() - own if own else fields)
    model = None
    if "model" in fields:
        try:
            model = _string_or_null.decode(fields["model"])
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise InvalidRequest("The field 'model' must be a string.", param="model") from None
        if model is None:  # as LangChain sends it to Azure's URLs, which name the model
            del fields["model"]
    if model is None:
        if default_model is None:
            raise InvalidRequest("The field 'model' is missing.", param="model")
        model = default_model
    stream = False
    if "stream" in fields:
        try:
            stream = _boolean_or_null.decode(fields["stream"]) or False
        except msgspec.DecodeError:
            raise InvalidRequest("The field 'stream' must be true or false.", param="stream") from None
    if names is None:
        _refuse_duplicates(body, fields)
    elif len(names) > len(fields):
        for name in _DECISIVE:
            _refuse_twice(name, names)
    return Intent(model, stream, fields, body)


def refuse_forbidden(names: Iterable[str]) -> None:
    """Raises InvalidRequest if a field of this name would steer the gateway, or an SDK below it."""
    for name in names:
        if name in FORBIDDEN_FIELDS or name.startswith(FORBIDDEN_PREFIXES):
            raise InvalidRequest(
                f"The field '{name}' is not accepted from clients; it belongs in the gateway's configuration.",
                param=name,
                code="param_not_allowed",
            )


def _refuse_duplicates(body: bytes, fields: dict[str, msgspec.Raw]) -> None:
    # A parser keeps the last of two equal keys and an upstream may keep the first: then we would have routed one model
    # and billed another. Of a short body bytes are counted before its names are listed: an occurrence that lies in none
    # of the surviving values is a key of the top level, or lies in a value that another key has shadowed.
    for name, quoted in _DECISIVE.items():
        if body.count(quoted) > 1 and _outside(body, quoted, fields) > 1:
            _refuse_twice(name, _names(body))
    if b"\\u" in body and _outside(body, b"\\u", fields):  # a key of the top level is written with escapes
        for name in _DECISIVE:
            _refuse_twice(name, _names(body))


_DECISIVE = {"model": b'"model"', "stream": b'"stream"'}


def _outside(body: bytes, needle: bytes, fields: dict[str, msgspec.Raw]) -> int:
    return body.count(needle) - sum(bytes(raw).count(needle) for raw in fields.values())


def _refuse_twice(name: str, names: Sequence[object]) -> None:
    if names.count(name) > 1:
        raise InvalidRequest(f"The field '{name}' is in the body twice.", param=name, code="duplicate_key")


def _too_many() -> InvalidRequest:
    return InvalidRequest(f"The request body has more than {MOST_FIELDS} fields.")


class _Name(enum.Enum):
    """Stands for any name of a field, and notes it: so a parser in C lists names without making anything of them."""

    ANY = "api_key"  # the one name that is not noted, so it must be one that no body may have

    @classmethod
    def _missing_(cls, value: object) -> _Name:
        _noted.names.append(value)
        if len(_noted.names) > MOST_FIELDS:
            raise ValueError
        return cls.ANY


class _Noted(threading.local):
    names: list[object]


_noted = _Noted()
_lister = msgspec.json.Decoder(dict[_Name, msgspec.Raw])


def _names(body: bytes) -> list[object]:
    """The names on the top level of a body, equal ones too; to the first error in it. Raises InvalidRequest if they are
    more than MOST_FIELDS: a million that become objects take a second, and half a gigabyte."""
    names: list[object] = []
    _noted.names = names
    with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        _lister.decode(body)
    if len(names) > MOST_FIELDS:
        raise _too_many()
    return names


def _describe(body: bytes, error: Exception) -> str:
    if not body.strip():
        return "The request body is empty; a JSON object was expected."
    if isinstance(error, UnicodeDecodeError):
        return "The request body is not UTF-8."
    if isinstance(error, RecursionError):
        return "The request body is nested too deeply."
    if isinstance(error, msgspec.ValidationError):
        return "The request body must be a JSON object."
    match = re.search(r"byte (\d+)", str(error))
    at = min(int(match[1]), len(body)) if match else len(body)
    line = body.count(b"\n", 0, at) + 1
    column = at - (body.rfind(b"\n", 0, at) + 1) + 1
    return f"The request body is not valid JSON (line {line}, column {column})."


def error_body(error: GatewayError, message: str | None = None) -> bytes:
    """OpenAI's error shape: all four members always present. `message` replaces the error's own."""
    text = error.message if message is None else message
    return encode({"error": {"message": text, "type": error.type, "param": error.param, "code": error.code}})


def error_event(error: GatewayError) -> bytes:
    """The same as one server-sent event, for a stream that breaks after its commit point.

    Empty if the upstream's own error event went through and clients know it for one: they get one, never two.
    """
    if error.told:
        return b""
    return b"data: " + error_body(error) + b"\n\n"
