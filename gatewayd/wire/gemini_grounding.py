"""What Gemini says beside its text: sources, and probabilities of tokens. Part of `gatewayd.wire.gemini`.

Google counts positions in a text in bytes of UTF-8, the neutral form in characters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from gatewayd.wire.blocks import Citation, Json
from gatewayd.wire.converting import as_json


class _Source(msgspec.Struct):
    uri: str | None = None
    title: str | None = None


class _Chunk(msgspec.Struct, rename="camel"):
    web: _Source | None = None
    maps: _Source | None = None
    retrieved_context: _Source | None = None


class _Segment(msgspec.Struct, rename="camel"):
    start_index: int = 0
    end_index: int | None = None


class _Support(msgspec.Struct, rename="camel"):
    segment: _Segment | None = None
    grounding_chunk_indices: list[int] | None = None


class _Grounding(msgspec.Struct, rename="camel"):
    grounding_chunks: list[_Chunk] | None = None
    grounding_supports: list[_Support] | None = None
    web_search_queries: list[str] | None = None


class _Token(msgspec.Struct, rename="camel"):
    token: str = ""
    log_probability: float = 0.0


class _Candidates(msgspec.Struct):
    candidates: list[_Token] = []


class _Logprobs(msgspec.Struct, rename="camel"):
    chosen_candidates: list[_Token] | None = None
    top_candidates: list[_Candidates] | None = None


class _ChatToken(msgspec.Struct):
    token: str = ""
    logprob: float = 0.0
    top_logprobs: list[_ChatToken] = []


class _ChatLogprobs(msgspec.Struct):
    content: list[_ChatToken] | None = None


_grounding: Final = msgspec.json.Decoder(_Grounding)
_logprobs: Final = msgspec.json.Decoder(_Logprobs)
_chat_logprobs: Final = msgspec.json.Decoder(_ChatLogprobs)


def has_searched(raw: Json | None) -> bool:
    """Whether `groundingMetadata` tells of a search, or of places on a map."""
    found = _read(raw)
    if found is None:
        return False
    return bool(found.web_search_queries) or any(chunk.maps is not None for chunk in found.grounding_chunks or ())


def grounding_citations(raw: Json | None, text: str) -> tuple[Citation, ...]:
    """The sources of an answer, one for each place in its text. `text` is all of it."""
    found = _read(raw)
    if found is None or not found.grounding_chunks:
        return ()
    chunks, plain, encoded = found.grounding_chunks, text.isascii(), text.encode()
    citations = []
    for support in found.grounding_supports or ():
        segment = support.segment or _Segment()
        for number in support.grounding_chunk_indices or ():
            chunk = chunks[number] if 0 <= number < len(chunks) else _Chunk()
            source = chunk.web or chunk.maps or chunk.retrieved_context
            if source is None:
                continue
            start, end = segment.start_index, segment.end_index
            if not plain:
                start = len(encoded[:start].decode(errors="ignore"))
                end = None if end is None else len(encoded[:end].decode(errors="ignore"))
            citations.append(Citation(url=source.uri, title=source.title, start=start, end=end))
    return tuple(citations)


def _read(raw: Json | None) -> _Grounding | None:
    try:
        return None if raw is None else _grounding.decode(raw)
    except msgspec.DecodeError:
        return None


def grounding(citations: Sequence[Citation], text: str) -> dict[str, Any]:
    """`groundingMetadata` for citations of another API's answer."""
    chunks: list[dict[str, Any]] = []
    supports: list[dict[str, Any]] = []
    numbers: dict[tuple[str | None, str | None], int] = {}
    for citation in citations:
        source = (citation.url, citation.title)
        if source not in numbers:
            numbers[source] = len(chunks)
            named = {"uri": citation.url, "title": citation.title}
            chunks.append({"web": {name: value for name, value in named.items() if value is not None}})
        start, end = citation.start or 0, len(text) if citation.end is None else citation.end
        segment = {"startIndex": len(text[:start].encode()), "endIndex": len(text[:end].encode())}
        supports.append({"segment": segment | {"text": text[start:end]}, "groundingChunkIndices": [numbers[source]]})
    return {"groundingChunks": chunks, "groundingSupports": supports}


def read_logprobs(raw: Json | None) -> Json | None:
    """`logprobsResult` in chat's form; None if there is none, or none that can be understood."""
    try:
        found = None if raw is None else _logprobs.decode(raw)
    except msgspec.DecodeError:
        return None
    if found is None or not found.chosen_candidates:
        return None
    tops = found.top_candidates or []
    content = [
        _said(token) | {"top_logprobs": [_said(one) for one in tops[at].candidates] if at < len(tops) else []}
        for at, token in enumerate(found.chosen_candidates)
    ]
    return as_json({"content": content})


def _said(token: _Token) -> dict[str, Any]:
    return {"token": token.token, "logprob": token.log_probability, "bytes": list(token.token.encode())}


def write_logprobs(raw: Json) -> dict[str, Any] | None:
    """`logprobsResult` of chat's form."""
    try:
        content = _chat_logprobs.decode(raw).content
    except msgspec.DecodeError:
        return None
    if not content:
        return None
    return {
        "chosenCandidates": [_chosen(token) for token in content],
        "topCandidates": [{"candidates": [_chosen(one) for one in token.top_logprobs]} for token in content],
    }


def _chosen(token: _ChatToken) -> dict[str, Any]:
    return {"token": token.token, "logProbability": token.logprob}
