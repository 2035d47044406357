"""Ids of responses, files and batches that carry the deployment that holds them, and that nobody can forge."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from typing import Final

_PREFIX: Final = re.compile(r"[a-z]{2,16}_")
_MARK: Final = "gwd"
"""Begins what follows the prefix: an id that has it not is a provider's own."""
_TAG: Final = 12
"""Bytes of the proof. Guessing one takes 2^95 requests."""
_MAX_ID: Final = 1024


class IdSealer:
    """`secret` is the installation's, or the process's: ids of another one are unknown."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def seal(self, upstream_id: str, deployment: str, owner: str = "") -> str:
        """An id for the caller; `owner` names the caller's key, if no other key may use the id.

        It begins as the upstream's does (`resp_`), because clients look at that.
        """
        prefix = _PREFIX.match(upstream_id)
        payload = f"{deployment}\n{upstream_id}".encode()
        sealed = base64.urlsafe_b64encode(self._proof(payload, owner) + payload).rstrip(b"=").decode()
        return f"{prefix[0] if prefix else 'id_'}{_MARK}{sealed}"

    def unseal(self, text: str, owner: str = "") -> tuple[str, str] | None:
        """The upstream's id and the deployment; None for what `seal` has not made for this owner."""
        prefix = _PREFIX.match(text)
        if prefix is None or len(text) > _MAX_ID or not text.startswith(_MARK, prefix.end()):
            return None
        sealed = text[prefix.end() + len(_MARK) :]
        try:
            data = base64.b64decode(sealed + "=" * (-len(sealed) % 4), b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        proof, payload = data[:_TAG], data[_TAG:]
        if not hmac.compare_digest(proof, self._proof(payload, owner)):
            return None
        deployment, _, upstream_id = payload.decode().partition("\n")
        # Base64 has several spellings of the same bytes; an id has one.
        return (upstream_id, deployment) if self.seal(upstream_id, deployment, owner) == text else None

    @staticmethod
    def is_sealed(text: str) -> bool:
        """Whether a text looks like what `seal` makes, for whichever owner and secret."""
        prefix = _PREFIX.match(text)
        return prefix is not None and text.startswith(_MARK, prefix.end())

    def _proof(self, payload: bytes, owner: str) -> bytes:
        key = hashlib.sha256(owner.encode()).digest()
        return hmac.digest(self._secret, key + payload, "sha256")[:_TAG]
