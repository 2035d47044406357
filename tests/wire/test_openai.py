"""Reading and changing a request's top level without touching the rest."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.errors import CODES, InvalidApiKey, InvalidJson, InvalidRequest
from gatewayd.wire.openai import FORBIDDEN_FIELDS, FORBIDDEN_PREFIXES, error_body, error_event, peek
from tests.work import steps

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def steers(name: str) -> bool:
    return name in FORBIDDEN_FIELDS or name.startswith(FORBIDDEN_PREFIXES)


fields = st.dictionaries(st.text(max_size=8).filter(lambda k: not steers(k) and k not in ("model", "stream")), values)


@given(fields, st.text(min_size=1), st.booleans(), st.booleans(), st.sampled_from([None, 1]))
def test_any_object_is_read_as_it_is(
    rest: dict[str, Any], model: str, stream: bool, ascii: bool, indent: int | None
) -> None:
    body = json.dumps({**rest, "model": model, "stream": stream}, ensure_ascii=ascii, indent=indent)
    try:
        raw = body.encode()
    except UnicodeEncodeError:
        return
    if "\\ud" in body.lower():
        return  # a lone surrogate: valid for json.dumps, not for a parser that follows the RFC
    intent = peek(raw)
    assert (intent.model, intent.stream) == (model, stream)
    assert {name: intent.value(name) for name in intent.fields} == {**rest, "model": model, "stream": stream}
    assert intent.rewritten({}) is raw


@given(fields, st.text(min_size=1))
def test_a_rewritten_model_changes_the_model_and_no_other_byte(rest: dict[str, Any], model: str) -> None:
    body = json.dumps({"a": 1.0, "model": "old", **rest}, separators=(",", ":"), ensure_ascii=False)
    try:
        raw = body.encode()
        new = json.dumps(model, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return
    out = peek(raw).rewritten({"model": model})
    assert json.loads(out)["model"] == model
    head, tail = raw.split(b'"model":"old"', 1)
    assert out.startswith(head)
    assert out.endswith(tail)
    assert len(out) <= len(head) + len(b'"model":') + 6 * len(new) + len(tail)


def test_numbers_escapes_and_order_reach_the_upstream_as_they_came() -> None:
    body = b'{"temperature":1.00,"model":"m","seed":123456789012345678901234567890,"x":"\\u00e9\\/","y":{"b":1,"a":2}}'
    assert peek(body).rewritten({"model": "n"}) == body.replace(b'"m"', b'"n"')


def test_fields_are_added_at_the_end_and_dropped_by_name() -> None:
    intent = peek(b'{"model":"m","a":1,"b":2}')
    assert intent.rewritten({"c": [3]}, drop=frozenset({"a", "zz"})) == b'{"model":"m","b":2,"c":[3]}'
    assert intent.rewritten({}, drop=frozenset({"zz"})) is intent.body


@pytest.mark.parametrize("blanks", [0, 5000])
@pytest.mark.parametrize(
    "body",
    [b"", b"  ", b"[]", b'"x"', b"null", b"3", b"{", b'{"model":"m"} x', b'{"model":"m",}', b"{'model':'m'}",
     b'{"model":"m","t":NaN}', b'{"model":"m","t":Infinity}', b'\xef\xbb\xbf{"model":"m"}', b'{"model":"\xe9"}',
     b'{"\xe9":1}', '{"model":"m"}'.encode("utf-16"), b"\x00"],
)  # fmt: skip
def test_what_is_not_one_json_object_in_utf8_is_refused(body: bytes, blanks: int) -> None:
    """C-01, C-04, C-06"""
    with pytest.raises(InvalidJson) as caught:
        peek(body + b" " * blanks)
    assert caught.value.status == 400


def test_the_place_of_a_syntax_error_is_told_and_the_body_is_not() -> None:
    with pytest.raises(InvalidJson, match=r"line 3, column \d+") as caught:
        peek(b'{\n"model": "m",\n"secret-prompt" 1}')
    assert "secret" not in caught.value.message


def test_deep_nesting_ends_in_an_error_of_ours() -> None:
    """C-02"""
    body = b'{"model":"m","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    with pytest.raises(InvalidJson):
        peek(body)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"{}", "model"),
        (b'{"model":3}', "model"),
        (b'{"model":null}', "model"),
        (b'{"model":["m"]}', "model"),
        (b'{"model":"m","stream":"yes"}', "stream"),
        (b'{"model":"m","stream":1}', "stream"),
    ],
)
def test_a_missing_or_mistyped_field_is_named(body: bytes, param: str) -> None:
    """C-09"""
    with pytest.raises(InvalidRequest) as caught:
        peek(body)
    assert caught.value.param == param


def test_the_default_model_serves_who_names_none() -> None:
    assert peek(b'{"input":"x"}', default_model="emb").model == "emb"
    assert not peek(b'{"model":"m","stream":null}').stream


def test_a_model_of_null_is_none() -> None:
    """U-B18: the default holds, and null is not among the fields that are sent on."""
    intent = peek(b'{"model": null ,"n":null}', default_model="d")
    assert (intent.model, list(intent.fields)) == ("d", ["n"])
    with pytest.raises(InvalidRequest, match="'model' is missing"):
        peek(b'{"model":null}')


@pytest.mark.parametrize("blanks", [0, 5000])  # short bodies and others are looked through in different ways
@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"cheap","model":"gpt"}',
        b'{"model":"cheap","messages":[{"model":"x"}], "model" : "gpt"}',
        b'{"model":"cheap","mod\\u0065l":"gpt"}',
        b'{"stream":false,"model":"m","stream":true}',
        b'{"model":"cheap","model":"gpt","\\u0000":1}',
    ],
)
def test_a_field_that_decides_routing_may_not_stand_twice(body: bytes, blanks: int) -> None:
    """C-03"""
    with pytest.raises(InvalidRequest) as caught:
        peek(body + b" " * blanks)
    assert caught.value.code == "duplicate_key"


@pytest.mark.parametrize("blanks", [0, 5000])
@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"model","messages":[{"model":"model","stream":"stream"}],"stream":true}',
        b'{"tools":[{"properties":{"model":{"type":"string"},"stream":{}}}],"model":"m"}',
        b'{"model":"m","text":"\\u00e9 \\"model\\": \\"x\\""}',
        b'{"\\u00e9":1,"model":"m"}',
    ],
)
def test_the_same_words_elsewhere_are_no_duplicates(body: bytes, blanks: int) -> None:
    assert peek(body + b" " * blanks).fields


@pytest.mark.parametrize("name", [*sorted(FORBIDDEN_FIELDS), "aws_anything", "vertex_x", "azure_ad_x"])
@pytest.mark.parametrize("blanks", [0, 5000])
def test_fields_that_would_steer_the_gateway_are_refused(name: str, blanks: int) -> None:
    """C-10"""
    with pytest.raises(InvalidRequest) as caught:
        peek(json.dumps({"model": "m", name: "http://canary"}).encode() + b" " * blanks)
    assert (caught.value.code, caught.value.param) == ("param_not_allowed", name)


@given(st.binary(max_size=200))
def test_any_bytes_end_in_an_intent_or_an_error_of_ours(body: bytes) -> None:
    code = None
    try:
        peek(body)
    except (InvalidJson, InvalidRequest) as error:
        code = error.code
    assert code is None or code in CODES


def test_an_error_has_openais_four_members_and_an_event_is_one_line() -> None:
    error = InvalidApiKey("No such key.\nReally.")
    assert json.loads(error_body(error)) == {
        "error": {
            "message": "No such key.\nReally.",
            "type": "authentication_error",
            "param": None,
            "code": "invalid_api_key",
        }
    }
    event = error_event(error)
    assert event.startswith(b"data: {")
    assert event.count(b"\n") == 2


MANY = 500_000
HUGE = {
    "elements": b'{"model":"m","x":[%b]}' % b",".join([b"0"] * 10 * MANY),
    "objects": b'{"model":"m","x":[%b]}' % b",".join([b"{}"] * 10 * MANY),
    "names below": b'{"model":"m","x":{%b}}' % b",".join(b'"k%d":0' % number for number in range(MANY)),
    "a word below": b'{"model":"m","x":[%b]}' % b",".join([b'"model"'] * MANY),
    "a word that is shadowed": b'{"model":"m","x":[%b],"x":0}' % b",".join([b'"model"'] * MANY),
    "escapes": b'{"model":"m","x":"%b"}' % (b"\\u0041" * MANY),
    "a name with escapes": b'{"model":"m","\\u0078":"%b"}' % (b"a" * 10 * MANY),
    "names": b'{"model":"m",%b}' % b",".join(b'"k%d":0' % number for number in range(MANY)),
    "names with blanks": b'{"model":"m",%b}' % b",".join(b'"k%d" :0' % number for number in range(MANY)),
    "names with escapes": b'{"model":"m",%b}' % b",".join(b'"\\u006b%d":0' % number for number in range(MANY)),
    "one name": b"{%b}" % b",".join([b'"model":"m"'] * MANY),
    "lines": b'{"model":"m","x":[%b' % (b"\n" * 10 * MANY),
    "levels": b'{"model":"m","x":%b' % (b"[" * 10 * MANY),
}


@pytest.mark.parametrize("body", HUGE.values(), ids=HUGE.keys())
def test_no_body_takes_long_to_look_through(body: bytes) -> None:
    """C-02, C-11: no line of Python runs for each element, name or byte of it. It runs on the loop, so what it takes
    everybody waits."""

    def look() -> None:
        with contextlib.suppress(InvalidJson, InvalidRequest):
            peek(body)

    assert steps(look) < 5000  # four for each of the thousand fields that are allowed


@pytest.mark.parametrize("name", ["names", "names with blanks", "names with escapes", "one name"])
def test_a_body_with_a_million_fields_is_refused_before_they_become_objects(name: str) -> None:
    """C-11"""
    with pytest.raises(InvalidRequest, match="more than 1000 fields"):
        peek(HUGE[name])


def test_a_thousand_fields_are_read() -> None:
    """C-11"""
    rest = b",".join(b'"k%d":"%b"' % (number, b"x" * 100) for number in range(999))
    assert len(peek(b'{"model":"m",%b}' % rest).fields) == 1000
    with pytest.raises(InvalidRequest):
        peek(b'{"model":"m","more":1,%b}' % rest)


@given(st.lists(st.sampled_from(["model", "stream", "x", "\\u006dodel", "strea\\u006d"]), max_size=6), st.booleans())
def test_doubles_are_found_however_they_are_written(names: list[str], large: bool) -> None:
    """C-03"""
    values = {"model": '"m"', "\\u006dodel": '"m"', "stream": "true", "strea\\u006d": "true"}
    parts = [f'"{name}":{values.get(name, """{"model":1,"stream":[]}""")}' for name in names]
    body = "{" + ",".join(['"model":"m"', *parts, *(['"y":"' + ":" * 100_000 + '"'] if large else [])]) + "}"
    read = [json.loads(f'"{name}"') for name in names]
    twice = read.count("model") > 0 or read.count("stream") > 1
    code = ""
    try:
        peek(body.encode())
    except InvalidRequest as error:
        code = error.code
    assert code == ("duplicate_key" if twice else "")


@pytest.mark.parametrize(
    "text",
    [b'"\\ud800"', b'"\\udc00"', b'"\\ud800\\u0041"', b'"\\udc00\\ud800"', b'["\\udfff x"]', b'"\xed\xa0\x80"',
     b'{"\\ud800":1}'],
)  # fmt: skip
def test_half_a_character_is_no_json_wherever_it_stands(text: bytes) -> None:
    """C-05: later it could not be written any more."""
    for body in (b'{"model":"m","x":%b}' % text, b'{"model":%b}' % text, b'{"model":"m",%b:1}' % text):
        with pytest.raises(InvalidJson):
            peek(body)


def test_a_whole_character_in_two_escapes_passes() -> None:
    """C-05"""
    intent = peek(b'{"model":"m","x":"\\ud83d\\ude00"}')
    assert intent.value("x") == "\U0001f600"
    assert intent.rewritten({"model": "n"}) == b'{"model":"n","x":"\\ud83d\\ude00"}'


def test_values_that_nobody_had_looked_into_are_refused_by_name() -> None:
    """C-02, C-04: a number that is no double, and nesting for which there is no more room further down the stack."""
    intent = peek(b'{"model":"m","big":[1e999],"deep":%b}' % (b"[" * 850 + b"]" * 850))

    def further_down(levels: int, name: str) -> object:
        return further_down(levels - 1, name) if levels else intent.value(name)

    with pytest.raises(InvalidRequest) as caught:
        intent.value("big")
    assert caught.value.param == "big"
    with contextlib.suppress(InvalidRequest):  # since Python 3.12 C code has a stack of its own
        further_down(150, "deep")
