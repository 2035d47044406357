"""From an origin to a socket: addresses, handshakes, and whose fault it was."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gatewayd.errors import ConfigurationError, UpstreamConnection, UpstreamError, UpstreamTimeout, UpstreamTls
from gatewayd.upstream.dial import Dialler, Origin, tls_context
from gatewayd.upstream.pool import Pool
from gatewayd.upstream.transport import Answer, Connection
from tests.certificates import Authority
from tests.clock import HandClock
from tests.fakeup import FakeUpstream, json_reply
from tests.upstream.doubles import LONG, Nest, eventually


@pytest.mark.parametrize(
    ("url", "origin", "authority"),
    [
        ("http://Example.com", Origin("example.com", 80, False), "example.com"),
        ("https://example.com:443/v1", Origin("example.com", 443, True), "example.com"),
        ("https://example.com:8443", Origin("example.com", 8443, True), "example.com:8443"),
        ("http://[::1]:80/v1", Origin("::1", 80, False), "[::1]"),
        ("http://[::1]:8080", Origin("::1", 8080, False), "[::1]:8080"),
        ("https://bücher.example", Origin("xn--bcher-kva.example", 443, True), "xn--bcher-kva.example"),
    ],
)
def test_origins(url: str, origin: Origin, authority: str) -> None:
    assert Origin.of(url)[0] == origin
    assert origin.authority == authority


@pytest.mark.parametrize(
    "url",
    ["ftp://a", "a/b", "", "http://", "http://user:canary@host", "http://a:99999", "http://[::1", "http://a..b/"],
)
def test_what_is_no_origin(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Origin.of(url)
    assert "canary" not in str(caught.value)


async def dial(origin: Origin, tls: ssl.SSLContext | None = None, seconds: float = 10.0) -> Connection:
    loop = asyncio.get_running_loop()
    return await Dialler(origin, tls).dial(lambda: Connection(Nest(), loop), seconds)


async def failure(origin: Origin, tls: ssl.SSLContext | None = None, seconds: float = 10.0) -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        await dial(origin, tls, seconds)
    return caught.value


def unused_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@asynccontextmanager
async def deaf(port: int = 0) -> AsyncIterator[int]:
    """A port whose queue of connections is full: a connect hangs."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", port))
        sock.listen(0)
        fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(sock.getsockname())
            fillers.append(filler)
        try:
            yield sock.getsockname()[1]
        finally:
            for filler in fillers:
                filler.close()


async def test_a_refused_connection() -> None:
    error = await failure(Origin("127.0.0.1", unused_port(), False))
    assert isinstance(error, UpstreamConnection)
    assert error.message == "No connection to the upstream: Connection refused."


async def test_a_host_that_does_not_answer() -> None:
    async with deaf() as port:
        error = await failure(Origin("127.0.0.1", port, False), seconds=0.1)
    assert isinstance(error, UpstreamTimeout)
    assert error.kind == "connect"


async def test_a_name_that_does_not_exist() -> None:
    """A-32"""
    error = await failure(Origin("no-such-host.invalid", 80, False))
    assert isinstance(error, UpstreamConnection | UpstreamTimeout)
    assert "invalid" not in error.message


class Names(Dialler):
    """A dialler with a name server of its own."""

    def __init__(self, origin: Origin, addresses: list[str], delay: float = 0.0) -> None:
        super().__init__(origin, None)
        self.addresses = addresses
        self.delay = delay
        self.asked = 0

    async def _look_up(self) -> list[tuple[object, ...]]:
        self.asked += 1
        await asyncio.sleep(self.delay)
        port = self._origin.port
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, port)) for address in self.addresses]


async def test_the_next_address_is_tried(clock: HandClock) -> None:
    """A refused address costs nothing, a dead one its share of the time."""
    async with FakeUpstream() as up:
        loop = asyncio.get_running_loop()
        names = Names(Origin("name", up.port, False), ["127.0.0.2", "127.0.0.1"])
        connection = await names.dial(lambda: Connection(Nest(), loop), 10.0)
        connection.abort()
        async with deaf(), _deaf_twin(up.port):
            names.addresses = ["127.0.0.3", "127.0.0.1"]
            clock.stop()
            dialling = asyncio.ensure_future(names.dial(lambda: Connection(Nest(), loop), 100.0))
            await clock.wind(0)
            await clock.wind(49.0)
            assert not dialling.done()
            await clock.wind(2.0)
            (await dialling).abort()
            clock.start()


@asynccontextmanager
async def _deaf_twin(port: int) -> AsyncIterator[None]:
    with socket.socket() as sock:
        sock.bind(("127.0.0.3", port))
        sock.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.3", port))
        try:
            yield
        finally:
            for filler in fillers:
                filler.close()


async def test_a_slow_name_server_is_asked_once_and_waited_for_in_vain() -> None:
    """A-32: many dials, one question; each gives up in its own time; the next one asks again."""
    async with FakeUpstream() as up:
        loop = asyncio.get_running_loop()
        names = Names(Origin("name", up.port, False), ["127.0.0.1"], delay=0.2)
        dials = [names.dial(lambda: Connection(Nest(), loop), 0.05) for _ in range(20)]
        results = await asyncio.gather(*dials, return_exceptions=True)
        assert all(isinstance(result, UpstreamTimeout) and result.kind == "connect" for result in results)
        assert names.asked == 1
        first, second = await asyncio.gather(*(names.dial(lambda: Connection(Nest(), loop), 10.0) for _ in range(2)))
        assert names.asked == 1
        first.abort()
        second.abort()
        names.delay = 0.0
        third = await names.dial(lambda: Connection(Nest(), loop), 10.0)
        assert names.asked == 2
        third.abort()


async def test_a_name_server_that_blocks_does_not_stop_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """A-32: names are asked in a thread. (uvloop's are by design: it does not use this function.)"""
    hold = threading.Event()

    def slow(*_: object, **__: object) -> list[object]:
        hold.wait(2)
        raise socket.gaierror(socket.EAI_AGAIN, "no")

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    loop = asyncio.get_running_loop()
    dials = [asyncio.ensure_future(failure(Origin("slow.invalid", 80, False), seconds=0.3)) for _ in range(3)]
    turns = 0
    while not all(dial.done() for dial in dials):
        await asyncio.sleep(0.001)
        turns += 1
    hold.set()
    assert turns > 10 or type(loop).__module__.startswith("uvloop"), "the loop went on all the time"
    assert all(isinstance(dial.result(), UpstreamTimeout | UpstreamConnection) for dial in dials)


async def test_a_name_that_moves_is_followed_at_the_next_dial() -> None:
    """A-32: nothing is remembered beyond the connections that are open."""
    async with FakeUpstream(json_reply({"n": 1})) as old:
        pool = Pool(Origin("name", old.port, False), max_idle=0)
        names = pool._dialler = Names(Origin("name", old.port, False), ["127.0.0.1"])
        async with await asyncio.start_server(_answer_two, "127.0.0.2", old.port):
            for address, expected in (("127.0.0.1", b'{"n":1}'), ("127.0.0.2", b'{"n":2}'), ("127.0.0.1", b'{"n":1}')):
                names.addresses = [address]
                answer = Answer(asyncio.get_running_loop().create_future())
                await pool.exchange(answer, b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n", b"", LONG)
                assert answer.body == expected
        await pool.aclose()


async def _answer_two(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b'HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n{"n":2}')
    await writer.drain()
    writer.close()


# --- TLS


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


async def test_a_good_certificate(authority: Authority) -> None:
    """By name and by address."""
    for host in ("localhost", "127.0.0.1"):
        async with FakeUpstream(json_reply({"a": 1}), tls=authority.server("localhost", "127.0.0.1")) as up:
            connection = await dial(Origin(host, up.port, True), authority.trust)
            answer = Answer(asyncio.get_running_loop().create_future())
            connection.send(answer, b"POST / HTTP/1.1\r\nhost: a\r\n\r\n", b"", first_byte=10.0, idle=10.0)
            await answer.ready
            assert answer.body == b'{"a":1}'
            connection.abort()


@pytest.mark.parametrize("wrong", ["expired", "self-signed", "other host", "unknown authority", "system trust"])
async def test_wrong_certificates(authority: Authority, tmp_path: Path, wrong: str) -> None:
    """A-33"""
    trust = authority.trust
    match wrong:
        case "expired":
            server, reason = authority.server("localhost", expired=True), "it has expired"
        case "self-signed":
            server, reason = authority.server("localhost", self_signed=True), "it is self-signed"
        case "other host":
            server, reason = authority.server("elsewhere.example"), "it is for another host"
        case "unknown authority":
            server, reason = (
                Authority(tmp_path).server("localhost"),
                "not signed by an authority that this machine trusts",
            )
        case _:
            server, reason = authority.server("localhost"), "not signed by an authority that this machine trusts"
            trust = tls_context()
    async with FakeUpstream(tls=server) as up:
        error = await failure(Origin("localhost", up.port, True), trust)
        assert isinstance(error, UpstreamTls)
        assert reason in error.message
        assert "localhost" not in error.message
        assert "elsewhere" not in error.message
        assert up.requests == []


async def test_a_handshake_that_stalls(authority: Authority) -> None:
    """A-33: and it leaves no socket."""
    gone = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)
        gone.set()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with server:
        error = await failure(Origin("127.0.0.1", server.sockets[0].getsockname()[1], True), authority.trust, 0.1)
        assert isinstance(error, UpstreamTls)
        await asyncio.wait_for(gone.wait(), 5)


async def test_a_server_that_speaks_no_tls(authority: Authority) -> None:
    """A-33"""

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(plain, "127.0.0.1", 0)
    async with server:
        error = await failure(Origin("127.0.0.1", server.sockets[0].getsockname()[1], True), authority.trust)
        assert isinstance(error, UpstreamTls)


async def test_old_protocols_are_refused(authority: Authority) -> None:
    """A-33"""
    assert tls_context().minimum_version >= ssl.TLSVersion.TLSv1_2
    assert tls_context().verify_mode is ssl.CERT_REQUIRED
    assert tls_context().check_hostname


@pytest.mark.parametrize("tls", [False, True])
async def test_cancelling_leaves_no_socket(authority: Authority, tls: bool) -> None:
    """A-20: in every step of a dial; the upstream sees every connection go."""
    async with FakeUpstream(tls=authority.server("localhost") if tls else None) as up:
        origin = Origin("localhost" if tls else "127.0.0.1", up.port, tls)
        connections = []
        for turns in range(25):
            task = asyncio.ensure_future(dial(origin, authority.trust))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            try:
                connections.append(await task)
            except asyncio.CancelledError:
                pass
        for connection in connections:
            connection.abort()
        await eventually(lambda: up.open_count == 0)
