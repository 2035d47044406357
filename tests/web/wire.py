"""A client that owns its bytes: it decides where segments end, and reads answers by the letter of RFC 9112.

Nothing here is lenient: what cannot be read in exactly one way is an AssertionError, also from our own server.

`warm` is the scene of most tests on it: a gateway that forwards, and that has met the requests to come before, so that
whatever it remembers of a request, a head or a connection is in use.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
import select
import socket
from collections.abc import AsyncIterator, Iterable, Sequence

from gatewayd.config.snapshot import Deployment, ServerSettings
from gatewayd.web.connection import Deadlines
from tests.fakeup import FakeUpstream, Script
from tests.replies import Reply
from tests.web.support import OPEN, Answer, Site, serving_deployments

PATIENCE = 20.0
"""Seconds within which the server must have said its last word, on however busy a machine."""

_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) [\x20-\x7e]*")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ([\x20-\x7e]*)")


class Wire:
    """One connection. A reset while sending is no error: the answer may have come before all of the request was out."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self.got = b""
        """Everything received that no answer has taken."""

    @classmethod
    @contextlib.asynccontextmanager
    async def to(cls, port: int) -> AsyncIterator[Wire]:
        with socket.socket() as sock:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
            yield cls(sock)

    async def send(self, *segments: bytes) -> None:
        """Sends each segment by itself; the server has read one before the next is sent."""
        with contextlib.suppress(ConnectionError):
            for segment in segments:
                await self._loop.sock_sendall(self._sock, segment)
                for _ in range(3):  # the loop is the server's too: it looks at its sockets once each time round
                    await asyncio.sleep(0)

    @property
    def has_news(self) -> bool:
        """Whether there is something to be read, or the server has closed the connection."""
        return bool(self.got) or bool(select.select([self._sock], [], [], 0)[0])

    @property
    def ended(self) -> bool:
        """Whether the server has closed the connection and nothing of it is left to be read."""
        try:
            return not self._sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def look(self) -> bytes:
        """All that has been received by now and that no answer has taken."""
        with contextlib.suppress(OSError):
            while data := self._sock.recv(65536):
                self.got += data
        return self.got

    def end(self) -> None:
        """Closes the sending half."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)

    async def answer(self, *, has_body: bool = True) -> Answer:
        """The next answer; interim ones are skipped. AssertionError if the connection ends before its end."""
        while True:
            while (found := _first(self.got, has_body=has_body)) is None:
                assert await self._more(), f"the connection ended inside an answer: {self.got[-200:]!r}"
            answer, self.got = found
            if answer.status >= 200:
                return answer

    async def rest(self, methods: Iterable[str] = ()) -> list[Answer]:
        """All answers until the server closes the connection. `methods`: of the requests they answer, in order."""
        while await self._more():
            pass
        kinds = iter(methods)
        answers: list[Answer] = []
        has_body = next(kinds, "") != "HEAD"
        while self.got:
            found = _first(self.got, has_body=has_body)
            assert found is not None, f"an answer that is no whole one: {self.got[-200:]!r}"
            answer, self.got = found
            if answer.status >= 200:
                answers.append(answer)
                has_body = next(kinds, "") != "HEAD"
        return answers

    async def _more(self) -> bool:
        try:
            async with asyncio.timeout(PATIENCE):
                data = await self._loop.sock_recv(self._sock, 65536)
        except ConnectionError:
            return False
        self.got += data
        return bool(data)


@contextlib.asynccontextmanager
async def warm(
    *known: bytes,
    replies: Sequence[Reply | Script] = (),
    server: ServerSettings = OPEN,
    deadlines: Deadlines | None = None,
) -> AsyncIterator[tuple[Site, FakeUpstream]]:
    """A gateway in front of one upstream, both of which have seen each of the `known` requests go well, twice."""
    async with FakeUpstream(*replies) as upstream:
        deployment = Deployment("d1", "d1", "chat", "forward", "openai", "m", api_base=upstream.base_url)
        async with (
            serving_deployments(deployment, server=server, deadlines=deadlines) as site,
            Wire.to(site.port) as wire,
        ):
            for request in known * 2:
                await wire.send(request)
                assert (await wire.answer()).status == 200
            upstream.requests.clear()
            yield site, upstream


def pieces(data: bytes, cuts: Iterable[int]) -> Sequence[bytes]:
    """`data`, cut at these offsets."""
    places = sorted({0, *(cut for cut in cuts if 0 < cut < len(data)), len(data)})
    return [data[start:end] for start, end in itertools.pairwise(places)]


def _first(data: bytes, *, has_body: bool) -> tuple[Answer, bytes] | None:
    """The first answer in `data` and what follows it; None if it is not complete."""
    head, end, rest = data.partition(b"\r\n\r\n")
    if not end:
        return None
    first, *lines = head.split(b"\r\n")
    status = _STATUS.fullmatch(first)
    assert status is not None, first
    fields = [_FIELD.fullmatch(line) for line in lines]
    assert all(fields), lines
    pairs = [(field[1].decode().lower(), field[2].decode()) for field in fields if field is not None]
    headers = dict(pairs)
    assert len(headers) == len(pairs), f"a header twice: {pairs}"
    code = int(status[1])
    if code < 200:
        return Answer(code, headers, b""), rest
    assert ("content-length" in headers) != ("transfer-encoding" in headers), headers
    if not has_body:
        return Answer(code, headers, b""), rest
    if "transfer-encoding" in headers:
        return _chunked(code, headers, rest)
    size = int(headers["content-length"])
    return None if len(rest) < size else (Answer(code, headers, rest[:size]), rest[size:])


def _chunked(code: int, headers: dict[str, str], rest: bytes) -> tuple[Answer, bytes] | None:
    chunks: list[bytes] = []
    while True:
        line, end, rest = rest.partition(b"\r\n")
        if not end:
            return None
        size = int(line, 16)
        if len(rest) < size + 2:
            return None
        assert rest[size : size + 2] == b"\r\n"
        if not size:
            return Answer(code, headers, b"".join(chunks), chunks), rest[2:]
        chunks.append(rest[:size])
        rest = rest[size + 2 :]
