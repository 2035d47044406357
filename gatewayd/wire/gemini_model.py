"""What Gemini's models differ in, told by their names, and how each is asked to think."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from gatewayd.wire.conversation import Effort, Reasoning, Request
from gatewayd.wire.converting import effort_of

_VERSION: Final = re.compile(r"gemini-(\d+)(?:\.(\d+))?")
_BUDGETS: Final[Mapping[Effort, int]] = {
    "none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 32768, "max": 32768,
}  # fmt: skip
"""Tokens of thought for an effort, as Google's own OpenAI-compatible API maps them; above `high`, the most there is."""
_LEVELS: Final[Mapping[Effort, str]] = {
    "none": "minimal", "minimal": "minimal", "low": "low", "medium": "medium", "high": "high", "xhigh": "high",
    "max": "high",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class GeminiModel:
    """One model. A name that tells no version (a tuned model's number) gets what models of every version take."""

    name: str
    version: tuple[int, int] | None

    @classmethod
    def named(cls, model: str) -> GeminiModel:
        name = model.rpartition("/")[2].lower()
        found = _VERSION.match(name)
        if found is not None:
            return cls(name, (int(found[1]), int(found[2] or 0)))
        return cls(name, (3, 0) if re.fullmatch(r"gemini-.*-latest", name) else None)

    def since(self, *version: int) -> bool:
        return self.version is not None and self.version >= version

    @property
    def reads_json_schema(self) -> bool:
        return self.version is None or self.since(2)

    @property
    def has_call_ids(self) -> bool:
        """Whether calls and their results have ids. Older models refuse the field."""
        return self.since(3)

    @property
    def signs_calls(self) -> bool:
        """Whether a call without a signature is refused."""
        return self.since(3)

    @property
    def takes_penalties(self) -> bool:
        return not self.since(3)

    @property
    def sees_tool_results(self) -> bool:
        """Whether the result of a tool may hold images."""
        return self.since(3)

    def thinking(self, request: Request) -> dict[str, Any] | None:
        """`thinkingConfig`; None if the request says nothing about thinking, or the model cannot think."""
        reasoning = request.reasoning
        if reasoning is None or (self.version is not None and not self.since(2, 5)):
            return None
        disabled = reasoning.mode == "disabled" or reasoning.effort == "none" or reasoning.budget == 0
        config: dict[str, Any] = {"includeThoughts": not disabled and _shown(request, reasoning)}
        if self.since(3):
            effort = "none" if disabled else effort_of(reasoning)
            if effort is not None:
                config["thinkingLevel"] = self._level(effort)
        elif disabled:
            config["thinkingBudget"] = self._within(0)
        elif reasoning.budget is not None:
            config["thinkingBudget"] = self._within(reasoning.budget)
        elif reasoning.effort is not None:
            config["thinkingBudget"] = self._within(_BUDGETS[reasoning.effort])
        elif reasoning.mode == "adaptive":
            config["thinkingBudget"] = -1
        return config

    def _level(self, effort: Effort) -> str:
        level = _LEVELS[effort]
        return "low" if level == "minimal" and "flash" not in self.name else level

    def _within(self, budget: int) -> int:
        """The nearest budget that the model accepts: 2.5 Pro cannot be told not to think."""
        if self.version is None or budget < 0:
            return budget
        least, most = (128, 32768) if "pro" in self.name else (512 if "lite" in self.name and budget else 0, 24576)
        return min(max(budget, least), most)


def _shown(request: Request, reasoning: Reasoning) -> bool:
    """Whether the caller wants to see thoughts."""
    if reasoning.display is not None:
        return reasoning.display != "omitted"
    return request.dialect != "responses" or reasoning.summary is not None
