"""Forms with files: read in pieces of any size, and passed byte for byte but for what is replaced."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gatewayd.errors import InvalidRequest, RequestError, UnsupportedMediaType
from gatewayd.wire.multipart import (
    FORM_END,
    MAX_FIELD,
    MAX_PART_HEAD,
    MAX_PARTS,
    FormField,
    FormReader,
    FormWriter,
    Piece,
    boundary_of,
)

BOUNDARY = b"xYz"
Part = tuple[bytes, bytes]


def form(parts: Sequence[Part], end: bytes = b"--\r\n") -> bytes:
    """Of names and contents; a name may go on with `"; filename="...`."""
    text = b"".join(
        b'--xYz\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % (name, content) for name, content in parts
    )
    return text + b"--xYz" + end


def read(data: bytes, cuts: Sequence[int] = ()) -> list[Piece]:
    reader = FormReader(BOUNDARY)
    pieces: list[Piece] = []
    for start, end in pairwise([0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]):
        pieces += reader.feed(data[start:end])
    reader.finish()
    return pieces


def outcome(data: bytes, cuts: Sequence[int] = ()) -> tuple[bytes, dict[str, bytes]] | str:
    """What it says again, and the fields that were read; or the error's message."""
    try:
        pieces = read(data, cuts)
    except InvalidRequest as error:
        return error.message
    fields = {piece.name: piece.value for piece in pieces if isinstance(piece, FormField) and piece != FORM_END}
    return FormWriter(BOUNDARY, {}).write(pieces), fields


CONTENTS = st.binary(max_size=40) | st.text(alphabet="\r\n-xYz", max_size=20).map(str.encode)
PARTS = st.lists(st.tuples(st.sampled_from([b"prompt", b'file"; filename="a.mp3', b"image[]"]), CONTENTS), max_size=4)
CUTS = st.lists(st.integers(0, 400), max_size=12)


@given(PARTS, st.text(alphabet="abc/-", min_size=1), st.integers(0, 4), CUTS)
def test_a_form_passes_as_it_is_with_another_model(parts: list[Part], model: str, place: int, cuts: list[int]) -> None:
    parts = [(name, content) for name, content in parts if b"--xYz" not in content]
    told, asked = parts.copy(), parts.copy()
    told.insert(place, (b"model", model.encode()))
    asked.insert(place, (b"model", b"other-model"))
    pieces = read(form(told), cuts)
    assert FormField("model", model.encode()) in pieces
    assert pieces.count(FORM_END) == 1
    assert FormWriter(BOUNDARY, {}).write(pieces) == form(told)
    assert FormWriter(BOUNDARY, {"model": "other-model"}).write(pieces) == form(asked)


@given(st.data())
def test_any_split_of_any_bytes_gives_the_same(data: st.DataObject) -> None:
    body = form([*data.draw(PARTS), (b"model", b"m")])
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(body)))
        junk = data.draw(
            st.sampled_from([b"", b"\r\n", b"\n", b"\r", b"--xYz", b"\r\n--xYz", b"--", b'"', b":", b"\0"])
        )
        body = body[:at] + junk + body[at + data.draw(st.integers(0, 3)) :]
    whole = outcome(body)
    assert outcome(body, data.draw(CUTS)) == whole
    assert outcome(body, range(len(body))) == whole
    if not isinstance(whole, str):
        assert whole[0] == body


def test_a_missing_field_is_added_behind_the_last_part() -> None:
    writer = FormWriter(BOUNDARY, {"model": "whisper"})
    assert writer.write(read(form([(b"file", b"abc")]))) == form([(b"file", b"abc"), (b"model", b"whisper")])


def test_nothing_but_a_short_value_is_kept() -> None:
    reader = FormReader(BOUNDARY)
    reader.feed(form([(b"model", b"m"), (b"file", b"")], end=b"")[: -len(b"\r\n--xYz")])
    for _ in range(100):
        data = b"x\r\n--xY" * 1000
        passed = sum(len(piece) for piece in reader.feed(data) if isinstance(piece, bytes))
        assert len(data) - 10 < passed < len(data) + 10


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "its end is missing"),
        (b"{}", "does not begin with its boundary"),
        (b"preamble\r\n" + form([(b"a", b"b")]), "does not begin with its boundary"),
        (form([]), "does not begin with its boundary"),
        (form([(b"a", b"b")], end=b""), "its end is missing"),
        (form([(b"a", b"b")])[:-9], "its end is missing"),
        (form([(b"a", b"b")]) + b"epilogue", "something behind its end"),
        (form([(b"a", b"b\n--xYz")]), "a line inside of a part"),
        (form([(b"a", b"b\r--xYz")]), "a line inside of a part"),
        (form([(b"a", b"--xYz")]), "a line inside of a part"),
        (form([(b"a", b"b\r\n--xYzz")]), "a line inside of a part"),
        (form([(b"a", b"b")], end=b" \r\n"), "a line inside of a part"),
        (b"--xYz\r\n\r\nb\r\n\r\n--xYz--", "invalid header line"),
        (b"--xYz\r\nContent-Type: text/plain\r\n\r\nb\r\n--xYz--", "a part has no name"),
        (b"--xYz\r\nContent-Disposition: form-data\r\n\r\nb\r\n--xYz--", "a part has no name"),
        (b"--xYz\r\nContent-Disposition: file; name=a\r\n\r\nb\r\n--xYz--", "Content-Disposition of a part is invalid"),
        (form([(b'a"; name="model', b"b")]), "Content-Disposition of a part is invalid"),
        (form([(b'a"\r\nContent-Disposition: form-data; name="model', b"b")]), "Content-Disposition of a part"),
        (form([(b'a"\r\n folded: "x', b"b")]), "invalid header line"),
        (form([(b'a"\nX: "x', b"b")]), "invalid header line"),
        (form([(b'a"\r\nX : "x', b"b")]), "invalid header line"),
        (form([(b"mo\\del", b"b")]), "name of a part is encoded"),
        (form([(b"a\"; name*=utf-8''model; b=\"", b"b")]), "name of a part is encoded"),
        (form([(b"model", b"b"), (b"model", b"b")]), "'model' is in the form twice"),
        (form([(b'model"; filename="a', b"b")]), "'model' must not be a file"),
        (form([(b"api_base", b"http://other")]), "'api_base' is not accepted"),
    ],
)
def test_malformed_forms_are_refused(body: bytes, says: str) -> None:
    message = outcome(body)
    assert isinstance(message, str)
    assert says in message
    assert outcome(body, range(len(body))) == message


@pytest.mark.parametrize("cuts", [(), range(30_000)])
def test_what_is_read_has_bounds(cuts: Sequence[int]) -> None:
    fits, too_large = form([(b"model", b"m" * MAX_FIELD)]), form([(b"model", b"m" * (MAX_FIELD + 1))])
    assert not isinstance(outcome(fits, cuts), str)
    assert outcome(too_large, cuts) == "The field 'model' is larger than 4 KB."
    for size, read in ((MAX_FIELD, {"prompt"}), (MAX_FIELD + 1, set[str]())):
        body = form([(b"prompt", b"p" * size)])
        assert outcome(body, cuts) == (body, {name: b"p" * size for name in read})
    usual = len(b'Content-Disposition: form-data; name=""')
    fits, too_large = (form([(b"n" * (MAX_PART_HEAD - usual + more), b"b")]) for more in (0, 1))
    assert not isinstance(outcome(fits, cuts), str)
    assert "larger than 8 KB" in str(outcome(too_large, cuts))
    assert not isinstance(outcome(form([(b"a", b"")] * MAX_PARTS)), str)
    assert outcome(form([(b"a", b"")] * (MAX_PARTS + 1))) == "The form has more than 1000 parts."


def test_a_value_that_ends_its_part_is_not_written() -> None:
    with pytest.raises(InvalidRequest, match="'model' has the form's boundary in it"):
        FormWriter(BOUNDARY, {"model": 'a\r\n--xYz\r\nContent-Disposition: form-data; name="api_base"'})


def test_forms_of_httpx_are_read() -> None:
    request = httpx.Request(
        "POST",
        "http://localhost",
        data={"model": "m", "prompt": "a cat", "tags[]": ["a", "b"]},
        files=[("image[]", ('a "ü".png', b"\x89PNG\r\n--", "image/png")), ("image[]", ("b", b"", "image/png"))],
    )
    body = request.read()
    reader = FormReader(boundary_of(request.headers["content-type"]))
    pieces = reader.feed(body)
    reader.finish()
    assert [piece for piece in pieces if isinstance(piece, FormField)] == [
        FormField("model", b"m"), FormField("prompt", b"a cat"), FormField("tags[]", b"a"), FormField("tags[]", b"b"),
        FORM_END,
    ]  # fmt: skip


@given(st.text(alphabet="ab0'()+_,-./:=? ", min_size=1, max_size=70))
@example("----formdata-undici-0123456789")
@example("=" * 70)
def test_the_boundary_is_read_quoted_or_not(boundary: str) -> None:
    boundary = boundary.strip() or "b"
    assert boundary_of(f'multipart/form-data; boundary="{boundary}"') == boundary.encode()
    if " " not in boundary:
        assert boundary_of(f"Multipart/Form-Data;boundary={boundary} ; charset=utf-8") == boundary.encode()


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "multipart/mixed; boundary=b",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        'multipart/form-data; boundary=""',
        'multipart/form-data; boundary="a ',
        'multipart/form-data; boundary="a "',
        "multipart/form-data; boundary=a; boundary=b",
        "multipart/form-data; boundary=ü",
        "multipart/form-data; boundary=" + "a" * 71,
    ],
)
def test_a_content_type_of_no_form_is_refused(content_type: str) -> None:
    with pytest.raises(UnsupportedMediaType) as info:
        boundary_of(content_type)
    assert isinstance(info.value, RequestError)
    assert info.value.status == 415
