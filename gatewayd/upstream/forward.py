"""The forwarding upstream: the client's bytes go through, but for the model's name and what the operator configured.

The request head is made once per endpoint; a call adds its length, a few of the client's headers, and its body. Answers
are relayed as they are: whole ones after a look at both ends of the JSON (but see `vectors`), streams by
`stream.StreamAnswer`.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from functools import cached_property
from typing import Final
from urllib.parse import quote

import msgspec

from gatewayd._version import __version__
from gatewayd.config import providers
from gatewayd.config.snapshot import Deployment
from gatewayd.errors import ConfigurationError, UpstreamBadResponse, UpstreamError
from gatewayd.secret import Secret
from gatewayd.tasks import in_steps
from gatewayd.upstream.answer import lines
from gatewayd.upstream.base import Call, Reply, Timeouts, Upstream, WholeReply
from gatewayd.upstream.dial import Origin, configured_tls
from gatewayd.upstream.fetch import Fetcher
from gatewayd.upstream.hiding import Secrets
from gatewayd.upstream.missing import MissingEndpoints
from gatewayd.upstream.onepiece import in_one_piece
from gatewayd.upstream.opaque import OpaqueAnswer
from gatewayd.upstream.passing import PassingUpstream
from gatewayd.upstream.pool import Pool
from gatewayd.upstream.refusal import failed_body, refused
from gatewayd.upstream.rewrite import Rewriter
from gatewayd.upstream.stream import StreamAnswer
from gatewayd.upstream.tokens import TAKES_TOKENS, has_tokens, with_texts
from gatewayd.upstream.transport import MAX_BODY, Answer, Connection
from gatewayd.upstream.upload import exchange_streamed
from gatewayd.upstream.vectors import needs_packing, packed
from gatewayd.wire.coding import CodingError, decoded, is_identity
from gatewayd.wire.dialect import CHAT, EMBEDDINGS, RESPONSES_API, Endpoint
from gatewayd.wire.forms import FormIntent
from gatewayd.wire.headers import HOP, HOP_BY_HOP
from gatewayd.wire.large import LARGE, closes, holds

AZURE_API_VERSION: Final = "2025-02-01-preview"
"""Used when the deployment names none: litellm's default (1.106.2)."""

OMITS_DONE: Final = frozenset({"custom_openai", "openai_like"})
"""Providers behind which stands any server at all, some of which (`transformers serve`) end a stream without `[DONE]`.
For these a properly delimited stream in which every choice got its finish reason is complete."""

_validated: Final = msgspec.json.Decoder(msgspec.Raw)
_ANY: Final = b"\r\naccept: */*\r\n"
_JSON_BODY: Final = b"\r\ncontent-type: application/json\r\n"
_EVENTS: Final = b"\r\naccept: text/event-stream\r\n"
_ERROR: Final = b'"error"'
_NEAR: Final = 4096
"""Bytes of a whole answer in which its choices or vectors begin, as a rule."""
_SOME_ERROR: Final = re.compile(rb'"error"(?!\s*:\s*null\b)|"status"\s*:\s*"failed"')
_OTHER_RESULT: Final = re.compile(rb'"type"\s*:\s*"message"|"object"\s*:\s*"response|"candidates"\s*:')
_HAS_CHOICE: Final = re.compile(rb'"choices"\s*:\s*\[\s*\{')
_ANTHROPICS_TOKEN: Final = "sk-ant-oat"
_SPACE: Final = b" \t\r\n"
_VISIBLE: Final = "".join(map(chr, range(0x21, 0x7F)))
"""What a base URL may hold as it is; the rest is encoded as in every browser."""


class ForwardUpstream:
    """Implements `Upstream` for one deployment. `tls` replaces what it trusts; `instance`: see `wire.headers.HOP`.

    Raises ConfigurationError if the deployment cannot be called: base URL or headers are malformed.
    """

    def __init__(
        self,
        deployment: Deployment,
        *,
        tls: ssl.SSLContext | None = None,
        instance: str = "",
        fetcher: Fetcher | None = None,
    ) -> None:
        if not deployment.api_base:
            raise ConfigurationError("a forwarding deployment needs a base URL", config_key="api_base")
        self._origin, parts = Origin.of(deployment.api_base)
        self._pool = Pool(self._origin, tls=tls or configured_tls(deployment))
        self._path, self._query = quote(parts.path.rstrip("/"), safe=_VISIBLE), quote(parts.query, safe=_VISIBLE)
        self._azure = deployment.provider == "azure"
        if self._azure:
            self._path, self._query = _azure(self._path, self._query, deployment.api_version)
        self._provider = deployment.provider
        self._model = deployment.model
        self._wild = "*" in deployment.model
        provider = providers.get(deployment.provider)
        self._rewriter = Rewriter(deployment)
        self._omits_done = deployment.provider in OMITS_DONE
        elsewhere = provider is None or deployment.api_base != provider.api_base
        self._fields, self._own = _fields(deployment, self._origin, instance if elsewhere else "")
        held = (deployment.api_key, *deployment.extra_headers.values(), *deployment.litellm_params.values())
        self.secrets = Secrets(secret for secret in held if isinstance(secret, Secret))
        self.missing = MissingEndpoints()
        self.fetcher = fetcher or Fetcher()
        self.beside: Upstream | None = None
        """What has the endpoints of OpenAI that the provider's own API has not, and that are not converted."""
        self._heads: tuple[dict[Endpoint, bytes], dict[Endpoint, bytes]] = {}, {}
        """By endpoint, of calls that do not stream and of those that do."""

    async def open(self, call: Call) -> Reply:
        if self._needs_texts(call):
            call.intent = await with_texts(call.intent, self._provider)
        intent = call.intent
        if len(intent.body) > LARGE:  # looking for what a provider refuses takes a nanosecond a byte
            head, body = await asyncio.to_thread(self._request, call)
        else:
            head, body = self._request(call)
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if call.endpoint.opaque:
            return await self._open_opaque(call, OpaqueAnswer(ready, self.secrets), head, body)
        if not intent.stream:
            answer = Answer(ready)
            await self._exchange(call, answer, head, body)
            content = await self.whole_in_steps(answer) if is_heavy(answer) else self.whole(answer)
            if call.endpoint is EMBEDDINGS and needs_packing(call, content):
                content = await asyncio.to_thread(packed, content)
            headers = [*self.secrets.relayed(answer.fields), *call.told()]
            return WholeReply(answer.status, headers, content, call.endpoint.dialect.usage(content))
        choices = _choices(call) if self._omits_done else 0
        watcher = call.endpoint.dialect.watcher(choices=choices, whole=True, hides=self.secrets.found_in)
        stream = StreamAnswer(ready, watcher)
        stream.secrets = self.secrets
        await self._exchange(call, stream, head, body)
        if stream.live:
            if call.dropped:
                stream.headers = [*stream.headers, *call.told()]
            return stream
        content = await self.whole_in_steps(stream) if is_heavy(stream) else self.whole(stream)
        return in_one_piece(call, [*self.secrets.relayed(stream.fields), *call.told()], content)

    async def _open_opaque(self, call: Call, answer: OpaqueAnswer, head: bytes, body: bytes) -> Reply:
        await self._exchange(call, answer, head, body)
        if answer.live:
            return answer
        content = await self.whole_in_steps(answer) if is_heavy(answer) else self.whole(answer)
        return WholeReply(
            answer.status, self.secrets.relayed(answer.fields), content, call.endpoint.dialect.usage(content)
        )

    async def _exchange(self, call: Call, answer: Answer, head: bytes, body: bytes) -> None:
        if call.body is None:
            await call.waiting(self._pool.exchange(answer, head, body, call.timeouts, fresh=call.fresh))
        else:
            await call.waiting(exchange_streamed(self._pool, answer, head, call.body, call.timeouts))

    async def ask_about(self, method: str, path: str, query: str, timeouts: Timeouts) -> Reply:
        """A request without a body about something that an earlier call made. Raises GatewayError."""
        base = self._path.removesuffix("/deployments/{model}") if self._azure else self._path
        query = "&".join(filter(None, (quote(query, safe=_VISIBLE), self._query)))
        target = f"{base}/{path}" + (f"?{query}" if query else "")
        head = f"{method} {target} HTTP/1.1\r\n".encode("ascii") + self._fields + b"content-length: 0\r\n\r\n"
        answer = Answer(asyncio.get_running_loop().create_future())
        await self._pool.exchange(answer, head, b"", timeouts)
        content = await self.whole_in_steps(answer) if is_heavy(answer) else self.whole(answer)
        return WholeReply(answer.status, self.secrets.relayed(answer.fields), content)

    def send_now(self, answer: Answer, call: Call) -> Connection | None:
        """Sends a call on an idle connection, if there is one. `answer` hears what becomes of it; it may fail with
        StaleConnection. What has to wait before or after that needs `open`."""
        endpoint = call.endpoint
        if (
            not self._pool.idle_count
            or endpoint.opaque
            or call.body is not None
            or self.missing.noted(endpoint)
            or self._needs_texts(call)
        ):
            return None
        head, body = self._request(call)
        connection = self._pool.take()
        if connection is not None:
            timeouts = call.timeouts
            connection.send(answer, head, body, first_byte=timeouts.first_byte, idle=timeouts.idle)
        return connection

    @cached_property
    def passing(self) -> PassingUpstream:
        """For requests to other paths of the same server."""
        pairs = (line.partition(": ") for line in self._fields.decode("ascii").splitlines())
        fields = [(name, value) for name, _, value in pairs]
        path = self._path.removesuffix("/deployments/{model}") if self._azure else self._path
        return PassingUpstream(self._pool, path, self._query, fields, self.secrets)

    async def aclose(self) -> None:
        await self._pool.aclose()
        if self.beside is not None:
            await self.beside.aclose()

    def _needs_texts(self, call: Call) -> bool:
        return call.endpoint is EMBEDDINGS and self._provider not in TAKES_TOKENS and has_tokens(call.intent)

    def _request(self, call: Call) -> tuple[bytes, bytes]:
        """Head and body."""
        endpoint, headers = call.endpoint, call.headers
        model = self._model
        if self._wild:
            model = providers.own_name(self._provider, model.replace("*", call.capture))
        body = self._rewriter.body(call, model) if call.body is None else b""
        heads = self._heads[call.intent.stream]
        prefix = heads.get(endpoint)
        if prefix is None or (self._wild and (self._azure or endpoint.dialect.in_path)):
            prefix = heads[endpoint] = self._prefix(endpoint, model, stream=call.intent.stream)
        if isinstance(call.intent, FormIntent):
            prefix = prefix.replace(_JSON_BODY, b"\r\ncontent-type: %b\r\n" % call.intent.content_type, 1)
        elif call.content_type:
            prefix = prefix.replace(_JSON_BODY, b"\r\ncontent-type: %b\r\n" % call.content_type.encode("latin-1"), 1)
        if call.method != "POST":
            prefix = call.method.encode("ascii") + prefix.removeprefix(b"POST")
        if usual := endpoint.dialect.headers:
            sent = {name for name, _ in headers}
            headers = [*headers, *(pair for pair in usual if pair[0] not in sent)]
        if call.body is not None:
            length = call.body.length
            prefix += b"transfer-encoding: chunked\r\n" if length is None else b"content-length: %d\r\n" % length
            theirs = lines((name, value) for name, value in headers if name not in self._own).encode("latin-1")
            return b"%b%b\r\n" % (prefix, theirs), body
        if not headers:
            return b"%bcontent-length: %d\r\n\r\n" % (prefix, len(body)), body
        own = self._own
        theirs = lines((name, value) for name, value in headers if name not in own).encode("latin-1")
        return b"%b%bcontent-length: %d\r\n\r\n" % (prefix, theirs, len(body)), body

    def _prefix(self, endpoint: Endpoint, model: str, *, stream: bool) -> bytes:
        path = self._path
        if self._azure and endpoint.dialect is RESPONSES_API:  # whose body names the model
            path = path.removesuffix("/deployments/{model}")
        query = "&".join(filter(None, (endpoint.query, self._query)))
        target = f"{path}/{endpoint.path}".replace("{model}", quote(model, safe="")) + (f"?{query}" if query else "")
        fields = self._fields.replace(_ANY, _EVENTS, 1) if stream and not endpoint.opaque else self._fields
        return f"POST {target} HTTP/1.1\r\n".encode("ascii") + fields

    def _hinted(self, error: UpstreamError) -> UpstreamError:
        if error.status in (404, 405) and error.body is None and not self._path:
            error.message += _PATHLESS
        return error

    def whole(self, answer: Answer) -> bytes:
        """The body of an answer that has arrived, if it is a good one; else raises GatewayError."""
        body = answer.body or b""
        if (  # the usual case, at the price of no further call
            answer.status == 200
            and answer.delimited
            and body[:1] == b"{"
            and body[-1:] == b"}"
            and b"content-encoding" not in answer.fields
            and not _mentions_error(body)
            and not _looks_empty(body)
        ):
            return body
        body = _decoded(answer)
        return self._judged(answer, body, answer.delimited, suspicious=_mentions_error(body) or _looks_empty(body))

    async def whole_in_steps(self, answer: Answer) -> bytes:
        """The same for an answer that is large or becomes it, while the loop goes on: a gigabyte may have been
        compressed to a megabyte."""
        body = await asyncio.to_thread(_decoded, answer)
        delimited = answer.delimited or (len(body) > LARGE and await in_steps(closes(body)))
        suspicious = await in_steps(holds(body, _ERROR)) or (len(body) <= LARGE and _looks_empty(body))
        return self._judged(answer, body, delimited, suspicious=suspicious)

    def _judged(self, answer: Answer, body: bytes, delimited: bool, *, suspicious: bool) -> bytes:
        """`suspicious`: it may be an error, or hold no answer."""
        if not 200 <= answer.status < 300:
            raise self._hinted(refused(answer.status, answer.fields, body, self.secrets))
        if not _looks_whole(body, delimited=delimited):
            raise UpstreamBadResponse("The upstream's answer is not JSON.")
        failure = failed_body(body, self.secrets, whole=True) if suspicious else None
        if failure is not None:
            raise failure
        return body


_PATHLESS: Final = " The api_base of the deployment has no path; most servers serve OpenAI's API below /v1."


def is_heavy(answer: Answer) -> bool:
    """Whether looking at an answer that has arrived may hold up the loop."""
    return len(answer.body or b"") > LARGE or b"content-encoding" in answer.fields


def _decoded(answer: Answer) -> bytes:
    """The body without its content coding. Raises UpstreamBadResponse."""
    body, coding = answer.body or b"", answer.fields.get(b"content-encoding")
    if coding is None or is_identity(coding):
        return body
    try:
        return decoded(body, coding, MAX_BODY)
    except CodingError as error:
        raise UpstreamBadResponse(f"The upstream's answer cannot be read: {error}.") from None


def _fields(deployment: Deployment, origin: Origin, hop: str) -> tuple[bytes, frozenset[str]]:
    """The header lines that every request has, and the names of those that a client's must not stand beside."""
    fields = {
        "host": origin.authority,
        "user-agent": f"gatewayd/{__version__}",
        "accept": "*/*",
        "accept-encoding": "identity",
        "content-type": "application/json",
    }
    token = deployment.litellm_params.get("azure_ad_token")
    if deployment.api_key is not None and deployment.provider == "azure":
        fields["api-key"] = deployment.api_key.reveal()
    elif deployment.api_key is not None and deployment.provider == "anthropic":
        fields |= _anthropics_key(deployment.api_key.reveal())
    elif deployment.api_key is not None and deployment.provider == "gemini":
        fields["x-goog-api-key"] = deployment.api_key.reveal()
    elif deployment.api_key is not None:
        fields["authorization"] = f"Bearer {deployment.api_key.reveal()}"
    elif isinstance(token, Secret):
        fields["authorization"] = f"Bearer {token.reveal()}"
    if deployment.organization is not None:
        fields["openai-organization"] = deployment.organization
    for name, secret in deployment.extra_headers.items():
        if name.lower() in HOP_BY_HOP or not name.isascii() or not name.replace("-", "").replace("_", "").isalnum():
            raise ConfigurationError(f"the header {name!r} cannot be set", config_key="extra_headers")
        fields[name.lower()] = secret.reveal()
    own = frozenset(fields)
    if hop:  # no provider's own address leads back here
        fields[HOP] = hop
    for name, value in fields.items():
        if not value.isascii() or not value.isprintable():
            raise ConfigurationError(
                f"the value of the header {name!r} has characters that are not allowed in a header"
            )
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return lines.encode("ascii"), own


def _anthropics_key(key: str) -> dict[str, str]:
    """The header that takes a key of Anthropic's, or a token that `claude setup-token` made."""
    return {"authorization": f"Bearer {key}"} if key.startswith(_ANTHROPICS_TOKEN) else {"x-api-key": key}


def _azure(path: str, query: str, version: str | None) -> tuple[str, str]:
    """Azure's path, with `{model}` for the deployment's name, and query.

    The API without dated versions (`.../openai/v1`) names the model in the body, as everyone else; its only versions
    are `preview` and `latest`. All else goes to `/openai/deployments/{name}` of a dated version.
    """
    if version in ("preview", "latest", "v1") and not path.endswith("/openai/v1"):
        path = path.removesuffix("/openai") + "/openai/v1"
    if path.endswith("/openai/v1"):
        wanted = version if version in ("preview", "latest") else None
    else:
        wanted = version or AZURE_API_VERSION
        if "/openai/deployments/" not in path and not path.endswith("/models"):  # Foundry's names it in the body too
            path = path.removesuffix("/openai") + "/openai/deployments/{model}"
    if wanted is None or "api-version=" in query:
        return path, query
    return path, "&".join(filter(None, (query, f"api-version={quote(wanted, safe='')}")))


def _choices(call: Call) -> int:
    if call.endpoint is not CHAT:
        return 0
    n = call.intent.value("n")
    return n if isinstance(n, int) and n > 0 else 1


def _looks_whole(body: bytes, *, delimited: bool) -> bool:
    """Whether a body is one JSON object. One whose end was marked is looked at from outside only; one that ended with
    its connection may be cut anywhere, and is parsed."""
    text = body.strip(_SPACE) if body[-1:].isspace() or body[:1].isspace() else body
    if not (text.startswith(b"{") and text.endswith(b"}")):
        return False
    if not delimited:
        try:
            _validated.decode(body)
        except (msgspec.DecodeError, RecursionError):
            return False
    return True


def _looks_empty(body: bytes) -> bool:
    """Whether a body may hold neither a choice nor vectors; only a parser is sure."""
    at = body.find(b'"choices"', 0, _NEAR)
    if at >= 0:
        return _HAS_CHOICE.match(body, at) is None
    return body.find(b'"data"', 0, _NEAR) < 0 and _OTHER_RESULT.search(body, 0, _NEAR) is None


def _mentions_error(body: bytes) -> bool:
    return body.rfind(_ERROR) >= 0 and _SOME_ERROR.search(body) is not None
