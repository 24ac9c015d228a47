"""The error middleware (outermost): request ids, exceptions to error responses, access log, HTTP metrics."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Collection, Mapping
from time import perf_counter

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from orchestrator.errors import InvalidRequest, MethodNotAllowed, ServiceError
from orchestrator.logs import log_request_id
from orchestrator.media.errors import ObjectStoreError
from orchestrator.tracing import OpenSpan, is_tracing, parse_traceparent, trace_request
from orchestrator.web.error_response import REQUEST_ID_HEADER, build_error_response
from orchestrator.web.http.errors import MAX_SHOWN_PATH, object_storage_unavailable, unknown_url
from orchestrator.web.metrics import HttpMetrics
from orchestrator.web.openapi.documented_routes import METHODS

log = logging.getLogger(__name__)

#: Documented methods of paths without parameters.
METHODS_BY_PATH: web.AppKey[Mapping[str, Collection[str]]] = web.AppKey("methods_by_path", Mapping)
#: Paths of probes and of Prometheus.
UNLOGGED_PATHS = frozenset({"/healthz", "/readyz", "/metrics"})
#: In logs and metrics, the status of a request whose client has not waited for a response.
CLIENT_CLOSED_REQUEST = 499
REQUEST_ID_KEY = web.RequestKey("request_id", str)
#: The response, once its status line has been sent.
RESPONSE_STARTED_KEY = web.RequestKey("response_started", web.StreamResponse)


def error_middleware(metrics: HttpMetrics) -> Middleware:
    """Return the outermost middleware: it turns every exception into an error response of the dialect."""

    @web.middleware
    async def handle_request(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path in UNLOGGED_PATHS:
            return await respond(request, handler, _note_request_id(request, uuid.uuid4().hex))
        caller = parse_traceparent(request.headers.get("traceparent")) if is_tracing() else None
        with trace_request(f"{request.method} {_route_of(request)}", caller) as found:
            request_id = _note_request_id(request, found.trace_id, is_shared=caller is not None)
            with log_request_id(request_id):
                response = await respond(request, handler, request_id)
            _describe_request(found, request, response.status, request_id)
            return response

    async def respond(request: web.Request, handler: Handler, request_id: str) -> web.StreamResponse:
        started = perf_counter()
        try:
            response = await handler(request)
        except ServiceError as error:
            response = _service_error_response(request, error)
        except ObjectStoreError as error:
            log.error("request %s failed: object storage: %s", request_id, error)
            response = _service_error_response(request, object_storage_unavailable())
        except web.HTTPException as error:
            response = _http_exception_response(request, error)
        except ConnectionError:
            if request.transport is not None and not request.transport.is_closing():
                raise  # aiohttp closes the connection: the client must see that the response was cut off.
            # The client has disconnected: aiohttp finds out when it tries to send the rest.
            begun = request.get(RESPONSE_STARTED_KEY)
            response = web.Response(status=CLIENT_CLOSED_REQUEST) if begun is None else begun
        except Exception as error:
            # Last line of defence: unexpected exceptions become a 500 in the dialect's error format.
            log.exception("request %s failed", request_id)
            response = _unexpected_error_response(request, error)
        seconds = perf_counter() - started
        metrics.observe_request(request, response.status, seconds)
        _log_request(request, response.status, seconds, request_id)
        return response

    return handle_request


def _log_request(request: web.Request, status: int, seconds: float, request_id: str) -> None:
    # Probes and scrapes come every few seconds, and say the same each time.
    level = logging.DEBUG if request.path in UNLOGGED_PATHS else logging.INFO
    text = "%s %s %d %.1f ms %s"
    log.log(level, text, request.method, request.path, status, seconds * 1e3, request_id)


def _note_request_id(request: web.Request, trace_id: str, *, is_shared: bool = False) -> str:
    """Set and return the id of a request. It names the trace, which a caller may have begun for several."""
    own = f"_{uuid.uuid4().hex[:8]}" if is_shared else ""
    request[REQUEST_ID_KEY] = f"req_{trace_id}{own}"
    return request[REQUEST_ID_KEY]


def _route_of(request: web.Request) -> str:
    """Return the pattern of the path, which names no ids."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "unknown"


def _describe_request(found: OpenSpan, request: web.Request, status: int, request_id: str) -> None:
    """Set the attributes of a request by OpenTelemetry's conventions."""
    found.attributes |= {
        "http.request.method": request.method,
        "http.route": _route_of(request),
        "http.response.status_code": status,
        "url.path": request.path[:MAX_SHOWN_PATH],
        "pixelfactory.request.id": request_id,
    }
    if status >= 500:
        found.error = str(status)


async def set_request_id_header(request: web.Request, response: web.StreamResponse) -> None:
    """Set `X-Request-Id` on every response, streams included (an `on_response_prepare` handler)."""
    request[RESPONSE_STARTED_KEY] = response
    if REQUEST_ID_KEY in request:
        response.headers[REQUEST_ID_HEADER] = request[REQUEST_ID_KEY]


def _service_error_response(request: web.Request, error: ServiceError) -> web.StreamResponse:
    """Return an error in the dialect's format.

    If the response has started, its connection is closed: another response must not follow on it, and the
    client sees that this one was cut off.
    """
    if RESPONSE_STARTED_KEY not in request:
        return build_error_response(request.path, error)
    log.warning("request %s failed while its response was sent: %s", request[REQUEST_ID_KEY], error)
    if request.transport is not None:
        request.transport.abort()
    return request[RESPONSE_STARTED_KEY]


def _unexpected_error_response(request: web.Request, error: Exception) -> web.Response:
    """Return a 500. Raises `error` again if the response has started, because its status is sent already."""
    if RESPONSE_STARTED_KEY in request:
        raise error
    return build_error_response(
        request.path, ServiceError("Internal server error; the request id identifies it")
    )


def _http_exception_response(request: web.Request, error: web.HTTPException) -> web.StreamResponse:
    """Convert an HTTP error of aiohttp's router to an error of the dialect; redirects stay as they are."""
    if error.status < 400:
        return error
    return build_error_response(request.path, _to_service_error(request, error))


def _to_service_error(request: web.Request, error: web.HTTPException) -> ServiceError:
    if isinstance(error, web.HTTPNotFound):
        return unknown_url(request)
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(_allowed_methods(request, error)))
        return MethodNotAllowed(
            f"Method {request.method} is not allowed for {request.path[:MAX_SHOWN_PATH]}; use {allowed}",
            headers={"Allow": allowed},
        )
    return InvalidRequest(error.reason)


def _allowed_methods(request: web.Request, error: web.HTTPMethodNotAllowed) -> set[str]:
    """Return the documented methods of a path: of its own operations, or of those whose pattern it matches.

    The router also names the methods of `/v1/videos/{id}` for `/v1/videos/edits`.
    """
    own = request.app[METHODS_BY_PATH].get(request.path)
    return set(own or error.allowed_methods & set(METHODS))
