"""The table of endpoints and what their dialect says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

import gatewayd
from gatewayd.config.schema.deployment import Api
from gatewayd.errors import InternalError, InvalidRequest
from gatewayd.web.app import TABLE
from gatewayd.wire.dialect import (
    DIALECTS,
    ENDPOINTS,
    GEMINI_API,
    MEDIA_API,
    MESSAGES,
    OPENAI,
    RERANK,
    Dialect,
    dialect_of,
)

_PACKAGE = Path(gatewayd.__file__).parent


def test_the_listener_serves_each_endpoint_under_its_paths() -> None:
    served = {(route.path, route.endpoint) for route in TABLE if route.kind == "model"}
    paths = {(f"/{one.path}" + (f"?{one.query}" if one.query else ""), one) for one in ENDPOINTS}
    paths.add(("/v2/rerank", RERANK))
    assert served == paths | {(f"{one.azure}/{one.path}", one) for one in ENDPOINTS if one.azure}


def test_dialects_have_the_names_of_the_configuration() -> None:
    assert tuple(DIALECTS) == get_args(Api)
    upstreams_only = {GEMINI_API}
    assert {endpoint.dialect for endpoint in ENDPOINTS} == {*DIALECTS.values(), MEDIA_API} - upstreams_only
    assert MEDIA_API.name == OPENAI.name, "a deployment has both or none"


def test_no_module_but_the_dialects_knows_an_endpoint_or_the_end_mark_by_its_bytes() -> None:
    names = "|".join(re.escape(endpoint.path) for endpoint in ENDPOINTS if endpoint.path not in DIALECTS)
    known = re.compile(rf'(==|!=|case|in) "({names})"|import.*\bDONE\b')
    found = {path.name for path in _PACKAGE.rglob("*.py") if known.search(path.read_text())}
    assert found == {"dialect.py", "sse.py", "chat_stream_out.py", "modes.py"}, "modes.py: litellm's mode `rerank`"


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
def test_a_dialect_reads_what_it_writes(dialect: Dialect) -> None:
    intent = dialect.peek(b'{"model":"m","stream":true}')
    assert (intent.model, intent.stream) == ("m", not dialect.in_path)
    watcher = dialect.watcher()
    watcher.feed(b'data: {"type":"x","choices":[]}\n\n' + dialect.end_mark)
    assert watcher.done is bool(dialect.end_mark)
    watcher = dialect.watcher()
    watcher.feed(dialect.error_event(InternalError("boom")))
    assert watcher.error is not None
    assert dialect.is_error(dialect.error_body(InternalError("boom"), "boom", "req_1"))


def test_a_path_has_the_dialect_of_its_api() -> None:
    assert dialect_of("/v1/messages/unknown") is dialect_of("/messages") is MESSAGES.dialect
    assert dialect_of("/v1/messagesque") is dialect_of("/v1/embeddings") is OPENAI


def test_a_field_that_only_its_own_api_has_is_accepted() -> None:
    """Anthropic's `fallbacks` are not LiteLLM's."""
    body = b'{"model":"m","fallbacks":[]}'
    assert MESSAGES.dialect.peek(body).body == body
    with pytest.raises(InvalidRequest):
        OPENAI.peek(body)
