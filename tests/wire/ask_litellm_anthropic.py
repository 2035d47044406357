"""Run by test_messages_and_litellm.py: what litellm makes of chat requests for Anthropic. JSON in, JSON out."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"


def main() -> None:
    from litellm.llms.anthropic.chat.transformation import AnthropicConfig

    def written(model: str, request: dict[str, Any]) -> Any:
        config = AnthropicConfig()
        messages = request.pop("messages")
        try:
            options = config.map_openai_params(
                non_default_params=request, optional_params={}, model=model, drop_params=True
            )
            return config.transform_request(
                model=model, messages=messages, optional_params=options, litellm_params={}, headers={}
            )
        except Exception as error:
            return type(error).__name__

    cases = json.load(sys.stdin)
    json.dump({name: written(model, request) for name, (model, request) in cases.items()}, sys.stdout)


if __name__ == "__main__":
    main()
