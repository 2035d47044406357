"""The OpenAI clients of one gateway: one for all threads, and one for every event loop that asks.

An asynchronous client's connections belong to the loop they were opened in, so each loop gets a client of its own. It
is closed with its loop: `asyncio.run` ends by closing the loop's asynchronous generators, and a generator is what keeps
the client. Only what `openai` exports at its top is used, which is the same in its versions 2 and 3.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
import threading
import weakref
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import openai

if TYPE_CHECKING:
    from gatewayd.client.embedded import PrivateDaemon


@dataclass(frozen=True, slots=True)
class GatewayAddress:
    """Where the clients go, and how patient they are."""

    base_url: str
    api_key: str
    timeout: float
    """Seconds: to connect, and of silence while an answer is awaited or read."""
    max_retries: int
    daemon: PrivateDaemon | None = None
    """The private daemon behind `base_url`, which runs as long as a client can call it."""

    def __repr__(self) -> str:
        return f"GatewayAddress({self.base_url!r})"

    @property
    def trust_env(self) -> bool:
        """Whether proxies of the environment are meant for this address: never for this machine's own."""
        host = urlsplit(self.base_url).hostname or ""
        return not (host in ("localhost", "::1") or host.startswith("127."))

    @property
    def verify(self) -> ssl.SSLContext | bool:
        """How certificates are checked. Without TLS there are none, and loading the authorities costs 20 ms a client;
        a context without any refuses every certificate, should a redirect lead to TLS. The HTTP library reads
        `$SSL_CERT_FILE` only together with proxies, so where these are not wanted the system's context does."""
        if not self.base_url.startswith("https:"):
            return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        return True if self.trust_env else ssl.create_default_context()


class Connections:
    """Makes clients when they are asked for and closes them. Safe to use from any thread."""

    def __init__(self, target: GatewayAddress) -> None:
        self.target = target
        self._lock = threading.Lock()
        self._closed = False
        self._sync: openai.OpenAI | None = None
        self._of_loop: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _LoopClient] = weakref.WeakKeyDictionary()

    @property
    def sync(self) -> openai.OpenAI:
        with self._lock:
            self._check_open()
            if self._sync is None or self._sync.is_closed():
                self._sync = _sync_client(self.target)
            return self._sync

    @property
    def asynchronous(self) -> openai.AsyncOpenAI:
        """The client of the running loop. Raises RuntimeError where none is running."""
        loop = asyncio.get_running_loop()
        with self._lock:
            self._check_open()
            found = self._of_loop.get(loop)
            if found is None or found.client.is_closed():
                for other in [other for other in self._of_loop if other.is_closed()]:
                    del self._of_loop[other]
                found = self._of_loop[loop] = _LoopClient(self.target, loop)
            return found.client

    def close(self) -> None:
        """Closes everything; what belongs to a running loop is closed by that loop, a moment later."""
        for _, client in self._take():
            client.keeper.close_soon()

    async def aclose(self) -> None:
        """The same; the running loop's client is closed on return."""
        running = asyncio.get_running_loop()
        for loop, client in self._take():
            if loop is running:
                await client.keeper.aclose()
            else:
                client.keeper.close_soon()

    def _take(self) -> list[tuple[asyncio.AbstractEventLoop, _LoopClient]]:
        with self._lock:
            self._closed = True
            sync, self._sync = self._sync, None
            clients = list(self._of_loop.items())
            self._of_loop.clear()
        if sync is not None:
            sync.close()
        return clients

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("the gateway is closed")


class _Http(openai.DefaultHttpxClient):
    """Keeps the private daemon running while a client refers to it."""

    def __init__(self, target: GatewayAddress) -> None:
        super().__init__(trust_env=target.trust_env, verify=target.verify)
        self.daemon = target.daemon


class _AsyncHttp(openai.DefaultAsyncHttpxClient):
    """The same."""

    def __init__(self, target: GatewayAddress) -> None:
        super().__init__(trust_env=target.trust_env, verify=target.verify)
        self.daemon = target.daemon


class OpenAI(openai.OpenAI):
    """A copy shares its original's connections, so it keeps the original, whose end would close them.

    The SDK makes the `User-Agent` of the class's name, so it keeps that too."""

    _original: openai.OpenAI | None = None

    def copy(self, **options: Any) -> Self:
        made = super().copy(**options)
        made._original = self
        return made

    with_options = copy


class AsyncOpenAI(openai.AsyncOpenAI):
    """The same."""

    _original: openai.AsyncOpenAI | None = None

    def copy(self, **options: Any) -> Self:
        made = super().copy(**options)
        made._original = self
        return made

    with_options = copy


def _sync_client(target: GatewayAddress) -> OpenAI:
    http = _Http(target)
    client = OpenAI(
        base_url=target.base_url,
        api_key=target.api_key,
        timeout=target.timeout,
        max_retries=target.max_retries,
        http_client=http,
    )
    # The SDK's clients are part of reference cycles. What shall be closed when one is collected must stay outside of
    # the cycle, for the collector would finalize the sockets in any order: the finalizer's arguments do.
    weakref.finalize(client, _close, http, os.getpid())
    return client


def _close(http: _Http, pid: int) -> None:
    if os.getpid() == pid:  # not in a forked child: the sockets are its parent's
        http.close()


class _LoopClient:
    """One loop's client, and what closes it."""

    def __init__(self, target: GatewayAddress, loop: asyncio.AbstractEventLoop) -> None:
        http = _AsyncHttp(target)
        self.client = AsyncOpenAI(
            base_url=target.base_url,
            api_key=target.api_key,
            timeout=target.timeout,
            max_retries=target.max_retries,
            http_client=http,
        )
        self.keeper = _Keeper(http, loop)
        weakref.finalize(self.client, self.keeper.close_soon).atexit = False


class _Keeper:
    """Closes one loop's connections: when asked to, and else with the loop. Made in the running loop."""

    def __init__(self, http: _AsyncHttp, loop: asyncio.AbstractEventLoop) -> None:
        self._loop_of = weakref.ref(loop)
        self._open = _until_closed(http)
        self._asked = False
        with contextlib.suppress(StopIteration):
            self._open.__anext__().send(None)  # runs to the `yield`, which registers it with the loop

    def close_soon(self) -> None:
        """Has the loop close it. From any thread, at any time, more than once."""
        loop = self._loop_of()
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed, and the connections with it
                loop.call_soon_threadsafe(self._start, loop)

    async def aclose(self) -> None:
        if not self._asked:
            self._asked = True
            await self._open.aclose()

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        task = _Closing(self.aclose(), loop=loop, name="close an OpenAI client")
        _under_way.add(task)
        task.add_done_callback(_under_way.discard)


async def _until_closed(http: _AsyncHttp) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        await http.aclose()


class _Closing(asyncio.Task[None]):
    """Goes on when the loop's owner cancels all tasks that are left, as `asyncio.run` does before it ends: half-closed
    connections would stay behind. It ends by itself after a few turns of the loop."""

    def cancel(self, msg: Any = None) -> bool:
        return False


_under_way: set[_Closing] = set()
"""The loop itself refers to tasks weakly."""
