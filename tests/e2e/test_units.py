"""The shipped systemd units, as far as they can be judged without a running systemd."""

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from gatewayd.config.schema.own import Gatewayd

UNITS = Path(__file__).parents[2] / "systemd"
needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze")


def unit(name: str) -> dict[str, dict[str, list[str]]]:
    parser = configparser.RawConfigParser(strict=False, dict_type=_Several, empty_lines_in_values=False)
    parser.optionxform = str  # type: ignore[assignment]
    parser.read(UNITS / name)
    return {section: {key: value.split("\n") for key, value in parser.items(section)} for section in parser.sections()}


class _Several(dict[str, object]):
    """Keeps all values of a key that stands several times, as systemd does."""

    def __setitem__(self, key: str, value: object) -> None:
        if isinstance(value, list) and isinstance(old := self.get(key), list):
            old.extend(value)
        else:
            super().__setitem__(key, value)


def test_the_socket_unit_names_the_default_addresses() -> None:
    """F-11"""
    own = Gatewayd()
    assert unit("gatewayd.socket")["Socket"]["ListenStream"] == [*map(str, own.listen), str(own.admin)]


def test_the_service_is_given_time_to_drain_and_is_not_started_again_on_a_bad_configuration() -> None:
    """S3, S7"""
    service = unit("gatewayd.service")["Service"]
    assert float(service["TimeoutStopSec"][0]) >= Gatewayd().drain + 30
    assert service["RestartPreventExitStatus"] == ["78"]
    assert service["Type"] == ["notify"]
    assert [line.split()[1] for line in service["ExecReload"]] == ["check", "reload"]


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
