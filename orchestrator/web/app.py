"""The application: every route, behind the edge."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from orchestrator.web.auth import DOOR, Door
from orchestrator.web.limits import failures_limited, tell_allowance
from orchestrator.web.metrics import HttpMetrics
from orchestrator.web.middleware import edge, tell_request_id


def make_app(
    routes: Sequence[web.RouteDef], door: Door, *, max_body_bytes: int, metrics: HttpMetrics
) -> web.Application:
    middlewares = [edge(metrics), failures_limited(door.limits)]
    app = web.Application(client_max_size=max_body_bytes, middlewares=middlewares)
    app[DOOR] = door
    app.on_response_prepare.extend((tell_request_id, tell_allowance))
    app.on_cleanup.append(door.limits.close)
    app.add_routes(routes)
    return app
