"""`general_settings`: litellm's settings of its server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field

from gatewayd.config.schema.base import Flag, Section, key, numeral
from gatewayd.config.schema.deployment import SecretText

Megabytes = Annotated[float, BeforeValidator(numeral), Field(gt=0, le=4096, allow_inf_nan=False)]


class GeneralSettings(Section):
    """Settings of the server."""

    master_key: SecretText | None = key(
        None,
        "The key that clients must send. Default: the environment variable `LITELLM_MASTER_KEY`. Without a key every "
        "client that can connect is allowed, so gatewayd then listens only on loopback addresses and unix sockets.",
        secret=True,
    )
    completion_model: str | None = key(
        None,
        "Model group for chat and text completion requests without a `model`.",
        approximated="litellm also overrides the request's `model`",
        min_length=1,
    )
    embedding_model: str | None = key(
        None,
        "The same for embeddings.",
        approximated="litellm also overrides the request's `model`",
        min_length=1,
    )
    max_request_size_mb: Megabytes | None = key(None, "The same as `gatewayd.limits.body_mb`, which takes precedence.")
    cancel_on_disconnect: Flag | None = key(
        None,
        "Cancel the upstream request when the client disconnects.",
        approximated="gatewayd always does, whatever the value",
    )

    IGNORED: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "gatewayd has no database: models and keys live in the file": (
            "database_url", "store_model_in_db", "database_connection_pool_limit", "database_connection_timeout",
            "database_connection_pool_timeout", "database_connect_timeout", "database_socket_timeout",
            "database_max_idle_connection_lifetime", "database_extra_connection_params",
            "database_disable_prepared_statements", "database_type", "database_args", "supported_db_objects",
            "allow_requests_on_db_unavailable", "disable_prisma_schema_update", "proxy_batch_write_at",
            "proxy_config_reload_interval_seconds", "use_redis_transaction_buffer", "coordination_redis",
            "use_shared_health_check", "user_api_key_cache_ttl", "user_api_key_cache_max_size",
        ),
        "spend is not recorded in this version": (
            "disable_spend_logs", "disable_error_logs", "disable_spend_updates", "disable_reset_budget",
            "store_prompts_in_spend_logs", "spend_logs_metadata_fields", "spend_report_frequency",
            "maximum_spend_logs_retention_period", "maximum_spend_logs_retention_interval",
            "maximum_spend_logs_cleanup_cron", "disable_budget_reservation", "track_unmanaged_batch_cost",
        ),
        "there are no users, teams or generated keys in this version": (
            "allow_user_auth", "ui_access_mode", "custom_sso", "custom_key_generate", "custom_key_update",
            "disable_custom_api_keys", "disable_master_key_return", "default_team_disabled",
            "disable_auto_add_proxy_admin_to_teams", "auto_redirect_ui_login_to_sso", "user_header_name",
            "user_header_mappings", "use_team_public_model_name", "litellm_license", "enable_public_model_hub",
            "custom_ui_sso_sign_in_handler", "disable_password_login_when_sso_enabled",
            "disable_env_credential_login", "apply_user_budget_to_team_keys", "allow_client_side_credentials",
        ),
        "no such endpoint in this version": (
            "image_generation_model", "moderation_model", "pass_through_endpoints", "pass_through_request_timeout",
            "max_batch_file_size_mb", "max_file_size_mb", "allowed_file_extensions", "blocked_file_extensions",
            "enable_mcp_registry", "search_tools", "enable_openai_websocket_passthrough",
        ),
        "gatewayd's limits are in gatewayd.limits": (
            "max_parallel_requests", "global_max_parallel_requests", "max_response_size_mb",
            "max_in_flight_requests_per_worker", "max_queued_requests_per_worker",
            "admission_queue_timeout_seconds", "token_rate_limit_type",
        ),
        "gatewayd measures health by the requests that deployments serve": (
            "background_health_checks", "health_check_interval", "health_check_concurrency",
            "health_check_details", "health_check_staleness_threshold", "health_check_ignore_transient_errors",
            "enable_health_check_routing", "health_check_skip_disabled_background_models",
            "background_health_check_model_groups", "model_list_healthy_only",
        ),
        "alerts do not exist in this version; watch the metrics": (
            "alerting", "alerting_threshold", "alert_types", "alert_to_webhook_url", "alerting_args",
            "alert_type_config", "otel", "tracing",
        ),
        "gatewayd sends only the few client headers upstream that the API needs": (
            "forward_client_headers_to_llm_api", "forward_openai_org_id", "forward_llm_provider_auth_headers",
        ),
        "gatewayd reads the key from `authorization`, `x-api-key` and `api-key`": ("litellm_key_header_name",),
        "gatewayd has no configurable routes": ("public_routes", "use_x_forwarded_for", "trusted_proxy_ranges"),
        "the caller decides whether a stream includes usage": ("always_include_stream_usage",),
        "models are listed in model_list": ("infer_model_from_keys",),
        "a non-loopback address without a key is always refused": ("dangerously_permit_weak_or_unset_master_key",),
        "not used by gatewayd": (
            "plugins", "include_call_id_in_error_body", "enable_drain_endpoint", "drain_endpoint_token",
            "expose_fallback_errors_to_caller", "disable_responses_id_security", "control_plane_url",
            "missing_session_id", "enable_claude_code_gateway", "scheduled_job_stagger",
            "disable_retry_on_max_parallel_request_limit_error", "transcribe_media_buckets",
            "hide_default_credentials_hint", "allow_public_health_readiness_details", "disable_model_info_refresh",
            "allow_unmanaged_response_ids", "responses_websocket_session_limit_seconds",
            "disable_bedrock_agent_runtime_passthrough", "passthrough_managed_object_ids",
        ),
        "keys are not bound to models in this version": (
            "enforce_fallback_model_access", "vector_store_deny_by_default", "search_tool_deny_by_default",
        ),
    }  # fmt: skip
    FAMILIES: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "MCP servers do not exist in this version": ("mcp_", "user_mcp_", "require_key_mcp_", "require_end_user_mcp_"),
        "there are no users, teams or generated keys in this version": (
            "password_policy_", "failed_login_", "max_failed_login_", "team_metadata_", "custom_team_",
            "allow_cli_sso_", "disable_key_generate_", "claude_code_gateway_",
        ),
        "spend is not recorded in this version": (
            "maximum_", "spend_", "use_spend_", "proxy_budget_", "fail_closed_", "disable_batch_", "skip_batch_",
            "max_batch_", "max_file_", "proxy_batch_",
        ),
    }  # fmt: skip
    EMPTY_COUNTS: ClassVar[frozenset[str]] = frozenset(
        {
            "allowed_ips", "allowed_routes", "health_check_details", "ui_access_mode", "litellm_key_header_name",
            "maximum_spend_logs_retention_interval", "spend_report_frequency", "token_rate_limit_type",
            "password_policy_check_breached_passwords", "password_policy_require_lowercase",
            "password_policy_require_uppercase", "password_policy_require_numbers",
            "password_policy_require_special_characters", "use_team_public_model_name",
        }
    )  # fmt: skip
    REFUSED: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "requests that the file forbids would be allowed": (
            "custom_auth", "enable_jwt_auth", "litellm_jwtauth", "enforce_rbac", "role_permissions",
            "allowed_ips", "allowed_routes", "admin_only_routes", "service_account_settings", "custom_key_policy",
            "enable_oauth2_auth", "enable_oauth2_proxy_auth", "oauth2_config_mappings",
            "custom_auth_run_common_checks",
        ),
        "requests would pass unchecked": (
            "enforce_user_param", "enforced_params", "reject_clientside_metadata_tags", "user_url_validation",
            "user_url_allowed_hosts", "provider_url_destination_allowed_hosts",
        ),
        "secrets would be missing": (
            "key_management_system", "key_management_settings", "use_google_kms", "use_azure_key_vault",
        ),
    }  # fmt: skip
