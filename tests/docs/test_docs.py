"""The generated pages are what the code says now, and complete."""

from __future__ import annotations

import inspect
import re
import textwrap
from typing import Any

import pytest

import gatewayd.config.snapshot
import gatewayd.routing.pick
import gatewayd.wire.dialect
from docs import generate
from gatewayd.config.codes import PROBLEM_CODES
from gatewayd.config.schema.base import below, known
from gatewayd.config.schema.root import Root
from gatewayd.errors import CODES, InvalidRequest, Verdict
from gatewayd.observe.record import Record
from gatewayd.policy.stages import Passage
from gatewayd.verdicts import BY_STATUS
from gatewayd.wire.openai import peek


@pytest.mark.parametrize("name", generate.PAGES)
def test_page_is_current(name: str) -> None:
    written = (generate.HERE / name).read_text(encoding="utf-8")
    assert written == generate.PAGES[name](), f"docs/{name} is stale: run `python docs/generate.py`"


def test_check_tells_stale_from_current(capsys: pytest.CaptureFixture[str]) -> None:
    assert generate.main(["--check"]) == 0
    assert capsys.readouterr().out == ""


def test_every_key_is_on_the_page() -> None:
    page = generate.configuration() + generate.ignored_keys()
    assert {section for _, section in generate.SECTIONS} >= set(below(Root))
    for section in below(Root):
        for name in known(section):
            assert f"`{name}`" in page


def test_every_code_is_on_the_page() -> None:
    page = generate.error_codes()
    listed = set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
    assert listed == set(CODES) | set(PROBLEM_CODES)


def test_every_status_with_a_verdict_of_its_own_is_on_the_page() -> None:
    """`gatewayd check` refers to this table for litellm's retry policies."""
    page = generate.error_codes()
    rows = [line for line in page.partition("## Retries and cooldowns")[2].splitlines() if line.startswith("| ")]
    for status, (verdict, _) in BY_STATUS.items():
        if verdict is not Verdict.FATAL and status != 500:
            assert len([row for row in rows if f"{status}" in row]) == 1


def test_every_request_error_has_a_status() -> None:
    for code in CODES:
        assert re.search(rf"^\| `{code}` \| (\d\d\d|the upstream's) \|", generate.error_codes(), re.MULTILINE), code


@pytest.mark.parametrize("page", ["docs/configuration.md", "docs/running.md", "docs/gatewayd.schema.json", "README.md"])
def test_no_page_calls_rpm_a_limit(page: str) -> None:
    """U-D13: rpm and tpm are shares until limits exist."""
    for line in (generate.HERE.parent / page).read_text(encoding="utf-8").splitlines():
        if re.search(r"`rpm`|`tpm`", line):
            assert re.search(r"[Ss]hare|weight|the same as|The same as", line), line
            assert "a minute" not in line
            assert "N times" not in line


def test_the_examples_of_adding_things_work(caplog: pytest.LogCaptureFixture) -> None:
    """The stage and the observer are run; the others are there as the page shows them."""
    page = (generate.HERE / "architecture.md").read_text().partition("## Adding things")[2].partition("\n## ")[0]
    names: dict[str, Any] = {}
    for block in re.findall(r"^  ```python\n(.*?)^  ```$", page, re.MULTILINE | re.DOTALL):
        exec(textwrap.dedent(block), names)
    stage, record = names["TokenLimit"](10), Record(request_id="r1", duration=61.0)
    assert Passage().enter([stage], record, peek(b'{"model":"m","max_tokens":10}')) is None
    with pytest.raises(InvalidRequest, match="At most 10 tokens"):
        Passage().enter([stage], record, peek(b'{"model":"m","max_tokens":11}'))
    names["log_slow"](record)
    assert caplog.messages == ["r1 took 61 s"]
    for module, line in (
        (gatewayd.config.snapshot, "http: Flag = setting("),
        (gatewayd.wire.dialect, 'MODERATIONS: Final = Endpoint("moderations", MEDIA_API, streams=False)'),
        (gatewayd.routing.pick, "def least_busy(candidates: Sequence[Candidate], view: View) -> Candidate:"),
    ):
        assert line in page
        assert line in inspect.getsource(module)
