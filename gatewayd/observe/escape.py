"""Characters that must not get into a log line as they are."""

from __future__ import annotations

import re
from typing import Final

_CONTROLS: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""What a terminal or a reader of lines may act on, and what UTF-8 cannot carry (undecodable bytes of a path)."""


def escape(text: str) -> str:
    """The text with everything escaped that a terminal or a reader of lines may act on, as Python would write it."""
    return _CONTROLS.sub(lambda found: ascii(found[0])[1:-1], text)


def escape_json(text: str) -> str:
    """The same for text that is JSON, which stays JSON with the same meaning."""
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
