"""The closed list of `error.code`: clients may rely on it, and docs/errors.md is made from it."""

from __future__ import annotations

CODES: dict[str, str] = {
    "invalid_json": "The request body is not one JSON object in UTF-8.",
    "invalid_request": "A field of the request is missing, of the wrong type or not allowed; `param` names it.",
    "duplicate_key": "The body has a field twice that decides routing.",
    "param_not_allowed": "The body has a field that would control the gateway itself, such as `api_base`.",
    "param_without_effect": "The provider's API would ignore a field of the body, such as Ollama's `num_ctx`; with "
    "`drop_params` gatewayd leaves it out instead.",
    "response_not_found": "There is no response with this id for this key.",
    "previous_response_not_found": "The request goes on with a response that there is not, or no longer, for this key.",
    "invalid_api_key": "No key, or not a key of this gateway.",
    "forbidden": "The call came from a web page of another site, or the caller may not use this listener.",
    "model_not_found": "No model group, alias or pattern matches `model`.",
    "unknown_url": "No such path.",
    "method_not_allowed": "The path exists, but not with this method; see the `allow` header.",
    "request_timeout": "The client did not send its whole request in time.",
    "request_too_large": "The body is larger than `gatewayd.limits.body_mb`.",
    "unsupported_media_type": "The body's content type or content encoding is not accepted.",
    "upgrade_refused": "The client requested WebSocket, which this path does not have; send the request over HTTP/1.1.",
    "model_not_served": "gatewayd has no endpoint for this kind of model: videos, documents and others.",
    "endpoint_not_supported": "The deployment's provider has no such endpoint.",
    "upstream_error": "The upstream answered with an error status.",
    "upstream_rate_limited": "The upstream answered 429, and no other deployment could answer.",
    "upstream_connection_error": "No connection to the upstream, or it broke before the answer.",
    "upstream_tls_error": "The TLS handshake with the upstream failed, for example because of its certificate.",
    "upstream_timeout": "The upstream did not connect, or did not answer, in time.",
    "upstream_idle_timeout": "The upstream stopped sending in the middle of an answer.",
    "upstream_auth_error": "The upstream rejected the gateway's own key; the client's key is valid.",
    "upstream_redirect": "The upstream answered with a redirect; gatewayd does not follow them.",
    "upstream_bad_response": "The upstream's answer is not valid for the endpoint.",
    "upstream_incomplete": "The upstream's answer ended before its end mark.",
    "context_length_exceeded": "The request does not fit the model's context window.",
    "content_policy_violation": "The upstream's content filter refused the request.",
    "all_deployments_cooling_down": "Every deployment that could answer is cooling down; see `retry-after`.",
    "loop_detected": "The request came back to the gateway that sent it: a deployment's address leads to this gateway.",
    "server_busy": "The gateway is at one of its limits; see `retry-after`.",
    "server_shutting_down": "The gateway is stopping; connect again.",
    "internal_error": "A bug in gatewayd; report it with the request id.",
}
"""Every `error.code` gatewayd itself sends, with its meaning. An upstream's own error passes through with its code."""
