"""The shipped systemd units, as far as they can be judged without a running systemd."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from gatewayd.config.snapshot import ServerSettings

UNITS = Path(__file__).parents[2] / "systemd"
needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze")


def unit(name: str) -> dict[str, list[str]]:
    """Every value of every key."""
    found: dict[str, list[str]] = {}
    for line in (UNITS / name).read_text().splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


def test_the_socket_unit_names_the_default_addresses() -> None:
    """F-11"""
    own = ServerSettings()
    assert unit("gatewayd.socket")["ListenStream"] == [*map(str, own.listen), str(own.admin)]


def test_the_service_is_given_time_to_drain_and_is_not_started_again_on_a_bad_configuration() -> None:
    """S3, S7"""
    service = unit("gatewayd.service")
    assert float(service["TimeoutStopSec"][0]) >= ServerSettings().drain + 30
    assert service["RestartPreventExitStatus"] == ["78"]
    assert service["Type"] == ["notify"]
    assert [line.split()[1] for line in service["ExecReload"]] == ["check", "reload"]


def test_no_start_limit_closes_the_addresses() -> None:
    """U-F12: a service at its limit, or a socket at its own, fails together with the socket unit."""
    service, sockets = unit("gatewayd.service"), unit("gatewayd.socket")
    assert service["StartLimitIntervalSec"] == sockets["TriggerLimitIntervalSec"] == ["0"]
    assert float(service["RestartSec"][0]) >= 1  # nothing else paces the restarts
    assert "sleep" in service["ExecStopPost"][0]


@needs_systemd
def test_the_service_is_well_confined() -> None:
    """The figure of `systemd-analyze security`: 0 is best, 10 worst."""
    run = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(UNITS / "gatewayd.service")],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    figure = re.search(r"exposure level for gatewayd.service: ([\d.]+)", run.stdout)
    assert figure is not None
    assert float(figure[1]) <= 1.5


@needs_systemd
@pytest.mark.parametrize("name", sorted(path.name for path in UNITS.iterdir()))
def test_systemd_understands_every_line(name: str, tmp_path: Path) -> None:
    for path in UNITS.iterdir():
        (tmp_path / path.name).write_text(path.read_text().replace("/usr/bin/gatewayd", "/bin/true"))
    run = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / name)], capture_output=True, text=True, timeout=60
    )
    assert (run.returncode, run.stderr) == (0, "")
