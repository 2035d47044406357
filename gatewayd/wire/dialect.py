"""What a dialect is, and the endpoints of the API: one object each, one row each.

A dialect says how a body is read, how a stream ends, where token usage is, and what an error looks like. An endpoint
says which dialect it speaks and what it answers with. Other modules ask these objects; they compare no names.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from types import MappingProxyType
from typing import Any, Final, Protocol

from gatewayd.errors import GatewayError
from gatewayd.wire.anthropic import (
    VERSION,
    anthropic_error_body,
    anthropic_error_event,
    is_anthropic_error,
    is_path,
)
from gatewayd.wire.forms import read_form, read_form_in_steps
from gatewayd.wire.gemini_watch import (
    GEMINI_NESTED,
    GEMINI_PARAMETERS,
    GeminiWatcher,
    gemini_error,
    gemini_error_event,
    gemini_peek,
    gemini_peek_in_steps,
    gemini_usage,
    is_gemini_error,
)
from gatewayd.wire.media_watch import MediaWatcher
from gatewayd.wire.messages_watch import MessagesWatcher, messages_usage
from gatewayd.wire.multipart import is_form
from gatewayd.wire.openai import DONE, Intent, Usage, error_body, error_event, peek, peek_in_steps
from gatewayd.wire.responses_watch import (
    RESPONSES_NESTED,
    RESPONSES_PARAMETERS,
    ResponsesWatcher,
    responses_error_event,
    responses_usage,
)
from gatewayd.wire.sse import StreamWatcher
from gatewayd.wire.usage import usage_of

_SAME: Final[Mapping[str, str | None]] = MappingProxyType({})
_FLAT: Final[Mapping[str, tuple[str, Callable[[Any], Mapping[str, Any]]]]] = MappingProxyType({})


class Peek(Protocol):
    def __call__(self, body: bytes, *, default_model: str | None = None) -> Intent: ...


class PeekInSteps(Protocol):
    def __call__(self, body: bytes, *, default_model: str | None = None) -> Generator[None, None, Intent]: ...


@dataclass(frozen=True, slots=True, eq=False)
class Dialect:
    """One way to write requests and answers."""

    name: str
    """As the configuration calls it (`model_info.apis`)."""
    peek: Peek
    """Reads the top level of a request's body."""
    peek_in_steps: PeekInSteps
    """The same for a large body."""
    end_mark: bytes
    """The end of a stream that is whole, where it is the same for each; it may also stand behind an error event."""
    usage: Callable[[bytes], Usage | None]
    """Token usage of a whole answer."""
    error_event: Callable[[GatewayError], bytes]
    """The event that ends a stream that broke."""
    watcher: type[StreamWatcher]
    """Looks at a stream while it passes."""
    error_body: Callable[[GatewayError, str, str], bytes]
    """An error as a whole answer. Takes the error, its message and the request's id."""
    is_error: Callable[[bytes], bool]
    """Whether an upstream's error body has this dialect's shape, so that it passes as it is."""
    headers: tuple[tuple[str, str], ...] = ()
    """What a request must have, unless the caller sent such a header."""
    request_id_header: str = ""
    """The header in which clients of this API look for the request's id, beside `x-request-id`."""
    parameters: Mapping[str, str | None] = field(default_factory=lambda: _SAME)
    """What this API calls OpenAI's parameters of chat that a deployment's configuration may set; None: it has none."""
    nested: Mapping[str, tuple[str, Callable[[Any], Mapping[str, Any]]]] = field(default_factory=lambda: _FLAT)
    """Those of them that are members of another field here: the field, and what a value becomes in it."""
    in_path: bool = False
    """Whether the path, and not the body, names the model and says whether to stream."""


@dataclass(frozen=True, slots=True, eq=False)
class Endpoint:
    """One way to ask a model."""

    path: str
    """Below the base URL, without a leading slash; `{model}` in it is the model's name."""
    dialect: Dialect
    streams: bool = True
    """Whether it can answer with a stream; if not, answers are whole ones whatever the body says."""
    always_streams: bool = False
    """Whether it answers with nothing else."""
    query: str = ""
    """The query of its URL, for an endpoint that has one."""
    azure: str = ""
    """Where Azure's clients ask, if they do: what comes before the path."""
    remembers: bool = False
    """Whether a later request may refer to the answer by its id."""
    opaque: bool = False
    """Whether answers may be something else than JSON: audio, text. They pass as they come."""
    form: bool = False
    """Whether requests may be forms with files (multipart/form-data) instead of JSON."""

    def peek(self, body: bytes, content_type: str, *, default_model: str | None = None) -> Intent:
        """Reads what a body asks for. Raises InvalidJson or InvalidRequest."""
        if self.form and is_form(content_type):
            return read_form(body, content_type, default_model=default_model)
        return self._streaming(self.dialect.peek(body, default_model=default_model))

    def peek_in_steps(
        self, body: bytes, content_type: str, *, default_model: str | None = None
    ) -> Generator[None, None, Intent]:
        """The same for a large body."""
        if self.form and is_form(content_type):
            return (yield from read_form_in_steps(body, content_type, default_model=default_model))
        return self._streaming((yield from self.dialect.peek_in_steps(body, default_model=default_model)))

    def _streaming(self, intent: Intent) -> Intent:
        return Intent(intent.model, True, intent.fields, intent.body) if self.always_streams else intent


def _openai_body(error: GatewayError, message: str, request_id: str) -> bytes:
    return error_body(error, message)


OPENAI: Final = Dialect(
    name="chat",
    peek=peek,
    peek_in_steps=peek_in_steps,
    end_mark=DONE,
    usage=usage_of,
    error_event=error_event,
    watcher=StreamWatcher,
    error_body=_openai_body,
    is_error=lambda body: True,  # `upstream.refusal` has seen that it has the shape
)

_ANTHROPICS_OWN: Final = frozenset({"fallbacks"})
"""Names of fields that mean something else in Anthropic's API than in LiteLLM's."""

MESSAGES_API: Final = Dialect(
    name="messages",
    peek=partial(peek, own=_ANTHROPICS_OWN),
    peek_in_steps=partial(peek_in_steps, own=_ANTHROPICS_OWN),
    end_mark=b"",
    usage=messages_usage,
    error_event=anthropic_error_event,
    watcher=MessagesWatcher,
    error_body=anthropic_error_body,
    is_error=is_anthropic_error,
    headers=(("anthropic-version", VERSION),),
    request_id_header="request-id",
    parameters=MappingProxyType(
        {
            "stop": "stop_sequences", "max_completion_tokens": "max_tokens", "stream_options": None, "n": None,
            "seed": None, "presence_penalty": None, "frequency_penalty": None, "dimensions": None,
            "response_format": None, "reasoning_effort": None, "logprobs": None, "top_logprobs": None,
            "logit_bias": None, "parallel_tool_calls": None, "user": None, "verbosity": None,
        }
    ),
)  # fmt: skip

RESPONSES_API: Final = Dialect(
    name="responses",
    peek=peek,
    peek_in_steps=peek_in_steps,
    end_mark=b"",
    usage=responses_usage,
    error_event=responses_error_event,
    watcher=ResponsesWatcher,
    error_body=_openai_body,
    is_error=lambda body: True,
    parameters=RESPONSES_PARAMETERS,
    nested=RESPONSES_NESTED,
)

GEMINI_API: Final = Dialect(
    name="gemini",
    peek=gemini_peek,
    peek_in_steps=gemini_peek_in_steps,
    end_mark=b"",
    usage=gemini_usage,
    error_event=gemini_error_event,
    watcher=GeminiWatcher,
    error_body=gemini_error,
    is_error=is_gemini_error,
    parameters=GEMINI_PARAMETERS,
    nested=GEMINI_NESTED,
    in_path=True,
)

MEDIA_API: Final = replace(OPENAI, watcher=MediaWatcher)
"""OpenAI's endpoints that are no conversation: their streams have no end mark, and no parameter of chat is theirs."""

_DEPLOYMENTS: Final = "/openai/deployments/{model}"

CHAT: Final = Endpoint("chat/completions", OPENAI, azure=_DEPLOYMENTS)
COMPLETIONS: Final = Endpoint("completions", OPENAI, azure=_DEPLOYMENTS)
EMBEDDINGS: Final = Endpoint("embeddings", OPENAI, streams=False, azure=_DEPLOYMENTS)
RESPONSES: Final = Endpoint("responses", RESPONSES_API, azure="/openai", remembers=True)
COMPACT: Final = Endpoint("responses/compact", RESPONSES_API, streams=False, azure="/openai", remembers=True)
INPUT_TOKENS: Final = Endpoint("responses/input_tokens", RESPONSES_API, streams=False, azure="/openai", remembers=True)
MESSAGES: Final = Endpoint("messages", MESSAGES_API)
MESSAGES_BETA: Final = Endpoint("messages", MESSAGES_API, query="beta=true")
COUNT_TOKENS: Final = Endpoint("messages/count_tokens", MESSAGES_API, streams=False)
COUNT_TOKENS_BETA: Final = Endpoint("messages/count_tokens", MESSAGES_API, streams=False, query="beta=true")
GENERATE: Final = Endpoint("models/{model}:generateContent", GEMINI_API)
STREAM_GENERATE: Final = Endpoint(
    "models/{model}:streamGenerateContent", GEMINI_API, always_streams=True, query="alt=sse"
)
IMAGES: Final = Endpoint("images/generations", MEDIA_API, azure=_DEPLOYMENTS)
SPEECH: Final = Endpoint("audio/speech", MEDIA_API, azure=_DEPLOYMENTS, opaque=True)
IMAGE_EDITS: Final = Endpoint("images/edits", MEDIA_API, azure=_DEPLOYMENTS, form=True)
VARIATIONS: Final = Endpoint("images/variations", MEDIA_API, form=True)
TRANSCRIPTIONS: Final = Endpoint("audio/transcriptions", MEDIA_API, azure=_DEPLOYMENTS, opaque=True, form=True)
TRANSLATIONS: Final = Endpoint("audio/translations", MEDIA_API, azure=_DEPLOYMENTS, opaque=True, form=True)
MODERATIONS: Final = Endpoint("moderations", MEDIA_API, streams=False)
RERANK: Final = Endpoint("rerank", MEDIA_API, streams=False)

ENDPOINTS: Final = (
    CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES, COMPACT, INPUT_TOKENS, MESSAGES, MESSAGES_BETA, COUNT_TOKENS,
    COUNT_TOKENS_BETA, IMAGES, IMAGE_EDITS, VARIATIONS, SPEECH, TRANSCRIPTIONS, TRANSLATIONS, MODERATIONS, RERANK,
)  # fmt: skip
"""Every endpoint that asks a model. The data listener serves each under its path, some under Azure's too."""

DIALECTS: Final = {dialect.name: dialect for dialect in (OPENAI, RESPONSES_API, MESSAGES_API, GEMINI_API)}


def dialect_of(path: str) -> Dialect:
    """The dialect of a request's path, whether it is served or not."""
    return MESSAGES_API if is_path(path) else OPENAI
