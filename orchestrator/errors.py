"""All errors that are shown to callers, in one tree.

    ServiceError                       status  type
    ├── InvalidRequest                 400     invalid_request
    │   └── ContentBlocked             400     invalid_request
    ├── NotAuthenticated               401     authentication_error
    ├── InsufficientBalance            402     insufficient_balance
    ├── Forbidden                      403     permission_error
    ├── NotFound                       404     not_found
    ├── MethodNotAllowed               405     method_not_allowed
    ├── Conflict                       409     conflict
    ├── Gone                           410     expired
    ├── RequestTimeout                 408     request_timeout
    ├── UnsupportedMediaType           415     unsupported_media_type
    ├── RateLimited                    429     rate_limit_exceeded
    ├── GenerationFailed               500     generation_failed
    └── ServiceUnavailable             503     service_unavailable

Inner layers raise these errors; only the web layer turns them into response bodies, in a dialect's format.
`code` is a machine-readable code (`missing_prompt`), `param` the name of the invalid request field.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

#: Header with the id of the job that a response is about.
JOB_ID_HEADER = "X-PixelFactory-Job"


class ServiceError(Exception):
    """Base of all errors that are shown to a caller."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    default_code: ClassVar[str] = "internal_error"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after: int | None = None,
        details: dict[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.param = param
        #: Seconds after which a retry may succeed (the `Retry-After` header).
        self.retry_after = retry_after
        #: Further fields for the error body, for example the current balance.
        self.details = details or {}
        #: Further headers of the response.
        self.headers = headers or {}


class InvalidRequest(ServiceError):
    status = 400
    type = "invalid_request"
    default_code = "invalid_value"


class ContentBlocked(InvalidRequest):
    """The request violates the content policy; some dialects have an error of their own for it."""

    default_code = "content_policy_violation"


class NotAuthenticated(ServiceError):
    status = 401
    type = "authentication_error"
    default_code = "invalid_api_key"


class InsufficientBalance(ServiceError):
    status = 402
    type = "insufficient_balance"
    default_code = "insufficient_balance"


class Forbidden(ServiceError):
    status = 403
    type = "permission_error"
    default_code = "forbidden"


class NotFound(ServiceError):
    status = 404
    type = "not_found"
    default_code = "not_found"


class MethodNotAllowed(ServiceError):
    status = 405
    type = "method_not_allowed"
    default_code = "method_not_allowed"


class Conflict(ServiceError):
    status = 409
    type = "conflict"
    default_code = "conflict"


class Gone(ServiceError):
    """The resource existed and has been deleted."""

    status = 410
    type = "expired"
    default_code = "expired"


class RequestTimeout(ServiceError):
    """The request did not arrive in time."""

    status = 408
    type = "request_timeout"
    default_code = "request_timeout"


class UnsupportedMediaType(ServiceError):
    """The body is sent in a form that the service does not read."""

    status = 415
    type = "unsupported_media_type"
    default_code = "unsupported_media_type"


class RateLimited(ServiceError):
    status = 429
    type = "rate_limit_exceeded"
    default_code = "rate_limit_exceeded"


class GenerationFailed(ServiceError):
    status = 500
    type = "generation_failed"
    default_code = "generation_failed"


class ServiceUnavailable(ServiceError):
    status = 503
    type = "service_unavailable"
    default_code = "service_unavailable"


def invalid_field(name: str, reason: str) -> InvalidRequest:
    """Return the error for a request field whose value is not allowed: "`name` reason", `invalid_NAME`."""
    return InvalidRequest(f"`{name}` {reason}", code=f"invalid_{name}", param=name)


def missing_field(name: str) -> InvalidRequest:
    """Return the error for a required request field that was not given (`missing_NAME`)."""
    return InvalidRequest(f"`{name}` is required", code=f"missing_{name}", param=name)
