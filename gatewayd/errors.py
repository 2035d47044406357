"""Every exception of the package, and what each one means to a client and to the plan.

    GatewaydError
    ├── ConfigurationError            a helper function was given something it cannot use
    ├── ConfigInvalid                 a configuration has problems; carries all of them
    └── GatewayError                  one request failed: status, type, code, verdict
        ├── RequestError              the caller's fault (4xx); FATAL
        │   ├── InvalidJson               400 invalid_json
        │   ├── InvalidRequest            400 invalid_request_error | the code given
        │   ├── InvalidApiKey             401 invalid_api_key
        │   ├── Forbidden                 403 forbidden
        │   ├── UnknownModel              404 model_not_found
        │   │   └── UnservedModel         404 model_not_served
        │   ├── UnknownRoute              404 unknown_url
        │   ├── MethodNotAllowed          405 method_not_allowed
        │   ├── RequestTimeout            408 request_timeout
        │   ├── BodyTooLarge              413 request_too_large
        │   ├── UnsupportedMediaType      415 unsupported_media_type
        │   └── UpgradeRefused            426 upgrade_refused
        ├── UpstreamError             a deployment failed
        │   ├── UpstreamConnection        502 upstream_connection_error; RETRY
        │   ├── UpstreamTls               502 upstream_tls_error; ELSEWHERE
        │   ├── UpstreamTimeout           504 upstream_timeout; RETRY
        │   ├── UpstreamAuth              502 upstream_auth_error; ELSEWHERE
        │   ├── UpstreamRedirect          502 upstream_redirect; ELSEWHERE
        │   ├── UpstreamBadResponse       502 upstream_bad_response; RETRY
        │   ├── UpstreamIncomplete        502 upstream_incomplete; RETRY
        │   └── UpstreamStatus            the upstream's own 4xx/5xx, verdict by table
        ├── LoopDetected              508 loop_detected; FATAL
        ├── NoDeploymentAvailable     429 all_deployments_cooling_down (503 when no cooldown has an end)
        ├── ServerBusy                503 server_busy
        ├── ShuttingDown              503 server_shutting_down
        └── InternalError             500 internal_error

Foreign exceptions (OSError, litellm's, aiohttp's) are translated where they enter and never travel further. The closed
list of codes is `gatewayd.error_codes.CODES`; docs/errors.md is checked against it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gatewayd.error_codes import CODES as CODES
from gatewayd.verdicts import BY_STATUS
from gatewayd.verdicts import FallbackKind as FallbackKind
from gatewayd.verdicts import Verdict as Verdict

if TYPE_CHECKING:
    from gatewayd.config.problems import Problem


class GatewaydError(Exception):
    """Root of everything gatewayd raises on purpose."""


class ConfigurationError(GatewaydError, ValueError):
    """A helper function was given something it cannot use.

    Attributes: `config_key` (str, dotted), `invalid_value` (never a secret), `valid_options` (list of str or None),
    `suggestion` (str or None: what to do about it).
    """

    def __init__(
        self,
        message: str,
        *,
        config_key: str | None = None,
        invalid_value: Any = None,
        valid_options: Sequence[str] | None = None,
        suggestion: str | None = None,
    ) -> None:
        super().__init__(message if suggestion is None else f"{message}\n  hint: {suggestion}")
        self.config_key = config_key
        self.invalid_value = invalid_value
        self.valid_options = None if valid_options is None else list(valid_options)
        self.suggestion = suggestion


class ConfigInvalid(GatewaydError):
    """A configuration was refused. `problems` holds every finding, warnings included."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(p.as_text() for p in self.problems))

    def __reduce__(self) -> tuple[type[ConfigInvalid], tuple[tuple[Problem, ...]]]:
        """It is made of its problems, not of its text: pools of processes send exceptions by pickle."""
        return type(self), (self.problems,)


_SUBJECTS = ("No connection to the upstream: ", "The upstream's ", "The upstream ")
"""How messages about a deployment begin. Where its name is there already they are left out."""
_MAX_DETAIL = 200


class GatewayError(GatewaydError):
    """One request failed. Class attributes are the defaults; `error.code` comes from the closed list `CODES`.

    `message` goes to the client as it is: no upstream URL, no key, no prompt in it.
    """

    status: int = 500
    type: str = "server_error"
    code: str = "internal_error"
    verdict: Verdict = Verdict.FATAL
    fallback: FallbackKind = FallbackKind.GENERAL
    blames_deployment: bool = False
    """Whether the failure counts against the deployment's health."""

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after = retry_after
        """Seconds until a new request makes sense, if that is known."""
        if code is not None:
            self.code = code
        self.told = False
        """Whether the client has seen the error already, as an event of the upstream's own in a stream."""
        self.tried: tuple[str, ...] = ()
        """Deployment ids tried for the request that ended with this error, in order."""

    @property
    def reason(self) -> str:
        """Why, in a few words for lists of failed tries: `connection refused`. Nothing that an upstream wrote."""
        text = self.message.rstrip(".")
        for subject in _SUBJECTS:
            text = text.removeprefix(subject)
        return text[:1].lower() + text[1:] if text[1:2].islower() else text

    @property
    def detail(self) -> str:
        """`reason` for the operator: with the upstream's own words, shortened, and the timeout that struck."""
        return self.reason

    @property
    def body(self) -> bytes | None:
        """A ready error body to pass through unchanged (an upstream's own OpenAI-shaped error), else None."""
        return None


# --- the caller's fault -------------------------------------------------------------------------------------------


class RequestError(GatewayError):
    status = 400
    type = "invalid_request_error"
    code = "invalid_request"


class InvalidJson(RequestError):
    code = "invalid_json"


class InvalidRequest(RequestError):
    code = "invalid_request"


class InvalidApiKey(RequestError):
    status = 401
    type = "authentication_error"
    code = "invalid_api_key"


class Forbidden(RequestError):
    status = 403
    type = "permission_error"
    code = "forbidden"


class UnknownModel(RequestError):
    status = 404
    code = "model_not_found"


class UnservedModel(UnknownModel):
    """The model exists, but no endpoint serves what it does."""

    code = "model_not_served"


class UnknownRoute(RequestError):
    status = 404
    code = "unknown_url"


class MethodNotAllowed(RequestError):
    """`allow` names the methods that the path does have."""

    status = 405
    code = "method_not_allowed"

    def __init__(self, message: str, *, allow: Sequence[str]) -> None:
        super().__init__(message)
        self.allow = tuple(allow)


class RequestTimeout(RequestError):
    status = 408
    code = "request_timeout"


class BodyTooLarge(RequestError):
    status = 413
    code = "request_too_large"


class UnsupportedMediaType(RequestError):
    status = 415
    code = "unsupported_media_type"


class UpgradeRefused(RequestError):
    """The client asked for WebSocket where there is none. Clients such as Codex then use HTTP at once."""

    status = 426
    code = "upgrade_refused"


# --- a deployment's fault -----------------------------------------------------------------------------------------


class UpstreamError(GatewayError):
    status = 502
    type = "upstream_error"
    code = "upstream_error"
    verdict = Verdict.RETRY
    blames_deployment = True


class UpstreamConnection(UpstreamError):
    """`refused`: nothing listens at the address."""

    code = "upstream_connection_error"

    def __init__(self, message: str, *, refused: bool = False) -> None:
        super().__init__(message)
        self.refused = refused


class UpstreamTls(UpstreamError):
    code = "upstream_tls_error"
    verdict = Verdict.ELSEWHERE


class UpstreamTimeout(UpstreamError):
    """`kind` names the timeout that struck: connect, first_byte, idle or total."""

    status = 504
    code = "upstream_timeout"

    def __init__(self, message: str, *, kind: str) -> None:
        super().__init__(message, code="upstream_idle_timeout" if kind == "idle" else None)
        self.kind = kind
        self.seconds: float | None = None
        """How long that is, where it is known."""

    @property
    def detail(self) -> str:
        timeout = f"{self.kind} timeout"
        return f"{self.reason} ({timeout if self.seconds is None else f'{timeout}: {self.seconds:g} s'})"


class UpstreamAuth(UpstreamError):
    code = "upstream_auth_error"
    verdict = Verdict.ELSEWHERE


class UpstreamRedirect(UpstreamError):
    code = "upstream_redirect"
    verdict = Verdict.ELSEWHERE


class UpstreamBadResponse(UpstreamError):
    code = "upstream_bad_response"


class UpstreamIncomplete(UpstreamError):
    code = "upstream_incomplete"


class UpstreamStatus(UpstreamError):
    """The upstream answered with an error status of its own; its body is passed through when it has OpenAI's shape.

    The verdict is read from `verdicts.BY_STATUS`; 400s that say "context window" or "content policy" ask for those
    fallback lists instead.
    """

    code = "upstream_error"

    def __init__(
        self,
        message: str,
        *,
        status: int,
        body: bytes | None = None,
        code: str | None = None,
        type: str | None = None,
        param: str | None = None,
        fallback: FallbackKind = FallbackKind.GENERAL,
        retry_after: float | None = None,
        answered: str = "",
    ) -> None:
        """`answered`: how the upstream put it, if not with this status."""
        if code is None and status == 429:
            code = "upstream_rate_limited"
        super().__init__(message, param=param, code=code, retry_after=retry_after)
        self.status = status
        self.answered = answered or str(status)
        self.type = type or ("invalid_request_error" if 400 <= status < 500 and status != 429 else "upstream_error")
        self._body = body
        self.fallback = fallback
        default = BY_STATUS[500 if status >= 500 else 400]
        self.verdict, self.blames_deployment = BY_STATUS.get(status, default)
        if code == LoopDetected.code:
            self.verdict, self.blames_deployment = Verdict.FATAL, False  # another try goes the same round
        if fallback is not FallbackKind.GENERAL:
            self.verdict, self.blames_deployment = Verdict.NEXT_GROUP, False

    @property
    def reason(self) -> str:
        return f"answered {self.answered}"

    @property
    def detail(self) -> str:
        told = " ".join(self.message.removeprefix("The upstream ").removeprefix(self.reason).strip(":. ").split())
        told = told if len(told) <= _MAX_DETAIL else f"{told[:_MAX_DETAIL]}..."
        return f"{self.reason}: {told}" if told else self.reason

    @property
    def body(self) -> bytes | None:
        return self._body

    def forget_body(self) -> None:
        """For an upstream's error in another API's form than the client's."""
        self._body = None


# --- the gateway's own state --------------------------------------------------------------------------------------


class NoDeploymentAvailable(GatewayError):
    """Every deployment that could answer is cooling down."""

    status = 429
    type = "upstream_error"
    code = "all_deployments_cooling_down"


class LoopDetected(GatewayError):
    """The request has come back to the gateway that sent it."""

    status = 508
    code = "loop_detected"


class ServerBusy(GatewayError):
    status = 503
    code = "server_busy"


class ShuttingDown(GatewayError):
    status = 503
    code = "server_shutting_down"


class InternalError(GatewayError):
    """A bug of ours; the request id leads to the traceback in the log."""
