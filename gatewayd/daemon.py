"""The life of a daemon: load, build, bind, serve, watch, reload, drain, stop.

A `Daemon` is one running gateway in an event loop: that of `gatewayd run`, or of the background thread of a program
that uses a private gateway. It installs no signal handlers, prints nothing and does not touch the root logger;
`gatewayd.cli.run` does that.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from gatewayd.access.secrets import secrets_by_part
from gatewayd.admin.app import AdminApp
from gatewayd.config import lastgood
from gatewayd.config.loader import load, load_in_child
from gatewayd.config.overrides import Overrides
from gatewayd.config.problems import Problem, errors, render, warnings
from gatewayd.config.result import Result
from gatewayd.config.snapshot import Address, Snapshot
from gatewayd.engine.build import build, load_translators
from gatewayd.engine.installation import ID_SECRET, id_secret
from gatewayd.engine.reload import Applied, Rejected, Reloader, ReloadOutcome, Settled, Staged, Unchanged
from gatewayd.engine.runtime import Gateway
from gatewayd.engine.watch import Watcher, digests
from gatewayd.errors import ConfigInvalid
from gatewayd.observe.metrics import Metrics
from gatewayd.observe.redact import Redactor
from gatewayd.observe.sdnotify import Notifier
from gatewayd.process import Exports
from gatewayd.tasks import Yielder, spawn, supervise
from gatewayd.web.activation import SocketActivation
from gatewayd.web.cannot_listen import staged
from gatewayd.web.connection import HttpServer
from gatewayd.web.data_plane import DataPlane
from gatewayd.web.listener import Listener
from gatewayd.workers.supervisor import Supervisor

_log = logging.getLogger("gatewayd.daemon")

Source = str | Mapping[str, Any]
"""Path of the configuration file, or a configuration made in code, which has no edits to follow."""

_BEAT = 10.0
"""Seconds between two signs of life, if systemd wants none sooner."""
_SETTLE = 2.0
"""Seconds that connections to upstreams get to close when everything else has ended."""
_ADMIN_CONNECTIONS = 64
_MOST_LINES = 50
"""Lines about one reload that are logged; the answer to the reload has them all."""


class Daemon:
    """After `await start()`, `addresses` says where it listens; `await stop()` ends it. One start, one stop.

    `environ` is what references in the configuration mean, fixed for the daemon's life (default: the process's).
    `redactor` gets the secrets of a configuration before that goes live; `went_live` gets each snapshot right after.
    `activation`: inherited listening sockets. `last_good`: where a copy of the last live configuration is kept, to
    start from if the file is invalid (`config.lastgood`).
    With more than one of `workers`, that many processes answer the requests, and this one does everything else.
    """

    def __init__(
        self,
        source: Source,
        *,
        overrides: Overrides | None = None,
        environ: Mapping[str, str] | None = None,
        notifier: Notifier | None = None,
        redactor: Redactor | None = None,
        went_live: Callable[[Snapshot], None] = lambda snapshot: None,
        activation: SocketActivation | None = None,
        last_good: str | None = None,
        workers: int = 1,
    ) -> None:
        self._source = source  # as the user wrote it: problems name it so
        self._path = os.path.abspath(source) if isinstance(source, str) else None
        self._overrides = overrides or Overrides()
        self._environ = dict(os.environ if environ is None else environ)
        self._exports = Exports(self._environ)
        self._notifier = notifier or Notifier({})
        self._redactor = redactor or Redactor()
        self._went_live = went_live
        self._activation = activation or SocketActivation()
        self._last_good = last_good if self._path is not None else None
        self.instead = ""
        """What is served in place of the file, because that was invalid at the start."""
        self._read: tuple[str, ...] = ()
        self._wanted: str | None = None
        self._logged: ReloadOutcome | None = None
        self._watcher: Watcher | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._force_stop = asyncio.Event()
        secret = id_secret(self._environ)
        self.gateway = Gateway(serves=workers == 1, id_secret=secret)
        self.metrics = Metrics()
        self.reloader = Reloader(self.gateway, self._load_again, prepare=self._prepare, observe=self._outcome)
        self._supervisor: Supervisor | None = None
        self._data: DataPlane | Supervisor
        if workers == 1:
            self._data = DataPlane(self.gateway, self.metrics, activation=activation)
            self._data.overload_changed = self._overload_changed
        else:
            self._data = self._supervisor = Supervisor(
                workers,
                environ={**self._environ, ID_SECRET: secret.hex()},
                instance=self.gateway.instance,
                activation=activation,
                on_restart=self.metrics.worker_restarted,
                stuck_after=self._notifier.watchdog,
            )
        admin = AdminApp(self.gateway, self.reloader, self.metrics, workers=self._supervisor)
        server = HttpServer(admin.answer, max_connections=lambda: _ADMIN_CONNECTIONS)
        self._admin = Listener(server, activation=activation)

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where the data listener listens, with the ports that the system chose."""
        return self._data.addresses

    @property
    def admin_addresses(self) -> tuple[Address, ...]:
        """Where the admin listener listens; empty if it is off."""
        return self._admin.addresses

    async def start(self) -> None:
        """Returns when every deployment can be called. From the moment the addresses accept until then, requests are
        answered, but the gateway is not ready. Raises ConfigInvalid, CannotListen, WorkerStartFailed; then nothing is
        left behind. Cancelling it while requests are answered drains them as `stop` does."""
        # Before the file is read: an edit from here on is noticed by the watcher.
        seen = digests([] if self._path is None else [self._path])
        result = self._overrides.apply(self._load())
        self._read = result.files
        if result.snapshot is None:
            result = self._last(result)
        assert result.snapshot is not None
        staged = await self._prepare(result.snapshot)
        try:
            runtime = await build(result.snapshot, self.gateway)
        except BaseException:
            await staged.rollback()
            raise
        self.gateway.loading = True
        self.gateway.swap(runtime)
        staged.commit()
        try:
            if self._supervisor is not None:
                await self._supervisor.first_settled()
            else:
                await load_translators(result.snapshot, self.gateway)
        except BaseException as error:
            await self.stop(0.0 if isinstance(error, Exception) else None)
            raise
        self.gateway.loading = False
        _log_lines(logging.WARNING, render(warnings(result.problems)).splitlines())
        if self.instead:
            _log.error("%s is invalid; serving the last valid version: %s", self._source, self.instead)
            self._outcome(self.reloader.last or Rejected(()))
        else:
            self.metrics.reloaded("applied", result.snapshot.revision, datetime.now(UTC))
        if unused := self._activation.unused:
            _log.warning("inherited sockets that match no address in the configuration: %s", ", ".join(unused))
        if not self.instead:
            self._notifier.send(READY=1, STATUS=f"serving revision {result.snapshot.revision}")
        self._tasks.append(supervise(self._beat, name="signs of life", failed=self.metrics.task_failed))
        if isinstance(self._data, DataPlane) and self._data.memory_limited:
            memory = self._data.watch_memory
            self._tasks.append(supervise(memory, name="watch the memory", failed=self.metrics.task_failed))
        if (path := self._path) is not None:
            self._watcher = Watcher(
                lambda: (path, *self._read),
                lambda: self.reloader.request("a file changed"),
                seen=seen,
                observe=self.metrics.watcher_up,
            )
            watch = self._watcher.run
            self._tasks.append(supervise(watch, name="watch the configuration", failed=self.metrics.task_failed))
        if self._wanted is not None:
            self.reload_soon(self._wanted)

    async def stop(self, drain: float | None = None) -> int:
        """Stops accepting, gives requests `drain` seconds to end (default: as configured), and ends the rest with an
        error. Returns how many that were. Takes at most `drain` and five seconds."""
        seconds = self.gateway.current.snapshot.server.drain if drain is None else drain
        self.gateway.stopping = True
        self._notifier.send(STOPPING=1, STATUS="draining")
        await self.reloader.close()
        draining: asyncio.Task[int] = spawn(self._data.drain(seconds), name="drain")
        forced = spawn(self._force_stop.wait(), name="force stop")
        await asyncio.wait((draining, forced), return_when=asyncio.FIRST_COMPLETED)
        interrupted = 0 if draining.done() else await self._data.drain(0)
        interrupted += await draining
        await self._admin.drain(0)
        for task in (forced, *self._tasks):
            task.cancel()
        await asyncio.wait((forced, *self._tasks))
        with suppress(TimeoutError):
            async with asyncio.timeout(_SETTLE):
                await self.gateway.close()
        self._exports.apply({})
        return interrupted

    def reload_soon(self, why: str) -> None:
        """Asks for a reload without waiting. During the start it is remembered; during the stop it is ignored."""
        if self.gateway.stopping:
            _log.info("%s ignored: stopping", why)
        elif self.gateway.ready:
            _ = self.reloader.request(why, explicit=True)
        else:
            self._wanted = why

    def _overload_changed(self) -> None:
        revision = self.gateway.current.snapshot.revision
        state = "overloaded: memory is nearly used up" if self.gateway.overloaded else "serving"
        self._notifier.send(STATUS=f"{state}, revision {revision}")

    def force_stop(self) -> None:
        """Makes a running `stop` end now, without waiting for requests."""
        self._force_stop.set()

    # --- loading ------------------------------------------------------------------------------------------------------

    def _load(self) -> Result:
        if isinstance(self._source, str):
            return load(self._source, environ=self._environ, keep=self._last_good, overrides=self._overriding())
        from gatewayd.config.validator import ConfigValidator  # pydantic, needed without a file only

        return ConfigValidator(environ=self._environ, overrides=self._overriding()).check(self._source)

    def _overriding(self) -> Overrides:
        port = self._overrides.port
        if port == 0 and self.addresses:  # the system has chosen one
            port = self.addresses[0].port
        return replace(self._overrides, port=port)

    def _last(self, refused: Result) -> Result:
        """What was live last, in place of an invalid file. Raises ConfigInvalid if there is no copy."""
        if self._last_good is None:
            raise ConfigInvalid(refused.problems)
        kept, self.instead = lastgood.load_last_good(self._last_good, self._environ, self._overriding())
        kept = self._overrides.apply(kept)
        if kept.snapshot is None:
            raise ConfigInvalid((*refused.problems, *kept.problems))
        message = f"this file is not served; gatewayd serves the last valid version: {self.instead}"
        told = Problem("last_good_served", message, file=str(self._source), severity="warning")
        self.reloader.last, self.reloader.last_at = Rejected((told, *refused.problems)), datetime.now(UTC)
        return kept

    async def _load_again(self, settled: Settled) -> Result:
        self._notifier.reloading()
        if isinstance(self._source, str):

            async def noted() -> None:
                await settled()
                if self._watcher is not None:
                    await self._watcher.note()

            result = await load_in_child(
                self._source,
                environ=self._environ,
                settled=noted,
                keep=self._last_good,
                overrides=self._overriding(),
            )
        else:
            await settled()
            result = await asyncio.to_thread(self._load)
        self._read = result.files or self._read  # a reader that crashed gives no names
        return self._overrides.apply(result)

    # --- going live ---------------------------------------------------------------------------------------------------

    async def _prepare(self, snapshot: Snapshot) -> Staged:
        """The listeners of a snapshot, bound but not accepting. Raises CannotListen, WorkerStartFailed."""
        yielder = Yielder()
        for secrets in secrets_by_part(snapshot):
            self._redactor.know(secrets)
            await yielder()
        server = snapshot.server
        place = () if server.admin is None else (server.admin,)
        ours = [listening.address for listening in (*self._data.listening, *self._admin.listening)]

        def stage(staging: Awaitable[Staged], addresses: tuple[Address, ...], path: str) -> Awaitable[Staged]:
            return staged(staging, addresses, path, activation=self._activation, ours=ours)

        # A port may pass from one listener to the other: they share it until the commit.
        data = await stage(self._data.stage(snapshot, others=self._admin.listening), server.listen, "gatewayd.listen")
        try:
            admin = await stage(self._admin.stage(place, others=self._data.listening), place, "gatewayd.admin")
        except BaseException:
            await data.rollback()
            raise
        return _StagedSnapshot(self, snapshot, (data, admin))

    def _live(self, snapshot: Snapshot) -> None:
        self._exports.apply(snapshot.environment)
        self._went_live(snapshot)
        if self._last_good is not None:
            lastgood.confirm(snapshot.revision, self._last_good)

    def _outcome(self, outcome: ReloadOutcome) -> None:
        """Reports how a reload ended: log, metrics, systemd, watcher."""
        if not isinstance(outcome, Rejected):
            self.instead = ""
        revision = self.gateway.current.snapshot.revision
        status = f"serving {'the last good copy, ' * bool(self.instead)}revision {revision}"
        match outcome:
            case Applied(_, lines, found, seconds):
                self.metrics.reloaded("applied", revision, datetime.now(UTC))
                _log.info("configuration applied in %.2f s: revision %s", seconds, revision)
                _log_lines(logging.INFO, lines)
                _log_lines(logging.WARNING, render(found).splitlines())
            case Unchanged():
                self.metrics.reloaded("unchanged", revision, datetime.now(UTC))
                _log.info("configuration unchanged: revision %s", revision)
            case Rejected(problems):
                self.metrics.reloaded("rejected", revision, datetime.now(UTC))
                count = len(errors(problems))
                status += f"; the last edit was rejected: {count} error{'s' * (count > 1)}"
                # The same problems again (a poll, a second signal) are logged once (E-18).
                level = logging.DEBUG if outcome == self._logged else logging.ERROR
                _log.log(level, "configuration rejected; still serving revision %s", revision)
                _log_lines(level, render(problems).splitlines())
        self._logged = outcome
        self._notifier.send(READY=1, STATUS=status)
        if self._watcher is not None:
            self._watcher.rearm()

    async def _beat(self) -> None:
        """Signs of life for systemd. On the loop on purpose: a stuck loop must miss them."""
        interval = min(_BEAT, (self._notifier.watchdog or 2 * _BEAT) / 2)
        while True:
            self._notifier.send(WATCHDOG=1)
            if self.gateway.stopping:
                self._notifier.send(EXTEND_TIMEOUT_USEC=round(3e6 * _BEAT))
            await asyncio.sleep(interval)


class _StagedSnapshot:
    """The listeners of a snapshot, and all else that takes effect together with it."""

    def __init__(self, daemon: Daemon, snapshot: Snapshot, parts: tuple[Staged, ...]) -> None:
        self._daemon = daemon
        self._snapshot = snapshot
        self._parts = parts

    def commit(self) -> None:
        for part in self._parts:
            part.commit()
        self._daemon._live(self._snapshot)

    async def rollback(self) -> None:
        for part in self._parts:
            await part.rollback()


def _log_lines(level: int, lines: Sequence[str]) -> None:
    """One record for each line, at most `_MOST_LINES`."""
    for line in lines[:_MOST_LINES]:
        _log.log(level, "  %s", line)
    if len(lines) > _MOST_LINES:
        _log.log(level, "  and %d lines more", len(lines) - _MOST_LINES)
