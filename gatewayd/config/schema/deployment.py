"""`model_list` and `credential_list`: the deployments, in litellm's format.

Every key of `litellm_params` that gatewayd uses is a field here. As in litellm, all other keys are completion
parameters and are sent upstream.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

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
Api = Literal["chat", "responses", "messages", "gemini"]
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
        exact=(False,),
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
    apis: list[Api] | None = key(
        None,
        "The APIs that the deployment's server has: `chat` (OpenAI's Chat Completions, Completions and Embeddings), "
        "`responses` (OpenAI's Responses), `messages` (Anthropic's Messages) and `gemini` (Google's Gemini API). "
        "Requests in these APIs are forwarded as they are. Default: those that the provider documents, at its own "
        "address; only the first of them for a provider's name with another `api_base`, and only `responses` for "
        "models that have no other API.",
        min_length=1,
    )
    base_model: str | None = key(None, "The same as `litellm_params.base_model`, which takes precedence.", min_length=1)


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
