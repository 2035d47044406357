"""`litellm_settings`: in litellm, attributes of its module; here, the few that matter to a gateway."""

from __future__ import annotations

from typing import Any

from gatewayd.config.schema.base import Count, Flag, Seconds, Section, key
from gatewayd.config.schema.deployment import Verify
from gatewayd.config.schema.router import Fallbacks


class LitellmSettings(Section):
    """Settings of litellm's whole module. The same key in `router_settings` takes precedence."""

    drop_params: Flag | None = key(
        None,
        "Leave out parameters that a provider does not accept, instead of failing. Default: false.",
        approximated="see `litellm_params.drop_params`",
        exact=(False,),
    )
    request_timeout: Seconds | None = key(
        None,
        "Seconds for one attempt, if `router_settings.timeout` is not set. Default: `gatewayd.timeouts.total`.",
        why="with litellm's 6000 s a hanging request would take 100 minutes",
    )
    num_retries: Count | None = key(None, "As in router_settings.")
    allowed_fails: Count | None = key(None, "As in router_settings.")
    max_fallbacks: Count | None = key(None, "As in router_settings.")
    fallbacks: Fallbacks | None = key(None, "As in router_settings.")
    context_window_fallbacks: Fallbacks | None = key(None, "As in router_settings.")
    content_policy_fallbacks: Fallbacks | None = key(None, "As in router_settings.")
    default_fallbacks: list[str] | None = key(None, "As in router_settings.")
    sse_keepalive_ping_interval_seconds: Seconds | None = key(
        None,
        "The same as `gatewayd.stream.keep_alive`, which takes precedence; 0 is off.",
        approximated="litellm sends comments before the first event too; gatewayd sends them only after it, when the "
        "answer's status is decided",
    )
    ssl_verify: Verify | None = key(None, "The default of `litellm_params.ssl_verify`.")
    set_verbose: Flag | None = key(None, "`true`: the same as `gatewayd.log.level: debug`, which takes precedence.")
    json_logs: Flag | None = key(None, "`true`: the same as `gatewayd.log.format: json`, which takes precedence.")
    turn_off_message_logging: Any = key(
        None,
        "Keep prompts out of logs.",
        approximated="gatewayd never writes prompts, whatever the value",
        exact=(True,),
    )
