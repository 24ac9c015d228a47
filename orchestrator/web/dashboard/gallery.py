"""The API of the gallery: the account's jobs with their files, whatever made them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import PurePosixPath

from aiohttp import web

from orchestrator.catalog import Catalog
from orchestrator.errors import NotFound, invalid_field
from orchestrator.execution.results.thumbnails import Thumbnails
from orchestrator.intake.lora_resolver import LoraResolver
from orchestrator.jobs import JobRecord, Output
from orchestrator.jobs.objects import input_keys
from orchestrator.media.errors import CorruptMedia, ImageTooLarge, ObjectNotFound
from orchestrator.media.gallery_thumbnails import CONTENT_TYPE, has_thumbnail
from orchestrator.store import ApiKey, ApiKeyScope
from orchestrator.store.values import JobFilter
from orchestrator.web.account.loras import LoraRoutes
from orchestrator.web.dashboard.job_views import PlaygroundJobList, to_playground_job
from orchestrator.web.dashboard.sessions import SessionManager
from orchestrator.web.http.queries import parse_limit
from orchestrator.web.http.response_model import json_response
from orchestrator.web.jobs.output_urls import OutputDelivery
from orchestrator.web.jobs.result_sender import ResultSender
from orchestrator.web.jobs.routes import parse_shard_index, parse_status
from orchestrator.web.protocols import DashboardStore, GenerationApi

MAX_SEARCH_LENGTH = 200
#: A thumbnail never changes; only the browser of its account may keep it.
THUMBNAIL_HEADERS = {
    "Cache-Control": "private, max-age=604800, immutable",
    "X-Content-Type-Options": "nosniff",
}


class GalleryRoutes:
    """Routes for sessions of an API key."""

    def __init__(
        self,
        *,
        api: GenerationApi,
        store: DashboardStore,
        thumbnails: Thumbnails,
        sender: ResultSender,
        delivery: OutputDelivery,
        loras: LoraResolver,
        sessions: SessionManager,
    ) -> None:
        self._loras = LoraRoutes(api, loras, delivery, self._authenticate)
        self._api = api
        self._store = store
        self._thumbnails = thumbnails
        self._sender = sender
        self._delivery = delivery
        self._sessions = sessions

    def routes(self) -> list[web.RouteDef]:
        job = "/dashboard/api/jobs/{id}"
        output = job + "/outputs/{index:[0-9]{1,3}}"
        return [
            web.get("/dashboard/api/loras", self._loras.list_loras),
            web.get("/dashboard/api/jobs", self.list_jobs),
            web.get(job, self.get_job),
            web.delete(job, self.cancel_job),
            web.delete(job + "/shards/{index}", self.cancel_shard),
            web.delete("/dashboard/api/gallery/{id}", self.remove_job),
            web.get(output, self.download_output),
            web.get(output + "/thumbnail", self.get_thumbnail),
            web.get(job + "/inputs/{parameter}/{index:[0-9]{1,3}}", self.get_input),
        ]

    async def list_jobs(self, request: web.Request) -> web.Response:
        """List the account's jobs, newest first, from the playground and from all APIs."""
        key = await self._sessions.require_key(request, ApiKeyScope.READ)
        wanted = parse_job_filter(request, key.account.id, self._api.catalog_for(key))
        page = await self._store.search_jobs(wanted, parse_limit(request), request.query.get("cursor"))
        jobs = [to_playground_job(record, self._delivery, request) for record in page.items]
        return json_response(PlaygroundJobList(jobs=jobs, next=page.cursor))

    async def get_job(self, request: web.Request) -> web.Response:
        """Return a job with fresh URLs."""
        record = await self._get_own_job(request, ApiKeyScope.READ)
        return json_response(to_playground_job(record, self._delivery, request))

    async def cancel_job(self, request: web.Request) -> web.Response:
        """Cancel an unfinished job. Its price is released."""
        record = await self._get_own_job(request, ApiKeyScope.GENERATE)
        cancelled = await self._api.cancel_job(record.job.id)
        return json_response(to_playground_job(cancelled, self._delivery, request))

    async def cancel_shard(self, request: web.Request) -> web.Response:
        """Cancel one result of an unfinished job; the others go on."""
        record = await self._get_own_job(request, ApiKeyScope.GENERATE)
        changed = await self._api.cancel_shard(record, parse_shard_index(request, record))
        return json_response(to_playground_job(changed, self._delivery, request))

    async def remove_job(self, request: web.Request) -> web.Response:
        """Delete a job and its files. An unfinished one is cancelled first."""
        record = await self._get_own_job(request, ApiKeyScope.GENERATE)
        await self._api.remove_job(record.job.id)
        return web.Response(status=204)

    async def download_output(self, request: web.Request) -> web.StreamResponse:
        """Send an output as a download with a file name that names the job."""
        record, index = await self._get_output(request)
        key = record.outputs[index].key
        name = f"{record.job.model}-{record.job.id[-8:]}-{index + 1}{PurePosixPath(key).suffix}"
        try:
            info = await self._sender.file_info(key, name, attachment=True)
            return await self._sender.send(request, record, key, info)
        except ObjectNotFound as error:
            raise _not_kept() from error

    async def get_thumbnail(self, request: web.Request) -> web.Response:
        """Return a small image of an output."""
        record, index = await self._get_output(request)
        output: Output = record.outputs[index]
        if not has_thumbnail(output.content_type):
            raise NotFound(f"Files of the type {output.content_type} have no thumbnail", code="not_found")
        try:
            data = await self._thumbnails.load(record, output)
        except ObjectNotFound as error:
            raise _not_kept() from error
        except (CorruptMedia, ImageTooLarge) as error:
            raise NotFound(f"The output has no thumbnail: {error}", code="not_found") from error
        return web.Response(body=data, content_type=CONTENT_TYPE, headers=THUMBNAIL_HEADERS)

    async def get_input(self, request: web.Request) -> web.StreamResponse:
        """Send an input file of a job, to use it again."""
        record = await self._get_own_job(request, ApiKeyScope.READ)
        keys = input_keys(record.job.params).get(request.match_info["parameter"], [])
        index = int(request.match_info["index"])
        if index >= len(keys):
            raise NotFound("The job has no such input file", code="not_found")
        try:
            info = await self._sender.file_info(keys[index], attachment=True)
            return await self._sender.send(request, record, keys[index], info)
        except ObjectNotFound as error:
            raise NotFound(
                "The input file is no longer kept. Choose it again.", code="input_expired"
            ) from error

    async def _get_output(self, request: web.Request) -> tuple[JobRecord, int]:
        record = await self._get_own_job(request, ApiKeyScope.READ)
        index = int(request.match_info["index"])
        if index >= len(record.outputs):
            raise NotFound(
                f"Job {record.job.id!r} has no output {index}; it has {len(record.outputs)}",
                code="output_not_found",
            )
        return record, index

    async def _authenticate(self, request: web.Request) -> ApiKey:
        return await self._sessions.require_key(request, ApiKeyScope.READ)

    async def _get_own_job(self, request: web.Request, scope: ApiKeyScope) -> JobRecord:
        key = await self._sessions.require_key(request, scope)
        return await self._api.get_job(key.account.id, request.match_info["id"])


def _not_kept() -> NotFound:
    return NotFound(
        "The output has expired and its file was deleted. Submit the job again.", code="output_expired"
    )


def parse_job_filter(request: web.Request, account_id: str, catalog: Catalog) -> JobFilter:
    """Return what the query asks for: `q` in the prompt, `model`, `kind`, `status`, `since` and `before`.

    Raises InvalidRequest.
    """
    query = request.query
    search = query.get("q", "").strip()
    if len(search) > MAX_SEARCH_LENGTH:
        raise invalid_field("q", f"must have at most {MAX_SEARCH_LENGTH} characters (got {len(search)})")
    return JobFilter(
        account_id=account_id,
        status=parse_status(request),
        models=_wanted_models(query.get("model"), query.get("kind"), catalog),
        words=tuple(search.split()),
        created_from=_parse_instant(request, "since"),
        created_before=_parse_instant(request, "before"),
    )


def _wanted_models(model: str | None, kind: str | None, catalog: Catalog) -> Sequence[str] | None:
    """Return the ids and aliases of the wanted models; None for all."""
    if model:
        return [model, *catalog.ids_with_alias(model)]
    if not kind:
        return None
    return [name for name, model in dict(catalog.names()).items() if model.kind.value == kind]


def _parse_instant(request: web.Request, name: str) -> datetime | None:
    text = request.query.get(name)
    if not text:
        return None
    try:
        instant = datetime.fromisoformat(text)
    except ValueError as error:
        raise invalid_field(name, f"must be a time such as 2026-01-31T00:00Z (got {text[:40]!r})") from error
    if instant.tzinfo is None:
        raise invalid_field(name, f"must have a time zone, such as 2026-01-31T00:00Z (got {text[:40]!r})")
    return instant
