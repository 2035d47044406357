"""How a model should think, in requests of Anthropic's Messages API. Part of `gatewayd.wire.messages`.

There are two ways: older models take a budget of tokens, newer ones decide for themselves (`adaptive`) and take an
effort. Both exclude forced calls, and a budget is below `max_tokens`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from gatewayd.wire.conversation import (
    ModelTarget,
    Reasoning,
    RedactedThinkingBlock,
    Request,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
    Turn,
)
from gatewayd.wire.converting import BUDGETS, EFFORTS, DropList, budget_of, effort_of, effort_within

MAX_TOKENS: Final = 4096
"""Of an answer, for a model of which nothing is known: the least that any Claude model writes."""
_MIN_BUDGET: Final = 1024
_EFFORTS: Final = EFFORTS[2:]
"""Anthropic knows `low` to `max`."""


def write_reasoning(
    request: Request, target: ModelTarget, losses: DropList, body: dict[str, Any], config: dict[str, Any]
) -> None:
    """Adds `thinking`, and the effort to `config`. Needs `max_tokens` and `tool_choice` in `body`."""
    reasoning = request.reasoning
    if reasoning is None:
        return
    if not target.reasons or "reasoning" in target.unsupported:
        losses.drop("reasoning")
    elif request.dialect == "messages":
        _as_said(reasoning, target, losses, body, config)
    elif reasoning.mode == "disabled" or reasoning.effort == "none":
        body["thinking"] = {"type": "disabled"}
    elif body.get("tool_choice", {}).get("type") in ("any", "tool"):
        losses.drop("reasoning")
    elif target.adaptive_thinking:
        body["thinking"] = {"type": "adaptive", "display": reasoning.display or "summarized"}
        if (effort := effort_of(reasoning)) is not None:
            config["effort"] = effort_within(effort, target.efforts or _EFFORTS)
    elif _goes_on_without_thoughts(request.turns):
        losses.drop("reasoning")
    elif (budget := budget_of(reasoning)) is not None or reasoning.mode is not None:
        _think(budget or BUDGETS["high"], request, target, losses, body)
    else:
        losses.drop("reasoning")


def _as_said(
    reasoning: Reasoning, target: ModelTarget, losses: DropList, body: dict[str, Any], config: dict[str, Any]
) -> None:
    """What a caller of this API asked for, for a model that may take less."""
    if reasoning.mode == "adaptive" and not target.adaptive_thinking:
        budget = min(BUDGETS[reasoning.effort or "high"], body["max_tokens"] - 1)
        if budget < _MIN_BUDGET:
            losses.drop("reasoning")
        else:
            body["thinking"] = {"type": "enabled", "budget_tokens": budget}
    elif reasoning.mode is not None:
        thinking: dict[str, Any] = {"type": reasoning.mode}
        if reasoning.budget is not None:
            thinking["budget_tokens"] = reasoning.budget
        if reasoning.display is not None:
            thinking["display"] = reasoning.display
        body["thinking"] = {**thinking, **reasoning.extra}
    if reasoning.effort is not None:
        if target.adaptive_thinking:
            config["effort"] = reasoning.effort
        else:
            losses.drop("output_config.effort")


def _think(budget: int, request: Request, target: ModelTarget, losses: DropList, body: dict[str, Any]) -> None:
    budget = max(budget, _MIN_BUDGET)
    if request.max_tokens is None and target.max_tokens is None:
        body["max_tokens"] = MAX_TOKENS + budget
    budget = min(budget, body["max_tokens"] - 1)
    if budget < _MIN_BUDGET:
        losses.drop("reasoning")
    else:
        body["thinking"] = {"type": "enabled", "budget_tokens": budget}


def _goes_on_without_thoughts(turns: Sequence[Turn]) -> bool:
    """Whether the model is to go on behind a call before which it did not think, or its thoughts were not kept. With a
    budget, Anthropic refuses that."""
    calls = False
    for turn in reversed(turns):
        if turn.role == "assistant":
            thoughts = (ThinkingBlock, RedactedThinkingBlock)
            signed = any(
                isinstance(block, thoughts) and block.origin in (None, "messages") and _proof(block)
                for block in turn.blocks
            )
            calls = calls or any(isinstance(block, ToolUseBlock) for block in turn.blocks)
            if signed:
                return False
        elif not any(isinstance(block, ToolResultBlock) for block in turn.blocks):
            break
    return calls


def _proof(block: ThinkingBlock | RedactedThinkingBlock) -> str | None:
    return block.data if isinstance(block, RedactedThinkingBlock) else block.signature
