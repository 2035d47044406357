"""Translated calls without `litellm.acompletion`: the provider's handler in litellm, and our connections around it.

What goes this way is decided by `direct_request.fits`; everything else, and every call whose preparation fails before a
byte was sent, goes the other way, which therefore has the last word on what cannot be asked.

Knows neither litellm nor httpx; `translate_parts.Parts` is handed in.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gatewayd.errors import GatewayError, UpstreamBadResponse, UpstreamRedirect
from gatewayd.upstream.answer import MAX_BODY, Answer, Fields
from gatewayd.upstream.base import Call, Reply
from gatewayd.upstream.direct_feed import Feed
from gatewayd.upstream.direct_request import NotDirect, Request, request_of
from gatewayd.upstream.direct_stream import DirectStream, Events, Translator
from gatewayd.upstream.hiding import Secrets
from gatewayd.upstream.translate_answer import whole
from gatewayd.upstream.translate_errors import no_stream, raised_by_us, translated
from gatewayd.wire.coding import CodingError, decoded, is_identity
from gatewayd.wire.dialect import COMPLETIONS

if TYPE_CHECKING:
    from gatewayd.upstream.bridge import Pools
    from gatewayd.upstream.translate_parts import Parts

_ERROR_BODY = 64 * 1024


class Unfit(Exception):
    """Nothing was sent; the call may go the other way. `why` names the exception, or is empty if that was expected."""

    def __init__(self, why: str = "") -> None:
        super().__init__(why)
        self.why = why


class Direct:
    """One deployment's calls."""

    def __init__(
        self, provider: str, parts: Parts, pools: Pools, secrets: Secrets, end_mark: re.Pattern[bytes] | None
    ) -> None:
        self._provider = provider
        self._parts = parts
        self._pools = pools
        self._secrets = secrets
        self._end_mark = end_mark

    async def open(self, call: Call, arguments: Mapping[str, Any]) -> Reply:
        """`arguments` are those for `litellm.acompletion`. Raises GatewayError or Unfit."""
        errand = _Errand(call, self._parts, self._pools, arguments["model"].partition("/")[2])
        try:
            answer = await self._parts.start(self._provider, errand.model, arguments, errand.post)
            if call.intent.stream:
                chunks = answer.completion_stream or await answer.fetch_stream()
                translator = self._translator(call, errand, answer.model, chunks)
            else:
                return whole(call, answer)
        except Exception as error:
            failure = self._explained(error, errand) if errand.sent else None
            why = "" if isinstance(error, NotDirect) else type(error).__name__
        else:
            return await self._stream(errand, translator)
        if failure is None:
            raise Unfit(why)
        raise failure  # here, where no exception of litellm's is its context

    async def _stream(self, errand: _Errand, translator: Translator) -> Reply:
        stream = DirectStream(asyncio.get_running_loop().create_future(), translator)
        try:
            await errand.send(stream)
            errand.call.waited -= translator.busy
            if not stream.live:
                errand.keep(stream)
                raise self._refused(errand)
        except BaseException:
            stream.close()
            raise
        return stream

    def _translator(self, call: Call, errand: _Errand, model: str, chunks: Any) -> Translator:
        if errand.feed is None:
            raise TypeError("a stream that reads no answer")
        options = call.intent.value("stream_options")
        events = Events(
            model,
            self._parts.total,
            is_text=call.endpoint is COMPLETIONS,
            with_usage=isinstance(options, dict) and options.get("include_usage") is True,
        )

        def explain(error: Exception, last: bytes) -> GatewayError:
            return self._explained(error, errand, last)

        is_claude = self._provider == "anthropic"
        return Translator(errand.feed, chunks, events, explain, self._end_mark, is_claude=is_claude)

    def _explained(self, error: Exception, errand: _Errand, last: bytes | None = None) -> GatewayError:
        """What went wrong after the request was sent; `last` is the piece of a stream at which it did."""
        if last is not None:
            errand.last = last
        if errand.failure is None and raised_by_us(error) is None:
            if errand.status >= 400:
                return self._refused(errand)
            error = self._parts.explained(self._provider, errand.model, error)
        return translated(error, errand, self._provider, self._secrets)

    def _refused(self, errand: _Errand) -> GatewayError:
        if errand.failure is not None:
            return errand.failure
        if errand.status == 200:
            return no_stream(errand, self._secrets)
        if errand.status < 400:
            return UpstreamBadResponse("The upstream answered a streaming call without a stream.")
        text = errand.error_body.decode(errors="replace")
        error = self._parts.refusal(self._provider, errand.model, errand.status, errand.fields, text)
        return translated(error, errand, self._provider, self._secrets)


class _NoAnswer(Exception):
    """Ends a handler that has asked for an answer there is none of; the errand knows why."""


@dataclass(slots=True)
class _Errand:
    """One call's request and answer: what a handler takes for its HTTP client. Implements `translate_errors.Facts`."""

    call: Call
    parts: Parts
    pools: Pools
    model: str
    request: Request | None = None
    feed: Feed | None = None
    sent: bool = False
    status: int = 0
    fields: Fields = field(default_factory=dict)
    error_body: bytes = b""
    failure: GatewayError | None = None
    last: bytes = b""

    async def post(
        self,
        url: str,
        data: str | bytes | None = None,
        json: Any = None,
        headers: Mapping[str, str] | None = None,
        stream: bool = False,
        **_: Any,
    ) -> Any:
        """httpx's answer, or for a stream what stands in for it: that request is sent by and by."""
        if self.request is not None or stream != self.call.intent.stream:
            raise _NoAnswer
        self.request = request_of(url, headers or {}, data, json)
        if stream:
            self.status = 200  # while the stream is read; what else comes is kept
            self.feed = Feed(self.parts.headers())
            return self.feed
        answer = Answer(asyncio.get_running_loop().create_future())
        try:
            await self.send(answer)
        except GatewayError:
            raise _NoAnswer from None
        body = self.keep(answer)
        if self.failure is not None or self.status >= 400:
            raise _NoAnswer
        return self.parts.response(self.status, self.fields, body)

    async def send(self, answer: Answer) -> None:
        """Returns when the answer is there, or a stream's first event. Raises GatewayError."""
        request = self.request
        assert request is not None
        self.sent = True
        try:
            pool = self.pools.of(request.origin)
            await self.call.waiting(pool.exchange(answer, request.head, request.body, self.call.timeouts))
        except GatewayError as error:
            self.failure = error
            raise

    def keep(self, answer: Answer) -> bytes:
        """Notes what came, and returns the body, decoded within bounds."""
        self.status, body = answer.status, answer.body or b""
        self.fields = dict(answer.fields)
        coding = self.fields.pop(b"content-encoding", None)
        if 300 <= answer.status < 400:
            self.failure = UpstreamRedirect("The upstream answered with a redirect.")
        elif coding is not None and not is_identity(coding):
            try:
                body = decoded(body, coding, MAX_BODY)
            except CodingError as error:
                body = b""
                if answer.status < 300:  # else the status says enough
                    self.failure = UpstreamBadResponse(f"The upstream's answer cannot be read: {error}.")
        if answer.status >= 400:
            self.error_body = body[:_ERROR_BODY]
        else:
            self.last = body[:_ERROR_BODY]
        return body
