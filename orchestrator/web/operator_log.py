"""Records what operators and authors change: who, what and when, for `/admin/v1/events`.

Every route of a recorded group that changes something is recorded once it has succeeded. Its path names the
action: `POST /admin/v1/instances/gpu-0/drain` is `instances.drain` of `gpu-0`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import wraps
from typing import Any, Protocol, cast

from aiohttp import web
from aiohttp.typedefs import Handler

from orchestrator.errors import ServiceError
from orchestrator.store import ApiKey
from orchestrator.store.operator_events import OperatorEvent
from orchestrator.web.auth import AUTHENTICATED, OPERATOR_HEADER
from orchestrator.web.http.request_model import REQUEST_MODEL

log = logging.getLogger(__name__)

#: Fields of requests that are recorded. Others may hold secrets, prompts or graphs.
RECORDED_FIELDS = (
    "account",
    "action",
    "base_version",
    "credit_usd",
    "daily_cap_usd",
    "expires_at",
    "instance",
    "models",
    "monthly_cap_usd",
    "name",
    "note",
    "plan",
    "publish",
    "reference",
    "replace",
    "scopes",
    "test_run",
    "usd",
    "version",
    "why",
)
#: Verbs of requests whose path names none.
_VERBS = {"POST": "create", "PUT": "change", "PATCH": "change", "DELETE": "delete"}
_PREFIXES = ("/dashboard/api/admin/v1/", "/admin/v1/", "/dashboard/api/", "/api/v1/")
MAX_ACTOR = 100


class RouteGroup(Protocol):
    """A part of the API."""

    def routes(self) -> list[web.RouteDef]: ...


class EventStore(Protocol):
    """The part of the store that keeps the events."""

    async def add_operator_event(self, event: OperatorEvent) -> None: ...


@dataclass(frozen=True, slots=True)
class OperatorLog:
    """Writes events."""

    store: EventStore
    clock: Callable[[], datetime]

    async def record(self, actor: str, action: str, subject: str, detail: Mapping[str, Any]) -> None:
        """Append an event. What has been done is not undone if the store cannot keep it now."""
        event = OperatorEvent(
            at=self.clock(), actor=actor[:MAX_ACTOR], action=action, subject=subject, detail=detail
        )
        try:
            await self.store.add_operator_event(event)
        except ServiceError as error:
            log.error("%s has done %s of %r, which could not be recorded: %s", actor, action, subject, error)


class RecordedRoutes:
    """The routes of groups, each of which is recorded if it changes something."""

    def __init__(self, groups: Sequence[RouteGroup], events: OperatorLog) -> None:
        self._groups = groups
        self._events = events

    def routes(self) -> list[web.RouteDef]:
        return [
            web.route(route.method, route.path, self._record(route))
            for group in self._groups
            for route in group.routes()
        ]

    def _record(self, route: web.RouteDef) -> Handler:
        handler = cast(Callable[[web.Request], Awaitable[web.StreamResponse]], route.handler)
        if route.method not in _VERBS:
            return handler
        action = action_of(route.method, route.path)

        @wraps(handler)
        async def handle_and_record(request: web.Request) -> web.StreamResponse:
            response = await handler(request)
            body = request.get(REQUEST_MODEL)
            detail = {} if body is None else recorded_fields(body.model_dump(mode="json", exclude_unset=True))
            if response.status < 400 and not getattr(body, "dry_run", False):
                subject = next(iter(request.match_info.values()), "") or _created_id(response)
                await self._events.record(actor_of(request), action, subject, detail)
            return response

        return handle_and_record


def action_of(method: str, path: str) -> str:
    """Return the action that a route stands for, as `NOUN.VERB`."""
    for prefix in _PREFIXES:
        if path.startswith(prefix):
            path = path.removeprefix(prefix)
            break
    noun, *rest = path.split("/")
    words = [word for word in rest if not word.startswith("{")]
    return f"{noun}.{words[-1].replace('-', '_') if words else _VERBS[method]}"


def actor_of(request: web.Request) -> str:
    """Return who has sent an authenticated request."""
    authenticated = request.get(AUTHENTICATED)
    if authenticated is not None:
        return describe_key(authenticated[0])
    name = request.headers.get(OPERATOR_HEADER, "").strip()
    return f"operator ({name})" if name else "operator"


def describe_key(key: ApiKey) -> str:
    """Return how a key is named in the log."""
    return f"key {key.name} ({key.id})"


def recorded_fields(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a request that may be recorded, without those that are not given."""
    return {name: body[name] for name in RECORDED_FIELDS if body.get(name) not in (None, "", [], False)}


def _created_id(response: web.StreamResponse) -> str:
    """Return the id of what a response says was created."""
    if not isinstance(response, web.Response) or response.content_type != "application/json":
        return ""
    body = json.loads(response.text or "{}")
    return str(body.get("id", "")) if isinstance(body, dict) else ""
