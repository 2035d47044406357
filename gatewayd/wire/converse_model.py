"""What the models behind Bedrock's Converse API differ in, told by their ids."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from gatewayd.wire.conversation import Effort
from gatewayd.wire.converting import effort_within

_NOVA2: Final = re.compile(r"nova-2-|nova-premier")
_GPT: Final = re.compile(r"openai\.gpt-\d")


@dataclass(frozen=True, slots=True)
class ConverseModel:
    """One model. Its id may have a region before it (`eu.anthropic.claude-...`), or be an ARN that names it."""

    name: str

    @classmethod
    def named(cls, model: str) -> ConverseModel:
        return cls(model.lower())

    @property
    def is_claude(self) -> bool:
        return "anthropic." in self.name or "claude" in self.name

    @property
    def is_nova(self) -> bool:
        return "amazon.nova" in self.name

    @property
    def takes_cache_points(self) -> bool:
        return self.is_claude or self.is_nova

    @property
    def takes_strict(self) -> bool:
        return self.is_claude

    @property
    def knows_failed_results(self) -> bool:
        """Whether the result of a tool may say that it is an error."""
        return self.is_claude or self.is_nova

    @property
    def sees_tool_results(self) -> bool:
        """Whether the result of a tool may hold images and documents."""
        return self.is_claude or self.is_nova

    def top_k(self, value: int) -> dict[str, Any] | None:
        """Fields of the model's own; None if it has none for it."""
        if self.is_claude:
            return {"top_k": value}
        return {"inferenceConfig": {"topK": value}} if self.is_nova else None

    def effort(self, effort: Effort) -> dict[str, Any] | None:
        """The same for how much to think, for models that are not Claude."""
        if _GPT.search(self.name):
            return {"reasoning": {"effort": "xhigh" if effort == "max" else effort}}
        if "gpt-oss" in self.name or ("deepseek" in self.name and ".r1" not in self.name):
            return {"reasoning_effort": effort_within(effort, ("low", "medium", "high"))}
        if _NOVA2.search(self.name):
            if effort == "none":
                return {"reasoningConfig": {"type": "disabled"}}
            level = effort_within(effort, ("low", "medium", "high"))
            return {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": level}}
        return None
