"""Requests that are forms with files: what they ask for, and their bodies with other values."""

from __future__ import annotations

import asyncio

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.errors import InvalidRequest, UnsupportedMediaType
from gatewayd.tasks import in_steps
from gatewayd.wire.forms import FormIntent, read_form, read_form_in_steps

FILE = ("voice.mp3", b"ID3\r\n--x" * 100, "audio/mpeg")


def made(**fields: str | bytes) -> tuple[bytes, str]:
    """A form as OpenAI's SDK sends it: body and Content-Type."""
    # httpx sends only files in forms: a field is one without a filename.
    parts = [(name, (None, value)) for name, value in fields.items()]
    request = httpx.Request("POST", "http://localhost", files=[*parts, ("file", FILE)])
    return request.read(), request.headers["content-type"]


def asked(body: bytes, content_type: str, *, default_model: str | None = None) -> FormIntent:
    intent = read_form(body, content_type, default_model=default_model)
    stepped = asyncio.run(in_steps(read_form_in_steps(body, content_type, default_model=default_model)))
    assert (stepped.model, stepped.stream, stepped.fields, stepped.places) == (
        intent.model, intent.stream, intent.fields, intent.places
    )  # fmt: skip
    return intent


def test_what_it_asks_for() -> None:
    body, content_type = made(model="whisper-1", stream="true", prompt='Grüße, "you"\r\n')
    intent = asked(body, content_type)
    assert (intent.model, intent.stream) == ("whisper-1", True)
    assert {name: intent.value(name) for name in intent.fields} == {
        "model": "whisper-1", "stream": "true", "prompt": 'Grüße, "you"\r\n'
    }  # fmt: skip
    assert intent.content_type.decode() == content_type
    assert intent.rewritten({}) == body


@given(st.text(st.characters(codec="utf-8"), max_size=40), st.dictionaries(st.sampled_from(["a", "b"]), st.text()))
def test_what_is_changed_reads_as_it_was_written(model: str, more: dict[str, str]) -> None:
    body, content_type = made(model="m", a="1", prompt="p")
    written = asked(body, content_type).rewritten({"model": model or "x", **more})
    intent = read_form(written, content_type)
    assert {name: intent.value(name) for name in intent.fields} == {
        "a": "1", "prompt": "p", "model": model or "x", **more
    }  # fmt: skip
    assert FILE[1] in written


def test_values_of_the_configuration_become_text() -> None:
    body, content_type = made(model="m")
    changes = {"temperature": msgspec.Raw(b"0.20"), "word": msgspec.Raw(b'"a\\nb"'), "yes": True, "list": ["a"]}
    intent = read_form(asked(body, content_type).rewritten(changes), content_type)
    assert {name: intent.value(name) for name in ("temperature", "word", "yes", "list")} == {
        "temperature": "0.20", "word": "a\nb", "yes": "true", "list": '["a"]'
    }  # fmt: skip


def test_the_model_of_the_path_or_a_default() -> None:
    body, content_type = made(prompt="p")
    with pytest.raises(InvalidRequest, match="'model' is missing"):
        read_form(body, content_type)
    intent = asked(body, content_type, default_model="d")
    assert (intent.model, "model" in intent.fields) == ("d", False)
    assert read_form(intent.rewritten({}), content_type).model == "d"
    body, content_type = made(model="")
    assert asked(body, content_type, default_model="d").model == "d"
    body, content_type = made(model="m")
    named = asked(body, content_type).asking("path")
    assert (named.model, "model" in named.fields) == ("path", False)
    assert read_form(named.rewritten({}), content_type).model == "path"


def test_an_answer_in_one_piece() -> None:
    body, content_type = made(model="m", stream="True")
    intent = asked(body, content_type).whole()
    assert not intent.stream
    assert not read_form(intent.rewritten({}), content_type).stream


def test_a_field_that_is_not_utf_8_is_the_upstreams_to_read() -> None:
    body, content_type = made(model="m", prompt=b"\xff")
    intent = asked(body, content_type)
    assert intent.value("prompt") is None
    assert intent.rewritten({}) == body


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"model": "m", "stream": "maybe"}, "'stream' must be true or false"),
        ({"model": b"\xff"}, "'model' is not UTF-8"),
        ({"model": "m", "api_key": "k"}, "'api_key' is not accepted"),
    ],
)
def test_bad_fields(fields: dict[str, str], says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        read_form(*made(**fields))


def test_a_boundary_that_needs_quotes_keeps_them() -> None:
    body = b'--a b\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n--a b--'
    assert asked(body, 'multipart/form-data; boundary="a b"').content_type == b'multipart/form-data; boundary="a b"'
    with pytest.raises(UnsupportedMediaType):
        read_form(body, "multipart/form-data; boundary=a b")
