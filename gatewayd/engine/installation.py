"""The secret of an installation, with which ids that are handed out are sealed (`wire.response_ids`)."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import secrets
from collections.abc import Mapping
from typing import Final

ID_SECRET: Final = "GATEWAYD_ID_SECRET"
"""The environment variable that has it: set by the operator, if there is any, and by gatewayd for its workers."""

_FILE: Final = "id-secret"
_SIZE: Final = 32
_HEX: Final = re.compile(f"[0-9a-f]{{{2 * _SIZE}}}")
_log: Final = logging.getLogger("gatewayd.engine")


def id_secret(environ: Mapping[str, str]) -> bytes:
    """The secret of the environment, else the one in $STATE_DIRECTORY, which is made if it is missing; else a new one,
    with which the ids are valid until the process ends. Never raises."""
    given = environ.get("GATEWAYD_ID_SECRET", "")
    if given:
        return bytes.fromhex(given) if _HEX.fullmatch(given) else hashlib.sha256(given.encode()).digest()
    folder = environ.get("STATE_DIRECTORY", "").partition(":")[0]
    if folder:
        path = os.path.join(folder, _FILE)
        try:
            return _kept(path)
        except (OSError, ValueError) as error:
            reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else "it is damaged"
            _log.warning("%s cannot be used: %s; ids of responses are valid until gatewayd stops", path, reason)
    return secrets.token_bytes(_SIZE)


def _kept(path: str) -> bytes:
    """Raises OSError, or ValueError for a file that holds something else."""
    if not os.path.exists(path):
        new = f"{path}.{os.getpid()}"
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        try:
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            with open(descriptor, "w", encoding="ascii") as file:
                file.write(secrets.token_hex(_SIZE))
                file.flush()
                os.fsync(file.fileno())
            os.link(new, path)
        except FileExistsError:  # another process was faster
            pass
        finally:
            if os.path.lexists(new):
                os.unlink(new)
    with open(path, encoding="ascii") as file:
        found = file.read(2 * _SIZE + 1).strip()
    if not _HEX.fullmatch(found):
        raise ValueError(path)
    return bytes.fromhex(found)
