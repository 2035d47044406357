"""Text made safe for a message."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gatewayd.text import printable


@given(st.text())
def test_printable_is_printable_and_bounded(text: str) -> None:
    assert printable(text).isprintable()
    assert len(printable(text)) <= 10 * 123
