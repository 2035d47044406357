"""`model_list` and `credential_list`: the deployments, in litellm's format.

Every key of `litellm_params` that gatewayd uses is a field here. As in litellm, all other keys are completion
parameters and are sent upstream.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from gatewayd.config.schema.base import Count, Flag, Number, Seconds, Section, Share, key, numeral, truth
from gatewayd.secret import Secret


def _secret(value: object) -> object:
    return Secret(value) if isinstance(value, str) else value


def _identifier(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _stripped_slash(value: str) -> str:
    return value.rstrip("/")


SecretText = Annotated[Secret, BeforeValidator(_secret), WithJsonSchema({"type": "string"})]
Identifier = Annotated[
    str, BeforeValidator(_identifier), WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "integer"}]})
]
Url = Annotated[str, AfterValidator(_stripped_slash)]
Headers = Mapping[str, SecretText]
Verify = Annotated[bool | Annotated[str, Field(min_length=1)], BeforeValidator(truth)]
Whole = Annotated[int, BeforeValidator(numeral)]


class LitellmParams(Section):
    """A deployment's address, credentials, limits, and additions to its requests.

    Keys that are not listed are completion parameters: gatewayd sends them if the request does not. If a deployment of
    Ollama sets one of Ollama's own options (`num_ctx`, `keep_alive`, `num_predict`, `options`, ...), gatewayd calls
    Ollama's own API, through litellm, because Ollama's OpenAI API ignores these options. On other deployments a request
    with such an option gets a 400.
    """

    OPEN: ClassVar[bool] = True

    # --- where
    model: str = key(..., "`provider/name`, or only the name if litellm knows its provider.", min_length=1)
    custom_llm_provider: str | None = key(None, "The provider, if `model` does not start with it.", min_length=1)
    api_base: Url | None = key(None, "Base URL. Default: the provider's own.", min_length=1)
    base_url: Url | None = key(None, "The same as `api_base`, which takes precedence.", min_length=1)
    api_version: str | None = key(None, "Azure's `api-version`.", min_length=1)
    organization: str | None = key(None, "OpenAI organization, sent as a header.", min_length=1)
    litellm_credential_name: str | None = key(
        None, "Entry of `credential_list` that supplies the keys missing here.", min_length=1
    )

    # --- signing in
    api_key: SecretText | None = key(
        None,
        "The provider's key. Default: the provider's environment variable, at the provider's own address only.",
        why="a key from the environment never goes to a custom `api_base`",
        secret=True,
    )

    ssl_verify: Verify | None = key(
        None,
        "`false`: do not check the upstream's certificate (with a warning). A path: trust only the authorities in this "
        "PEM file; a relative path starts at the configuration's folder. Default: `litellm_settings.ssl_verify`, else "
        "the authorities that the system trusts.",
    )

    # --- how much, and when
    rpm: Count | None = key(
        None,
        "Share of the group's requests, if no deployment of the group has `weight`. It does not limit requests: this "
        "version has no limits for a deployment.",
    )
    tpm: Count | None = key(
        None,
        "The same, if no deployment of the group has `weight` or `rpm`. It does not limit tokens.",
    )
    weight: Share | None = key(
        None,
        "Share of the group's requests, relative to other deployments. Default: by `rpm`, else `tpm`, else equal "
        "shares. A deployment without the key that decides gets no requests while another one can serve them.",
    )
    order: Whole | None = key(
        None,
        "Lower values are tried first; deployments without it come last. Every order level is tried at least once "
        "before the group fails, even beyond `num_retries`.",
    )
    timeout: Seconds | None = key(
        None, "Seconds for one whole attempt. Default: `router_settings.timeout`, else `gatewayd.timeouts.total`."
    )
    request_timeout: Seconds | None = key(None, "The same as `timeout`, which takes precedence.")
    stream_timeout: Seconds | None = key(None, "The same for streams, up to the first event. Default: `timeout`.")
    num_retries: Count | None = key(None, "Retries in the group. Default: `router_settings.num_retries`.")
    max_retries: Count | None = key(
        None,
        "Used as `num_retries` if that is not set.",
        approximated="litellm passes it to the provider's SDK; gatewayd has only one retry loop",
    )
    cooldown_time: Seconds | None = key(
        None, "Seconds of cooldown after failures. Default: `router_settings.cooldown_time`."
    )

    # --- what to send
    drop_params: Flag | None = key(
        None,
        "Leave out parameters that the provider does not accept for this model. For forwarded requests the table "
        "`gatewayd/config/parameters.toml` decides, and the response header `x-gatewayd-dropped` lists them. For "
        "translated requests litellm decides. Default: `litellm_settings.drop_params`.",
        approximated="litellm also drops parameters that its price table does not list for the model, such as `tools`; "
        "gatewayd keeps them",
    )
    additional_drop_params: list[str] | None = key(None, "Names of parameters never sent to this deployment.")
    allowed_openai_params: list[str] | None = key(None, "Names of parameters that `drop_params` keeps.")
    base_model: str | None = key(
        None, "The model of an Azure deployment whose name does not show it, such as `azure/gpt-5`.", min_length=1
    )
    extra_body: dict[str, Any] | None = key(None, "Fields merged into every request body; they override the caller's.")
    extra_headers: Headers | None = key(None, "Headers added to every upstream request.", secret=True)
    headers: Headers | None = key(None, "The same as `extra_headers`, which takes precedence.", secret=True)

    # --- completion parameters, sent when the caller does not send them
    temperature: Number | None = key(None, "Default of the parameter.")
    top_p: Number | None = key(None, "Default of the parameter.")
    max_tokens: Whole | None = key(None, "Default of the parameter.", ge=1)
    max_completion_tokens: Whole | None = key(None, "Default of the parameter.", ge=1)
    presence_penalty: Number | None = key(None, "Default of the parameter.")
    frequency_penalty: Number | None = key(None, "Default of the parameter.")
    seed: Whole | None = key(None, "Default of the parameter.")
    n: Whole | None = key(None, "Default of the parameter.", ge=1)
    stop: str | list[str] | None = key(None, "Default of the parameter.")
    dimensions: Whole | None = key(None, "Default of the parameter, for embeddings.", ge=1)
    reasoning_effort: str | dict[str, Any] | None = key(
        None, "Default of the parameter. Of litellm's form `{effort: low, summary: auto}` the effort is sent."
    )
    response_format: dict[str, Any] | None = key(None, "Default of the parameter.")
    thinking: dict[str, Any] | None = key(None, "Default of the parameter (Anthropic).")

    # --- answers without a provider
    mock_response: Any = key(
        None,
        "Answer without a provider: a text, one of litellm's error names (`litellm.RateLimitError`, ...), a vector, "
        "or the mapping described under *mock_response*.",
    )
    mock_delay: Seconds | None = key(None, "Seconds before a mock answers.")
    mock_timeout: Flag | None = key(None, "The mock never answers, so the request times out.")
    mock_tool_calls: list[dict[str, Any]] | None = key(None, "Tool calls in a mock's answer, in OpenAI's form.")

    TRANSLATED: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "Azure sign-in without a key": (
            "azure_ad_token", "tenant_id", "client_id", "client_secret", "azure_username", "azure_password",
            "azure_scope",
        ),
        "Google Vertex AI": ("vertex_project", "vertex_location", "vertex_credentials"),
        "AWS Bedrock and SageMaker": (
            "aws_access_key_id", "aws_secret_access_key", "aws_session_token", "aws_region_name", "aws_session_name",
            "aws_profile_name", "aws_role_name", "aws_web_identity_token", "aws_sts_endpoint", "aws_external_id",
            "aws_bedrock_runtime_endpoint",
        ),
        "IBM watsonx": ("watsonx_region_name",),
        "the provider's region": ("region_name",),
        "how litellm shapes the request": (
            "merge_reasoning_content_in_choices", "cache_control_injection_points", "use_chat_completions_api",
        ),
        "how litellm writes the conversation": (
            "supports_system_message", "ensure_alternating_roles", "user_continue_message",
            "assistant_continue_message", "roles", "initial_prompt_value", "final_prompt_value", "bos_token",
            "eos_token", "hf_model_name",
        ),
    }  # fmt: skip
    """Handed to litellm as they are, in deployments that litellm translates."""

    IGNORED: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "costs are not counted in this version": (
            "input_cost_per_token", "output_cost_per_token", "input_cost_per_second", "output_cost_per_second",
            "input_cost_per_character", "output_cost_per_character", "cache_read_input_token_cost",
            "cache_creation_input_token_cost", "tiered_pricing", "cost_per_second", "cost_per_query",
            "search_context_cost_per_query", "google_maps_grounding_cost_per_query", "output_vector_size",
        ),
        "budgets are not enforced in this version": ("max_budget", "budget_duration"),
        "gatewayd limits the number of requests in flight only for the whole gateway": ("max_parallel_requests",),
        "client keys and their limits do not exist in this version": (
            "default_api_key_tpm_limit", "default_api_key_rpm_limit",
        ),
        "gatewayd uses only `rpm` and `tpm` as shares": ("itpm", "otpm"),
        "tag routing does not exist in this version": ("tags", "tag_regex"),
        "clients cannot choose addresses or keys": ("configurable_clientside_auth_params",),
        "no such endpoint in this version": (
            "use_in_pass_through", "max_file_size_mb", "s3_bucket_name", "s3_region_name", "s3_access_key_id",
            "s3_secret_access_key", "s3_endpoint_url", "s3_encryption_key_id", "s3_output_bucket_name",
            "s3_bucket_owner", "aws_batch_role_arn", "bucket_name", "gcs_bucket_name", "index_name", "embedding_model",
        ),
        "service tiers share one timeout": ("timeout_by_service_tier", "stream_timeout_by_service_tier"),
        "use `gatewayd.stream.keep_alive`": ("keepalive_seconds", "allow_client_keepalive_override"),
        "shadow traffic does not exist in this version": ("silent_model",),
        "sticky routing does not exist in this version": ("provider_affinity_header",),
        "there are no users in this version": ("fireworks_forward_user_id", "litellm_trace_id"),
        "gatewayd calls the provider directly": ("use_litellm_proxy", "use_xai_oauth"),
        "model_info belongs beside litellm_params": ("model_info",),
        "the caller decides whether the answer is streamed": ("stream",),
        "it belongs in model_info, beside litellm_params": ("id",),
        "it belongs in router_settings": (
            "fallbacks", "retry_policy", "retry_strategy", "routing_strategy", "enable_tag_filtering",
            "caching_groups", "max_fallbacks", "context_window_fallback_dict", "model_alias_map",
        ),
        "litellm uses it for its own logs; to send it to the provider, set it under extra_body": (
            "metadata", "litellm_metadata",
        ),
        "callbacks are not called in this version": (
            "turn_off_message_logging", "litellm_disabled_callbacks", "gcs_path_service_account", "logger_fn", "no-log",
            "litellm_session_id", "litellm_request_debug", "log_client_error_tracebacks", "verbose",
        ),
        "answers are not cached in this version": (
            "cache", "caching", "ttl", "preset_cache_key", "cache_key", "enable_prompt_caching",
        ),
        "prompts are not managed in this version": (
            "prompt_id", "prompt_variables", "prompt_version", "prompt_environment", "prompt_label",
            "litellm_system_prompt", "custom_prompt_dict",
        ),
        "litellm uses it internally, and gatewayd does not": (
            "allowed_model_region", "data_residency", "fastest_response", "force_timeout", "search_tool_name",
            "provider_specific_header", "max_agentic_loops", "complete_response", "stream_chunk_size",
            "stream_response", "enable_json_schema_validation", "disable_add_transform_inline_image_block",
        ),
        "automatic routers do not exist in this version": (
            "auto_router_config_path", "auto_router_config", "auto_router_default_model",
            "auto_router_embedding_model", "complexity_router_config", "complexity_router_default_model",
            "adaptive_router_config", "adaptive_router_default_model", "quality_router_config",
            "quality_router_default_model",
        ),
    }  # fmt: skip
    FAMILIES: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "costs are not counted in this version": (
            "output_cost_per_", "input_cost_per_", "cache_read_input_", "cache_creation_input_", "ocr_cost_per_",
            "annotation_cost_per_", "citation_cost_per_", "regional_processing_uplift_", "regional_endpoint_uplift_",
        ),
        "callbacks are not called in this version": (
            "langfuse_", "langsmith_", "humanloop_", "arize_", "posthog_", "wandb_", "weave_", "dd_", "newrelic_",
            "signoz_",
        ),
        "automatic routers do not exist in this version": ("auto_router_", "complexity_router_", "quality_router_"),
        "vector stores do not exist in this version": ("milvus_", "valkey_", "vector_store_", "vector_bucket_"),
    }  # fmt: skip
    REFUSED: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "requests would pass unchecked": ("guardrails",),
    }


COMPLETION_PARAMETERS = (
    "temperature", "top_p", "max_tokens", "max_completion_tokens", "presence_penalty", "frequency_penalty", "seed", "n",
    "stop", "dimensions", "reasoning_effort", "response_format", "thinking",
)  # fmt: skip
"""Fields of `LitellmParams` that go upstream when the caller does not send them."""


class ModelInfo(Section):
    """Facts about a deployment. gatewayd keeps and shows keys that are not listed, but does not use them."""

    OPEN: ClassVar[bool] = True

    id: Identifier | None = key(
        None,
        "Name of the deployment in the log, in `gatewayd status` and in headers; unique in the file. Clients can "
        "request it as a model. Default: the group's name; further deployments of the group get `-2`, `-3` and so on.",
        min_length=1,
        max_length=200,
    )
    base_model: str | None = key(None, "The same as `litellm_params.base_model`, which takes precedence.", min_length=1)
    IGNORED: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "teams and access groups do not exist in this version: every caller with the key can call every model": (
            "team_id", "team_public_model_name", "access_groups",
        ),
        "`model_info.cooldown_time` has no effect; it belongs in litellm_params": ("cooldown_time",),
    }  # fmt: skip
    EMPTY_COUNTS: ClassVar[frozenset[str]] = frozenset({"supported_environments"})
    REFUSED: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "the deployment would answer although the file restricts it": (
            "blocked", "access_windows", "supported_environments",
        ),
    }  # fmt: skip


class ModelEntry(Section):
    """One deployment. Entries with the same `model_name` are one model group and share its requests."""

    model_name: str = key(
        ...,
        "The name that clients request. `openai/*` and `*` are patterns; their match replaces the `*` in `model`.",
        min_length=1,
    )
    litellm_params: LitellmParams = key(..., "See *litellm_params*.")
    model_info: ModelInfo = key(ModelInfo(), "See *model_info*.")
    rpm: Count | None = key(None, "The same as `litellm_params.rpm`, which takes precedence.")
    tpm: Count | None = key(None, "The same as `litellm_params.tpm`, which takes precedence.")


class Credential(Section):
    """Values that several deployments share, chosen by `litellm_params.litellm_credential_name`."""

    credential_name: str = key(..., "The name that deployments use.", min_length=1)
    credential_values: dict[str, Any] = key(
        {}, "`api_key`, `api_base` and other keys of litellm_params, for deployments that do not set them.", secret=True
    )
    credential_info: dict[str, Any] = key({}, "Notes; no effect.")
