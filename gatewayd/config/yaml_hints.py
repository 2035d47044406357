"""Turns PyYAML's syntax errors into a sentence, a place and advice for common mistakes.

It reads lines but quotes only the name of a key, because the text after the colon may be a secret.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_GLUED = re.compile(r"\s*(?:- +)*(?P<key>[A-Za-z_][\w.-]*):[^\s/]")
"""A key without a space after its colon; `http://` does not match."""
_AT_CONTEXT = ("quoted scalar", "flow sequence", "flow mapping", "simple key", "an alias", "an anchor", "a tag")
_INVISIBLE = re.compile("[\u00a0\u00ad\u200b-\u200f\u2028\u2029\u202f\u2060\ufeff]")


@dataclass(frozen=True, slots=True)
class Explanation:
    """`line` and `column` count from 1."""

    message: str
    line: int
    column: int
    hint: str | None


def explain_syntax_error(error: Exception, lines: list[str]) -> Explanation:
    """The meaning of `error`, which PyYAML raised while it read `lines`, for the author of the file."""
    problem = (getattr(error, "problem", None) or "the file cannot be read as YAML").strip()
    context = (getattr(error, "context", None) or "").strip()
    mark = getattr(error, "problem_mark", None)
    context_mark = getattr(error, "context_mark", None)
    if context_mark is not None and any(word in context for word in _AT_CONTEXT):
        # The parser reports an unclosed quote or bracket at the end of the file; the mistake is at its opening.
        mark = context_mark
    row, column = (0, 0) if mark is None else (mark.line, mark.column)
    return Explanation(
        message=f"{problem} ({context})" if context else problem,
        line=row + 1,
        column=column + 1,
        hint=_hint(problem, context, lines, row, column),
    )


def _hint(problem: str, context: str, lines: list[str], row: int, column: int) -> str | None:
    line = lines[row] if row < len(lines) else ""
    here = line[column : column + 1]
    near = [(number, lines[number]) for number in (row, row - 1) if 0 <= number < len(lines)]
    if here == "\t" or "\t" in line[: len(line) - len(line.lstrip())]:
        return "indent with spaces: YAML does not allow tabs there"
    for number, text in near:
        if found := _INVISIBLE.search(text):
            place = f"line {number + 1}, column {found.start() + 1}"
            return f"{place} has the invisible character U+{ord(found[0]):04X}; retype that part"
    if "quoted scalar" in context:
        if "escape" in problem:
            return "inside double quotes write a backslash as \\\\, or use single quotes"
        return "the quote opened here is never closed"
    if "flow" in context:
        return "the bracket opened here is not closed, or a comma is missing; quote entries that contain : { } [ ] or ,"
    if "alias" in context:
        return 'a value that begins with * must be quoted: "*"'
    if "anchor" in context:
        return "a value that begins with & must be quoted"
    if "tag" in context:
        return "a value that begins with ! must be quoted"
    if here in ("@", "`", "%"):
        return f"a value that begins with {here} must be quoted"
    if "expected ':'" in problem or "mapping values" in problem:
        for number, text in near:
            if glued := _GLUED.match(text):
                return f"line {number + 1} needs a space after the colon: `{glued['key']}: ...`"
    if "mapping values" in problem:
        return "quote a value that contains `: `; if this line is a key, compare its indentation with the line above"
    if "expected ':'" in problem:
        return "a line that is neither `key: value` nor `- item`; is a colon missing?"
    if any(words in problem for words in ("expected <block end>", "did not find expected")):
        return "compare the indentation with the lines above: entries of one list or mapping begin in the same column"
    return None
