"""`SuccessLine` writes what `access` would, and is there to do it for less."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from gatewayd.observe.access import AccessRecord, SuccessLine, access
from gatewayd.observe.log import LineFormatter, LineHandler, LogFormat
from gatewayd.observe.redact import Redactor

RECORD = AccessRecord(
    request_id="", revision="r1", key="master_key", peer="", method="POST", path="/v1/chat/completions", status=200,
    outcome="ok", code="", group="chat", answered_by="chat", deployment="first", attempts=1, fallbacks=0, duration=0.0,
    ttft=None, prompt_tokens=None, completion_tokens=None,
)  # fmt: skip
SECRET = "sk-0123456789"


@dataclass(frozen=True)
class Used:
    prompt_tokens: int = 3
    completion_tokens: int = 40


@pytest.fixture(params=["text", "json"])
def written(request: pytest.FixtureRequest) -> Iterator[io.StringIO]:
    stream = io.StringIO()
    form: LogFormat = request.param
    redactor = Redactor()
    redactor.know([SECRET])
    logger = logging.getLogger("gatewayd.access")
    handler = LineHandler(stream, LineFormatter(form, redactor))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    yield stream
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)
    logger.propagate = True


def lines(stream: io.StringIO) -> list[str]:
    """What was written since the last time, without the time of day."""
    text = stream.getvalue()
    stream.seek(0)
    stream.truncate()
    return [re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "T", line) for line in text.splitlines()]


@pytest.mark.parametrize("sample", [RECORD, replace(RECORD, group="a b", path="/100%/é"), replace(RECORD, key="50%s")])
@pytest.mark.parametrize("used", [None, Used()])
@pytest.mark.parametrize("told", ["", "mine", 'a "b" c=d', f"id-{SECRET}"])
def test_both_write_the_same(written: io.StringIO, sample: AccessRecord, used: Used | None, told: str) -> None:
    """C-07, D-02"""
    line = SuccessLine(sample)
    for request_id, duration, peer in ((told or "req_1", 0.0123456, "127.0.0.1"), (told or "req_2", 12.0, "unix")):
        line.log(request_id, duration, used, peer, told=bool(told))
        made = lines(written)
        access(
            replace(
                sample,
                request_id=request_id,
                duration=duration,
                peer=peer,
                prompt_tokens=None if used is None else used.prompt_tokens,
                completion_tokens=None if used is None else used.completion_tokens,
            )
        )
        assert made == lines(written)
        assert len(made) == 1
        assert SECRET not in made[0]


def test_nothing_is_written_above_the_level(written: io.StringIO) -> None:
    logging.getLogger("gatewayd.access").setLevel(logging.WARNING)
    SuccessLine(RECORD).log("req_1", 0.1, None, "unix")
    assert lines(written) == []
