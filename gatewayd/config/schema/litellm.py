"""`litellm_settings`: in litellm, attributes of its module; here, the few that matter to a gateway."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from gatewayd.config.schema import callbacks
from gatewayd.config.schema.base import Count, Flag, Seconds, Section, key
from gatewayd.config.schema.deployment import Verify
from gatewayd.config.schema.router import Fallbacks


class LitellmSettings(Section):
    """Settings of litellm's whole module. The same key in `router_settings` takes precedence."""

    drop_params: Flag | None = key(
        None,
        "Leave out parameters that a provider does not accept, instead of failing. Default: false.",
        approximated="see `litellm_params.drop_params`",
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
        None, "Keep prompts out of logs.", approximated="gatewayd never writes prompts, whatever the value"
    )

    IGNORED: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "callbacks are not called in this version; the admin listener serves metrics": (
            "callbacks", "success_callback", "failure_callback", "service_callback", "service_callbacks",
            "input_callback", "audit_log_callbacks", "langfuse_default_tags", "s3_callback_params",
            "datadog_params", "datadog_llm_observability_params", "aws_sqs_callback_params", "otel",
            "prometheus_metrics_config", "prometheus_latency_buckets", "prometheus_initialize_budget_metrics",
            "custom_prometheus_metadata_labels", "custom_prometheus_tags", "disable_streaming_logging",
            "standard_logging_payload_excluded_fields", "log_raw_request_response", "redact_user_api_key_info",
            "generic_logger_headers", "require_auth_for_metrics_endpoint", "global_disable_no_log_param",
        ),
        "answers are not cached in this version": (
            "cache", "cache_params", "caching", "enable_redis_auth_cache", "default_in_memory_ttl",
            "default_redis_ttl", "default_redis_batch_cache_expiry",
            "enable_caching_on_provider_specific_optional_params",
        ),
        "budgets are not enforced in this version": (
            "max_budget", "budget_duration", "max_user_budget", "max_internal_user_budget", "max_end_user_budget",
            "internal_user_budget_duration", "default_soft_budget", "tag_budget_config", "budget_reset_time",
            "timezone",
        ),
        "costs are not counted in this version": (
            "cost_discount_config", "cost_margin_config", "include_cost_in_streaming_usage", "model_cost_map_url",
        ),
        "there are no users, teams or generated keys in this version": (
            "default_internal_user_params", "default_team_settings", "default_team_params",
            "upperbound_key_generate_params", "default_key_generate_params", "key_generation_settings",
            "store_audit_logs", "priority_reservation", "priority_reservation_settings", "model_group_settings",
            "public_model_groups", "mcp_aliases",
        ),
        "gatewayd loads no code; use litellm's own providers or openai/NAME with an api_base": ("custom_provider_map",),
        "gatewayd sets this for each deployment or not at all": (
            "modify_params", "use_litellm_proxy", "model_alias_map", "model_fallbacks",
            "num_retries_per_request", "enable_json_schema_validation", "check_provider_endpoint",
            "disable_hf_tokenizer_download", "disable_token_counter", "suppress_debug_info",
            "return_response_headers", "add_function_to_prompt", "responses", "enable_preview_features",
            "use_chat_completions_url_for_anthropic_messages", "disable_add_prefix_to_prompt",
            "anthropic_sse_ping_interval_seconds",
            "forward_traceparent_to_llm_provider", "add_user_information_to_llm_headers",
        ),
        "gatewayd makes its own connections": (
            "ssl_certificate", "ssl_security_level", "ssl_ecdh_curve", "force_ipv4", "http2",
            "use_aiohttp_transport", "disable_aiohttp_transport", "aiohttp_trust_env", "disable_aiohttp_trust_env",
        ),
        "keys and addresses are set for each deployment": (
            "api_key", "api_base", "openai_key", "azure_key", "anthropic_key", "groq_key", "api_version",
            "organization", "vertex_project", "vertex_location", "headers",
        ),
    }  # fmt: skip
    FAMILIES: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "callbacks are not called in this version; the admin listener serves metrics": (
            "prometheus_", "langfuse_", "langsmith_", "argilla_", "datadog_", "newrelic_", "pointfive_", "zerobus_",
            "s3_", "gcs_pub_sub_", "generic_api_", "log_", "logged_", "logging", "otel_", "request_correlation_",
            "cold_storage_", "disable_end_user_cost_tracking", "enable_end_user_cost_tracking", "custom_prometheus_",
            "redact_messages_", "global_bitbucket_", "global_gitlab_", "expose_router_debug_", "extra_spend_tag_",
        ),
        "there are no users, teams or generated keys in this version": (
            "scim_", "public_", "default_key_", "default_max_", "max_ui_", "max_end_user_", "key_alias_",
            "enable_key_alias_", "validate_end_user_", "overwrite_user_", "budget_", "require_managed_",
        ),
        "MCP servers, agents, skills and vector stores do not exist in this version": (
            "mcp_", "skill_", "agent_", "vector_store_", "websearch_interception_", "code_interpreter_interception_",
        ),
        "gatewayd sets this for each deployment or not at all": (
            "disable_anthropic_", "disable_vertex_", "disable_copilot_", "disable_stop_", "disable_add_", "enable_",
            "bedrock_", "openai_system_", "strip_anthropic_", "anthropic_", "gemini_", "vertex_ai_", "reasoning_",
            "route_all_", "filter_invalid_", "custom_prompt_", "longer_context_", "safe_memory_", "client_session",
            "aclient_session", "network_mock", "proxy_auth", "use_client", "in_memory_llm_", "common_cloud_",
        ),
    }  # fmt: skip
    EMPTY_COUNTS: ClassVar[frozenset[str]] = frozenset(
        {
            "require_auth_for_metrics_endpoint", "expose_router_debug_in_errors",
            "bedrock_neutralize_orphaned_tool_blocks", "user_url_validation", "public_mcp_hub_strict_whitelist",
            "use_aiohttp_transport", "scim_upsert_user", "llm_guard_mode", "model_cost_map_url",
            "anthropic_beta_headers_url", "anthropic_prompt_caching_ttl", "longer_context_model_fallback_dict",
            "vector_store_search_failure_mode", "prometheus_deployment_and_latency_caller_identity",
            "common_cloud_provider_auth_params",
        }
    )  # fmt: skip
    REFUSED_IN_PART: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "requests would pass unchecked: entries that check or rewrite requests (`presidio`, `hide_secrets`, "
        "`detect_prompt_injection` and others), and any `module.object`": callbacks.LISTS,
    }
    REFUSED: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "requests would pass unchecked": (
            "guardrails", "pre_call_rules", "post_call_rules", "blocked_user_list", "banned_keywords_list",
            "llamaguard_unsafe_content_categories", "llm_guard_mode", "google_moderation_confidence_threshold",
            "presidio_ad_hoc_recognizers", "prompt_injection_params", "block_requests_for_models_without_pricing",
            "output_parse_pii", "azure_content_safety_params", "guardrail_name_config_map", "presidio_logging_only",
            "user_url_validation", "user_url_allowed_hosts", "provider_url_destination_allowed_hosts",
        ),
    }  # fmt: skip
