"""Images and files in messages: handed on to APIs that take addresses, else fetched by the gateway."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from gatewayd.errors import InvalidRequest, Verdict
from gatewayd.upstream.fetch import Fetcher
from gatewayd.upstream.litellm.translate import TranslateUpstream
from gatewayd.upstream.media import Media
from tests.certificates import Authority
from tests.fakeup import FakeUpstream, Reply, body_reply, json_reply
from tests.stand_ins import anthropic, bedrock, cohere, gemini, vertex
from tests.upstream.doubles import LONG, call
from tests.upstream.litellm.direct_and_litellm import PIXEL, of, signed_in
from tests.upstream.litellm.translating import KNOWN_WARNINGS, WAYS
from tests.upstream.test_fetch import PNG

pytestmark = KNOWN_WARNINGS

CODED = base64.b64encode(PNG).decode()
PICTURE = body_reply(PNG, content_type="image/png")
ANSWERS: dict[str, Any] = {
    "anthropic": anthropic.answer,
    "bedrock": bedrock.answer,
    "cohere_chat": cohere.answer,
    "gemini": gemini.answer,
}


def image(url: str, **more: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, **more}}


async def sent(family: str, *parts: dict[str, Any], fetcher: Fetcher | None = None, direct: bool = True) -> str:
    """The body that the provider gets, as text."""
    async with FakeUpstream(ANSWERS[family]) as up:
        upstream = TranslateUpstream(of(family, up), direct=direct, fetcher=fetcher)
        message = {"role": "user", "content": [{"type": "text", "text": "Look."}, *parts]}
        (await upstream.open(call(messages=[message]))).close()
        await upstream.aclose()
        (request,) = up.requests
        return json.dumps(request.json())


def open_fetcher(**more: Any) -> Fetcher:
    return Fetcher(is_allowed=lambda _: True, **{"http": True, **more})


@pytest.mark.parametrize("family", ["bedrock", "gemini"])
@pytest.mark.parametrize("kind", ["image/png", "application/octet-stream"])
async def test_a_provider_that_takes_no_addresses_gets_the_picture(family: str, kind: str, tmp_path: Path) -> None:
    """U-F4: over https, with nothing configured; a server that does not name the type is no trouble."""
    authority = Authority(tmp_path)
    async with FakeUpstream(body_reply(PNG, content_type=kind), tls=authority.server("localhost")) as files:
        url = f"https://localhost:{files.port}/x"
        fetcher = open_fetcher(http=False, tls=authority.trust)
        body = await sent(family, image(url), image(url), fetcher=fetcher)
        assert body.count(CODED) == 2
        assert url not in body
        assert len(files.requests) == 1  # of equal addresses one is fetched


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "URL"}},
        {"type": "image_url", "image_url": "URL"},
    ],
)
async def test_claude_gets_https_addresses_as_they_are_and_others_fetched(part: dict[str, Any]) -> None:
    """U-F4"""
    handed = json.loads(json.dumps(part).replace("URL", "https://img.example/x.png"))
    assert "https://img.example/x.png" in await sent("anthropic", handed)
    async with FakeUpstream(PICTURE) as files:
        url = f"http://127.0.0.1:{files.port}/x.png"
        fetched = json.loads(json.dumps(part).replace("URL", url))
        body = await sent("anthropic", fetched, fetcher=open_fetcher())
        assert CODED in body
        assert url not in body


async def test_blocks_of_anthropics_and_results_of_tools_are_looked_through() -> None:
    """U-F4: wherever an address may be."""
    async with FakeUpstream(PICTURE) as files, FakeUpstream() as up:
        url = f"http://127.0.0.1:{files.port}/x"
        block, other = ({"type": "image", "source": {"type": "url", "url": url}} for _ in range(2))
        result: dict[str, Any] = {"type": "tool_result", "tool_use_id": "t", "content": [other]}
        messages = [{"role": "tool", "content": [block, result]}, {"role": "assistant", "images": [image(PIXEL)]}]
        assert await Media(of("anthropic", up), open_fetcher()).prepare(messages, LONG)
        source = {"type": "base64", "media_type": "image/png", "data": CODED}
        assert block["source"] == source
        assert other["source"] == source


async def test_cohere_gets_addresses_as_they_are() -> None:
    """U-F4"""
    assert "https://img.example/x.png" in await sent("cohere_chat", image("https://img.example/x.png"))


async def test_vertex_gets_https_addresses_of_a_known_type() -> None:
    """U-F4"""
    async with FakeUpstream() as up, FakeUpstream(PICTURE) as files:
        up.then(vertex.answer)
        upstream = TranslateUpstream(await signed_in(up), fetcher=open_fetcher())
        parts = [image("https://img.example/x.png"), image("https://img.example/y", format="image/webp")]
        parts.append(image(f"http://127.0.0.1:{files.port}/z"))
        await upstream.open(call(messages=[{"role": "user", "content": parts}]))
        body = json.dumps(up.requests[-1].json())
        assert "https://img.example/x.png" in body
        assert "https://img.example/y" in body
        assert CODED in body
        await upstream.aclose()


async def test_a_document_is_fetched() -> None:
    """U-F4: files, not only images."""
    pdf = b"%PDF-1.7 hello"
    async with FakeUpstream(body_reply(pdf, content_type="")) as files:
        url = f"http://127.0.0.1:{files.port}/x"
        for family in ("anthropic", "bedrock", "gemini"):
            part = {"type": "file", "file": {"file_id": url}}
            body = await sent(family, part, fetcher=open_fetcher())
            assert base64.b64encode(pdf).decode() in body, family


@pytest.mark.parametrize("family", ["anthropic", "bedrock", "gemini"])
async def test_plain_http_is_refused_and_the_error_says_how_to_allow_it(family: str) -> None:
    """U-F4"""
    async with FakeUpstream(PICTURE) as files, FakeUpstream(ANSWERS[family]) as up:
        upstream = TranslateUpstream(of(family, up), fetcher=open_fetcher(http=False))
        parts = [image(f"http://127.0.0.1:{files.port}/x.png")]
        with pytest.raises(InvalidRequest) as caught:
            await upstream.open(call(messages=[{"role": "user", "content": parts}]))
        assert "`gatewayd: {fetch: {http: true}}`" in caught.value.message
        assert (caught.value.status, caught.value.param) == (400, "messages[0].content")
        assert (caught.value.verdict, caught.value.blames_deployment) == (Verdict.ELSEWHERE, False)
        assert files.connection_count == 0
        assert up.requests == []


@pytest.mark.parametrize("reply", [body_reply(b"<html>", content_type="application/zip"), json_reply({}, status=404)])
async def test_what_no_model_reads_is_refused(reply: Reply) -> None:
    """U-F4"""
    async with FakeUpstream(reply) as files:
        with pytest.raises(InvalidRequest):
            await sent("gemini", image(f"http://127.0.0.1:{files.port}/x"), fetcher=open_fetcher())


async def test_a_calls_media_are_bounded_together() -> None:
    """U-F4: 20 MB for a call, not for each address."""
    large = body_reply(PNG + bytes(11_000_000), content_type="image/png")
    async with FakeUpstream(large) as files:
        parts = [image(f"http://127.0.0.1:{files.port}/{name}") for name in "ab"]
        with pytest.raises(InvalidRequest, match="20 MB"):
            await sent("gemini", *parts, fetcher=open_fetcher())


async def test_a_bucket_is_not_asked_for_the_type_of_a_file() -> None:
    """U-F4: litellm would do it, with the operator's credentials."""
    with pytest.raises(InvalidRequest, match="'format'"):
        await sent("gemini", image("gs://bucket/name"))
    assert "gs://bucket/name.png" in await sent("gemini", image("gs://bucket/name.png"))


@WAYS
@pytest.mark.parametrize("family", ["anthropic", "bedrock", "gemini"])
async def test_jpg_becomes_jpeg(family: str, direct: bool) -> None:
    """U-B11: providers refuse image/jpg, which is no registered type."""
    url = PIXEL.replace("image/png", "image/jpg")
    body = await sent(family, image(url), {"type": "image_url", "image_url": url}, direct=direct)
    assert "jpg" not in body
    assert body.count("jpeg") == 2
