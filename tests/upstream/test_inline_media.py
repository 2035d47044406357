"""Addresses in requests that are converted: sent where the API takes them, fetched where it does not."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from gatewayd.errors import InvalidRequest
from gatewayd.upstream.fetch import Fetcher
from gatewayd.upstream.inline_media import InlineMedia
from gatewayd.wire.conversation import Block, FileBlock, ImageBlock, Request, TextBlock, ToolResultBlock, Turn
from tests.fakeup import FakeUpstream, body_reply
from tests.upstream.doubles import LONG

PNG = b"\x89PNG\r\n\x1a\nx"
CODED = base64.b64encode(PNG).decode()


def media(dialect: str, **options: Any) -> InlineMedia:
    return InlineMedia(dialect, "x", Fetcher(http=True, is_allowed=lambda _: True, **options), LONG)


def request(*blocks: Block) -> Request:
    return Request(dialect="chat", model="m", turns=(Turn("user", (TextBlock("Look"), *blocks)),))


@pytest.mark.parametrize(
    ("dialect", "url"),
    [
        ("messages", "https://img.example/x.png"), ("messages", None), ("gemini", "gs://bucket/x"),
        ("gemini", "https://generativelanguage.googleapis.com/v1beta/files/x"), ("converse", "s3://bucket/x"),
        ("chat", "http://img.example/x.png"), ("responses", "https://img.example/x.png"),
    ],
)  # fmt: skip
def test_addresses_that_the_api_takes_stay(dialect: str, url: str | None) -> None:
    """U-F4"""
    asked = request(ImageBlock(url=url), FileBlock(url=url))
    assert not media(dialect).concerns(asked)


@pytest.mark.parametrize("dialect", ["messages", "gemini", "converse"])
async def test_others_are_fetched_once(dialect: str) -> None:
    """U-F4: also in the result of a tool."""
    async with FakeUpstream(body_reply(PNG, content_type="")) as files:
        url = f"http://127.0.0.1:{files.port}/x"
        result = ToolResultBlock(call_id="t", blocks=(ImageBlock(url=url), TextBlock("x")))
        found = media(dialect)
        asked = request(ImageBlock(url=url, detail="low"), result)
        assert found.concerns(asked)
        (turn,) = (await found.put_in(asked)).turns
        picture = ImageBlock(data=CODED, media_type="image/png")
        assert turn.blocks == (
            TextBlock("Look"),
            ImageBlock(data=CODED, media_type="image/png", detail="low"),
            ToolResultBlock(call_id="t", blocks=(picture, TextBlock("x"))),
        )
        assert len(files.requests) == 1


async def test_what_cannot_be_fetched_is_refused_by_name() -> None:
    """U-F4"""
    with pytest.raises(InvalidRequest) as caught:
        await InlineMedia("messages", "anthropic", Fetcher(), LONG).put_in(request(ImageBlock(url="http://10.0.0.1/x")))
    assert caught.value.param == "messages[0].content"


async def test_jpg_becomes_jpeg() -> None:
    """U-B11"""
    asked = request(ImageBlock(data="AAAA", media_type="image/jpg"))
    found = media("chat")
    assert found.concerns(asked)
    assert (await found.put_in(asked)).turns[0].blocks[1] == ImageBlock(data="AAAA", media_type="image/jpeg")
