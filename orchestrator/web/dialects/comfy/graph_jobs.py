"""Jobs of callers' own graphs, as all of Comfy's dialects use them."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol

from aiohttp import web

from orchestrator.errors import Conflict, Forbidden, InvalidRequest, NotAuthenticated, NotFound
from orchestrator.execution.results.expiry import ExpiryPolicy
from orchestrator.intake.own_graphs import SENT_FILES_PARAM, OwnGraphPreparer, OwnGraphRequest
from orchestrator.intake.request_preparer import PreparedRequest
from orchestrator.jobs import Job, JobRecord, JobStatus
from orchestrator.media.errors import ObjectNotFound, ObjectStoreError
from orchestrator.own_graphs import OWN_GRAPH_ID
from orchestrator.own_graphs.model import FILE_INDEX, GRAPH_PARAM
from orchestrator.own_graphs.result_names import NamedOutput
from orchestrator.store import ApiKey, ApiKeyScope, Page
from orchestrator.web.auth import authenticate, bearer_token
from orchestrator.web.http.ranges import FileInfo
from orchestrator.web.jobs.result_sender import ResultSender
from orchestrator.web.protocols import JobService

#: Parameters of jobs that only these dialects read.
CLIENT_PARAM, LABELS_PARAM = "@client_id", "@labels"
#: Header with the longest run that the caller pays for, in seconds.
MAX_SECONDS_HEADER = "X-PixelFactory-Max-Seconds"
#: Text results that responses show in place.
MAX_TEXTS, MAX_TEXT_BYTES = 20, 100_000
_NODE_ERROR = re.compile(r"node (?P<node>[\w.:#@ -]{1,100}) \((?P<class>[^()\n]{1,200})\): ", re.ASCII)


class GraphJobService(JobService, Protocol):
    """Accepts prepared requests."""

    async def submit_prepared(
        self, key: ApiKey, prepared: PreparedRequest, job_id: str | None = None
    ) -> JobRecord: ...

    def new_job_id(self) -> str: ...


class JobStore(Protocol):
    """Finds jobs of all accounts."""

    async def find_job(self, job_id: str) -> JobRecord | None: ...

    async def list_jobs(
        self,
        account_id: str | None,
        limit: int,
        cursor: str | None,
        status: JobStatus | None = None,
        *,
        models: Any = None,
    ) -> Page[JobRecord]: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class GraphJobs:
    """Submits, finds and names jobs of callers' graphs."""

    service: GraphJobService
    preparer: OwnGraphPreparer
    store: JobStore
    expiry: ExpiryPolicy

    async def submit(self, key: ApiKey, request: OwnGraphRequest, job_id: str | None = None) -> JobRecord:
        """Accept a graph. A key or an id that was used before is rejected, never answered with its job.

        Raises GraphRejected, Conflict (`idempotency_key_reuse`, `job_id_reuse`), and as `JobService.submit`.
        """
        if job_id is not None and await self.store.find_job(job_id) is not None:
            raise Conflict("`prompt_id` was used before; send a new UUID, or none", code="job_id_reuse")
        prepared = await self.preparer.prepare(key.account.id, request)
        own_id = job_id or self.service.new_job_id()
        try:
            record = await self.service.submit_prepared(key, prepared, own_id)
        except Conflict as error:
            raise _key_reuse() from error
        if record.job.id != own_id:
            raise _key_reuse()
        if record.job.account_id != key.account.id:
            raise Conflict("`prompt_id` was used before; send a new UUID, or none", code="job_id_reuse")
        return record

    async def get(self, account_id: str, job_id: str) -> JobRecord:
        """Return a job of the account that ran a graph. Raises NotFound, Gone."""
        record = await self.service.get_job(account_id, job_id)
        if record.job.model != OWN_GRAPH_ID:
            raise NotFound("Job not found", code="job_not_found")
        return record

    async def list(
        self, account_id: str, limit: int, cursor: str | None = None, status: JobStatus | None = None
    ) -> Page[JobRecord]:
        """Return the account's jobs that ran graphs, newest first."""
        page = await self.store.list_jobs(account_id, limit, cursor, status, models=[OWN_GRAPH_ID])
        kept = [record for record in page.items if not self.expiry.is_expired(record.job)]
        return replace(page, items=kept)

    def expires_at(self, job: Job) -> datetime:
        """Return when a job expires; for an unfinished one, when it would if it ended now."""
        return self.expiry.expires_at(job) or self.expiry.clock() + self.expiry.lifetime


async def authenticate_graphs(request: web.Request, *, is_poll: bool = False) -> ApiKey:
    """Return the key of a request, from `Authorization: Bearer` or `X-API-Key`; it needs the scope `graphs`.

    Raises NotAuthenticated, RateLimited, Forbidden.
    """
    token = bearer_token(request) or request.headers.get("X-API-Key", "").strip() or None
    if token is None and request.path.removeprefix("/api") == "/ws":
        token = request.query.get("token")
    if token is None:
        raise NotAuthenticated(
            "Missing API key: send it as `Authorization: Bearer pk-...` or as `X-API-Key`",
            code="missing_api_key",
        )
    try:
        return await authenticate(request, ApiKeyScope.GRAPHS, token=token, is_poll=is_poll)
    except Forbidden as error:
        raise Forbidden(
            "This API key may not run own graphs: ask the operator for a key with the scope `graphs`"
            " (pixelfactory keys create --scope graphs)",
            code="insufficient_scope",
        ) from error


def parse_max_seconds(request: web.Request) -> float | None:
    """Return the header with the longest run; None without it. Raises InvalidRequest."""
    text = request.headers.get(MAX_SECONDS_HEADER)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 7):
        raise InvalidRequest(
            f"`{MAX_SECONDS_HEADER}` must be a whole number of seconds (got {text[:40]!r})",
            code="invalid_max_seconds",
            param=MAX_SECONDS_HEADER,
        )
    return float(text)


def sent_graph(job: Job) -> dict[str, Any]:
    """Return the graph of a job with its files as the caller has named them."""
    files = job.params.get(SENT_FILES_PARAM) or []

    def restore(value: Any) -> Any:
        if isinstance(value, dict) and FILE_INDEX in value and value[FILE_INDEX] < len(files):
            return files[value[FILE_INDEX]]
        return value

    return {
        id: {**node, "inputs": {name: restore(value) for name, value in node["inputs"].items()}}
        for id, node in job.params[GRAPH_PARAM].items()
    }


async def send_result(
    request: web.Request, sender: ResultSender, record: JobRecord, named: NamedOutput
) -> web.StreamResponse:
    """Send a result, or the part that the request names; what headers say of it is in the store."""
    output = named.output
    info = FileInfo(
        size=output.size,
        content_type=output.content_type,
        filename=named.name,
        etag=output.sha256[:32],
    )
    try:
        return await sender.send(request, record, output.key, info)
    except ObjectNotFound as error:
        raise NotFound("The file was deleted; run the graph again", code="output_not_found") from error


async def read_texts(jobs: GraphJobs, record: JobRecord) -> dict[str, str]:
    """Return the small text results of a job by their keys."""
    keys = [
        output.key
        for output in record.outputs
        if output.content_type == "text/plain" and output.size <= MAX_TEXT_BYTES
    ][:MAX_TEXTS]
    try:
        found = await asyncio.gather(*(jobs.preparer.objects.get(key) for key in keys))
    except ObjectStoreError:
        return {}
    return {key: data.decode("utf-8", "replace") for key, data in zip(keys, found, strict=True)}


def failed_node(job: Job) -> tuple[str | None, str | None]:
    """Return id and class of the node that an error names."""
    found = _NODE_ERROR.search(job.error.message) if job.error else None
    return (found["node"], found["class"]) if found else (None, None)


def _key_reuse() -> Conflict:
    return Conflict(
        "`Idempotency-Key` was used before; a key is for one job only. Send a new one, or get the job of the"
        " first request from the list of jobs",
        code="idempotency_key_reuse",
        param="Idempotency-Key",
    )
