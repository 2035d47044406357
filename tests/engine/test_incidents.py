"""U-D1, U-D2: what the log says about deployments, and how often."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from gatewayd.config.snapshot import Deployment
from gatewayd.engine.incidents import EVERY, Incidents, label
from gatewayd.errors import GatewayError, UpstreamAuth, UpstreamConnection, UpstreamStatus, UpstreamTimeout
from gatewayd.routing.candidate import Candidate
from gatewayd.routing.health import HealthBook, Policy

WEST = Deployment(
    id="west",
    identity="west",
    group="gpt-4o",
    kind="forward",
    provider="openai",
    model="gpt-4o",
    api_base="http://user:canary@127.0.0.1:11434/v1?key=canary",
    place="/etc/gatewayd/gatewayd.yaml:6",
)
CANDIDATE = Candidate("west", "west")
PEER = Candidate("peer", "peer")
NAME = "deployment west (openai/gpt-4o at 127.0.0.1:11434, gatewayd.yaml:6)"
REFUSED = UpstreamConnection("No connection to the upstream: Connection refused.", refused=True)


class Book:
    """A health book whose incidents are logged, with a hand-wound clock."""

    def __init__(self, caplog: pytest.LogCaptureFixture, *peers: Candidate) -> None:
        caplog.set_level(logging.INFO, "gatewayd.deployments")
        self.caplog = caplog
        self.peers = (CANDIDATE, *peers)
        self.health = HealthBook(observer=Incidents(lambda candidate: WEST))

    def fail(self, error: GatewayError, now: float) -> None:
        self.health.started(CANDIDATE, now)
        self.health.failed(CANDIDATE, error, now, peers=self.peers, policy=Policy())
        self.health.left(CANDIDATE)

    def succeed(self, now: float) -> None:
        self.health.started(CANDIDATE, now)
        self.health.completed(CANDIDATE, now)

    @property
    def lines(self) -> list[tuple[str, str]]:
        return [(record.levelname, record.getMessage()) for record in self.caplog.records]


@pytest.fixture
def alone(caplog: pytest.LogCaptureFixture) -> Book:
    return Book(caplog)


@pytest.fixture
def paired(caplog: pytest.LogCaptureFixture) -> Book:
    return Book(caplog, PEER)


def test_a_failure_is_a_warning_with_name_address_place_and_reason(alone: Book) -> None:
    """U-D1: and with a hint, for a server on this machine that is down; without user, password and query."""
    alone.fail(REFUSED, 0.0)
    ((level, text),) = alone.lines
    assert level == "WARNING"
    assert text.startswith(f"{NAME}: connection refused; hint: is Ollama running? `ollama serve` starts it")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (UpstreamConnection("The upstream's host name cannot be resolved."), "host name cannot be resolved"),
        (
            UpstreamAuth("The upstream rejected the gateway's credentials (401)."),
            "rejected the gateway's credentials (401)",
        ),
        (UpstreamStatus("Overloaded,\n try later", status=529), "answered 529: Overloaded, try later"),
        (UpstreamStatus("The upstream answered 500.", status=500), "answered 500"),
        (UpstreamStatus("The upstream answered 503: busy", status=503), "answered 503: busy"),
        (UpstreamStatus("busy", status=502, answered="200 with an error"), "answered 200 with an error: busy"),
        (UpstreamStatus("x" * 999, status=500), f"answered 500: {'x' * 200}..."),
    ],
)
def test_each_kind_of_failure_has_its_reason(alone: Book, error: GatewayError, expected: str) -> None:
    """U-D1"""
    alone.fail(error, 0.0)
    assert alone.lines == [("WARNING", f"{NAME}: {expected}")]


def test_a_timeout_is_named(alone: Book) -> None:
    """U-D1: which one struck, and how long it is."""
    late = UpstreamTimeout("The upstream did not begin to answer in time.", kind="first_byte")
    late.seconds = 60.0
    alone.fail(late, 0.0)
    assert alone.lines == [("WARNING", f"{NAME}: did not begin to answer in time (first_byte timeout: 60 s)")]


def test_lines_of_one_kind_are_written_once_a_minute_and_counted(alone: Book) -> None:
    """U-D1: another reason is another kind."""
    for second in range(30):
        alone.fail(REFUSED, second)
    alone.fail(UpstreamStatus("busy", status=503), 30.0)
    alone.fail(REFUSED, EVERY)
    texts = [text for _, text in alone.lines]
    assert [text.partition(" (29 more")[0].partition(";")[0] for text in texts] == [
        f"{NAME}: connection refused",
        f"{NAME}: answered 503: busy",
        f"{NAME}: connection refused",
    ]
    assert texts[2].endswith("(29 more like this since the last such line)")


def test_a_cooldown_and_its_end_are_a_line_each(paired: Book) -> None:
    """U-D2"""
    paired.fail(UpstreamAuth("The upstream rejected the gateway's credentials (401)."), 0.0)
    paired.fail(UpstreamAuth("The upstream rejected the gateway's credentials (401)."), 6.0)
    paired.succeed(12.0)
    paired.succeed(13.0)
    assert paired.lines == [
        ("WARNING", f"{NAME}: rejected the gateway's credentials (401); out of rotation for 5 s"),
        ("INFO", f"{NAME}: answers again after 12 s"),
    ]


def test_a_deployment_that_was_never_out_of_rotation_is_reported_back_after_several_failures(alone: Book) -> None:
    """U-D2: the only one of its group never cools down; a single failure among successes is no outage."""
    alone.fail(REFUSED, 0.0)
    alone.succeed(1.0)
    for second in range(2, 5):
        alone.fail(REFUSED, second)
    alone.succeed(125.0)
    assert [text for level, text in alone.lines if level == "INFO"] == [f"{NAME}: answers again after 2 min"]


def test_json_lines_have_the_parts_as_fields(alone: Book) -> None:
    """U-D1"""
    alone.fail(REFUSED, 0.0)
    details: dict[str, Any] = alone.caplog.records[0].__dict__["details"]
    assert details["deployment"] == "west"
    assert (details["group"], details["code"]) == ("gpt-4o", "upstream_connection_error")
    assert details["reason"] == "connection refused"


def test_of_a_deployment_that_no_configuration_has_any_more_the_id_is_known() -> None:
    """U-D1"""
    assert label("west", None) == "west"
