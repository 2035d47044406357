"""The OpenAI clients of one gateway: one for all threads, and one for every event loop that asks.

An asynchronous client's connections belong to the loop they were opened in, so each loop gets a client of its own. It
is closed with its loop: `asyncio.run` ends by closing the loop's asynchronous generators, and a generator is what keeps
the client. Only what `openai` exports at its top is used, which is the same in its versions 2 and 3.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

import openai

from gatewayd.tasks import spawn

if TYPE_CHECKING:
    from gatewayd.client.embedded import PrivateDaemon


@dataclass(frozen=True, slots=True)
class Target:
    """Where the clients go, and how patient they are."""

    base_url: str
    api_key: str
    timeout: float
    """Seconds: to connect, and of silence while an answer is awaited or read."""
    max_retries: int
    daemon: PrivateDaemon | None = None
    """The private daemon behind `base_url`: it lives as long as anybody can still call it."""

    def __repr__(self) -> str:
        return f"Target({self.base_url!r})"

    @property
    def trust_env(self) -> bool:
        """Whether proxies of the environment are meant for this address: never for this machine's own."""
        host = urlsplit(self.base_url).hostname or ""
        return not (host in ("localhost", "::1") or host.startswith("127."))


class Connections:
    """Makes clients when they are asked for and closes them. Safe to use from any thread."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._lock = threading.Lock()
        self._closed = False
        self._sync: openai.OpenAI | None = None
        self._of_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, _LoopClient] = WeakKeyDictionary()

    @property
    def sync(self) -> openai.OpenAI:
        with self._lock:
            self._check_open()
            if self._sync is None or self._sync.is_closed():
                target = self.target
                self._sync = openai.OpenAI(
                    base_url=target.base_url,
                    api_key=target.api_key,
                    timeout=target.timeout,
                    max_retries=target.max_retries,
                    http_client=_Http(target),
                )
            return self._sync

    @property
    def asynchronous(self) -> openai.AsyncOpenAI:
        """The client of the running loop. Raises RuntimeError where none is running."""
        loop = asyncio.get_running_loop()
        with self._lock:
            self._check_open()
            found = self._of_loop.get(loop)
            if found is None or found.ended:
                for other in [other for other in self._of_loop if other.is_closed()]:
                    del self._of_loop[other]
                found = self._of_loop[loop] = _LoopClient(self.target)
            return found.client

    def close(self) -> None:
        """Closes everything; what belongs to a running loop is closed by that loop, a moment later."""
        for loop, client in self._take():
            with contextlib.suppress(RuntimeError):  # the loop is closed, and the client with it
                loop.call_soon_threadsafe(client.close_soon)

    async def aclose(self) -> None:
        """The same; the running loop's client is closed on return."""
        running = asyncio.get_running_loop()
        for loop, client in self._take():
            if loop is running:
                await client.aclose()
            else:
                with contextlib.suppress(RuntimeError):
                    loop.call_soon_threadsafe(client.close_soon)

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
    """Keeps the private daemon alive for whoever holds the client, and closes its sockets when nobody does."""

    def __init__(self, target: Target) -> None:
        super().__init__(trust_env=target.trust_env)
        self._gatewayd = target.daemon

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self.close()


class _AsyncHttp(openai.DefaultAsyncHttpxClient):
    """Keeps the private daemon, and what will close the client, alive for whoever holds the client."""

    def __init__(self, target: Target) -> None:
        super().__init__(trust_env=target.trust_env)
        self._gatewayd = target.daemon
        self.keeper: AsyncGenerator[None, None] | None = None


class _LoopClient:
    """One loop's client and its keeper: a generator that the loop knows, and closes when it ends.

    Whoever drops the client unclosed causes the same: the loop closes a generator that nobody holds any more.
    """

    def __init__(self, target: Target) -> None:
        http = _AsyncHttp(target)
        self.client = openai.AsyncOpenAI(
            base_url=target.base_url,
            api_key=target.api_key,
            timeout=target.timeout,
            max_retries=target.max_retries,
            http_client=http,
        )
        self._keeper = http.keeper = _keep(self.client)
        with contextlib.suppress(StopIteration):
            self._keeper.__anext__().send(None)  # runs to the `yield`, which registers it with the loop

    @property
    def ended(self) -> bool:
        """Whether the client has been closed, by its loop's end or by whoever holds it."""
        return self.client.is_closed()

    def close_soon(self) -> None:
        self._closing = spawn(self.aclose(), name="close an OpenAI client")

    async def aclose(self) -> None:
        await self._keeper.aclose()


async def _keep(client: openai.AsyncOpenAI) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        await client.close()
