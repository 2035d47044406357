"""The table of endpoints and what their dialect says."""

from __future__ import annotations

import re
from pathlib import Path

import gatewayd
from gatewayd.web.app import TABLE
from gatewayd.wire.dialect import ENDPOINTS, OPENAI

_PACKAGE = Path(gatewayd.__file__).parent


def test_the_listener_serves_each_endpoint_under_two_paths() -> None:
    served = {(route.path, route.endpoint) for route in TABLE if route.kind == "model"}
    paths = [(f"{prefix}/{one.path}", one) for one in ENDPOINTS for prefix in ("", "/openai/deployments/{model}")]
    assert served == set(paths)


def test_no_module_but_the_dialects_knows_an_endpoint_or_the_end_mark_by_its_bytes() -> None:
    names = "|".join(re.escape(endpoint.path) for endpoint in ENDPOINTS)
    known = re.compile(rf'(==|!=|case|in) "({names})"|import.*\bDONE\b')
    found = {path.name for path in _PACKAGE.rglob("*.py") if known.search(path.read_text())}
    assert found == {"dialect.py", "sse.py"}


def test_a_dialect_reads_what_it_writes() -> None:
    intent = OPENAI.peek(b'{"model":"m","stream":true}')
    assert (intent.model, intent.stream) == ("m", True)
    watcher = OPENAI.watcher()
    watcher.feed(b'data: {"choices":[]}\n\n' + OPENAI.end_mark)
    assert watcher.done
