"""From bytes to the text of a YAML file, or the exact place of the first byte or character that is not allowed."""

from __future__ import annotations

import re

from gatewayd.config.yaml_hints import Explanation

_FORBIDDEN = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
"""Everything outside YAML 1.1's c-printable (chapter 5.1), and the byte order mark, which may only begin a file."""


class Undecodable(Exception):
    """The bytes are not YAML text. `code` is a problem code."""

    def __init__(self, code: str, explanation: Explanation) -> None:
        super().__init__(explanation.message)
        self.code = code
        self.explanation = explanation


def decode(data: bytes) -> str:
    """`data` as text, a leading UTF-8 byte order mark removed, line ends as they are.

    Raises Undecodable.
    """
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise Undecodable("yaml_encoding", Explanation("the file is UTF-16, not UTF-8", 1, 1, "save it as UTF-8"))
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, column = _place(error.object[: error.start].decode("utf-8-sig", "replace"))
        message = f"byte 0x{error.object[error.start]:02X} is not UTF-8"
        hint = "save the file as UTF-8; it may be Latin-1 or Windows-1252"
        raise Undecodable("yaml_encoding", Explanation(message, line, column, hint)) from None
    if found := _FORBIDDEN.search(text):
        line, column = _place(text[: found.start()])
        message = f"the character U+{ord(found[0]):04X} is not allowed in YAML"
        hint = "the file may be UTF-16 or binary; save it as UTF-8" if found[0] == "\0" else "delete it"
        raise Undecodable("yaml_character", Explanation(message, line, column, hint))
    return text


def _place(before: str) -> tuple[int, int]:
    """Line and column, from 1, of what comes after `before`."""
    before = before.replace("\r\n", "\n").replace("\r", "\n")
    return before.count("\n") + 1, len(before) - before.rfind("\n")
