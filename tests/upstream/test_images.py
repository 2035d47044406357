"""Addresses in messages, for providers whose API takes none: never anything inside is fetched, and never a file.

The address is the caller's; the request would be made from where the gateway is. `fetch` refuses what is not public,
and litellm fetches nothing; here both are held to that through every part of a message.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from gatewayd.config.snapshot import Deployment
from gatewayd.errors import GatewayError
from gatewayd.secret import Secret
from gatewayd.upstream.fetch import Fetcher
from gatewayd.upstream.inside import leads_inside
from gatewayd.upstream.litellm.bridge import LitellmTransport
from gatewayd.upstream.litellm.translate import TranslateUpstream
from tests.fakeup import FakeUpstream
from tests.stand_ins import anthropic, bedrock, gemini
from tests.upstream.doubles import call, deployment
from tests.upstream.litellm.test_bridge import exchange
from tests.upstream.litellm.translating import KNOWN_WARNINGS

pytestmark = KNOWN_WARNINGS

HERE = ["127.0.0.1", "localhost", "localhost.", "0.0.0.0", "0", "127.1", "2130706433", "0x7f000001", "017700000001",
        "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::]", "user@127.0.0.1", "127.0.0.1%00.example"]  # fmt: skip
"""Spellings of this machine; a canary listens there."""
INSIDE = ["169.254.169.254", "10.0.0.1", "192.168.0.1", "172.16.0.1", "100.64.0.1", "192.0.2.1", "[fe80::1]",
          "[fd00::1]", "168.63.129.16", "224.0.0.1"]  # fmt: skip


def image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def parts(url: str) -> list[dict[str, Any]]:
    """Every part of a message that can hold an address, and its neighbours' mistakes."""
    return [
        image(url),
        {"type": "image_url", "image_url": url},
        {"type": "file", "file": {"file_id": url}},
        {"type": "file", "file": {"file_data": url}},
        {"type": "image", "source": {"type": "url", "url": url}},
        {"type": "document", "source": {"type": "url", "url": url}},
        {"type": "video_url", "video_url": {"url": url}},
    ]


def deployed(provider: str, up: FakeUpstream) -> Deployment:
    match provider:
        case "gemini":
            return deployment(gemini.base_url(up), kind="translate", provider="gemini", model="gemini-2.0-flash")
        case "anthropic":
            return deployment(anthropic.base_url(up), kind="translate", provider="anthropic", model="claude-x")
        case _:
            params = {"aws_access_key_id": Secret("AKIA"), "aws_secret_access_key": Secret("x"), "aws_region_name": "x"}
            return deployment(
                bedrock.base_url(up), kind="translate", provider="bedrock", model="anthropic.claude-x",
                litellm_params=params,
            )  # fmt: skip


ANSWERS = {"gemini": gemini.answer, "anthropic": anthropic.answer, "bedrock": bedrock.answer}


@pytest.mark.parametrize("provider", ANSWERS)
async def test_no_address_of_this_machine_is_visited(provider: str) -> None:
    """C-13: however it is written and wherever it stands."""
    async with FakeUpstream(ANSWERS[provider]) as up, FakeUpstream() as canary:
        upstream = TranslateUpstream(deployed(provider, up), fetcher=Fetcher(http=True))
        urls = [f"http://{host}:{canary.port}/x.png" for host in HERE]
        urls += [
            f"https://127.0.0.1:{canary.port}/x.png",
            f"//127.0.0.1:{canary.port}/x",
            f"HTTP://localhost:{canary.port}",
        ]
        for part in [*map(image, urls), *parts(urls[0]), *parts(urls[1])]:
            message = {"role": "user", "content": [{"type": "text", "text": "Look."}, part]}
            with contextlib.suppress(GatewayError):
                (await upstream.open(call(messages=[message]))).close()
            assert canary.connection_count == 0, part
        await upstream.aclose()


@pytest.mark.parametrize("provider", ANSWERS)
async def test_no_address_inside_is_visited_and_no_file_read(provider: str, tmp_path: Path) -> None:
    """C-13"""
    secret = tmp_path / "secret.png"
    secret.write_text("canary-in-a-file")
    async with FakeUpstream(ANSWERS[provider]) as up:
        upstream = TranslateUpstream(deployed(provider, up), fetcher=Fetcher(http=True))
        urls = [
            *(f"http://{host}/latest/meta-data" for host in INSIDE),
            f"file://{secret}",
            str(secret),
            "gopher://x/1",
        ]
        for part in [*map(image, urls), *parts(f"file://{secret}"), *parts(str(secret))]:
            with contextlib.suppress(GatewayError):
                (await upstream.open(call(messages=[{"role": "user", "content": [part]}]))).close()
        await upstream.aclose()
        for request in up.requests:  # what was asked all the same holds the address itself at most
            assert b"canary-in-a-file" not in request.body
            assert "Y2FuYXJ5LWluLWEtZmlsZQ" not in json.dumps(request.json())


DISGUISED = ["64:ff9b::7f00:1", "[64:ff9b::a9fe:a9fe]", "64:ff9b:1::1", "2002:7f00:1::", "2002:a00:1::1", "fec0::1",
             "::ffff:10.0.0.1", "2001:0:7f00:1::"]  # fmt: skip
PUBLIC = ["example.com", "8.8.8.8", "127.0.0.1", "2606:4700::1111", "64:ff9b::808:808", "2002:808:808::1", "", "x:y"]
"""Or nothing that this has to say anything about."""


@pytest.mark.parametrize("host", DISGUISED)
async def test_addresses_that_stand_for_others_are_not_visited(host: str) -> None:
    """C-13: litellm's guard lets most of these pass, so nothing is connected for them."""
    assert leads_inside(host)
    async with httpx.AsyncClient(transport=LitellmTransport()) as client:
        with exchange(), pytest.raises(httpx.UnsupportedProtocol, match="not a public address"):
            await client.get(f"http://[{host.strip('[]')}]:1/x.png")


@pytest.mark.parametrize("host", PUBLIC)
def test_what_is_public_or_plain_is_not_taken_for_a_disguise(host: str) -> None:
    """C-13"""
    assert not leads_inside(host)
