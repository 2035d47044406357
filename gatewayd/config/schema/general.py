"""`general_settings`: litellm's settings of its server."""

from __future__ import annotations

from typing import Annotated

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
        "Model group for chat, text completion, responses and messages requests without a `model`.",
        approximated="litellm also overrides the request's `model`",
        min_length=1,
    )
    embedding_model: str | None = key(
        None,
        "The same for embeddings.",
        approximated="litellm also overrides the request's `model`",
        min_length=1,
    )
    image_generation_model: str | None = key(
        None,
        "The same for generated images.",
        approximated="litellm also overrides the request's `model`",
        min_length=1,
    )
    moderation_model: str | None = key(
        None,
        "The same for moderations, whose requests usually name no model.",
        approximated="litellm also overrides the request's `model`",
        min_length=1,
    )
    max_request_size_mb: Megabytes | None = key(None, "The same as `gatewayd.limits.body_mb`, which takes precedence.")
    cancel_on_disconnect: Flag | None = key(
        None,
        "Cancel the upstream request when the client disconnects.",
        approximated="gatewayd always does, whatever the value",
        exact=(True,),
    )
