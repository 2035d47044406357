"""Which texts of a configuration are secret: what the log's redactor has to know."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gatewayd.config.snapshot import Snapshot
from gatewayd.secret import Secret

_SECRET_NAME = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL)", re.IGNORECASE)


def secrets_of(snapshot: Snapshot) -> frozenset[str]:
    """Every secret text in a snapshot, environment variables with a telling name included."""
    found = {value for name, value in snapshot.environment.items() if _SECRET_NAME.search(name)}
    values: list[Any] = [snapshot.server.master_key]
    for deployment in snapshot.deployments:
        values += (
            deployment.api_key,
            deployment.extra_headers,
            deployment.litellm_params,
            deployment.params,
            deployment.extra_body,
        )
    found.update(_texts(values))
    return frozenset(found)


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, Secret):
        yield value.reveal()
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        for item in value:
            yield from _texts(item)
