"""The response to an error, in the format of the dialect that a path belongs to."""

from __future__ import annotations

from aiohttp import web

from orchestrator.errors import RateLimited, RequestTimeout, ServiceError, ServiceUnavailable
from orchestrator.jobs import REPEATABLE_FAILURES
from orchestrator.web.dialects.error_responses import to_error_response

REQUEST_ID_HEADER = "X-Request-Id"
SHOULD_RETRY_HEADER = "X-Should-Retry"

#: Statuses after which a repetition may succeed. Others are marked `X-Should-Retry: false`, because OpenAI's
#: SDKs would otherwise also repeat conflicts and generations that fail each time.
RETRYABLE_STATUSES = frozenset({RequestTimeout.status, RateLimited.status, ServiceUnavailable.status})
#: The same by code: failed generations that the document says to repeat, and unexpected errors.
RETRYABLE_CODES = REPEATABLE_FAILURES | {ServiceError.default_code}
#: `Retry-After` of errors that do not say how long to wait, in seconds.
DEFAULT_RETRY_AFTER_SECONDS = 1


def build_error_response(path: str, error: ServiceError) -> web.Response:
    """Return an error in the format of the dialect that `path` belongs to."""
    retryable = error.status in RETRYABLE_STATUSES or error.code in RETRYABLE_CODES
    headers = {SHOULD_RETRY_HEADER: "true" if retryable else "false", **error.headers}
    if error.retry_after is not None or error.status in RETRYABLE_STATUSES:
        headers["Retry-After"] = str(error.retry_after or DEFAULT_RETRY_AFTER_SECONDS)
    status, body = to_error_response(path, error)
    return web.json_response(body, status=status, headers=headers)
