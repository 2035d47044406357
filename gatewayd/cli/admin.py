"""Finds a daemon's admin listener and sends requests to it, over TCP or a unix socket, with the standard library."""

from __future__ import annotations

import http.client
import ipaddress
import json
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlsplit

from gatewayd.config import search, source
from gatewayd.config.schema.address import parse_address
from gatewayd.config.secrets import Resolver, Unresolved, export_environment, master_key_of
from gatewayd.config.snapshot import Address
from gatewayd.errors import GatewaydError

_DEFAULT = "127.0.0.1:4001"
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}
"""Addresses to listen on, to which clients cannot connect."""


class NoDaemon(GatewaydError):
    """No daemon answers, or there is no address to call. The message says where and why."""


@dataclass(frozen=True, slots=True)
class Admin:
    """One admin listener: `http://HOST:PORT`, `https://HOST:PORT`, `HOST:PORT` or `unix:/PATH`."""

    url: str
    key: str | None = None
    guessed: bool = False
    """Whether the address is a guess, because the file cannot be read or does not set it."""
    default: str = ""
    """Why the default address is used; the mistake may be in the line that sets another."""

    def request(self, method: str, path: str, *, timeout: float) -> tuple[int, Any]:
        """Status and decoded JSON body. Raises NoDaemon, or TimeoutError after `timeout` seconds without data."""
        headers = {"accept": "application/json", "host": "localhost"} if self.url.startswith("unix:") else {}
        if self.key is not None:
            headers["authorization"] = f"Bearer {self.key}"
        connection = self._connection(timeout)
        try:
            connection.request(method, path, headers=headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        except TimeoutError:
            raise
        except (OSError, http.client.HTTPException, ValueError) as error:
            if isinstance(error, http.client.InvalidURL):
                raise NoDaemon(f"not an address: {self.url}") from error
            if isinstance(error, http.client.HTTPException | json.JSONDecodeError | UnicodeDecodeError):
                raise NoDaemon(f"{self.url} answers, but it is not an admin listener of gatewayd") from error
            reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
            hint = f" (the default: {self.default}; use --admin for another)" if self.default else ""
            hint = " (a guess, because the file does not say it; use --admin)" if self.guessed else hint
            raise NoDaemon(f"no daemon answers at {self.url}{hint}: {reason.lower()}") from error
        finally:
            connection.close()

    def _connection(self, timeout: float) -> http.client.HTTPConnection:
        if self.url.startswith("unix:"):
            return _UnixConnection(self.url.removeprefix("unix:").removeprefix("//"), timeout)
        parts = urlsplit(self.url if "://" in self.url else f"http://{self.url}")
        try:
            host, port = parts.hostname or "", parts.port
        except ValueError:
            raise NoDaemon(f"not an address: {self.url}") from None
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        return kind(_EVERYWHERE.get(host, host), port, timeout=timeout)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def discover(url: str | None, config: str | None, environ: Mapping[str, str]) -> Admin:
    """The listener of `--admin`, else of `$GATEWAYD_ADMIN`, else the file's. Raises NoDaemon.

    The key is `$GATEWAYD_API_KEY`. Otherwise it is the file's key (or `$LITELLM_MASTER_KEY`), if the file's address is
    on this machine and needs one, so that a health check and `systemctl reload` need no secret. The file is not
    validated here, because it may be invalid, and then `gatewayd reload --wait` is needed most.
    """
    key = environ.get("GATEWAYD_API_KEY")
    if told := url or environ.get("GATEWAYD_ADMIN"):
        return Admin(told, key)
    path = search.find(config, environ)
    if path is None:
        return Admin(_DEFAULT, key, default="there is no configuration file")
    folder = os.path.dirname(os.path.abspath(path))
    tree = source.read(path).tree
    resolver = Resolver(environ, folder)
    if isinstance(exported := tree.get("environment_variables"), Mapping):
        export_environment(exported, resolver)
    written = _written(tree, "gatewayd", "admin")
    address = _resolved(written, resolver, own_section=True)
    if not tree:
        address = _scan(path)
    if address is False or address == "off":  # YAML 1.1 reads a plain `off` as false
        raise NoDaemon(f"{path} says `admin: off`, so gatewayd has no admin listener")
    try:
        place = parse_address(address)
        if isinstance(written, str) and written != address and not _is_ours(place):
            raise ValueError("do not look up this host name: it may be a variable's secret value")
    except ValueError:
        return Admin(_DEFAULT, key, guessed=address is not None or not tree, default=f"{path} has no gatewayd.admin")
    if key is None and not place.is_loopback and _is_ours(place):  # a loopback address needs none
        written = _written(tree, "general_settings", "master_key")
        master = master_key_of(resolver.environ) if written is None else _resolved(written, resolver)
        key = master if isinstance(master, str) and master.isascii() and master.isprintable() else None
    return Admin(f"unix:{os.path.join(folder, place.path)}" if place.path else str(place), key)


def _written(tree: Mapping[str, Any], section: str, name: str) -> object:
    """A value of the file, unresolved and not validated."""
    settings = tree.get(section)
    return settings.get(name) if isinstance(settings, Mapping) else None


def _resolved(value: object, resolver: Resolver, *, own_section: bool = False) -> object:
    """The value of a reference, or the Unresolved error."""
    if not isinstance(value, str):
        return value
    try:
        return resolver.resolve(value, own_section=own_section)
    except Unresolved as error:
        return error


def _is_ours(place: Address) -> bool:
    """Whether the address is on this machine. A file from an unknown folder must not send its secrets to other hosts.
    Names are not resolved, because a DNS query could reveal a secret."""
    if place.path or place.host == "localhost":
        return True
    try:
        family = socket.AF_INET6 if ipaddress.ip_address(place.host).version == 6 else socket.AF_INET
        with socket.socket(family) as probe:
            probe.bind((place.host, 0))
    except (ValueError, OSError):
        return False
    return True


def _scan(path: str) -> str | None:
    """`admin:` below `gatewayd:` in a file that is not YAML (any more)."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read(1 << 20)
    except OSError:
        return None
    own = re.search(r"^gatewayd:\s*(?:#.*)?\n((?:[ \t]+.*\n|\s*\n|#.*\n)*)", text + "\n", re.MULTILINE)
    found = own and re.search(r"""^[ \t]+admin:[ \t]*["']?([^\s"'#]+)""", own[1], re.MULTILINE)
    return cast(str, found[1]) if found else None
