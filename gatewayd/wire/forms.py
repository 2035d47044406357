"""Requests that are forms with files, read whole: what they ask for, and the body with other values of its fields."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator, Mapping
from typing import Any, Final

import msgspec

from gatewayd.errors import InvalidRequest
from gatewayd.wire.multipart import DECISIVE, FORM_END, FormField, FormReader, FormWriter, Piece, boundary_of
from gatewayd.wire.openai import Intent, encode

_STEP: Final = 256 * 1024
_TOKEN: Final = re.compile(rb"[0-9A-Za-z'*+._-]+")
_TRUTH: Final = {"true": True, "1": True, "false": False, "0": False, "": False}


class FormIntent(Intent, kw_only=True):
    """`fields` has the values of the form's short text fields, as JSON strings (null if they are not UTF-8); of equal
    names the first."""

    boundary: bytes
    places: tuple[tuple[str, int, int], ...]
    """Where the values are in the body, by name; the last one, without a name, is where a part can be added."""

    @property
    def content_type(self) -> bytes:
        """The Content-Type of the body, and of every `rewritten` one."""
        quoted = self.boundary if _TOKEN.fullmatch(self.boundary) else b'"%b"' % self.boundary
        return b"multipart/form-data; boundary=" + quoted

    def asking(self, model: str) -> FormIntent:
        """The same request, for a model of this name. The body has it only when it is rewritten."""
        fields = {name: raw for name, raw in self.fields.items() if name != "model"}
        return msgspec.structs.replace(self, model=model, fields=fields)

    def whole(self) -> FormIntent:
        """The same request, for an answer in one piece. The body has that only when it is rewritten."""
        fields = {**self.fields, "stream": msgspec.Raw(b'"false"')}
        return msgspec.structs.replace(self, stream=False, fields=fields)

    def rewritten(self, changes: Mapping[str, Any], *, drop: frozenset[str] = frozenset()) -> bytes:
        """The body with values of fields replaced or added, all else byte for byte. No part is taken out: `drop` has
        no effect on a form."""
        values = {name: _text(value) for name, value in changes.items()}
        values.setdefault("model", self.model)
        if not self.stream and "stream" in self.fields:
            values.setdefault("stream", "false")
        return FormWriter(self.boundary, values).write(self._pieces())

    def _pieces(self) -> Iterator[Piece]:
        view, at = memoryview(self.body), 0
        for name, start, end in self.places:
            yield view[at:start]
            yield FormField(name, self.body[start:end]) if name else FORM_END
            at = end
        yield view[at:]


def read_form(body: bytes, content_type: str, *, default_model: str | None = None) -> FormIntent:
    """Reads a form. Raises UnsupportedMediaType (it is none) or InvalidRequest."""
    steps = read_form_in_steps(body, content_type, default_model=default_model)
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            intent: FormIntent = stop.value
            return intent


def read_form_in_steps(
    body: bytes, content_type: str, *, default_model: str | None = None
) -> Generator[None, None, FormIntent]:
    """The same for a large body."""
    boundary = boundary_of(content_type)
    reader = FormReader(boundary)
    texts: dict[str, str | None] = {}
    places: list[tuple[str, int, int]] = []
    at = 0
    for start in range(0, len(body), _STEP):
        for piece in reader.feed(body[start : start + _STEP]):
            if isinstance(piece, FormField):
                places.append((piece.name, at, at + len(piece.value)))
                at += len(piece.value)
                if piece is not FORM_END:
                    texts.setdefault(piece.name, _decoded(piece))
            else:
                at += len(piece)
        yield
    reader.finish()
    stream = _TRUTH.get((texts.get("stream") or "").strip().lower())
    if stream is None:
        raise InvalidRequest("The field 'stream' must be true or false.", param="stream")
    model = texts.get("model") or default_model
    if not model:
        raise InvalidRequest("The field 'model' is missing.", param="model")
    fields = {name: msgspec.Raw(encode(text)) for name, text in texts.items() if name != "model" or text}
    return FormIntent(model, stream, fields, body, boundary=boundary, places=tuple(places))


def _decoded(field: FormField) -> str | None:
    """The value as text; None if it is in another encoding than UTF-8, which is the upstream's to read."""
    try:
        return field.value.decode()
    except UnicodeDecodeError:
        if field.name in DECISIVE:
            raise InvalidRequest(f"The field '{field.name}' is not UTF-8.", param=field.name) from None
        return None


def _text(value: Any) -> str:
    """A JSON value as the value of a field."""
    text = bytes(value).decode() if isinstance(value, msgspec.Raw) else encode(value).decode()
    return str(msgspec.json.decode(text)) if text.startswith('"') else text
