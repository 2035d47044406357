"""Gemini's thought signatures on the way through clients that keep nothing of a tool call but its id.

Gemini 3 wants the signature of a call back with the next request. Chat, messages and responses have no field for it
that every client sends back, so the id carries it, in LiteLLM's form: `call_1__thought__<signature>`. Conversations
that began behind LiteLLM go on here. A dialect's writer of answers signs ids, and its reader of requests splits them,
so the neutral form and other providers see the plain id.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from gatewayd.wire.blocks import ToolUseBlock

_MARK: Final = "__thought__"


def signed_call_id(call_id: str, signature: str | None) -> str:
    """The id for a client that shall send the signature back."""
    return call_id if signature is None else f"{call_id}{_MARK}{signature}"


def signed_call(block: ToolUseBlock) -> ToolUseBlock:
    """The call with such an id."""
    return block if block.signature is None else replace(block, call_id=signed_call_id(block.call_id, block.signature))


def split_call_id(call_id: str) -> tuple[str, str | None]:
    """The plain id, and the signature if the id carries one."""
    plain, mark, signature = call_id.partition(_MARK)
    return (plain, signature or None) if mark else (call_id, None)
