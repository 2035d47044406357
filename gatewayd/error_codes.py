"""The closed list of `error.code`: what clients may rely on, and what docs/errors.md is made from."""

from __future__ import annotations

CODES: dict[str, str] = {
    "invalid_json": "The request body is not one JSON object in UTF-8.",
    "invalid_request": "A field of the request is missing, of the wrong type or not allowed; `param` names it.",
    "duplicate_key": "A field that decides routing stands twice in the body.",
    "param_not_allowed": "The body carries a field that would steer the gateway itself, such as `api_base`.",
    "param_without_effect": "The provider's API would accept a field of the body and ignore it, such as Ollama's "
    "`num_ctx`; with `drop_params` it is left out instead.",
    "invalid_api_key": "No key, or not one this gateway knows.",
    "forbidden": "A web page of another site called, or the caller may not use this door.",
    "model_not_found": "No model group, alias or pattern matches `model`.",
    "unknown_url": "No such path.",
    "method_not_allowed": "The path exists, the method does not; see the `allow` header.",
    "request_timeout": "The client did not send its whole request in time.",
    "request_too_large": "The body is larger than `gatewayd.limits.body_mb`.",
    "unsupported_media_type": "The body's content type or content encoding is not accepted.",
    "upgrade_refused": "The client asked for WebSocket, and this path has none; send the request over HTTP/1.1.",
    "model_not_served": "The model generates images, audio or the like, and gatewayd has no endpoint for that.",
    "endpoint_not_supported": "The deployment's provider has no such endpoint.",
    "upstream_error": "The upstream failed with an error status of its own.",
    "upstream_rate_limited": "The upstream answered 429 and nobody else could take the request.",
    "upstream_connection_error": "No connection to the upstream, or it broke before the answer.",
    "upstream_tls_error": "The upstream's TLS certificate or handshake was refused.",
    "upstream_timeout": "The upstream did not connect, or did not answer, in time.",
    "upstream_idle_timeout": "The upstream fell silent in the middle of an answer.",
    "upstream_auth_error": "The upstream refused the gateway's own key; the client's key is fine.",
    "upstream_redirect": "The upstream answered with a redirect; gatewayd does not follow them.",
    "upstream_bad_response": "The upstream's answer is not what the endpoint promises.",
    "upstream_incomplete": "The upstream's answer ended before its end mark.",
    "context_length_exceeded": "The request does not fit the model's context window.",
    "content_policy_violation": "The upstream's content filter refused the request.",
    "all_deployments_cooling_down": "Every deployment that could answer is cooling down; see `retry-after`.",
    "loop_detected": "The request has come back to the gateway that sent it: a deployment's address leads here again.",
    "server_busy": "The gateway is at one of its limits; see `retry-after`.",
    "server_shutting_down": "The gateway is stopping; connect again.",
    "internal_error": "A fault of gatewayd itself; quote the request id.",
}
"""Every `error.code` gatewayd itself sends, with its meaning. An upstream's own error passes through with its code."""
