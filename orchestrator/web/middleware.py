"""The outermost layer: request ids, exceptions into error bodies, the access log."""

from __future__ import annotations

import logging
import uuid
from time import perf_counter

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from orchestrator.errors import (
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    RateLimited,
    ServiceError,
    ServiceUnavailable,
)
from orchestrator.execution.failures import RETRYABLE_FAILURES
from orchestrator.media.errors import ObjectStoreError
from orchestrator.web.dialects import to_error_response
from orchestrator.web.metrics import HttpMetrics

log = logging.getLogger(__name__)

REQUEST_ID_HEADER = "X-Request-Id"
SHOULD_RETRY_HEADER = "X-Should-Retry"

#: What may go well a little later; OpenAI's SDKs would by themselves repeat conflicts and broken models too.
RETRYABLE_STATUSES = frozenset({RateLimited.status, ServiceUnavailable.status})
#: Seconds to wait where nobody knows better.
DEFAULT_RETRY_AFTER_SECONDS = 1

#: The request's id, and whether the head of its answer is on the way.
REQUEST_ID_KEY = web.RequestKey("id", str)
RESPONSE_STARTED_KEY = web.RequestKey("begun", bool)

#: HTTP errors of the framework, in our words.
FRAMEWORK_ERRORS: dict[int, ServiceError] = {
    404: NotFound("There is nothing at this address", code="unknown_url"),
    405: MethodNotAllowed("This address does not take this method"),
}


def error_middleware(metrics: HttpMetrics) -> Middleware:
    """The one middleware of the application."""

    @web.middleware
    async def handle_request(request: web.Request, handler: Handler) -> web.StreamResponse:
        request_id = request[REQUEST_ID_KEY] = f"req_{uuid.uuid4().hex}"
        begun = perf_counter()
        try:
            response = await handler(request)
        except ServiceError as error:
            response = build_error_response(request, error)
        except ObjectStoreError as error:
            log.error("request %s: %s", request_id, error)
            away = ServiceUnavailable("The object store is away", code="store_unavailable", retry_after=5)
            response = build_error_response(request, away)
        except web.HTTPException as error:
            response = _http_exception_response(request, error)
        except ConnectionError:
            raise  # the caller is gone: aiohttp knows what to do
        except Exception as error:
            # The last line of defence: whatever went wrong, the caller gets a proper error.
            log.exception("request %s failed", request_id)
            response = _unexpected_error_response(request, error)
        seconds = perf_counter() - begun
        metrics.observe_request(request, response.status, seconds)
        log.info(
            "%s %s %d %.1f ms %s", request.method, request.path, response.status, seconds * 1e3, request_id
        )
        return response

    return handle_request


async def set_request_id_header(request: web.Request, response: web.StreamResponse) -> None:
    """Puts the id on every answer, streams included (`on_response_prepare`)."""
    request[RESPONSE_STARTED_KEY] = True
    if REQUEST_ID_KEY in request:
        response.headers[REQUEST_ID_HEADER] = request[REQUEST_ID_KEY]


def build_error_response(request: web.Request, error: ServiceError) -> web.Response:
    """The error in the words of the dialect that the path belongs to."""
    again = error.status in RETRYABLE_STATUSES or error.code in RETRYABLE_FAILURES
    headers = {SHOULD_RETRY_HEADER: "true" if again else "false"}
    if error.retry_after is not None or error.status in RETRYABLE_STATUSES:
        headers["Retry-After"] = str(error.retry_after or DEFAULT_RETRY_AFTER_SECONDS)
    status, body = to_error_response(request.path, error)
    return web.json_response(body, status=status, headers=headers)


def _unexpected_error_response(request: web.Request, error: Exception) -> web.Response:
    """Raises the error again where an answer has begun, in which nothing more can be said."""
    if RESPONSE_STARTED_KEY in request:
        raise error
    return build_error_response(request, ServiceError("The service met an unexpected error"))


def _http_exception_response(request: web.Request, error: web.HTTPException) -> web.StreamResponse:
    if error.status < 400:
        return error
    known = FRAMEWORK_ERRORS.get(error.status, InvalidRequest(error.reason))
    response = build_error_response(request, known)
    if "Allow" in error.headers:
        response.headers["Allow"] = error.headers["Allow"]
    return response
