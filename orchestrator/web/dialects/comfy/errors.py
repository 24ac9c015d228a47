"""Errors in the formats of Comfy's clients."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from orchestrator.errors import (
    Conflict,
    ContentBlocked,
    Forbidden,
    GenerationFailed,
    Gone,
    InsufficientBalance,
    InvalidRequest,
    MethodNotAllowed,
    NotAuthenticated,
    NotFound,
    RateLimited,
    ServiceError,
    ServiceUnavailable,
)
from orchestrator.own_graphs.rejections import GraphRejected
from orchestrator.web.http.response_model import ResponseModel


class ComfyError(ResponseModel):
    """The error of API v2."""

    code: str = Field(description="Machine-readable code.")
    message: str = Field(description="What is wrong, what is allowed, and the way out.")
    details: dict[str, Any] | None = Field(None, description="Such as `node_errors` and `missing_ids`.")


class ComfyErrorResponse(ResponseModel):
    """An error of API v2."""

    error: ComfyError = Field(description="The error.")


class ComfyUiError(ResponseModel):
    """The error of ComfyUI's own API."""

    type: str = Field(description="ComfyUI's error type.")
    message: str = Field(description="What is wrong, what is allowed, and the way out.")
    details: str = Field("", description="Where.")
    extra_info: dict[str, Any] = Field(default_factory=dict, description="Further fields.")


class ComfyUiErrorResponse(ResponseModel):
    """An error of ComfyUI's own API."""

    error: ComfyUiError = Field(description="The error.")
    node_errors: dict[str, Any] = Field(description="Errors by node.")


class RouterErrorResponse(ResponseModel):
    """An error of Comfy Router."""

    detail: str = Field(description="What is wrong, what is allowed, and the way out.")
    error_type: str = Field(description="Machine-readable code.")


#: Codes of ours for which Comfy's clients have names of their own.
_V2_CODES = {
    "invalid_api_key": "unauthorized",
    "missing_api_key": "unauthorized",
    "insufficient_scope": "forbidden",
    "model_not_allowed": "forbidden",
    "insufficient_balance": "insufficient_credits",
    "key_spend_cap": "insufficient_credits",
    "rate_limit_exceeded": "rate_limited",
    "too_many_waiting": "queue_full",
    "busy": "queue_full",
    "body_too_large": "payload_too_large",
    "expired": "job_not_found",
}
#: Errors of a graph or a submission, which API v2 reports as 422.
_UNPROCESSABLE = frozenset({"idempotency_key_reuse", "metadata_invalid"})


def to_v2_error_response(error: ServiceError) -> tuple[int, ComfyErrorResponse]:
    """Return the status and the body of an error of API v2."""
    code, status, details = _V2_CODES.get(error.code, error.code), error.status, dict(error.details) or None
    if isinstance(error, GraphRejected):
        status, details = 422, {**error.details, "error_type": error.error_type}
    elif isinstance(error, ContentBlocked) or code in _UNPROCESSABLE:
        status = 422
    elif isinstance(error, Gone):
        status = 404
    elif code == "payload_too_large":
        status = 413
    elif code == "queue_full":
        status = 429
    elif code.startswith(("missing_", "invalid_")) and code not in (
        "invalid_metadata_filter",
        "invalid_cursor",
    ):
        code = "invalid_request" if error.status == 400 else code
    return status, ComfyErrorResponse(error=ComfyError(code=code, message=error.message, details=details))


def to_comfyui_error_response(error: ServiceError) -> tuple[int, ComfyUiErrorResponse]:
    """Return the status and the body of an error of ComfyUI's own API."""
    kind, node_errors, status = error.code, {}, error.status
    if isinstance(error, GraphRejected):
        kind, node_errors = error.error_type, error.node_errors
    elif isinstance(error, Gone):
        status = 404
    first = error.problems[0] if isinstance(error, GraphRejected) and error.problems else None
    info = dict(first.further) if first else {}
    return status, ComfyUiErrorResponse(
        error=ComfyUiError(
            type=kind,
            message=error.message,
            details=f"Node ID '#{first.node}'" if first else "",
            extra_info=info,
        ),
        node_errors=node_errors,
    )


#: Error types of Router by the code of a run that has not succeeded; all others are `provider_error`.
_FAILED_TYPES = {
    "content_policy_violation": "content_policy_violation",
    "expired": "queue_timeout",
    "cancelled": "cancelled",
}
#: Error types of Router by the class of the error, the first that fits.
_ROUTER_TYPES: tuple[tuple[type[ServiceError], str], ...] = (
    (ContentBlocked, "content_policy_violation"),
    (InsufficientBalance, "insufficient_credits"),
    (NotAuthenticated, "unauthorized"),
    (Forbidden, "forbidden"),
    (RateLimited, "rate_limited"),
    (ServiceUnavailable, "service_unavailable"),
    (Gone, "request_not_found"),
    (Conflict, "invalid_input"),
    (InvalidRequest, "invalid_input"),
    (MethodNotAllowed, "invalid_input"),
)


def to_router_error_response(error: ServiceError) -> tuple[int, RouterErrorResponse]:
    """Return the status and the body of an error of Router."""
    kind = next((name for class_, name in _ROUTER_TYPES if isinstance(error, class_)), "internal_error")
    status = error.status
    if isinstance(error, GenerationFailed):
        kind = failed_type(error.code)
    elif error.code in ("model_not_found", "unsupported_model"):
        kind, status = "model_not_found", 404
    elif isinstance(error, NotFound):
        kind = "request_not_found" if error.code == "job_not_found" else "invalid_input"
    elif kind == "invalid_input" and status == 400:
        status = 422
    elif isinstance(error, Gone):
        status = 404
    return status, RouterErrorResponse(detail=error.message, error_type=kind)


def failed_type(code: str) -> str:
    """Return Router's type of the error of a run that has not succeeded."""
    return _FAILED_TYPES.get(code, "provider_error")
