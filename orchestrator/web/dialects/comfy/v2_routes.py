"""Comfy API v2: jobs and their events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing, suppress

from aiohttp import web

from orchestrator.errors import ServiceError, invalid_field
from orchestrator.jobs import JobRecord
from orchestrator.jobs.events import JobChanged, ShardPreview, ShardProgress
from orchestrator.store import Page
from orchestrator.web.auth import AUTH_CONTEXT, get_stream_access
from orchestrator.web.dialects.comfy.bodies import ComfyUiBody
from orchestrator.web.dialects.comfy.graph_jobs import LABELS_PARAM, authenticate_graphs, sent_graph
from orchestrator.web.dialects.comfy.v2_requests import parse_filters, parse_submission
from orchestrator.web.dialects.comfy.v2_schemas import V2Job, V2JobList, V2SubmitBody, V2Workflow
from orchestrator.web.dialects.comfy.v2_views import STATUS_NAMES, V2Views, to_progress
from orchestrator.web.http.bodies import read_json
from orchestrator.web.http.event_stream import EventStream, open_event_stream
from orchestrator.web.http.response_model import json_response, to_json_dict
from orchestrator.web.http.stream_access import StreamAccess, end_on_revocation
from orchestrator.web.jobs.first_looks import FirstLooks
from orchestrator.web.jobs.job_events import encode_preview
from orchestrator.web.jobs.job_updates import JobUpdate, QueuePosition
from orchestrator.web.jobs.wait_for_result import job_headers, note_job
from orchestrator.web.openapi.operation import ParameterSpec, openapi_operation

#: How long the first look at a new job is held, unless it finishes: clients pause half a second after it.
FIRST_LOOK_SECONDS = 2.0
#: Pages that a filter by labels reads at most for one page of its own.
_MAX_PAGES = 20
_TAG = "comfy"
_STATUS_FILTERS = sorted({*STATUS_NAMES.values(), "canceling", "expired"})
_LIST_QUERY = {
    "limit": ParameterSpec({"type": "integer", "minimum": 1, "maximum": 100}, "Most jobs of a page; 50."),
    "cursor": ParameterSpec({"type": "string"}, "`next_cursor` of the page before."),
    "status": ParameterSpec({"type": "string"}, f"Statuses, with commas: {', '.join(_STATUS_FILTERS)}."),
    "metadata": ParameterSpec(
        {"type": "object", "additionalProperties": {"type": "string"}}, "Labels, as `metadata[NAME]=VALUE`."
    ),
}


class V2JobRoutes:
    """Submit, follow, list and cancel jobs of callers' own graphs."""

    def __init__(self, views: V2Views) -> None:
        self._views = views
        self._jobs = views.jobs
        self._first_looks = FirstLooks(views.jobs.service, FIRST_LOOK_SECONDS)

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/api/v2/jobs", self.submit),
            web.get("/api/v2/jobs", self.list_jobs),
            web.get("/api/v2/jobs/{id}", self.get_job),
            web.get("/api/v2/jobs/{id}/events", self.stream_events),
            web.post("/api/v2/jobs/{id}/cancel", self.cancel_job),
            web.get("/api/v2/jobs/{id}/workflow", self.get_workflow),
        ]

    @openapi_operation(body=V2SubmitBody, response=V2Job, status=201, creates_job=True, tag=_TAG)
    async def submit(self, request: web.Request) -> web.Response:
        """Run a graph of your own.

        Needs a key with the scope `graphs`. The graph runs under the policy of the service and is charged by
        measured GPU seconds; the price of the longest run is held until then. An `Idempotency-Key` is for one
        job: using it again is an error (422 `idempotency_key_reuse`).
        """
        key = await authenticate_graphs(request)
        submission = parse_submission(request, await read_json(request))
        record = note_job(request, await self._jobs.submit(key, submission))
        self._first_looks.expect(record.job.id)
        return json_response(self._views.job(record, request), status=201, headers=job_headers(record))

    @openapi_operation(response=V2Job, tag=_TAG)
    async def get_job(self, request: web.Request) -> web.Response:
        """Get a job of a graph.

        The first request for a new job waits up to two seconds for its end.
        """
        key = await authenticate_graphs(request, is_poll=True)
        job_id = request.match_info["id"]
        record = await self._first_looks.wait(await self._jobs.get(key.account.id, job_id))
        note_job(request, record)
        return json_response(self._views.job(record, request), headers=job_headers(record))

    @openapi_operation(
        query=_LIST_QUERY,
        response=ComfyUiBody,
        response_description="`jobs`, and `next_cursor` unless it is the last page.",
        tag=_TAG,
    )
    async def list_jobs(self, request: web.Request) -> web.Response:
        """List jobs of graphs.

        Newest first, in pages; `metadata[NAME]=VALUE` filters by labels.
        """
        key = await authenticate_graphs(request)
        page = await self._find_page(
            key.account.id, _parse_limit(request), request.query.get("cursor") or None, request
        )
        items = [self._views.list_item(record) for record in page.items]
        return json_response(V2JobList(jobs=items, next_cursor=page.cursor))

    async def _find_page(
        self, account_id: str, limit: int, cursor: str | None, request: web.Request
    ) -> Page[JobRecord]:
        """Return a page of jobs with the wanted labels and statuses; a search ends after some pages."""
        labels, statuses = parse_filters(request), _parse_statuses(request)
        found: list[JobRecord] = []
        for _ in range(_MAX_PAGES):
            page = await self._jobs.list(account_id, limit - len(found), cursor)
            found += [
                record
                for record in page.items
                if STATUS_NAMES[record.job.status] in (statuses or STATUS_NAMES.values())
                and labels.items() <= (record.job.params.get(LABELS_PARAM) or {}).items()
            ]
            cursor = page.cursor
            if cursor is None or len(found) >= limit:
                break
        return Page(items=found, cursor=cursor)

    @openapi_operation(response=V2Job, tag=_TAG)
    async def cancel_job(self, request: web.Request) -> web.Response:
        """Cancel a job of a graph.

        Nothing is charged. A finished job is returned unchanged.
        """
        key = await authenticate_graphs(request)
        record = await self._jobs.get(key.account.id, request.match_info["id"])
        record = note_job(request, await self._jobs.service.cancel_job(record.job.id))
        return json_response(self._views.job(record, request))

    @openapi_operation(response=V2Workflow, tag=_TAG)
    async def get_workflow(self, request: web.Request) -> web.Response:
        """Get the graph of a job."""
        key = await authenticate_graphs(request)
        record = note_job(request, await self._jobs.get(key.account.id, request.match_info["id"]))
        return json_response(V2Workflow(workflow=sent_graph(record.job), format="api"))

    @openapi_operation(
        response_description="`status`, `progress`, `preview`, `output`; the last event is a final `status`.",
        content_types=("text/event-stream",),
        tag=_TAG,
    )
    async def stream_events(self, request: web.Request) -> web.StreamResponse:
        """Stream the events of a job of a graph."""
        key = await authenticate_graphs(request)
        account_id, job_id = key.account.id, request.match_info["id"]
        note_job(request, await self._jobs.get(account_id, job_id))
        self._first_looks.forget(job_id)
        access, open_streams = get_stream_access(request), request.app[AUTH_CONTEXT].open_streams
        async with (
            open_streams.count(account_id),
            open_event_stream(request, {}) as (response, stream),
            aclosing(self._views.updates.stream(account_id, job_id)) as updates,
        ):
            # The key was revoked, or the service stops: the client asks again.
            with suppress(ServiceError):
                await self._send_all(stream, request, updates, access)
        return response

    async def _send_all(
        self,
        stream: EventStream,
        request: web.Request,
        updates: AsyncIterator[JobUpdate],
        access: StreamAccess,
    ) -> None:
        record: JobRecord | None = None
        async with end_on_revocation(access):
            async for update in updates:
                record = await self._send(stream, request, update, record)

    async def _send(
        self, stream: EventStream, request: web.Request, update: JobUpdate, record: JobRecord | None
    ) -> JobRecord | None:
        """Send an update as events; return the job as it is known then."""
        match update:
            case JobChanged(record=changed):
                for output in self._views.outputs(changed, request):
                    await stream.send("output", to_json_dict(output))
                await stream.send(
                    "status", {"status": STATUS_NAMES[changed.job.status], "queue_position": None}
                )
                return changed
            case QueuePosition(position=int(position)):
                await stream.send("status", {"status": "queued", "queue_position": position})
            case ShardProgress() if record is not None:
                await stream.send("progress", to_json_dict(to_progress(record, update)))
            case ShardPreview(node_id=node, content_type=content_type, data=data):
                preview = {"node_id": node, "content_type": content_type, "data_base64": encode_preview(data)}
                await stream.send("preview", preview)
        return record


def _parse_limit(request: web.Request) -> int:
    text = request.query.get("limit")
    if text is None:
        return 50
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= 100):
        raise invalid_field("limit", f"must be an integer from 1 to 100 (got {text[:40]!r})")
    return int(text)


def _parse_statuses(request: web.Request) -> frozenset[str]:
    text = request.query.get("status")
    names = frozenset(text.split(",")) if text else frozenset[str]()
    if unknown := sorted(names.difference(_STATUS_FILTERS)):
        raise invalid_field("status", f"{unknown[0][:40]!r} is none of {', '.join(_STATUS_FILTERS)}")
    return names
