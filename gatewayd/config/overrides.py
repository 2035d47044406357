"""Settings from the command line that replace the file's."""

from __future__ import annotations

from dataclasses import dataclass, replace

from gatewayd.config.problems import Problem
from gatewayd.config.result import Result
from gatewayd.config.schema.address import parse_address
from gatewayd.config.secrets import MASTER_KEY_VARIABLE
from gatewayd.config.snapshot import Address


@dataclass(frozen=True, slots=True)
class Overrides:
    """Valid for the whole life of the daemon."""

    host: str | None = None
    port: int | None = None
    admin: str | None = None
    """The admin listener: an address, or `off`."""
    on_invalid_deployment: str | None = None
    """`refuse` or `skip`; None: the file's setting."""
    serves: bool = True
    """Whether a daemon listens at the file's addresses. A private gateway uses a free port instead."""

    def listen(self, file: tuple[Address, ...]) -> tuple[Address, ...]:
        """The data listeners, given those of the file."""
        if self.host is None and self.port is None:
            return file
        first = next((address for address in file if not address.path), Address("127.0.0.1", 4000))
        return (Address(self.host or first.host, first.port if self.port is None else self.port),)

    def admin_listener(self, file: Address | None) -> Address | None:
        """The admin listener, given the file's. Raises ValueError if `admin` is not an address."""
        if self.admin is None:
            return file
        return None if self.admin == "off" else parse_address(self.admin)

    def apply(self, result: Result) -> Result:
        """Replaces the file's addresses; the rules about keys and addresses apply to the new ones too (D-07)."""
        snapshot = result.snapshot
        if snapshot is None or (self.host is None and self.port is None and self.admin is None):
            return result
        server = snapshot.server
        listen, admin = self.listen(server.listen), self.admin_listener(server.admin)
        problems = [
            Problem(
                "exposed_without_key",
                f"{address} can be reached from other machines, and there is no general_settings.master_key",
                path=flag,
                hint=f"set {MASTER_KEY_VARIABLE}, add `master_key: os.environ/NAME`, or listen on 127.0.0.1",
            )
            for address, flag in (
                *((address, "--host") for address in listen),
                *([(admin, "--admin")] if admin else []),
            )
            if not address.is_loopback and server.master_key is None
        ]
        if admin in listen and (admin.port or admin.path):
            hint = "give --port or --admin another port"
            problems.append(Problem("address_taken", f"{admin} is used twice", path="--admin", hint=hint))
        if problems:
            return replace(result, snapshot=None, problems=(*result.problems, *problems))
        return replace(result, snapshot=replace(snapshot, server=replace(server, listen=listen, admin=admin)))
