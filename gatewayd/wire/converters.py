"""The dialects that can be converted into each other, by the names of `wire.dialect.DIALECTS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from gatewayd.wire import chat, gemini, messages, responses
from gatewayd.wire.conversation import Answer, ModelTarget, Request, WrittenRequest
from gatewayd.wire.events import Reader, Writer


@dataclass(frozen=True, slots=True, eq=False)
class Converter:
    """The functions of one dialect (see `wire.conversation`)."""

    read_request: Callable[[bytes], Request]
    write_request: Callable[[Request, ModelTarget], WrittenRequest]
    read_answer: Callable[[bytes], Answer]
    write_answer: Callable[[Answer, Request], bytes]
    reader: Callable[[], Reader]
    writer: Callable[[Request], Writer]


CONVERTERS: Final[Mapping[str, Converter]] = {
    "chat": Converter(
        chat.read_request, chat.write_request, chat.read_answer, chat.write_answer, chat.Reader, chat.Writer
    ),
    "responses": Converter(
        responses.read_request,
        responses.write_request,
        responses.read_answer,
        responses.write_answer,
        responses.Reader,
        responses.Writer,
    ),
    "messages": Converter(
        messages.read_request,
        messages.write_request,
        messages.read_answer,
        messages.write_answer,
        messages.Reader,
        messages.Writer,
    ),
    "gemini": Converter(
        partial(gemini.read_request, model=""),  # the path names the model, and says whether to stream
        gemini.write_request,
        gemini.read_answer,
        gemini.write_answer,
        gemini.Reader,
        gemini.Writer,
    ),
}
