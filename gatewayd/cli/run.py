"""`gatewayd run`: a daemon in the foreground, and everything that belongs to the process instead of the gateway:
signals, the event loop, the root logger, systemd, exit codes, and the text at startup.
"""

from __future__ import annotations

import asyncio
import faulthandler
import json
import logging
import os
import signal
import sys

from gatewayd._version import __version__
from gatewayd.cli import exits
from gatewayd.cli.output import complain, problems_text, tell
from gatewayd.cli.signals import HANDLED, EarlySignals
from gatewayd.config import lastgood, providers, search
from gatewayd.config.overrides import Overrides
from gatewayd.config.secrets import MASTER_KEY_VARIABLE
from gatewayd.config.snapshot import Address, Deployment, Snapshot
from gatewayd.daemon import Daemon, Source
from gatewayd.errors import ConfigInvalid
from gatewayd.observe import log
from gatewayd.observe.loop_errors import LoopErrors
from gatewayd.observe.redact import Redactor
from gatewayd.observe.sdnotify import Notifier
from gatewayd.process import begin_start, end_start, loop_factory, take_open_files
from gatewayd.tasks import exit_if_threads_run, spawn
from gatewayd.web.activation import VARIABLES, SocketActivation
from gatewayd.web.cannot_listen import CannotListen
from gatewayd.workers.supervisor import WorkerStartFailed

_log = logging.getLogger("gatewayd")

_MOST_GROUPS = 12
"""Maximum number of model groups in the text at startup."""


def run(
    config: str | None,
    *,
    host: str | None,
    port: int | None,
    admin: str | None = None,
    early: EarlySignals,
    workers: int = 1,
    last_good: bool = False,
    on_invalid_deployment: str | None = None,
) -> int:
    """Serves until a signal ends it. Returns the exit code."""
    take_open_files()
    faulthandler.enable(2)  # the watchdog's SIGABRT then shows where the loop is blocked
    source: Source | None = search.find(config, os.environ) or search.from_environment(os.environ)
    if source is None:
        places = ", ".join(search.candidates(os.environ))
        complain(
            f"no configuration file ({places}) and no provider's key in the environment\n"
            "  write a gatewayd.yaml, name one with --config, or set a key such as OPENAI_API_KEY"
        )
        return exits.CONFIG
    activation = SocketActivation(os.environ)
    for name in VARIABLES:  # not for child processes
        os.environ.pop(name, None)
    kept = lastgood.place(source, os.environ) if last_good and isinstance(source, str) else None
    overrides = Overrides(host, port, admin, on_invalid_deployment)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        code = runner.run(_serve(source, overrides, workers, early, activation, kept))
    log.finish()
    exit_if_threads_run(code)
    return code


async def _serve(
    source: Source,
    overrides: Overrides,
    workers: int,
    early: EarlySignals,
    activation: SocketActivation,
    last_good: str | None,
) -> int:
    begin_start()
    redactor = Redactor()
    log.set_up("text", "info", redactor)
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(LoopErrors())

    def went_live(snapshot: Snapshot) -> None:
        log.set_up(snapshot.server.log.format, snapshot.server.log.level, redactor)

    daemon = Daemon(
        source,
        overrides=overrides,
        notifier=Notifier(os.environ),
        redactor=redactor,
        went_live=went_live,
        activation=activation,
        last_good=last_good,
        workers=workers,
    )
    stopping = asyncio.Event()

    def on_signal(number: signal.Signals) -> None:
        if number == signal.SIGHUP:
            daemon.reload_soon("SIGHUP")
        elif stopping.is_set():
            _log.warning("%s again: stopping now", number.name)
            daemon.force_stop()
        else:
            _log.info("%s: stopping; waiting for requests in flight; a second signal stops immediately", number.name)
            stopping.set()

    for number in HANDLED:
        loop.add_signal_handler(number, on_signal, number)
    for number in early.taken():
        on_signal(number)

    starting = loop.create_task(daemon.start())
    stopped = spawn(stopping.wait(), name="wait for a signal")
    await asyncio.wait((starting, stopped), return_when=asyncio.FIRST_COMPLETED)
    try:
        if not starting.done():
            starting.cancel()
        await starting
    except asyncio.CancelledError:
        _log.info("stopped during startup")
        return exits.OK
    except (CannotListen, WorkerStartFailed) as error:
        tell(problems_text(error.problems, "text", sys.stderr))
        return exits.FAILURE
    except ConfigInvalid as error:
        tell(problems_text(error.problems, "text", sys.stderr))
        return exits.CONFIG
    finally:
        end_start()
    _announce(daemon, source, workers)
    await stopped
    interrupted = await daemon.stop()
    _log.info("stopped; interrupted requests: %d", interrupted)
    return exits.OK


def _announce(daemon: Daemon, source: Source, workers: int) -> None:
    """Prints the addresses, the model groups and a first request to copy; one log record if the log is JSON."""
    snapshot = daemon.gateway.current.snapshot
    origin = source if isinstance(source, str) else "the provider keys in the environment (no configuration file)"
    if daemon.instead:
        origin = f"the last good copy ({daemon.instead}) instead of {origin}, which is invalid"
    urls = [_url(address) for address in daemon.addresses]
    admin = [_url(address) for address in daemon.admin_addresses]
    bases = providers.bases_from(os.environ, ((d.provider, d.api_base) for d in snapshot.deployments))
    bases = {name: base.partition("?")[0] for name, base in bases.items()}
    if snapshot.server.log.format == "json":
        place: dict[str, object] = {"listen": urls, "admin": admin}
        place |= {"addresses_from_environment": bases} if bases else {}
        key = snapshot.server.master_key_source or None
        fields = {**place, "config": origin, "revision": snapshot.revision, "workers": workers, "master_key": key}
        _log.info("serving", extra={"fields": fields})
        return
    groups = list(dict.fromkeys(deployment.group for deployment in snapshot.deployments))
    more = f" and {len(groups) - _MOST_GROUPS} more" if len(groups) > _MOST_GROUPS else ""
    lines = [
        f"gatewayd {__version__} serves {origin}, revision {snapshot.revision}",
        f"  data    {' '.join(f'{url}/v1' for url in urls)}",
        f"  admin   {' '.join(admin) or 'off'}",
        *(f"  address {base} of {name}, from the environment" for name, base in bases.items()),
        *([f"  workers {workers}"] if workers > 1 else []),
        f"  models  {', '.join(groups[:_MOST_GROUPS])}{more}",
    ]
    server = snapshot.server
    if server.master_key is not None:
        lines.append(f"  key     the master key, from {server.master_key_source}")
    if (model := _example(snapshot.deployments)) is not None:
        known = MASTER_KEY_VARIABLE if MASTER_KEY_VARIABLE in server.master_key_source else "GATEWAYD_API_KEY"
        variable = None if server.master_key is None else known
        lines += ["try:", f"  {_curl(daemon.addresses[0], model, variable)}"]
    tell("\n".join(lines) + "\n")


def _url(address: Address) -> str:
    return str(address) if address.path else f"http://{address}"


def _example(deployments: tuple[Deployment, ...]) -> str | None:
    """A model group for chat whose name is not a pattern."""
    modes = (None, "chat", "completion")
    chats = (d.group for d in deployments if d.info.get("mode") in modes and not d.unserved and "*" not in d.group)
    return next(chats, None)


def _curl(address: Address, model: str, key_variable: str | None) -> str:
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "Hello"}]}).replace("'", r"\u0027")
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host)
    where = Address(host, address.port)
    target = f"--unix-socket {address.path} http://localhost" if address.path else f"http://{where}"
    key = "" if key_variable is None else f' -H "authorization: Bearer ${key_variable}"'
    return f"curl -s {target}/v1/chat/completions{key} -H 'content-type: application/json' -d '{body}'"
