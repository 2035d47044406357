"""The load generator for streams, for slow gateways and for probing: a bare HTTP/1.1 client on asyncio.

Run as a process of its own (`python -m benchmarks.client`) it loads until SIGINT, ends what it began, and prints what
it saw. Gateways that answer thousands of requests a second are loaded by wrk instead (`benchmarks.wrk`), which costs
the load core less.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import httptools
import uvloop

from benchmarks import payloads
from benchmarks.measure import quantile


@dataclass(frozen=True, slots=True)
class Target:
    """Where to send, and what every request carries."""

    url: str
    headers: Mapping[str, str]

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.url)
        return parts.hostname or "127.0.0.1", parts.port or 80

    @property
    def path(self) -> str:
        return urlsplit(self.url).path

    def request(self, body: bytes) -> bytes:
        """The bytes of one POST of `body`."""
        host, port = self.address
        lines = [f"POST {self.path} HTTP/1.1", f"host: {host}:{port}", "content-type: application/json"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        lines += [f"content-length: {len(body)}", "", ""]
        return "\r\n".join(lines).encode() + body


@dataclass(slots=True)
class Answer:
    """One answer; times in seconds of the monotonic clock."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    """Of answers other than 200 only."""
    chunks: int = 0
    delays: list[float] = field(default_factory=list)
    """For each read that held stamped pieces: seconds since the first of them was sent."""
    seconds: float = 0.0


class Broken(Exception):
    """The connection ended before the answer did."""


class Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request in flight."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._done: asyncio.Future[Answer] | None = None
        self.usable = False

    async def ask(self, request: bytes) -> Answer:
        """Send the bytes of a request, return the whole answer.

        Raises:
            Broken: the connection was lost, or what came is not HTTP.
        """
        self.answer = Answer()
        self._rest = b""
        self._parser = httptools.HttpResponseParser(self)
        self._done = self._loop.create_future()
        started = time.monotonic()
        self._transport.write(request)
        answer = await self._done
        answer.seconds = time.monotonic() - started
        return answer

    def close(self) -> None:
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        self.usable = True

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._fail()
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.usable = False
        self._fail()

    def _fail(self) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_exception(Broken())

    # what the parser calls

    def on_header(self, name: bytes, value: bytes) -> None:
        self.answer.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.answer.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        answer = self.answer
        if answer.status != 200:
            answer.body += body
            return
        body = self._rest + body
        end = 0
        for found in payloads.STAMP.finditer(body):
            if not end:
                answer.delays.append((time.monotonic_ns() - int(found[1])) / 1e9)
            end = found.end()
            answer.chunks += 1
        self._rest = body[max(end, len(body) - payloads.STAMP_BYTES + 1) :]

    def on_message_complete(self) -> None:
        self.usable = self._parser.should_keep_alive()
        if self._done is not None and not self._done.done():
            self._done.set_result(self.answer)


async def connect(target: Target) -> Connection:
    """Raises OSError."""
    host, port = target.address
    _, connection = await asyncio.get_running_loop().create_connection(Connection, host, port)
    return connection


@dataclass(frozen=True, slots=True)
class Load:
    """What one run of load did. Latencies and delays in milliseconds."""

    requests: int
    seconds: float
    p50: float
    p99: float
    chunks: int = 0
    delay_p50: float = 0.0
    delay_p99: float = 0.0
    errors: int = 0
    error: str = ""
    """An example."""


@dataclass(slots=True)
class _Tally:
    latencies: list[float] = field(default_factory=list)
    delays: list[float] = field(default_factory=list)
    chunks: int = 0
    errors: int = 0
    error: str = ""

    def count(self, answer: Answer, expected_chunks: int) -> None:
        if answer.status != 200:
            self.fail(f"status {answer.status}: {bytes(answer.body[:300]).decode(errors='replace')}")
        elif answer.chunks != expected_chunks:
            self.fail(f"{answer.chunks} of {expected_chunks} chunks arrived")
        self.latencies.append(answer.seconds)
        self.delays += answer.delays
        self.chunks += answer.chunks

    def fail(self, error: str) -> None:
        self.errors += 1
        self.error = self.error or error

    def load(self, seconds: float) -> Load:
        latencies, delays = sorted(self.latencies), sorted(self.delays)
        return Load(
            requests=len(latencies),
            seconds=seconds,
            p50=quantile(latencies, 0.5) * 1e3,
            p99=quantile(latencies, 0.99) * 1e3,
            chunks=self.chunks,
            delay_p50=quantile(delays, 0.5) * 1e3,
            delay_p99=quantile(delays, 0.99) * 1e3,
            errors=self.errors,
            error=self.error,
        )


def run(target: Target, body: bytes, *, connections: int, seconds: float, chunks: int = 0, limit: float = 60.0) -> Load:
    """Load `target` over so many connections: each asks at least once, and anew until `seconds` are over.

    What was begun is ended: no request is half done when this returns, so what was used can be divided by `requests`
    even if they are few.

    Args:
        chunks: how many stamped pieces every answer must hold.
        limit: seconds after which requests still open are given up and counted as errors.
    """

    async def timed() -> Load:
        enough = asyncio.Event()
        asyncio.get_running_loop().call_later(seconds, enough.set)
        return await _run(target, target.request(body), connections, enough, chunks, limit)

    load: Load = uvloop.run(timed())
    return load


async def _run(
    target: Target, request: bytes, connections: int, enough: asyncio.Event, chunks: int, limit: float
) -> Load:
    tally = _Tally()
    started = time.monotonic()

    async def worker() -> None:
        connection: Connection | None = None
        try:
            while True:
                try:
                    if connection is None or not connection.usable:
                        connection = await connect(target)
                    tally.count(await connection.ask(request), chunks)
                except (OSError, Broken) as error:
                    tally.fail(f"connection: {type(error).__name__}")
                    connection = None
                    await asyncio.sleep(0.05)
                if enough.is_set():
                    return
        finally:
            if connection is not None:
                connection.close()

    try:
        async with asyncio.timeout(limit), asyncio.TaskGroup() as group:
            for _ in range(connections):
                group.create_task(worker())
    except TimeoutError:
        tally.fail(f"not done after {limit:g} s")
    return tally.load(time.monotonic() - started)


def command(target: Target, body: Path, *, connections: int, chunks: int = 0) -> list[str]:
    """How to run this module as a process that loads `target` with the file `body`."""
    options = ["--connections", str(connections), "--chunks", str(chunks)]
    headers = [part for name, value in target.headers.items() for part in ("--header", f"{name}: {value}")]
    return [sys.executable, "-m", "benchmarks.client", target.url, str(body), *options, *headers]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.client", description=__doc__)
    parser.add_argument("url")
    parser.add_argument("body", type=Path)
    parser.add_argument("--connections", type=int, required=True)
    parser.add_argument("--chunks", type=int, default=0)
    parser.add_argument("--header", action="append", default=[])
    options = parser.parse_args()
    headers = dict(header.split(": ", 1) for header in options.header)
    target = Target(options.url, headers)

    async def until_told() -> Load:
        enough = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, enough.set)
        os.kill(os.getpid(), signal.SIGSTOP)  # ready
        request = target.request(options.body.read_bytes())
        return await _run(target, request, options.connections, enough, options.chunks, limit=3600.0)

    sys.stdout.write(json.dumps(asdict(uvloop.run(until_told()))))


if __name__ == "__main__":
    main()
