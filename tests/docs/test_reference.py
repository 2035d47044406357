"""The reference names all there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs import reference
from gatewayd.config import providers

CODE = Path(reference.__file__).parents[1] / "gatewayd"
OF_OTHERS = {"HOME", "TERM", "AZURE_API_VERSION"}
"""Of the system, and of a provider (configuration.md)."""


def test_every_variable_that_the_code_reads_is_on_the_page() -> None:
    read: set[str] = set()
    for path in CODE.rglob("*.py"):
        if path.name != Path(providers.__file__).name:
            read |= set(re.findall(r"environ(?:\.get\(|\[)\s*\"([A-Z_]+)\"", path.read_text(encoding="utf-8")))
    assert read >= {"GATEWAYD_CONFIG", "NOTIFY_SOCKET"}
    assert read - OF_OTHERS == set(reference._ENVIRONMENT)


@pytest.mark.parametrize("table", ["_ENDPOINTS", "_ANSWERED", "_ADMINISTRATION"])
def test_a_name_too_few_or_too_many_is_an_error(table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, table, {**getattr(reference, table), "/nothing": "nothing"})
    with pytest.raises(LookupError, match="/nothing"):
        reference.reference()


def test_every_command_and_header_is_on_the_page() -> None:
    page = reference.reference()
    for name in (
        "### gatewayd run",
        "`--wait`",
        "`x-gatewayd-fallback`",
        "`gatewayd_requests_total` | counter | group",
    ):
        assert name in page
