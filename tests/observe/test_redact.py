"""Known texts are replaced, few or many."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
