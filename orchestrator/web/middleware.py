"""The error middleware (outermost): request ids, exceptions to error responses, access log, HTTP metrics."""

from __future__ import annotations

import logging
import uuid
from time import perf_counter

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from orchestrator.errors import (
    InvalidRequest,
    MethodNotAllowed,
    RateLimited,
    ServiceError,
    ServiceUnavailable,
)
from orchestrator.execution.failures import RETRYABLE_FAILURES
from orchestrator.media.errors import ObjectStoreError
from orchestrator.web.dialects.error_responses import to_error_response
from orchestrator.web.http.errors import object_storage_unavailable, unknown_url
from orchestrator.web.metrics import HttpMetrics

log = logging.getLogger(__name__)

REQUEST_ID_HEADER = "X-Request-Id"
SHOULD_RETRY_HEADER = "X-Should-Retry"

#: Statuses after which a repetition may succeed. Others are marked `X-Should-Retry: false`, because OpenAI's
#: SDKs would otherwise also repeat conflicts and failed generations.
RETRYABLE_STATUSES = frozenset({RateLimited.status, ServiceUnavailable.status})
#: `Retry-After` of errors that do not say how long to wait, in seconds.
DEFAULT_RETRY_AFTER_SECONDS = 1

REQUEST_ID_KEY = web.RequestKey("request_id", str)
#: Present once the status line of the response has been sent.
RESPONSE_STARTED_KEY = web.RequestKey("response_started", bool)


def error_middleware(metrics: HttpMetrics) -> Middleware:
    """Return the outermost middleware: it turns every exception into an error response of the dialect."""

    @web.middleware
    async def handle_request(request: web.Request, handler: Handler) -> web.StreamResponse:
        request_id = request[REQUEST_ID_KEY] = f"req_{uuid.uuid4().hex}"
        started = perf_counter()
        try:
            response = await handler(request)
        except ServiceError as error:
            response = build_error_response(request, error)
        except ObjectStoreError as error:
            log.error("request %s failed: object storage: %s", request_id, error)
            response = build_error_response(request, object_storage_unavailable())
        except web.HTTPException as error:
            response = _http_exception_response(request, error)
        except ConnectionError:
            raise  # The client has disconnected; aiohttp handles it.
        except Exception as error:
            # Last line of defence: unexpected exceptions become a 500 in the dialect's error format.
            log.exception("request %s failed", request_id)
            response = _unexpected_error_response(request, error)
        seconds = perf_counter() - started
        metrics.observe_request(request, response.status, seconds)
        log.info(
            "%s %s %d %.1f ms %s", request.method, request.path, response.status, seconds * 1e3, request_id
        )
        return response

    return handle_request


async def set_request_id_header(request: web.Request, response: web.StreamResponse) -> None:
    """Set `X-Request-Id` on every response, streams included (an `on_response_prepare` handler)."""
    request[RESPONSE_STARTED_KEY] = True
    if REQUEST_ID_KEY in request:
        response.headers[REQUEST_ID_HEADER] = request[REQUEST_ID_KEY]


def build_error_response(request: web.Request, error: ServiceError) -> web.Response:
    """Return an error in the format of the dialect that the path belongs to."""
    retryable = error.status in RETRYABLE_STATUSES or error.code in RETRYABLE_FAILURES
    headers = {SHOULD_RETRY_HEADER: "true" if retryable else "false"}
    if error.retry_after is not None or error.status in RETRYABLE_STATUSES:
        headers["Retry-After"] = str(error.retry_after or DEFAULT_RETRY_AFTER_SECONDS)
    status, body = to_error_response(request.path, error)
    return web.json_response(body, status=status, headers=headers)


def _unexpected_error_response(request: web.Request, error: Exception) -> web.Response:
    """Return a 500. Raises `error` again if the response has started, because its status is sent already."""
    if RESPONSE_STARTED_KEY in request:
        raise error
    return build_error_response(request, ServiceError("Internal server error; the request id identifies it"))


def _http_exception_response(request: web.Request, error: web.HTTPException) -> web.StreamResponse:
    """Convert an HTTP error of aiohttp's router to an error of the dialect; redirects stay as they are."""
    if error.status < 400:
        return error
    response = build_error_response(request, _to_service_error(request, error))
    if "Allow" in error.headers:
        response.headers["Allow"] = error.headers["Allow"]
    return response


def _to_service_error(request: web.Request, error: web.HTTPException) -> ServiceError:
    if isinstance(error, web.HTTPNotFound):
        return unknown_url(request)
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        return MethodNotAllowed(f"Method {request.method} is not allowed for {request.path}; use {allowed}")
    return InvalidRequest(error.reason)
