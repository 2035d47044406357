"""Which tools of a caller's reach a provider. One that its API does not have is refused by name: litellm would leave it
out and say nothing, or take it for an order to itself."""

from __future__ import annotations

from typing import Any, Final

from gatewayd.errors import InvalidRequest, Verdict

_OPENAIS: Final = frozenset(
    {
        "apply_patch", "code_interpreter", "computer", "computer_use_preview", "custom", "file_search",
        "image_generation", "local_shell", "mcp", "namespace", "shell", "tool_search",
    }
)  # fmt: skip
"""Types of tools of OpenAI's Responses API that no other API has under this name, but for those below."""
_ALSO: Final = {"anthropic": frozenset({"custom", "mcp", "namespace"})}


def check_tools(tools: Any, provider: str) -> None:
    """Raises InvalidRequest for a tool that the provider's API does not have, or that would name litellm itself."""
    for index, tool in enumerate(tools if isinstance(tools, list) else ()):
        kind = tool.get("type") if isinstance(tool, dict) else None
        if not isinstance(kind, str) or kind not in _OPENAIS:
            continue
        if kind not in _ALSO.get(provider, ()):
            raise _refused(f"{provider} does not accept tools of type '{kind}'.", index)
        if kind == "mcp" and not str(tool.get("server_url")).startswith("https://"):
            raise _refused("The 'server_url' of an MCP server must be an https address.", index)


def _refused(message: str, index: int) -> InvalidRequest:
    error = InvalidRequest(message, param=f"tools[{index}]")
    error.verdict = Verdict.ELSEWHERE  # another provider may take it
    return error
