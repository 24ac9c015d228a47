"""The aiohttp application: routes, middlewares and response headers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from aiohttp import web

from orchestrator.web.auth import AUTH_CONTEXT, AuthContext
from orchestrator.web.cors import CorsPolicy, cors_middleware
from orchestrator.web.http.bodies import open_body_threads
from orchestrator.web.jobs.pending_responses import pending_response_middleware
from orchestrator.web.jobs.wait_for_result import SIMULATES_KEY, set_job_headers
from orchestrator.web.metrics import Metrics, ServerMetrics
from orchestrator.web.middleware import METHODS_BY_PATH, error_middleware, set_request_id_header
from orchestrator.web.openapi.documented_routes import methods_by_path
from orchestrator.web.query_parameters import query_parameter_middleware
from orchestrator.web.rate_limits import auth_failure_middleware, set_rate_limit_headers

#: Metrics of the server that runs the application.
SERVER_METRICS = web.AppKey("server_metrics", ServerMetrics)


def make_app(
    routes: Sequence[web.RouteDef],
    auth_context: AuthContext,
    *,
    max_body_bytes: int,
    metrics: Metrics,
    cors: CorsPolicy,
    simulates: Callable[[], bool],
) -> web.Application:
    """Build the application. The error middleware is the outer one, so it also formats `429` responses.

    `simulates` returns whether all instances are simulators.
    """
    middlewares = [error_middleware(metrics.http), cors_middleware(cors)]
    middlewares += [auth_failure_middleware(auth_context.rate_limiter), query_parameter_middleware()]
    middlewares.append(pending_response_middleware)
    app = web.Application(client_max_size=max_body_bytes, middlewares=middlewares)
    app[AUTH_CONTEXT] = auth_context
    app[SIMULATES_KEY] = simulates
    app[SERVER_METRICS] = metrics.server
    app.cleanup_ctx.append(open_body_threads)
    app.on_response_prepare.extend(
        (set_request_id_header, set_rate_limit_headers, set_job_headers, cors.set_headers)
    )
    app.on_cleanup.append(auth_context.rate_limiter.close)
    app.add_routes(routes)
    app[METHODS_BY_PATH] = methods_by_path(app)
    return app
