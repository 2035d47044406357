"""Third stage, for `ssl_verify`: which certificates of upstreams are trusted."""

from __future__ import annotations

import hashlib
import os
import ssl

from gatewayd.config.checks.report import Report
from gatewayd.config.document import Path
from gatewayd.config.rawfile import Unreadable, read_regular
from gatewayd.config.secrets import Resolver, looks_like_a_key
from gatewayd.config.snapshot import Trust

MAX_CA_BYTES = 4 * 1024 * 1024
"""Maximum size of a file of authorities; a system's bundle has a quarter of a megabyte."""


class Trusts:
    """Reads each file of authorities once. Its content is part of the revision, and it is watched like a secret's."""

    def __init__(self, resolver: Resolver, report: Report) -> None:
        self._resolver = resolver
        self._report = report
        self._known: dict[str, Trust | Unreadable] = {}

    def of(self, value: bool | str | None, path: Path) -> Trust | None:
        """The meaning of `ssl_verify` at `path`; None if it is not set, or after an error."""
        if value is None:
            return None
        if isinstance(value, bool):
            return Trust(verify=value)
        name = os.path.normpath(os.path.join(os.path.abspath(self._resolver.directory), value))
        found = self._known.get(name)
        if found is None:
            found = self._known[name] = self._read(name)
        if isinstance(found, Trust):
            return found
        hint = "the value must be true, false, or a file of certificates in PEM format"
        shown = "" if path in self._report.referenced or looks_like_a_key(value) else f" {value}"
        self._report.error("invalid_value", path, f"the file{shown} {found.message}", found.hint or hint)
        return None

    def warn(self, trust: Trust, path: Path) -> None:
        """Warns if certificates are not checked."""
        if not trust.verify:
            message = "certificates are not checked, so anyone on the network path can read keys and prompts"
            hint = "to trust your own authority, set ssl_verify to the path of its certificates"
            self._report.once("tls_unverified", path, message, hint)

    def _read(self, name: str) -> Trust | Unreadable:
        self._resolver.files[name] = ""
        try:
            data = read_regular(name, MAX_CA_BYTES)
        except Unreadable as error:
            return error
        self._resolver.files[name] = digest = hashlib.sha256(data).hexdigest()
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=data.decode("ascii", "ignore"))
        except (ssl.SSLError, ValueError):
            return Unreadable("config_unreadable", "contains no certificates in PEM format")
        return Trust(ca_file=name, digest=digest)
