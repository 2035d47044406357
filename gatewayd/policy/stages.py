"""The stages of a request to a model: what may answer, refuse or reserve before a deployment is asked.

Stages run in order, and synchronously: a stage decides from what it has at hand. What a stage has reserved is settled
when the request ends, whatever way it ends, in reverse order and once. Knows no HTTP, deployment or configuration.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from gatewayd.observe.record import Record
from gatewayd.wire.openai import Intent

_log = logging.getLogger("gatewayd.policy")


@dataclass(frozen=True, slots=True)
class StageAnswer:
    """A stage answers in a deployment's place; `body` is JSON."""

    body: bytes


Settle = Callable[[Record], None]
"""Gets the record of a request that has ended: outcome, attempts, usage."""


class Stage(Protocol):
    def enter(self, record: Record, intent: Intent) -> StageAnswer | Settle | None:
        """`record.key` names the caller. Returns an answer, what settles a reservation, or nothing. Raises GatewayError
        to refuse."""


class Passage:
    """One request's way through the stages."""

    __slots__ = ("_settlements",)

    def __init__(self) -> None:
        self._settlements: list[Settle] = []

    def enter(self, stages: Iterable[Stage], record: Record, intent: Intent) -> StageAnswer | None:
        """The answer of the first stage that has one. Raises GatewayError if a stage refuses."""
        for stage in stages:
            outcome = stage.enter(record, intent)
            if isinstance(outcome, StageAnswer):
                return outcome
            if outcome is not None:
                self._settlements.append(outcome)
        return None

    def settle(self, record: Record) -> None:
        """Settles what was reserved. A settlement that fails is logged and does not stop the others."""
        while self._settlements:
            settle = self._settlements.pop()
            try:
                settle(record)
            except Exception as error:
                _log.error("a stage could not settle a request", exc_info=error)
