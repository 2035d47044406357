"""Forms with files (multipart/form-data: RFC 7578, RFC 2046), read and changed piece by piece in bounded memory.

Every byte passes as it came, but for the values of fields that are replaced. The rules are strict where parsers
differ, so that an upstream cannot read another model in a form than the one that was looked at here: no text around
the parts, no line that merely begins with the boundary, no name that has to be decoded, no decisive field twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from gatewayd.errors import InvalidRequest, UnsupportedMediaType
from gatewayd.wire.openai import refuse_forbidden

MAX_PART_HEAD: Final = 8 * 1024
"""Bytes of a part's headers."""
MAX_FIELD: Final = 4 * 1024
"""Bytes of a field's value that is read; a larger one passes like a file's content."""
MAX_PARTS: Final = 1000
DECISIVE: Final = frozenset({"model", "stream"})
"""The fields that decide what becomes of a request."""

_BOUNDARY: Final = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")  # RFC 2046, 5.1.1
_PARAMETER: Final = re.compile(r'\s*;\s*([!#$%&\'*+.^_`|~0-9A-Za-z-]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^\s;"]+)')
_NEVER: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
"""Bytes that no header line has."""
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_ODD: Final = "The form is malformed: "
_AT_BOUNDARY: Final = f"{_ODD}a line inside of a part begins with the boundary."


@dataclass(frozen=True, slots=True)
class FormField:
    """Stands in the place of a field's value. Files have none."""

    name: str
    value: bytes


FORM_END: Final = FormField("", b"")
"""Stands behind the last part, where another one can be added."""

Piece = bytes | memoryview | FormField


def is_form(content_type: str) -> bool:
    """Whether a Content-Type is that of a form with files."""
    return content_type.partition(";")[0].strip().lower() == "multipart/form-data"


def boundary_of(content_type: str) -> bytes:
    """The boundary that a Content-Type names. Raises UnsupportedMediaType if it is no form's, or has no valid one."""
    if not is_form(content_type):
        raise UnsupportedMediaType("The request body must be a form: send 'Content-Type: multipart/form-data'.")
    values = _parameters(content_type[content_type.find(";") :] if ";" in content_type else "")
    boundary = None if values is None else values.get("boundary")
    if boundary is None or _BOUNDARY.fullmatch(boundary) is None:
        raise UnsupportedMediaType("The Content-Type of the form has no valid boundary.")
    return boundary.encode("ascii")


class FormReader:
    """Takes a form in pieces of any size. What `feed` returns is the form again, with a `FormField` in the place of
    each value, and FORM_END before the end.

    It keeps a part's headers, a value, or as many bytes as a boundary has. Raises InvalidRequest.
    """

    def __init__(self, boundary: bytes) -> None:
        self._line = b"--" + boundary
        self._held = b""
        self._begins = False
        """Whether nothing of a part's content has passed."""
        self._step = self._first
        self._name: str | None = None
        """Of the field whose value is being read."""
        self._value = b""
        self._read: set[str] = set()
        self._parts = 0
        self._out: list[Piece] = []

    def feed(self, data: bytes) -> list[Piece]:
        self._held = self._held + data if self._held else data
        while self._step():
            pass
        out, self._out = self._out, []
        return out

    def finish(self) -> None:
        """The bytes have ended."""
        if self._step != self._epilogue:
            raise InvalidRequest(f"{_ODD}its end is missing.")

    # --- each step takes what it can; whether another one may follow

    def _first(self) -> bool:
        line = b"\r\n" + self._line if self._held.startswith(b"\r") else self._line
        whole = line + b"\r\n"
        if not (whole.startswith(self._held) or self._held.startswith(whole)):
            raise InvalidRequest(f"{_ODD}it does not begin with its boundary.")
        if len(self._held) < len(whole):
            return False
        self._pass(len(whole))
        self._step = self._head
        return True

    def _head(self) -> bool:
        end = self._held.find(b"\r\n\r\n")
        if end > MAX_PART_HEAD or (end < 0 and len(self._held) > MAX_PART_HEAD + 3):
            raise InvalidRequest(f"{_ODD}the headers of a part are larger than {MAX_PART_HEAD // 1024} KB.")
        if end < 0:
            return False
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise InvalidRequest(f"The form has more than {MAX_PARTS} parts.")
        name, is_file = _disposition(self._held[:end])
        refuse_forbidden((name,))
        if name in DECISIVE:
            if name in self._read:
                raise InvalidRequest(f"The field '{name}' is in the form twice.", param=name, code="duplicate_key")
            if is_file:
                raise InvalidRequest(f"The field '{name}' must not be a file.", param=name)
            self._read.add(name)
        self._name = None if is_file else name
        self._pass(end + 4)
        self._begins = True
        self._step = self._content
        return True

    def _content(self) -> bool:
        held, line = self._held, self._line
        if self._begins:
            if held.startswith(line):
                raise InvalidRequest(_AT_BOUNDARY)
            if line.startswith(held):
                return False
            self._begins = False
        at, bare = held.find(b"\n" + line), held.find(b"\r" + line)
        if bare >= 0 and (at < 0 or bare < at):
            raise InvalidRequest(_AT_BOUNDARY)
        if at < 0:
            # The next bytes may complete a boundary, with the end of the line before it.
            self._take(max(0, len(held) - len(line) - 1))
            return False
        if held[at - 1 : at] != b"\r":
            raise InvalidRequest(_AT_BOUNDARY)
        self._take(at - 1)
        after = len(b"\r\n") + len(line)
        next_two = self._held[after : after + 2]
        if len(next_two) < 2:
            return False
        if next_two not in (b"\r\n", b"--"):
            raise InvalidRequest(_AT_BOUNDARY)
        if self._name is not None:
            self._out.append(FormField(self._name, self._value))
            self._name, self._value = None, b""
        if next_two == b"--":
            self._out.append(FORM_END)
            self._step = self._epilogue
        else:
            self._step = self._head
        self._pass(after + 2)
        return True

    def _epilogue(self) -> bool:
        if self._held.strip(b"\r\n"):
            raise InvalidRequest(f"{_ODD}there is something behind its end.")
        self._pass(len(self._held))
        return False

    # --- inside

    def _pass(self, size: int) -> None:
        """Lets bytes through as they are."""
        if size:
            self._out.append(self._held[:size])
            self._held = self._held[size:]

    def _take(self, size: int) -> None:
        """Bytes of a part's content."""
        if self._name is None:
            self._pass(size)
            return
        self._value += self._held[:size]
        self._held = self._held[size:]
        if len(self._value) <= MAX_FIELD:
            return
        if self._name in DECISIVE:
            raise InvalidRequest(f"The field '{self._name}' is larger than {MAX_FIELD // 1024} KB.", param=self._name)
        self._out.append(self._value)
        self._name, self._value = None, b""


class FormWriter:
    """Makes bytes of pieces again, with these values in the place of those that the fields had. A field that the form
    does not have is added. Raises InvalidRequest for a value that would end its part."""

    def __init__(self, boundary: bytes, values: Mapping[str, str]) -> None:
        self._line = b"\r\n--" + boundary
        self._values: dict[str, bytes] = {}
        for name, value in values.items():
            self._values[name] = value.encode()
            if b"--" + boundary in self._values[name]:
                raise InvalidRequest(f"The field '{name}' has the form's boundary in it.", param=name)

    def write(self, pieces: Iterable[Piece]) -> bytes:
        return b"".join([self._field(piece) if isinstance(piece, FormField) else piece for piece in pieces])

    def _field(self, field: FormField) -> bytes:
        if field is FORM_END:
            added = self._values.items()
            return b"".join([_PART % (self._line, name.encode(), value) for name, value in added])
        return self._values.pop(field.name, field.value)


_PART: Final = b'%b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b'


def _disposition(head: bytes) -> tuple[str, bool]:
    """The name of a part, and whether it is a file."""
    parameters: dict[str, str] | None = None
    for line in head.split(b"\r\n"):
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon or _TOKEN.fullmatch(name) is None or _NEVER.search(line):
            raise InvalidRequest(f"{_ODD}a part has an invalid header line.")
        if name.lower() == "content-disposition":
            kind, _, _ = value.partition(";")
            found = _parameters(value[len(kind) :]) if kind.strip().lower() == "form-data" else None
            if found is None or parameters is not None:
                raise InvalidRequest(f"{_ODD}the Content-Disposition of a part is invalid.")
            parameters = found
    if parameters is None or not parameters.get("name"):
        raise InvalidRequest(f"{_ODD}a part has no name.")
    if "\\" in parameters["name"] or "name*" in parameters:
        raise InvalidRequest(f"{_ODD}the name of a part is encoded.")
    return parameters["name"], "filename" in parameters or "filename*" in parameters


def _parameters(text: str) -> dict[str, str] | None:
    """The parameters of a header, names in lower case. None if they are malformed, or one is there twice."""
    parameters: dict[str, str] = {}
    text = text.rstrip("; \t")
    at = 0
    while at < len(text):
        match = _PARAMETER.match(text, at)
        if match is None or match[1].lower() in parameters:
            return None
        value = match[2]
        parameters[match[1].lower()] = value[1:-1] if value.startswith('"') else value
        at = match.end()
    return parameters
