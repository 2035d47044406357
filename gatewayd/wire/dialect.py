"""What a dialect is, and the endpoints of the API: one object each, one row each.

A dialect says how a body is read, how a stream ends, where token usage is, and what an error looks like. An endpoint
says which dialect it speaks and what it answers with. Other modules ask these objects; they compare no names.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Final, Protocol

from gatewayd.errors import GatewayError
from gatewayd.wire.openai import DONE, Intent, Usage, error_event, peek, peek_in_steps
from gatewayd.wire.sse import StreamWatcher
from gatewayd.wire.usage import usage_of


class Peek(Protocol):
    def __call__(self, body: bytes, *, default_model: str | None = None) -> Intent: ...


class PeekInSteps(Protocol):
    def __call__(self, body: bytes, *, default_model: str | None = None) -> Generator[None, None, Intent]: ...


@dataclass(frozen=True, slots=True, eq=False)
class Dialect:
    """One way to write requests and answers."""

    peek: Peek
    """Reads the top level of a request's body."""
    peek_in_steps: PeekInSteps
    """The same for a large body."""
    end_mark: bytes
    """The end of a stream that is whole."""
    usage: Callable[[bytes], Usage | None]
    """Token usage of a whole answer."""
    error_event: Callable[[GatewayError], bytes]
    """The event that ends a stream that broke."""
    watcher: type[StreamWatcher]
    """Looks at a stream while it passes."""


@dataclass(frozen=True, slots=True, eq=False)
class Endpoint:
    """One way to ask a model."""

    path: str
    """Below the base URL, without a leading slash."""
    dialect: Dialect
    streams: bool = True
    """Whether it can answer with a stream; if not, answers are whole ones whatever the body says."""


OPENAI: Final = Dialect(peek, peek_in_steps, DONE, usage_of, error_event, StreamWatcher)

CHAT: Final = Endpoint("chat/completions", OPENAI)
COMPLETIONS: Final = Endpoint("completions", OPENAI)
EMBEDDINGS: Final = Endpoint("embeddings", OPENAI, streams=False)

ENDPOINTS: Final = (CHAT, COMPLETIONS, EMBEDDINGS)
"""Every endpoint that asks a model. The data listener serves each under its path and under Azure's."""
