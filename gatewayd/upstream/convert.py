"""Asks a deployment in a dialect that it speaks: the caller's own if it can be, else the richest one both ways.

A request is read into the neutral form and written in the other dialect; the deployment's upstream sees an ordinary
call. Its answer is read and written the other way round. Before the first event of the answer everything that fails
raises, so that another deployment can be asked.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import Final, Protocol

import msgspec

from gatewayd.config.snapshot import Deployment
from gatewayd.errors import InvalidRequest, UpstreamBadResponse, UpstreamStatus, Verdict
from gatewayd.upstream.abilities import model_target, with_defaults
from gatewayd.upstream.base import DROPPED, Call, Reply, Upstream, WholeReply
from gatewayd.upstream.converted import ConvertedStream, unix_time
from gatewayd.upstream.forward import ForwardUpstream
from gatewayd.upstream.inline_media import InlineMedia
from gatewayd.upstream.response_memory import SealedReply, is_stateless, unsealed
from gatewayd.wire import responses
from gatewayd.wire.conversation import Answer, Block, ModelTarget, Request, StopReason, TextBlock
from gatewayd.wire.converters import CONVERTERS, Converter
from gatewayd.wire.dialect import (
    CHAT,
    COMPLETIONS,
    COUNT_TOKENS,
    COUNT_TOKENS_BETA,
    EMBEDDINGS,
    GENERATE,
    INPUT_TOKENS,
    MESSAGES,
    MESSAGES_BETA,
    RESPONSES,
    STREAM_GENERATE,
    Dialect,
    Endpoint,
)
from gatewayd.wire.estimate import estimated_tokens
from gatewayd.wire.events import Writer
from gatewayd.wire.headers import Header
from gatewayd.wire.openai import encode
from gatewayd.wire.response_store import StoredResponse

ESTIMATED: Final = "x-gatewayd-estimated"
"""The header of an answer that names the fields whose value is an estimate."""

_CONVERSATIONS: Final = {endpoint.dialect.name: endpoint for endpoint in (CHAT, RESPONSES, MESSAGES, GENERATE)}
"""By dialect: where a conversation is asked."""
_ASKED: Final = frozenset({CHAT, RESPONSES, MESSAGES, MESSAGES_BETA})
_NEVER_CONVERTED: Final = frozenset({COMPLETIONS, EMBEDDINGS})
_COUNTED: Final = frozenset({COUNT_TOKENS, COUNT_TOKENS_BETA, INPUT_TOKENS})
_RICHEST: Final = ("responses", "messages", "gemini", "converse", "chat")
"""Which dialect a deployment is asked in, of those that it speaks, if it does not speak the caller's."""
_NO_SUCH_URL: Final = (404, 405, 501)
_log: Final = logging.getLogger("gatewayd.deployments")
_ESTIMATE: Final = Endpoint("", CHAT.dialect)
"""Stands for the endpoint that nobody has."""
_THREADED: Final = 256 * 1024
"""Bytes of a body whose conversion would hold up the loop."""
_JSON: Final[Header] = ("content-type", "application/json")


async def open_in_dialect(upstream: Upstream, deployment: Deployment, call: Call) -> Reply:
    """`Upstream.open`, in whatever dialect the deployment speaks."""
    if isinstance(upstream, ForwardUpstream) and upstream.beside is not None and call.endpoint in _NEVER_CONVERTED:
        return await upstream.beside.open(call)
    ways = _ways(deployment, call)
    missing = upstream.missing if isinstance(upstream, ForwardUpstream) else None
    for way in ways:
        if missing is not None and missing.has(way.endpoint):
            continue
        try:
            return await way.open(upstream)
        except UpstreamStatus as error:
            if missing is None or way is ways[-1] or not _has_no_endpoint(error, way.endpoint.dialect):
                raise
            missing.note(way.endpoint)
            _log.info(
                "deployment %s (%s): its server has no %s; requests are converted",
                deployment.id, deployment.summary, way.endpoint.path,
            )  # fmt: skip
    raise not_spoken(call)


def _ways(deployment: Deployment, call: Call) -> list[_Way]:
    """How a deployment can be asked, the best way first."""
    caller = call.endpoint.dialect
    converter = CONVERTERS.get(caller.name)
    ways: list[_Way] = []
    # A conversation that only the gateway knows is written out, even where the dialect is the caller's own.
    kept = call.memory is not None and call.memory.kept_before(call.intent)
    if caller.name in deployment.dialects and not kept:
        ways.append(_Natively(call, deployment))
    if converter is not None and call.endpoint in _COUNTED:
        ways.append(_Estimate(call, converter))
    elif converter is not None and call.endpoint in _ASKED:
        ways += [
            _Conversion(call, deployment, converter, name)
            for name in _RICHEST
            if name in deployment.dialects and name in CONVERTERS and (name != caller.name or kept)
        ]
    return ways


class _Way(Protocol):
    endpoint: Endpoint

    async def open(self, upstream: Upstream) -> Reply: ...


class _Natively:
    """As the caller asked."""

    def __init__(self, call: Call, deployment: Deployment) -> None:
        self.endpoint = call.endpoint
        self._call = call
        self._deployment = deployment

    async def open(self, upstream: Upstream) -> Reply:
        call, memory = self._call, self._call.memory
        if memory is None or is_stateless(call.intent):
            return await upstream.open(call)
        inner = unsealed(call, memory)
        try:
            return SealedReply(await upstream.open(inner), call.intent, memory, self._deployment.id)
        finally:
            call.waited, call.dropped = inner.waited, inner.dropped


class _Estimate:
    """The answer of an endpoint that counts tokens, for a deployment that has none."""

    def __init__(self, call: Call, converter: Converter) -> None:
        self.endpoint = _ESTIMATE
        self._call = call
        self._converter = converter

    async def open(self, upstream: Upstream) -> Reply:
        request = await _request(self._call, self._converter)
        return _counted(request if self._call.memory is None else self._call.memory.continued(request)[0])


def _has_no_endpoint(error: UpstreamStatus, dialect: Dialect) -> bool:
    """Whether a server says that it has no such URL. In the form of the API it would speak of the model."""
    return error.status in _NO_SUCH_URL and (error.body is None or not dialect.is_error(error.body))


def not_spoken(call: Call) -> InvalidRequest:
    """The error for a call that a deployment's dialects cannot express."""
    error = InvalidRequest(
        f"The deployment has no endpoint '{call.endpoint.path}', and its API cannot express the request.",
        code="endpoint_not_supported",
    )
    error.verdict = Verdict.ELSEWHERE  # another deployment may have it
    return error


class _Conversion:
    """One call to a deployment that speaks another dialect than the caller."""

    def __init__(self, call: Call, deployment: Deployment, converter: Converter, target: str) -> None:
        self._call = call
        self._deployment = deployment
        self._caller = converter
        self._target = CONVERTERS[target]
        self.endpoint = _CONVERSATIONS[target]
        if self.endpoint is GENERATE and call.intent.stream:
            self.endpoint = STREAM_GENERATE

    async def open(self, upstream: Upstream) -> Reply:
        call = self._call
        request = asked = await _request(call, self._caller)
        previous = None
        if call.memory is not None:
            request, previous = call.memory.continued(asked)
        if isinstance(upstream, ForwardUpstream):
            dialect, provider = self.endpoint.dialect.name, self._deployment.provider
            media = InlineMedia(dialect, provider, upstream.fetcher, call.timeouts)
            if media.concerns(request):
                request = await media.put_in(request)
        if len(call.intent.body) > _THREADED:
            body, lost = await asyncio.to_thread(self._written, request)
        else:
            body, lost = self._written(request)
        intent = self.endpoint.peek(body, "", default_model=call.intent.model)
        inner = msgspec.structs.replace(
            call, endpoint=self.endpoint, intent=intent, headers=self._headers(), dropped=()
        )
        try:
            reply = await upstream.open(inner)
        except UpstreamStatus as error:
            if self.endpoint.dialect.error_body is not call.endpoint.dialect.error_body and not _has_no_endpoint(
                error, self.endpoint.dialect
            ):
                error.forget_body()
            raise
        finally:
            call.waited, call.dropped = inner.waited, (*lost, *inner.dropped)
        try:
            return await self._converted(reply, asked, previous)
        except BaseException:
            reply.close()
            raise

    def _written(self, request: Request) -> tuple[bytes, tuple[str, ...]]:
        if self._call.memory is not None and self.endpoint is not RESPONSES:
            request = msgspec.structs.replace(request, store=None)  # the gateway keeps it, and servers refuse the field
        request = with_defaults(request, self._deployment)
        if request.stream:
            request = msgspec.structs.replace(request, include_usage=True)  # for the record
        if request.system and request.dialect == MESSAGES.dialect.name:  # only Anthropic's API knows what it is for
            system = tuple(block for block in request.system if not _is_attribution(block))
            request = msgspec.structs.replace(request, system=system)
        try:
            written = self._target.write_request(request, self._model_target())
        except InvalidRequest as error:
            error.verdict = Verdict.ELSEWHERE  # a deployment that speaks the caller's dialect can be asked it
            raise
        return written.body, written.dropped

    def _model_target(self) -> ModelTarget:
        target = model_target(self._deployment, self._call.intent.model)
        if self.endpoint.dialect.in_path:  # its rules go by the model's own name, and no body names it
            own = self._deployment.model.replace("*", self._call.capture)
            target = msgspec.structs.replace(target, model=self._deployment.family_of(own))
        return target

    def _headers(self) -> list[Header]:
        """The client's, without those of an API that is not asked."""
        own = "anthropic-" if self.endpoint.dialect.name == MESSAGES.dialect.name else "openai-"
        return [pair for pair in self._call.headers if pair[0].startswith(own) or not pair[0].startswith(_VENDORS)]

    async def _converted(self, reply: Reply, request: Request, previous: StoredResponse | None) -> Reply:
        headers = [*(pair for pair in reply.headers if pair[0] != DROPPED), *self._call.told()]
        if reply.body is None:
            writer = self._caller.writer(request)
            at_end = partial(self._keep_streamed, request, previous, writer)
            own_id = None if self._call.memory is None else self._call.memory.new_id()
            stream = ConvertedStream(reply, headers, self._target.reader(), writer, at_end, own_id)
            self._call.error_event = stream.error_event
            return stream
        if len(reply.body) > _THREADED:
            answer, body = await asyncio.to_thread(self._answer, reply.body, request)
        else:
            answer, body = self._answer(reply.body, request)
        if self._call.memory is not None:
            self._call.memory.keep(self._call, request, previous, answer, body)
        return WholeReply(reply.status, headers, body, reply.usage)

    def _answer(self, body: bytes, request: Request) -> tuple[Answer, bytes]:
        answer = self._target.read_answer(body)
        if any(choice.stop is StopReason.FAULT and not choice.blocks for choice in answer.choices):
            raise UpstreamBadResponse("The model did not complete its answer.")
        if answer.created is None:
            answer = msgspec.structs.replace(answer, created=unix_time())
        if self._call.memory is not None:
            answer = msgspec.structs.replace(answer, answer_id=self._call.memory.new_id())
        return answer, self._caller.write_answer(answer, request)

    def _keep_streamed(self, request: Request, previous: StoredResponse | None, writer: Writer) -> None:
        """Keeps the response that a stream has told, unless that failed."""
        memory = self._call.memory
        if memory is None or request.store is False or not isinstance(writer, responses.Writer):
            return
        if writer.response is not None and writer.response["status"] != "failed":
            body = encode(writer.response)
            memory.keep(self._call, request, previous, responses.read_answer(body), body)


_VENDORS: Final = ("anthropic-", "openai-")
_ATTRIBUTION: Final = "x-anthropic-billing-header:"


async def _request(call: Call, converter: Converter) -> Request:
    """What the caller asks; read once for all attempts."""
    if call.conversation is None:
        body = call.intent.body
        if len(body) > _THREADED:
            call.conversation = await asyncio.to_thread(converter.read_request, body)
        else:
            call.conversation = converter.read_request(body)
        if call.endpoint.dialect.in_path:
            call.conversation = msgspec.structs.replace(
                call.conversation, model=call.intent.model, stream=call.intent.stream
            )
    return call.conversation


def _counted(request: Request) -> Reply:
    tokens = estimated_tokens(request)
    body = {"input_tokens": tokens}
    if request.dialect == RESPONSES.dialect.name:
        body = {"object": "response.input_tokens", **body}  # type: ignore[dict-item]
    return WholeReply(200, [_JSON, (ESTIMATED, "input_tokens")], encode(body))


def _is_attribution(block: Block) -> bool:
    """Whether a system block says only which client asks. It differs from request to request, and so spoils caches."""
    return isinstance(block, TextBlock) and block.text.startswith(_ATTRIBUTION)


class SplitUpstream:
    """Implements `Upstream` for a deployment whose dialects are spoken by different upstreams."""

    def __init__(self, upstreams: dict[str, Upstream]) -> None:
        """`upstreams` by the name of the dialect."""
        self._upstreams = upstreams

    async def open(self, call: Call) -> Reply:
        upstream = self._upstreams.get(call.endpoint.dialect.name)
        if upstream is None:
            raise not_spoken(call)
        return await upstream.open(call)

    def of(self, dialect: Dialect) -> Upstream | None:
        return self._upstreams.get(dialect.name)

    async def aclose(self) -> None:
        for upstream in self._upstreams.values():
            await upstream.aclose()


def native_upstream(upstream: Upstream, endpoint: Endpoint) -> ForwardUpstream | None:
    """What forwards to an endpoint of the provider's own; None if nothing does."""
    if isinstance(upstream, SplitUpstream):
        upstream = upstream.of(endpoint.dialect) or upstream
    return upstream if isinstance(upstream, ForwardUpstream) else None
