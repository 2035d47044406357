"""Which texts of a configuration are secret: what the log's redactor has to know."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from gatewayd.config.snapshot import Snapshot
from gatewayd.secret import Secret

_SECRET_NAME = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL)", re.IGNORECASE)


def secrets_by_part(snapshot: Snapshot) -> Iterator[Iterable[str]]:
    """Every secret text in a snapshot, and environment variables whose name says so. In small parts, as there may be
    ten thousand deployments."""
    yield [value for name, value in snapshot.environment.items() if _SECRET_NAME.search(name)]
    yield _texts([snapshot.server.master_key])
    for deployment in snapshot.deployments:
        values: list[Any] = [
            deployment.api_key,
            deployment.extra_headers,
            deployment.litellm_params,
            deployment.params,
            deployment.extra_body,
        ]
        yield _texts(values)


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, Secret):
        yield value.reveal()
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        for item in value:
            yield from _texts(item)
