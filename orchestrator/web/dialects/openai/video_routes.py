"""OpenAI's videos API over jobs: `/v1/videos`, and the same under `/api/v1`."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import NoReturn

from aiohttp import web

from orchestrator.catalog import Model
from orchestrator.errors import Gone, InvalidRequest, NotFound
from orchestrator.intake.request_preparer import GenerationRequest
from orchestrator.jobs import JobRecord, JobStatus
from orchestrator.media.errors import ObjectNotFound
from orchestrator.media.thumbnails import make_spritesheet, make_thumbnail
from orchestrator.service import GenerationService
from orchestrator.store import ApiKey
from orchestrator.web.auth import authenticate
from orchestrator.web.dialects.openai import images as openai
from orchestrator.web.dialects.openai import videos as openai_videos
from orchestrator.web.dialects.openai.schemas import DeletedVideoResource, VideoList, VideoResource
from orchestrator.web.http.bodies import is_form, read_fields
from orchestrator.web.http.queries import parse_enum, parse_limit
from orchestrator.web.http.ranges import DownloadFile, build_file_response
from orchestrator.web.jobs.wait_for_result import job_headers, parse_idempotency_key
from orchestrator.web.openapi.operation import LIMIT_PARAM, ParameterSpec, openapi_operation

#: Milliseconds that SDKs are asked to let pass between two looks at an unfinished video.
POLL_AFTER_HEADERS = {"openai-poll-after-ms": "2000"}


class SortOrder(StrEnum):
    """Of a list, by age."""

    ASCENDING = "asc"
    DESCENDING = "desc"


class VideoVariant(StrEnum):
    """What can be downloaded of a video."""

    VIDEO = "video"  #: the film itself
    THUMBNAIL = "thumbnail"  #: its first frame, WebP
    SPRITESHEET = "spritesheet"  #: up to 25 of its frames, JPEG


AFTER_PARAM = ParameterSpec({"type": "string"}, "Id of the last video seen.")
ORDER_PARAM = ParameterSpec({"enum": [*SortOrder], "default": "desc"}, "By age.")
VARIANT_PARAM = ParameterSpec(
    {"enum": [*VideoVariant], "default": "video"}, "The film, its first frame, or a sheet of frames."
)
VARIANT_CONTENT_TYPES = ("video/mp4", "image/webp", "image/jpeg")
RANGE_RESPONSES = {206: "The part that `Range` names.", 416: "There is no such part."}


class VideoRoutes:
    """The caller's own films; those of others look as if they did not exist."""

    def __init__(self, service: GenerationService, retention_days: float) -> None:
        self._service = service
        self._retention_days = retention_days

    def routes(self) -> list[web.RouteDef]:
        return [route for root in ("/v1", "/api/v1") for route in self._routes(f"{root}/videos")]

    def _routes(self, root: str) -> list[web.RouteDef]:
        return [
            web.post(root, self.create_video),
            web.get(root, self.list_videos),
            web.post(f"{root}/{{verb:edits|extensions|characters}}", self.reject_unsupported),
            web.get(f"{root}/{{id}}", self.get_video),
            web.delete(f"{root}/{{id}}", self.delete_video),
            web.get(f"{root}/{{id}}/content", self.download_content),
            web.post(f"{root}/{{id}}/remix", self.remix_video),
        ]

    @openapi_operation(
        body=openai_videos.VideoCreateBody, accepts_form=True, response=VideoResource, creates_job=True
    )
    async def create_video(self, request: web.Request) -> web.Response:
        """Accepts a video; it is made while nobody waits."""
        key = await authenticate(request, self._service.store)
        fields, form = await read_fields(request), is_form(request)
        body = openai.parse_body(openai_videos.VideoCreateBody, fields, form=form)
        asked = openai_videos.to_request(
            body, self._service.catalog, form=form, idempotency_key=parse_idempotency_key(request)
        )
        return await self._submit_job(key, asked)

    @openapi_operation(
        body=openai_videos.VideoRemixBody, accepts_form=True, response=VideoResource, creates_job=True
    )
    async def remix_video(self, request: web.Request) -> web.Response:
        """The same video after other words."""
        key = await authenticate(request, self._service.store)
        source = _require_succeeded(await self._get_own_video(key, request.match_info["id"]))
        fields, form = await read_fields(request), is_form(request)
        body = openai.parse_body(openai_videos.VideoRemixBody, fields, form=form)
        model = self._service.catalog[source.job.model]
        pictures = await self._load_input_images(source, model)
        asked = openai_videos.to_remix_request(
            source.job, model, body.prompt, pictures, parse_idempotency_key(request)
        )
        return await self._submit_job(key, asked)

    @openapi_operation(
        response=VideoList, query={"limit": LIMIT_PARAM, "after": AFTER_PARAM, "order": ORDER_PARAM}
    )
    async def list_videos(self, request: web.Request) -> web.Response:
        """Videos, newest first if not told otherwise."""
        key = await authenticate(request, self._service.store)
        page = await self._service.list_video_jobs(
            key.account.id,
            limit=parse_limit(request),
            cursor=request.query.get("after"),
            oldest_first=parse_enum(request, "order", SortOrder) is SortOrder.ASCENDING,
        )
        ids = [record.job.id for record in page.items]
        body = {
            "object": "list",
            "data": [self._to_response(record) for record in page.items],
            "first_id": ids[0] if ids else None,
            "last_id": ids[-1] if ids else None,
            "has_more": page.cursor is not None,
        }
        return web.json_response(body)

    @openapi_operation(response=VideoResource)
    async def get_video(self, request: web.Request) -> web.Response:
        """One video and how far it is."""
        key = await authenticate(request, self._service.store)
        record = await self._get_own_video(key, request.match_info["id"])
        return web.json_response(
            self._to_response(record), headers={} if record.job.is_finished else POLL_AFTER_HEADERS
        )

    @openapi_operation(response=DeletedVideoResource)
    async def delete_video(self, request: web.Request) -> web.Response:
        """Gives the video up if it is not ready, and forgets it."""
        key = await authenticate(request, self._service.store)
        record = await self._get_own_video(key, request.match_info["id"])
        await self._service.remove_job(record.job.id)
        return web.json_response({"id": record.job.id, "object": "video.deleted", "deleted": True})

    @openapi_operation(
        query={"variant": VARIANT_PARAM}, content_types=VARIANT_CONTENT_TYPES, other_responses=RANGE_RESPONSES
    )
    async def download_content(self, request: web.Request) -> web.Response:
        """The film or stills of it, whole or in part."""
        key = await authenticate(request, self._service.store)
        variant = parse_enum(request, "variant", VideoVariant) or VideoVariant.VIDEO
        record = _require_succeeded(await self._get_own_video(key, request.match_info["id"]))
        output = record.outputs[0]
        try:
            film = await self._service.object_store.get(output.key)
        except ObjectNotFound as error:
            raise Gone("The video is kept no longer", code="video_expired") from error
        data, content_type, extension = await _make_variant(film, variant, output.content_type)
        name = f"{record.job.id}.{extension}"
        tag = f"{output.sha256}-{variant}"
        response = build_file_response(
            request, DownloadFile(data=data, content_type=content_type, filename=name, etag=tag)
        )
        if request.method == "GET":
            await self._service.record_bytes_sent(record, response.content_length or 0)
        return response

    async def reject_unsupported(self, request: web.Request) -> NoReturn:
        """Films are made from words and pictures here, not from films."""
        await authenticate(request, self._service.store)
        raise InvalidRequest(
            f"`videos/{request.match_info['verb']}` is not offered", code="unsupported_operation"
        )

    async def _submit_job(self, key: ApiKey, generation_request: GenerationRequest) -> web.Response:
        with openai_videos.translate_param_errors():
            record = await self._service.submit(key, generation_request)
        return web.json_response(self._to_response(record), headers=job_headers(record))

    async def _get_own_video(self, key: ApiKey, video_id: str) -> JobRecord:
        try:
            record = await self._service.get_job(key.account.id, video_id)
        except NotFound as error:
            raise NotFound("There is no such video", code="video_not_found") from error
        films = any(output.content_type.startswith("video/") for output in record.outputs)
        model = record.job.model
        if films or (model in self._service.catalog and self._service.catalog[model].makes_video):
            return record
        raise NotFound("There is no such video", code="video_not_found")

    async def _load_input_images(self, source: JobRecord, model: Model) -> dict[str, bytes]:
        """The files that a film was made from, by parameter."""
        given = {name: source.job.params.get(name) for name in model.image_inputs}
        keys = {name: key for name, key in given.items() if isinstance(key, str)}
        try:
            files = await asyncio.gather(*(self._service.object_store.get(key) for key in keys.values()))
        except ObjectNotFound as error:
            raise Gone(
                "The pictures that it was made from are kept no longer", code="input_expired"
            ) from error
        return dict(zip(keys, files, strict=True))

    def _to_response(self, record: JobRecord) -> dict[str, object]:
        progress = self._service.events.job_progress(record.job.id, len(record.shards))
        return openai_videos.to_video_response(record, progress, self._retention_days)


def _require_succeeded(record: JobRecord) -> JobRecord:
    """Raises NotFound for what is not made yet, or never will be."""
    if record.job.status is not JobStatus.SUCCEEDED:
        state = openai_videos.VIDEO_STATUS_NAMES[record.job.status]
        raise NotFound(f"The video is not there: it is {state}", code="video_not_ready")
    return record


async def _make_variant(video: bytes, variant: VideoVariant, content_type: str) -> tuple[bytes, str, str]:
    """Data, type and extension."""
    if variant is VideoVariant.THUMBNAIL:
        return await asyncio.to_thread(make_thumbnail, video), "image/webp", "webp"
    if variant is VideoVariant.SPRITESHEET:
        return await asyncio.to_thread(make_spritesheet, video), "image/jpeg", "jpg"
    return video, content_type, content_type.rpartition("/")[2]
