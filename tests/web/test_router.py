"""Paths to routes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.web.exchange import Exchange, Route
from gatewayd.web.router import Router


async def _answer(exchange: Exchange) -> None: ...


THINGS = Route("GET", "/things", _answer)
MAKE = Route("POST", "/things", _answer, "model")
THING = Route("GET", "/things/{model}", _answer)
AZURE = Route("POST", "/openai/deployments/{model}/things", _answer, "model")
HEALTH = Route("GET", "/", _answer, "open")
ROUTER = Router([THINGS, MAKE, THING, AZURE, HEALTH])


@pytest.mark.parametrize(
    ("method", "path", "route", "model"),
    [
        ("GET", "/things", THINGS, None),
        ("HEAD", "/v1/things", THINGS, None),
        ("POST", "//v1///things//", MAKE, None),
        ("GET", "/", HEALTH, None),
        ("GET", "//", HEALTH, None),
        ("GET", "/things/a", THING, "a"),
        ("GET", "/v1/things/a/b%2Fc", THING, "a/b/c"),
        ("GET", "/things/%E2%82%AC", THING, "€"),
        ("POST", "/openai/deployments/a%2Fb/things", AZURE, "a/b"),
    ],
)
def test_found(method: str, path: str, route: Route, model: str | None) -> None:
    assert ROUTER.find(method, path) == (route, model)


@pytest.mark.parametrize("path", ["/Things", "/v2/things", "/thing", "/v1", "/things%2Fa", "/things/%ff", "", "things"])
def test_not_found_is_a_route_that_needs_a_key(path: str) -> None:
    """B-21"""
    route, model = ROUTER.find("GET", path)
    assert route not in (THINGS, MAKE, THING, AZURE, HEALTH)
    assert (route.kind, model) == ("info", None)


@given(st.sampled_from(["GET", "POST", "HEAD", "PUT"]), st.text(st.characters(), max_size=40))
def test_any_path_is_found_or_refused(method: str, path: str) -> None:
    for text in (path, f"/things/{path}", f"/{path}"):
        route, _ = ROUTER.find(method, text)
        assert route.kind != "open" or set(text) == {"/"}
