"""From method and path to a route. One reading of the path, for the key check and for the handler alike.

Tolerated, because people write base URLs in every way: no `/v1`, doubled and trailing slashes. Case and
percent-encoding matter, except inside `{model}`, which is decoded.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import unquote

from gatewayd.engine.head import Respond
from gatewayd.engine.request import Request
from gatewayd.errors import GatewayError, MethodNotAllowed
from gatewayd.observe.record import RecordKind
from gatewayd.text import printable
from gatewayd.web.passing import destination, pass_on
from gatewayd.web.unknown import unknown_url
from gatewayd.wire.dialect import Endpoint

_PLACE = re.compile(r"\\\{\w+\\\}")
_SLASHES = re.compile("//+")
_OTHER_VERSION = "/v2/"


@dataclass(frozen=True, slots=True)
class Route:
    """One row of the registration table (`gatewayd.web.app`). `path` may hold one `{model}`, or another name."""

    method: Literal["GET", "POST", "DELETE"]
    path: str
    respond: Respond | None = None
    kind: RecordKind = "info"
    endpoint: Endpoint | None = None
    """For a route that asks a model, in the place of `respond`."""


class Router:
    """Each route answers on its path, on `/v1` + its path, and on `/openai/v1` + its path, as Azure's newer API has it;
    HEAD answers where GET does. A path with a query goes before the same path without: no other query counts."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._exact: dict[str, dict[str, Route]] = defaultdict(dict)
        routes = tuple(routes)
        self._served = [(route.method, usual_path(route)) for route in routes if _is_shown(route)]
        patterns: dict[str, dict[str, Route]] = defaultdict(dict)
        for route in routes:
            if "{" in route.path:
                pattern = "(?:(?:/openai)?/v1)?" + _PLACE.sub("(.+)", re.escape(route.path))
                patterns[pattern].update(_methods(route))
            else:
                only_there = route.kind == "open" or route.path.startswith(_OTHER_VERSION)
                prefixes = ("",) if only_there else ("", "/v1", "/openai/v1")
                for prefix in prefixes:
                    self._exact[prefix + route.path].update(_methods(route))
        self._patterns = [(re.compile(pattern), methods) for pattern, methods in patterns.items()]

    def find(self, method: str, path: str, query: str = "") -> tuple[Route, str | None]:
        """The route and the model its path names; for no match a route that answers with the error."""
        methods = self._exact.get(f"{path}?{query}") if query else None
        if methods is None:
            methods = self._exact.get(path)
        model: str | None = None
        whole = path
        if methods is None:
            path = _SLASHES.sub("/", path)
            if len(path) > 1:
                path = path.removesuffix("/")
            methods = self._exact.get(path)
            if methods is None:
                methods, model = self._match(path)
        if methods is None:
            return self._unknown(method, path, whole), None
        route = methods.get(method)
        if route is None:
            taken = " and ".join(sorted(methods.keys() - {"HEAD"}))
            text = f"{printable(path, 80)} takes {taken}, not {printable(method, 20)}."
            return refusal(MethodNotAllowed(text, allow=sorted(methods))), None
        return route, model

    def _unknown(self, method: str, path: str, whole: str) -> Route:
        def respond(request: Request) -> Coroutine[Any, Any, None]:
            found = destination(request.runtime, method, whole)
            if found is None:
                raise unknown_url(method, path, self._served, request.runtime.snapshot.server.admin)
            return pass_on(request, found)

        return Route("GET", "", respond)

    def _match(self, path: str) -> tuple[dict[str, Route] | None, str | None]:
        for pattern, methods in self._patterns:
            if (match := pattern.fullmatch(path)) is not None:
                try:
                    return methods, unquote(match[1], errors="strict")
                except UnicodeDecodeError:
                    return None, None
        return None, None


def refusal(error: GatewayError, kind: Literal["info", "open"] = "info") -> Route:
    """A route that answers with an error. As "info" it needs a key: nobody else learns which paths there are."""

    def refuse(request: Request) -> None:
        raise error

    return Route("GET", "", refuse, kind)


def usual_path(route: Route) -> str:
    """The path under which a route is documented."""
    is_whole = route.kind == "open" or route.path.startswith(("/openai/", _OTHER_VERSION))
    return route.path if is_whole else f"/v1{route.path}"


def _is_shown(route: Route) -> bool:
    """Whether a route is named to who asks for an unknown one: not under all its other names."""
    if route.path.startswith("/openai") or "?" in route.path:
        return False
    return route.kind != "open" or route.path in ("/livez", "/readyz")


def _methods(route: Route) -> dict[str, Route]:
    return {"GET": route, "HEAD": route} if route.method == "GET" else {route.method: route}
