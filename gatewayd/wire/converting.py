"""What the dialects share: checked reading of JSON, the list of what could not be said, and derived values."""

from __future__ import annotations

from gatewayd.errors import InvalidRequest
from gatewayd.wire.conversation import Block, Request, ToolUseBlock, Turn, WrittenRequest


class DropList:
    """What a target cannot say, while a request is written."""

    def __init__(self, request: Request, *, drop_params: bool) -> None:
        self._request = request
        self._drop_params = drop_params
        self._dropped: dict[str, None] = {}

    def drop(self, *fields: str) -> None:
        """Notes fields that are advisory. They are fields of the neutral form, or the caller's own."""
        for field in fields:
            self._dropped[self._request.names.get(field, field)] = None

    def refuse(self, field: str, why: str) -> None:
        """Raises InvalidRequest for a field that is not advisory; with `drop_params`, drops it.

        `why` follows the field's name: "is not supported by the Anthropic API".
        """
        if not self._drop_params:
            name = self._request.names.get(field, field)
            raise InvalidRequest(f"The field '{name}' {why}.", param=name)
        self.drop(field)

    def extra(self, api: str) -> None:
        """Drops `request.extra`, or refuses its binding members; `api` is the target's: "the Anthropic API"."""
        for name in self._request.extra:
            if name in self._request.binding:
                self.refuse(name, f"cannot be expressed in {api}")
            else:
                self.drop(name)

    def written(self, body: bytes) -> WrittenRequest:
        return WrittenRequest(body, tuple(self._dropped))


def leading_system(request: Request) -> tuple[tuple[Block, ...], tuple[Turn, ...]]:
    """The system blocks with those of system and developer turns at the start, and the other turns."""
    blocks, at = request.system, 0
    while at < len(request.turns) and request.turns[at].role in ("system", "developer"):
        blocks += request.turns[at].blocks
        at += 1
    return blocks, request.turns[at:]


def tool_names(request: Request) -> dict[str, str]:
    """The names of tools by the ids of their calls: for results in dialects that say the name."""
    return {
        block.call_id: block.name for turn in request.turns for block in turn.blocks if isinstance(block, ToolUseBlock)
    }
