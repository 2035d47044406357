"""Google's Vertex AI on loopback, with the place where its tokens come from: replies for `FakeUpstream`.

The model's side is Gemini's (`stand_ins.gemini`). Tokens: https://developers.google.com/identity/protocols/oauth2/service-account
"""

from __future__ import annotations

import functools
import itertools
from typing import Any
from weakref import WeakKeyDictionary

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.fakeup import FakeUpstream, Received, Reply, json_reply
from tests.stand_ins import gemini

TOKEN = "ya29.stand-in-canary"
PROJECT = "stand-in-project"

_count = itertools.count(1)
_numbers: WeakKeyDictionary[FakeUpstream, int] = WeakKeyDictionary()


def answer(request: Received) -> Reply:
    if request.path == "/token":
        return json_reply({"access_token": TOKEN, "expires_in": 3600, "token_type": "Bearer"})
    if request.headers.get("authorization") != f"Bearer {TOKEN}":
        return gemini.error(401, "UNAUTHENTICATED", "Request is missing required authentication credential.")
    if f"/projects/{PROJECT}/locations/us-east1/" not in request.target:
        return gemini.error(404, "NOT_FOUND", "No such project or location.")
    return gemini.said(request)


def credentials(up: FakeUpstream) -> dict[str, Any]:
    """A service account's key file; its tokens come from the stand-in too. Each stand-in has one of its own: litellm
    remembers tokens by the file, and the system may hand out a port again."""
    return {
        "type": "service_account",
        "project_id": PROJECT,
        "private_key_id": str(_numbers.setdefault(up, next(_count))),
        "private_key": _private_key(),
        "client_email": f"gateway@{PROJECT}.iam.gserviceaccount.com",
        "token_uri": gemini.base_url(up) + "/token",
    }


@functools.cache
def _private_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    encoding, kind = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(encoding, kind, serialization.NoEncryption()).decode()
