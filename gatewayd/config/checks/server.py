"""Third stage, for the server itself: addresses, the master key, limits, logging, and who can read the file."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gatewayd.config.checks.report import Report
from gatewayd.config.checks.secrecy import ends_as_secret, holds_secret
from gatewayd.config.document import Path
from gatewayd.config.schema.general import GeneralSettings
from gatewayd.config.schema.litellm import LitellmSettings
from gatewayd.config.schema.own import Gatewayd
from gatewayd.config.schema.router import RouterSettings
from gatewayd.config.secrets import MASTER_KEY_VARIABLE, is_reference, master_key_of
from gatewayd.config.snapshot import Address, LogSettings, ServerSettings, StreamSettings
from gatewayd.secret import Secret

SHORTEST_KEY = 16
"""Characters; a random key of letters and digits then has some 95 bits. Shorter ones can be guessed offline."""
_DUMMIES = frozenset({"none", "null", "dummy", "fake", "empty", "anything", "no-key", "not-needed", "placeholder"})
"""What people write as the key of a server that wants none."""


def build_server(
    own: Gatewayd,
    general: GeneralSettings,
    litellm: LitellmSettings,
    router: RouterSettings,
    directory: str,
    environ: Mapping[str, str],
    report: Report,
) -> ServerSettings:
    """`gatewayd` and `general_settings` together. `default_models` is left to `checks.routes`.

    `environ` includes the file's own `environment_variables`.
    """
    settings: ServerSettings = own.settings()
    written = own.written()
    listen = tuple(_absolute(address, directory) for address in settings.listen)
    admin = None if settings.admin is None else _absolute(settings.admin, directory)
    key, source = _master_key(general, environ, report)
    _check_addresses(listen, admin, key, report)
    if general.cancel_on_disconnect is False:
        message = "has no effect: gatewayd always cancels the upstream request when the client disconnects"
        report.warning("approximated", ("general_settings", "cancel_on_disconnect"), message)
    limits = settings.limits
    if general.max_request_size_mb is not None and "limits.body_mb" not in written:
        limits = replace(limits, body_mb=general.max_request_size_mb)
    body_mb = limits.body_mb
    if limits.bodies_mb < body_mb and "limits.bodies_mb" in written:
        message = f"is less than the limit of one body ({body_mb:g} MB), so the largest bodies could never be sent"
        report.error("invalid_value", ("gatewayd", "limits", "bodies_mb"), message)
    return replace(
        settings,
        listen=listen,
        admin=admin,
        master_key=key,
        master_key_source=source,
        stream=_stream(settings.stream, written, litellm),
        limits=replace(limits, bodies_mb=max(limits.bodies_mb, body_mb)),
        log=_log(settings.log, written, litellm, router),
    )


def check_permissions(files: tuple[str, ...], tree: Mapping[str, Any], report: Report) -> None:
    """A user who may write the file decides where keys are sent; one who may read it has the keys in it.

    `tree` is the file's content as written, with references.
    """
    secret = next(_inline_secrets(tree, ()), None)
    for name in files:
        try:
            status = os.stat(name)
        except OSError:
            continue  # it vanished after it was read; the next reading will say so
        if not stat.S_ISREG(status.st_mode):
            continue
        shown = os.path.basename(name)
        if status.st_mode & stat.S_IWOTH:
            report.error("file_writable", (), f"every user of this machine may write {shown}", f"chmod o-w {name}")
        elif status.st_mode & stat.S_IWGRP and not _private_group(status):
            message = f"other users may write {shown}, through its group"
            report.error("file_writable", (), message, f"chmod g-w {name}")
        if secret is not None and status.st_mode & stat.S_IROTH:
            message = f"every user of this machine may read {shown}, and the configuration contains a secret"
            hint = f"chmod o-r {name}, or replace the secret by os.environ/NAME"
            report.warning("secret_readable", secret, message, hint)


def _absolute(address: Address, directory: str) -> Address:
    """A relative socket path starts at the configuration's folder, not where the process happened to start."""
    if not address.path or os.path.isabs(address.path):
        return address
    return replace(address, path=os.path.normpath(os.path.join(os.path.abspath(directory), address.path)))


def _master_key(general: GeneralSettings, environ: Mapping[str, str], report: Report) -> tuple[Secret | None, str]:
    """The key, and where it comes from. litellm's variable counts where the file has no key."""
    path: Path = ("general_settings", "master_key")
    key, source, subject = general.master_key, "general_settings.master_key", ""
    if report.failed(path):
        return key, source
    if key is None:
        found = master_key_of(environ)
        if found is None:
            return None, ""
        key = Secret(found)
        path, source = (), f"the environment variable {MASTER_KEY_VARIABLE}"
        subject = f"{source} "
    text = key.reveal()
    if not text.strip():
        hint = "remove the key to serve without one, on loopback addresses only"
        report.error("invalid_value", path, "must not be empty", hint)
        return None, ""
    if text != text.strip() or not text.isascii() or not text.isprintable():
        message = f"{subject}begins or ends with spaces, or has characters that are not allowed in an HTTP header"
        report.error("invalid_value", path, message)
    elif len(text) < SHORTEST_KEY:
        message = f"{subject}has fewer than {SHORTEST_KEY} characters and can be guessed"
        hint = "python3 -c 'import secrets; print(\"sk-\" + secrets.token_urlsafe(32))' prints a strong one"
        report.warning("weak_master_key", path, message, hint)
    return key, source


def _check_addresses(listen: tuple[Address, ...], admin: Address | None, key: Secret | None, report: Report) -> None:
    places: list[tuple[Address, Path]] = [(address, ("gatewayd", "listen")) for address in listen]
    if len(listen) > 1:
        places = [(address, ("gatewayd", "listen", index)) for index, address in enumerate(listen)]
    if admin is not None:
        places.append((admin, ("gatewayd", "admin")))
    seen: set[str] = set()
    everywhere = {(address.port, ":" in address.host) for address, _ in places if address.host in ("0.0.0.0", "::")}
    for address, path in places:
        if str(address) in seen and (address.port or address.path):
            report.error("address_taken", path, f"{address} is used twice")
        elif address.port and address.host not in ("0.0.0.0", "::"):
            kinds = (False, True) if address.host == "localhost" else (":" in address.host,)
            if any((address.port, kind) in everywhere for kind in kinds):
                message = (
                    f"{address} is in use by gatewayd itself, which listens on every address of port {address.port}"
                )
                report.error("address_taken", path, message, "leave out one of the two")
        seen.add(str(address))
        if key is None and not address.is_loopback:
            report.error(
                "exposed_without_key",
                path,
                f"{address} can be reached from other machines, and there is no general_settings.master_key",
                f"set {MASTER_KEY_VARIABLE}, add `master_key: os.environ/NAME`, or listen on 127.0.0.1",
            )


def _stream(stream: StreamSettings, written: set[str], litellm: LitellmSettings) -> StreamSettings:
    if "stream.keep_alive" in written:
        return stream
    return replace(stream, keep_alive=litellm.sse_keepalive_ping_interval_seconds or None)


def _log(log: LogSettings, written: set[str], litellm: LitellmSettings, router: RouterSettings) -> LogSettings:
    verbose = litellm.set_verbose or router.set_verbose or router.debug_level == "DEBUG"
    if verbose and "log.level" not in written:
        log = replace(log, level="debug")
    if "log.format" not in written and litellm.json_logs:
        log = replace(log, format="json")
    return log


def _inline_secrets(value: Any, path: Path) -> Any:
    """Paths of secrets that stand in the file itself. A generator."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _inline_secrets(inner, (*path, name))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _inline_secrets(inner, (*path, index))
    elif isinstance(value, str) and len(value) > 7 and not is_reference(value) and "$" not in value[:1]:
        name = next((part for part in reversed(path) if isinstance(part, str)), "")
        if path[:1] != ("include",) and ends_as_secret(name) and holds_secret(value) and value.lower() not in _DUMMIES:
            yield path


def _private_group(status: os.stat_result) -> bool:
    """Whether the file's group holds its owner alone, as Debian's user private groups do."""
    import grp
    import pwd

    try:
        owner = pwd.getpwuid(status.st_uid)
        group = grp.getgrgid(status.st_gid)
    except KeyError:
        return status.st_uid == status.st_gid
    return owner.pw_gid == status.st_gid and not set(group.gr_mem) - {owner.pw_name}
