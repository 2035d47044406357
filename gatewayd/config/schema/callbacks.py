"""litellm's callbacks that check or rewrite requests, and so must not be ignored.

The names are litellm's (1.106.2): `proxy/common_utils/callback_utils.py` and the guardrails of `types/guardrails.py`; a
test compares them with the installed litellm.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

LISTS = (
    "callbacks", "success_callback", "failure_callback", "service_callback", "service_callbacks", "input_callback",
)  # fmt: skip
"""Keys of `litellm_settings` that hold callbacks."""

GUARDS = frozenset(
    {
        # names that litellm knows as callbacks
        "presidio", "llamaguard_moderations", "hide_secrets", "openai_moderations", "lakera_prompt_injection",
        "aporia_prompt_injection", "google_text_moderation", "llmguard_moderations", "blocked_user_check",
        "banned_keywords", "detect_prompt_injection", "azure_content_safety",
        # its guardrails, which can be listed there too
        "agent_365", "aim", "akto", "alice", "aporia", "azure/prompt_shield", "azure/text_moderations", "bedrock",
        "block_code_execution", "cato_networks", "cisco_ai_defense", "compresr", "conduct", "crowdstrike_aidr",
        "custom_code", "decision_model", "deepkeep", "dynamoai", "enkryptai", "generic_guardrail_api", "grayswan",
        "guardrails_ai", "headroom", "hiddenlayer", "ibm_guardrails", "javelin", "lakera", "lakera_v2", "lasso",
        "litellm_content_filter", "llm_as_a_judge", "llm_shield_proxy", "mcp_end_user_permission", "mcp_jwt_signer",
        "mcp_security", "microsoft_purview", "model_armor", "noma", "noma_v2", "onyx", "openai_moderation", "ovalix",
        "pangea", "panw_prisma_airs", "pillar", "prompt_security", "promptguard", "qostodian_nexus", "qualifire",
        "repelloai", "semantic_guard", "singulr", "straiker", "tool_permission", "typesafe", "vigil_guard", "xecguard",
        "zscaler_ai_guard",
    }
)  # fmt: skip
_CODE = re.compile(r"[\w.]*\w\.\w[\w.]*|(s3|gcs)://.*|os\.environ/.*")
"""`module.object`, or where litellm loads such a module from, or a reference to either."""


def guards(value: Any) -> Iterator[tuple[int | None, str]]:
    """The entries of a value of one of `LISTS` that may guard requests: (index, or None if it is not a list; words)."""
    entries = list(enumerate(value)) if isinstance(value, list) else [(None, value)]
    for index, entry in entries:
        if not isinstance(entry, str):
            continue
        if entry.strip().lower().replace("-", "_") in GUARDS:
            yield index, "checks or rewrites requests"
        elif _CODE.fullmatch(entry.strip()):
            yield index, "is code that may check or rewrite requests"
