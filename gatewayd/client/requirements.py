"""What attaching can do without: imported late, and asked for in words when it is not there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gatewayd.errors import ConfigurationError


@contextmanager
def all_requirements() -> Iterator[None]:
    """Around imports that need more than the `openai` package. Raises ConfigurationError if that is all there is."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "gatewayd":
            raise
        raise ConfigurationError(
            f"a private daemon needs all of gatewayd's requirements, and '{error.name}' is missing",
            suggestion="attach to a running daemon with base_url or $GATEWAYD_BASE_URL, or install gatewayd with its "
            "requirements",
        ) from error
