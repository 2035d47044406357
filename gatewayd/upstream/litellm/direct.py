"""Translated calls without `litellm.acompletion`: the provider's handler in litellm, and our connections around it.

`direct_request.supports_call` decides which calls are made here. All others, and every call whose preparation fails
before a byte was sent, go through `litellm.acompletion`, which therefore has the last word on what cannot be asked.

Knows neither litellm nor httpx; `api.LitellmApi` is handed in.
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
from gatewayd.upstream.hiding import Secrets
from gatewayd.upstream.litellm.answers import whole
from gatewayd.upstream.litellm.direct_request import NotDirect, ProviderRequest, request_of
from gatewayd.upstream.litellm.direct_stream import DirectStream, Events, Translator
from gatewayd.upstream.litellm.errors import no_stream, raised_by_us, translated
from gatewayd.upstream.litellm.push_iterator import PushIterator
from gatewayd.wire.coding import CodingError, decoded, is_identity
from gatewayd.wire.dialect import COMPLETIONS

if TYPE_CHECKING:
    from gatewayd.upstream.litellm.api import LitellmApi
    from gatewayd.upstream.litellm.bridge import Pools

_ERROR_BODY = 64 * 1024


class Unsupported(Exception):
    """Nothing was sent; the call may go the other way. `why` names the exception, or is empty if that was expected."""

    def __init__(self, why: str = "") -> None:
        super().__init__(why)
        self.why = why


class Direct:
    """One deployment's calls."""

    def __init__(
        self, provider: str, api: LitellmApi, pools: Pools, secrets: Secrets, end_mark: re.Pattern[bytes] | None
    ) -> None:
        self._provider = provider
        self._api = api
        self._pools = pools
        self._secrets = secrets
        self._end_mark = end_mark

    async def open(self, call: Call, arguments: Mapping[str, Any]) -> Reply:
        """`arguments` are those for `litellm.acompletion`. Raises GatewayError or Unsupported."""
        litellm_call = _LitellmCall(call, self._api, self._pools, arguments["model"].partition("/")[2])
        try:
            answer = await self._api.start(self._provider, litellm_call.model, arguments, litellm_call.post)
            if call.intent.stream:
                chunks = answer.completion_stream or await answer.fetch_stream()
                translator = self._translator(call, litellm_call, answer.model, chunks)
            else:
                return whole(call, answer)
        except Exception as error:
            failure = self._explained(error, litellm_call) if litellm_call.sent else None
            why = "" if isinstance(error, NotDirect) else type(error).__name__
        else:
            return await self._stream(litellm_call, translator)
        if failure is None:
            raise Unsupported(why)
        raise failure  # here, where no exception of litellm's is its context

    async def _stream(self, litellm_call: _LitellmCall, translator: Translator) -> Reply:
        stream = DirectStream(asyncio.get_running_loop().create_future(), translator)
        try:
            await litellm_call.send(stream)
            litellm_call.call.waited -= translator.busy
            if not stream.live:
                litellm_call.keep(stream)
                raise self._refused(litellm_call)
        except BaseException:
            stream.close()
            raise
        return stream

    def _translator(self, call: Call, litellm_call: _LitellmCall, model: str, chunks: Any) -> Translator:
        if litellm_call.feed is None:
            raise TypeError("a stream that reads no answer")
        options = call.intent.value("stream_options")
        events = Events(
            model,
            self._api.total,
            is_text=call.endpoint is COMPLETIONS,
            with_usage=isinstance(options, dict) and options.get("include_usage") is True,
        )

        def explain(error: Exception, last: bytes) -> GatewayError:
            return self._explained(error, litellm_call, last)

        is_claude = self._provider == "anthropic"
        return Translator(litellm_call.feed, chunks, events, explain, self._end_mark, is_claude=is_claude)

    def _explained(self, error: Exception, litellm_call: _LitellmCall, last: bytes | None = None) -> GatewayError:
        """What went wrong after the request was sent; `last` is the piece of a stream at which it did."""
        if last is not None:
            litellm_call.last = last
        if litellm_call.failure is None and raised_by_us(error) is None:
            if litellm_call.status >= 400:
                return self._refused(litellm_call)
            error = self._api.explained(self._provider, litellm_call.model, error)
        return translated(error, litellm_call, self._provider, self._secrets)

    def _refused(self, litellm_call: _LitellmCall) -> GatewayError:
        if litellm_call.failure is not None:
            return litellm_call.failure
        if litellm_call.status == 200:
            return no_stream(litellm_call, self._secrets)
        if litellm_call.status < 400:
            return UpstreamBadResponse("The upstream answered a streaming call without a stream.")
        text = litellm_call.error_body.decode(errors="replace")
        error = self._api.refusal(self._provider, litellm_call.model, litellm_call.status, litellm_call.fields, text)
        return translated(error, litellm_call, self._provider, self._secrets)


class _NoAnswer(Exception):
    """Ends a handler that has asked for an answer there is none of; the call knows why."""


@dataclass(slots=True)
class _LitellmCall:
    """One call's request and answer: what a handler takes for its HTTP client. Implements `errors.Facts`."""

    call: Call
    api: LitellmApi
    pools: Pools
    model: str
    request: ProviderRequest | None = None
    feed: PushIterator | None = None
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
        """httpx's answer; for a stream a substitute, because that request is sent later."""
        if self.request is not None or stream != self.call.intent.stream:
            raise _NoAnswer
        self.request = request_of(url, headers or {}, data, json)
        if stream:
            self.status = 200  # while the stream is read; what else comes is kept
            self.feed = PushIterator(self.api.headers())
            return self.feed
        answer = Answer(asyncio.get_running_loop().create_future())
        try:
            await self.send(answer)
        except GatewayError:
            raise _NoAnswer from None
        body = self.keep(answer)
        if self.failure is not None or self.status >= 400:
            raise _NoAnswer
        return self.api.response(self.status, self.fields, body)

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
