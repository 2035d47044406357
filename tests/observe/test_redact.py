"""Known texts are replaced, few or many."""

from __future__ import annotations

import base64
import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.observe.log import LineFormatter, LogFormat
from gatewayd.observe.redact import Redactor


@pytest.mark.parametrize("others", [0, 1000])
@given(secret=st.text(min_size=8, max_size=30), before=st.text(max_size=10), after=st.text(max_size=10))
def test_a_secret_is_found_wherever_it_stands(others: int, secret: str, before: str, after: str) -> None:
    redactor = Redactor()
    redactor.know([f"other-{number}-secret" for number in range(others)])
    redactor.know([secret])
    cleaned = redactor.clean(before + secret + after)
    assert secret not in cleaned
    assert "***" in cleaned


@pytest.mark.parametrize("others", [0, 1000])
def test_of_two_that_begin_alike_the_longer_is_replaced_whole(others: int) -> None:
    redactor = Redactor()
    redactor.know([f"other-{number}-secret" for number in range(others)])
    redactor.know(["sk-secret", "sk-secret-and-more", 'sk-"quoted"'])
    text = "a sk-secret-and-more b sk-secret c " + json.dumps('sk-"quoted"')
    assert redactor.clean(text) == 'a *** b *** c "***"'


def test_short_words_and_other_text_stay() -> None:
    redactor = Redactor()
    redactor.know(["abc", *(f"secret-number-{n:04}" for n in range(100))])
    assert redactor.clean("abc secret-number-x") == "abc secret-number-x"
    assert redactor.clean("secret-number-0042!") == "***!"


def test_a_json_line_stays_json_whatever_is_replaced_in_it() -> None:
    """A secret that begins with an n is found behind the backslash of a line end."""
    redactor = Redactor()
    redactor.know(["nightshift"])
    record = logging.LogRecord("x", logging.INFO, "x.py", 1, "a\nightshift \\\nightshift \\nightshift", (), None)
    line = LineFormatter("json", redactor).format(record)
    assert "ightshift" not in line
    json.loads(line)


QUOTED = 'pass"word\\with\täll\u2028sorts'
PEM = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhki\nG9w0BAQEFAASCBKcw\n-----END KEY-----\n"


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("secret", [QUOTED, PEM], ids=["quoted", "lines"])
def test_no_form_of_a_log_line_shows_a_secret(secret: str, form: LogFormat) -> None:
    """D-02: as it is, as Python or JSON quote it, in several lines, in a traceback."""
    redactor = Redactor()
    redactor.know([secret])
    for message in (secret, repr(secret), json.dumps(secret), json.dumps({"k": secret}, ensure_ascii=False)):
        try:
            raise ValueError(message)
        except ValueError as error:
            caught = (type(error), error, error.__traceback__)
        record = logging.LogRecord("x", logging.INFO, "x.py", 1, "%s", (message,), caught)
        record.fields = {"name": message}
        line = LineFormatter(form, redactor).format(record)
        assert not [part for part in ("pass", "word", "sorts", "MIIEv", "G9w0", "BEGIN") if part in line], line


@pytest.mark.parametrize("around", ["", "user:", "Bearer ", "ab"])
def test_a_secret_in_base64_is_one(around: str) -> None:
    """U-F8"""
    redactor = Redactor()
    redactor.know(["sk-canary+/\xfcb\xe4r-secret"])
    for encoder in (base64.b64encode, base64.urlsafe_b64encode):
        told = encoder(f"{around}sk-canary+/\xfcb\xe4r-secret{around}".encode()).decode()
        assert "***" in redactor.clean(told)
    assert redactor.clean("key=sk-canary%2B%2F%C3%BCb%C3%A4r-secret") == "key=***"


def test_an_indent_is_no_secret() -> None:
    redactor = Redactor()
    redactor.know(['{\n        "private_key": "0123456789"\n        }\n'])
    assert redactor.clean("        }  ") == "        }  "
    assert "0123456789" not in redactor.clean('  "private_key": "0123456789"')
