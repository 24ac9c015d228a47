"""ComfyUI's own API for callers' graphs: submissions, queue, history. Each account sees only its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any
from uuid import UUID

from aiohttp import web

from orchestrator.catalog.rendering.graph import find_upstream_nodes
from orchestrator.errors import Gone, InvalidRequest, NotFound
from orchestrator.intake.own_graphs import OwnGraphRequest
from orchestrator.jobs import JobRecord, JobStatus
from orchestrator.own_graphs.rejections import GraphRejected
from orchestrator.store.texts import storable_text
from orchestrator.web.dialects.comfy.bodies import ComfyUiBody
from orchestrator.web.dialects.comfy.graph_jobs import (
    CLIENT_PARAM,
    GraphJobs,
    authenticate_graphs,
    parse_max_seconds,
    read_texts,
    sent_graph,
)
from orchestrator.web.dialects.comfy.native_lists import (
    HISTORY_QUERY,
    ROWS_QUERY,
    RowSelection,
    parse_count,
    select_history,
)
from orchestrator.web.dialects.comfy.native_views import (
    history_entry,
    job_row,
    outputs_by_node,
    prompt_id,
    queue_item,
)
from orchestrator.web.dialects.comfy.native_websocket import ClientWebSockets
from orchestrator.web.dialects.ids import job_id_from_uuid
from orchestrator.web.http.bodies import read_json
from orchestrator.web.jobs.wait_for_result import job_headers, note_job
from orchestrator.web.openapi.operation import openapi_operation

DIALECT_NAME = "comfyui"
#: Jobs that one response lists.
MAX_LISTED = 100
_TAG = "comfy"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def both(add: Callable[..., web.RouteDef], path: str, handler: Handler) -> list[web.RouteDef]:
    """Return a route at its own path and below `/api`, as ComfyUI has them."""
    return [add(path, handler), add(f"/api{path}", handler)]


class NativeJobRoutes:
    """Submit graphs, and read queue and history."""

    def __init__(self, jobs: GraphJobs, sockets: ClientWebSockets) -> None:
        self._jobs = jobs
        self._sockets = sockets

    def routes(self) -> list[web.RouteDef]:
        return [
            *both(web.post, "/prompt", self.submit),
            *both(web.get, "/prompt", self.get_queue_size),
            *both(web.get, "/queue", self.get_queue),
            *both(web.post, "/queue", self.change_queue),
            *both(web.post, "/interrupt", self.interrupt),
            *both(web.get, "/history", self.list_history),
            *both(web.get, "/history/{id}", self.get_history),
            *both(web.post, "/history", self.change_history),
            *both(web.post, "/free", self.free),
            web.get("/api/history_v2/{id}", self.get_cloud_history),
            web.get("/api/jobs", self.list_jobs),
            web.get("/api/jobs/{id}", self.get_job),
            web.post("/api/jobs/cancel", self.cancel_jobs),
            web.post("/api/jobs/{id}/cancel", self.cancel_job),
        ]

    @openapi_operation(
        response=ComfyUiBody,
        response_description="`prompt_id`, `number`, `node_errors`.",
        creates_job=True,
        tag=_TAG,
    )
    async def submit(self, request: web.Request) -> web.Response:
        """Run a graph as ComfyUI's clients send it.

        `prompt` is the graph in API format; `client_id` receives messages at `/ws`. `front` and `number` have
        no effect: the queue is shared fairly.
        """
        key = await authenticate_graphs(request)
        fields = await read_json(request)
        if "prompt" not in fields:
            raise GraphRejected("`prompt` is required: the graph in API format", error_type="no_prompt")
        client = fields.get("client_id")
        submission = OwnGraphRequest(
            graph=_restrict(fields["prompt"], fields.get("partial_execution_targets")),
            origin=DIALECT_NAME,
            max_seconds=parse_max_seconds(request),
            options={CLIENT_PARAM: storable_text(client[:200]) if isinstance(client, str) else None},
        )
        record = await self._jobs.submit(key, submission, _chosen_id(fields.get("prompt_id")))
        note_job(request, record)
        self._sockets.follow(record)
        body = {"prompt_id": prompt_id(record), "number": 0, "node_errors": {}}
        return web.json_response(body, headers=job_headers(record))

    @openapi_operation(response=ComfyUiBody, response_description="`exec_info.queue_remaining`.", tag=_TAG)
    async def get_queue_size(self, request: web.Request) -> web.Response:
        """Get the number of your own unfinished graphs."""
        key = await authenticate_graphs(request, is_poll=True)
        count = len(await self._unfinished(key.account.id))
        return web.json_response({"exec_info": {"queue_remaining": count}})

    @openapi_operation(
        response=ComfyUiBody, response_description="`queue_running` and `queue_pending`.", tag=_TAG
    )
    async def get_queue(self, request: web.Request) -> web.Response:
        """List your own graphs that run or wait."""
        key = await authenticate_graphs(request, is_poll=True)
        records = await self._unfinished(key.account.id)
        rows = [(record.job.status, queue_item(record, place)) for place, record in enumerate(records)]
        running = [row for status, row in rows if status is JobStatus.RUNNING]
        pending = [row for status, row in rows if status is JobStatus.QUEUED]
        return web.json_response({"queue_running": running, "queue_pending": pending})

    @openapi_operation(response_description="Empty.", content_types=(), tag=_TAG)
    async def change_queue(self, request: web.Request) -> web.Response:
        """Cancel waiting graphs of yours: `delete` lists prompt ids, `clear` cancels all that wait."""
        key = await authenticate_graphs(request)
        fields = await read_json(request)
        waiting = await self._unfinished(key.account.id, JobStatus.QUEUED)
        chosen = _texts(fields.get("delete"))
        for record in waiting:
            if fields.get("clear") or prompt_id(record) in chosen:
                await self._jobs.service.cancel_job(record.job.id)
        return web.Response()

    @openapi_operation(response_description="Empty.", content_types=(), tag=_TAG)
    async def interrupt(self, request: web.Request) -> web.Response:
        """Cancel the running graph with this `prompt_id`; without one, your graph that has run longest."""
        key = await authenticate_graphs(request)
        fields = await read_json(request) if request.can_read_body else {}
        running = await self._unfinished(key.account.id, JobStatus.RUNNING)
        chosen = fields.get("prompt_id")
        if chosen is not None:
            running = [record for record in running if prompt_id(record) == chosen]
        for record in running[:1]:
            await self._jobs.service.cancel_job(record.job.id)
        return web.Response()

    @openapi_operation(
        query=HISTORY_QUERY, response=ComfyUiBody, response_description="Entries by prompt id.", tag=_TAG
    )
    async def list_history(self, request: web.Request) -> web.Response:
        """List your finished graphs, newest first."""
        key = await authenticate_graphs(request, is_poll=True)
        if (id := request.query.get("prompt_id")) is not None:
            return await self._respond_history(await self._find_own(key.account.id, id))
        page = await self._jobs.list(key.account.id, MAX_LISTED)
        finished = select_history(request, [record for record in page.items if record.job.is_finished])
        entries = {
            prompt_id(record): history_entry(record, await read_texts(self._jobs, record))
            for record in finished
        }
        return web.json_response(entries)

    @openapi_operation(
        response=ComfyUiBody,
        response_description="The entry by its prompt id; empty while it runs.",
        tag=_TAG,
    )
    async def get_history(self, request: web.Request) -> web.Response:
        """Get a finished graph of yours."""
        return await self._respond_history(await self._find(request))

    async def _respond_history(self, record: JobRecord | None) -> web.Response:
        """Return the entry of a graph by its prompt id; an empty object while it runs."""
        if record is None or not record.job.is_finished:
            return web.json_response({})
        entry = history_entry(record, await read_texts(self._jobs, record))
        return web.json_response({prompt_id(record): entry})

    @openapi_operation(response=ComfyUiBody, response_description="The entry by its prompt id.", tag=_TAG)
    async def get_cloud_history(self, request: web.Request) -> web.Response:
        """Get a finished graph of yours; 404 while it runs."""
        record = await self._find(request)
        if record is None or not record.job.is_finished:
            raise NotFound("The graph is unknown or has not finished", code="job_not_found")
        return web.json_response(
            {prompt_id(record): history_entry(record, await read_texts(self._jobs, record))}
        )

    @openapi_operation(response_description="Empty.", content_types=(), tag=_TAG)
    async def change_history(self, request: web.Request) -> web.Response:
        """Delete finished graphs of yours and their files: `delete` lists prompt ids, `clear` deletes all."""
        key = await authenticate_graphs(request)
        fields = await read_json(request)
        chosen = _texts(fields.get("delete"))
        if fields.get("clear"):
            page = await self._jobs.list(key.account.id, MAX_LISTED)
            chosen |= {prompt_id(record) for record in page.items if record.job.is_finished}
        for id in sorted(chosen)[:MAX_LISTED]:
            record = await self._find_own(key.account.id, id)
            if record is not None and record.job.is_finished:
                await self._jobs.service.remove_job(record.job.id)
        return web.Response()

    @openapi_operation(response_description="Empty.", content_types=(), tag=_TAG)
    async def free(self, request: web.Request) -> web.Response:
        """Receive a request to free memory, without effect: the service decides what stays loaded."""
        await authenticate_graphs(request)
        return web.Response()

    @openapi_operation(
        query=ROWS_QUERY, response=ComfyUiBody, response_description="`jobs` and `pagination`.", tag=_TAG
    )
    async def list_jobs(self, request: web.Request) -> web.Response:
        """List your graphs, newest first."""
        key = await authenticate_graphs(request)
        limit, offset = parse_count(request, "limit", 20), parse_count(request, "offset", 0)
        select = RowSelection.of(request)
        page = await self._jobs.list(key.account.id, MAX_LISTED)
        rows = select(job_row(record) for record in page.items)
        shown, more = rows[offset : offset + limit], len(rows) > offset + limit
        pagination = {"offset": offset, "limit": limit, "total": len(rows), "has_more": more}
        return web.json_response({"jobs": shown, "pagination": pagination})

    @openapi_operation(
        response=ComfyUiBody, response_description="The row, with `outputs` and `workflow`.", tag=_TAG
    )
    async def get_job(self, request: web.Request) -> web.Response:
        """Get a graph of yours."""
        record = await self._require(request)
        texts = await read_texts(self._jobs, record)
        row = job_row(record) | {
            "outputs": outputs_by_node(record, texts),
            "execution_status": history_entry(record, texts)["status"],
            "workflow": {"prompt": sent_graph(record.job), "extra_data": {}},
        }
        return web.json_response(row)

    @openapi_operation(response=ComfyUiBody, response_description="`cancelled`.", tag=_TAG)
    async def cancel_job(self, request: web.Request) -> web.Response:
        """Cancel a graph of yours."""
        record = await self._find(request, is_poll=False)
        return web.json_response({"cancelled": await self._cancel([record])})

    @openapi_operation(response=ComfyUiBody, response_description="`cancelled`.", tag=_TAG)
    async def cancel_jobs(self, request: web.Request) -> web.Response:
        """Cancel several graphs of yours: `job_ids`."""
        key = await authenticate_graphs(request)
        ids = sorted(_texts((await read_json(request)).get("job_ids")))[:MAX_LISTED]
        records = [await self._find_own(key.account.id, id) for id in ids]
        return web.json_response({"cancelled": await self._cancel(records)})

    async def _cancel(self, records: Iterable[JobRecord | None]) -> bool:
        found = [record for record in records if record is not None and not record.job.is_finished]
        for record in found:
            await self._jobs.service.cancel_job(record.job.id)
        return bool(found)

    async def _require(self, request: web.Request) -> JobRecord:
        record = await self._find(request)
        if record is None:
            raise NotFound("Job not found", code="job_not_found")
        return note_job(request, record)

    async def _find(self, request: web.Request, *, is_poll: bool = True) -> JobRecord | None:
        key = await authenticate_graphs(request, is_poll=is_poll)
        return await self._find_own(key.account.id, request.match_info["id"])

    async def _find_own(self, account_id: str, id: str) -> JobRecord | None:
        try:
            return await self._jobs.get(account_id, job_id_from_uuid(id))
        except (NotFound, Gone):
            return None

    async def _unfinished(self, account_id: str, *statuses: JobStatus) -> list[JobRecord]:
        """Return unfinished jobs, oldest first."""
        found: list[JobRecord] = []
        for status in statuses or (JobStatus.RUNNING, JobStatus.QUEUED):
            found += reversed((await self._jobs.list(account_id, MAX_LISTED, None, status)).items)
        return found


def _restrict(graph: object, targets: object) -> object:
    """Return the part of a graph that the wanted output nodes need."""
    if targets is None or not isinstance(graph, dict):
        return graph
    ids = _texts(targets)
    nodes: Mapping[str, Any] = {
        id: node
        for id, node in graph.items()
        if isinstance(node, dict) and isinstance(node.get("inputs"), dict)
    }
    if not ids or not ids <= nodes.keys():
        raise GraphRejected(
            "`partial_execution_targets` must list ids of output nodes of the graph",
            error_type="prompt_no_outputs",
        )
    needed = find_upstream_nodes(nodes, ids)
    return {id: node for id, node in nodes.items() if id in needed}


def _chosen_id(value: object) -> str | None:
    """Return the id of the job for a prompt id that the caller has chosen. Raises InvalidRequest."""
    if value is None:
        return None
    try:
        canonical = str(UUID(value)) if isinstance(value, str) else None
    except ValueError:
        canonical = None
    if canonical is None or canonical != value:
        raise InvalidRequest(
            "`prompt_id` must be a UUID in lower case with hyphens, or be left out",
            code="invalid_prompt_id",
            param="prompt_id",
        )
    return job_id_from_uuid(canonical)


def _texts(value: object) -> set[str]:
    return {item for item in value if isinstance(item, str)} if isinstance(value, list) else set()
