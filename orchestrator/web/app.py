"""The aiohttp application: routes, middlewares and response headers."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from orchestrator.web.auth import AUTH_CONTEXT, AuthContext
from orchestrator.web.metrics import HttpMetrics
from orchestrator.web.middleware import error_middleware, set_request_id_header
from orchestrator.web.rate_limits import auth_failure_middleware, set_rate_limit_headers


def make_app(
    routes: Sequence[web.RouteDef], auth_context: AuthContext, *, max_body_bytes: int, metrics: HttpMetrics
) -> web.Application:
    """Build the application. The error middleware is the outer one, so it also formats `429` responses."""
    middlewares = [error_middleware(metrics), auth_failure_middleware(auth_context.rate_limiter)]
    app = web.Application(client_max_size=max_body_bytes, middlewares=middlewares)
    app[AUTH_CONTEXT] = auth_context
    app.on_response_prepare.extend((set_request_id_header, set_rate_limit_headers))
    app.on_cleanup.append(auth_context.rate_limiter.close)
    app.add_routes(routes)
    return app
