"""Routes of OpenAI's videos API: `/v1/videos`, and the same under `/api/v1/videos`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from hashlib import sha256
from typing import Any, NoReturn

from aiohttp import web

from orchestrator.catalog import Catalog, Model
from orchestrator.errors import Gone, InvalidRequest, NotFound
from orchestrator.execution.results.media_origins import DerivedMediaMarker
from orchestrator.fair_slots import FairSlots, run_to_end
from orchestrator.intake.request_preparer import GenerationRequest
from orchestrator.jobs import Job, JobRecord, JobStatus
from orchestrator.jobs.events import EventHub
from orchestrator.media.errors import ObjectNotFound
from orchestrator.media.thumbnails import make_spritesheet, make_thumbnail
from orchestrator.storage.object_store import ObjectStore
from orchestrator.store import ApiKey
from orchestrator.web.auth import authenticate
from orchestrator.web.dialects.openai import videos as openai_videos
from orchestrator.web.dialects.openai.schemas import DeletedVideoResource, VideoList, VideoResource
from orchestrator.web.dialects.pixel_factory.errors import ErrorResponse
from orchestrator.web.dialects.request_body import parse_body
from orchestrator.web.http.bodies import is_form, read_fields
from orchestrator.web.http.queries import parse_enum, parse_limit
from orchestrator.web.http.ranges import RANGE_RESPONSES, FileInfo, build_file_response
from orchestrator.web.http.response_model import json_response
from orchestrator.web.jobs.pending_responses import submit_job
from orchestrator.web.jobs.wait_for_result import job_headers, note_job, parse_idempotency_key
from orchestrator.web.openapi.operation import LIMIT_PARAM, ParameterSpec, openapi_operation
from orchestrator.web.protocols import GenerationApi

#: Milliseconds that SDKs wait before they poll an unfinished video again.
POLL_AFTER_HEADERS = {"openai-poll-after-ms": "2000"}


class SortOrder(StrEnum):
    """Order of a list by time of creation."""

    ASCENDING = "asc"
    DESCENDING = "desc"


class VideoVariant(StrEnum):
    """What can be downloaded of a video."""

    VIDEO = "video"  #: the video itself
    THUMBNAIL = "thumbnail"  #: its first frame, WebP
    SPRITESHEET = "spritesheet"  #: up to 25 of its frames, JPEG


AFTER_PARAM = ParameterSpec({"type": "string"}, "Id of the last video of the previous page.")
ORDER_PARAM = ParameterSpec({"enum": [*SortOrder], "default": "desc"}, "Order by time of creation.")
VARIANT_PARAM = ParameterSpec(
    {"enum": [*VideoVariant], "default": "video"},
    "What to download: the video, its first frame, or a sheet of its frames.",
)
VARIANT_CONTENT_TYPES = ("video/mp4", "image/webp", "image/jpeg")


class VideoRoutes:
    """The account's own videos; those of other accounts are not found."""

    def __init__(
        self,
        service: GenerationApi,
        objects: ObjectStore,
        events: EventHub,
        marker: DerivedMediaMarker,
        retention_days: float,
    ) -> None:
        self._service = service
        self._marker = marker
        self._objects = objects
        self._events = events
        self._retention_days = retention_days
        # Each holds a whole video in memory, and a variant of it takes a processor for seconds.
        self._content_slots = FairSlots("video downloads", 6, per_account=2, max_waiting=64)

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
        """Create a video from a prompt.

        Responds as soon as the job is accepted; poll `GET /v1/videos/{id}` for its progress.
        """
        key = await authenticate(request)
        generation_request = to_video_request(
            request, await read_fields(request), self._service.catalog_for(key)
        )
        return await self._submit_job(request, key, generation_request)

    @openapi_operation(
        body=openai_videos.VideoRemixBody, accepts_form=True, response=VideoResource, creates_job=True
    )
    async def remix_video(self, request: web.Request) -> web.Response:
        """Remix a completed video.

        Creates a video with the same model, seed and input image, and with another prompt.
        """
        key = await authenticate(request)
        source = _require_succeeded(await self._get_own_video(request, key))
        fields, form = await read_fields(request), is_form(request)
        body = parse_body(openai_videos.VideoRemixBody, fields, form=form)
        model = self._service.catalog_for(key)[source.job.model]
        images = await self._load_input_images(source, model)
        generation_request = openai_videos.to_remix_request(
            source.job, model, body, images, parse_idempotency_key(request)
        )
        return await self._submit_job(request, key, generation_request)

    @openapi_operation(
        response=VideoList, query={"limit": LIMIT_PARAM, "after": AFTER_PARAM, "order": ORDER_PARAM}
    )
    async def list_videos(self, request: web.Request) -> web.Response:
        """List the account's videos.

        Newest first, unless `order` is `asc`.
        """
        key = await authenticate(request)
        page = await self._service.list_video_jobs(
            key.account.id,
            limit=parse_limit(request),
            cursor=request.query.get("after"),
            oldest_first=parse_enum(request, "order", SortOrder) is SortOrder.ASCENDING,
        )
        ids = [record.job.id for record in page.items]
        return json_response(
            VideoList(
                object="list",
                data=[self._to_response(record) for record in page.items],
                first_id=ids[0] if ids else None,
                last_id=ids[-1] if ids else None,
                has_more=page.cursor is not None,
            )
        )

    @openapi_operation(response=VideoResource)
    async def get_video(self, request: web.Request) -> web.Response:
        """Get a video and its progress."""
        key = await authenticate(request, is_poll=True)
        record = await self._get_own_video(request, key)
        return json_response(
            self._to_response(record), headers={} if record.job.is_finished else POLL_AFTER_HEADERS
        )

    @openapi_operation(response=DeletedVideoResource)
    async def delete_video(self, request: web.Request) -> web.Response:
        """Delete a video.

        An unfinished video is cancelled and not charged.
        """
        key = await authenticate(request)
        record = await self._get_own_video(request, key)
        await self._service.remove_job(record.job.id)
        return json_response(DeletedVideoResource(id=record.job.id, object="video.deleted", deleted=True))

    @openapi_operation(
        query={"variant": VARIANT_PARAM}, content_types=VARIANT_CONTENT_TYPES, other_responses=RANGE_RESPONSES
    )
    async def download_content(self, request: web.Request) -> web.Response:
        """Download a completed video, its first frame or a sheet of its frames.

        `Range` requests a part of the file.
        """
        key = await authenticate(request)
        variant = parse_enum(request, "variant", VideoVariant) or VideoVariant.VIDEO
        record = _require_succeeded(await self._get_own_video(request, key))
        output = record.outputs[0]
        async with self._content_slots.slot(key.account.id):
            try:
                video = await self._objects.get(output.key)
            except ObjectNotFound as error:
                raise Gone("The video has expired and was deleted", code="video_expired") from error
            file = await run_to_end(self._make_variant(record.job, video, variant, output.content_type))
        response = build_file_response(
            request,
            FileInfo(
                size=len(file.data),
                content_type=file.content_type,
                filename=f"{record.job.id}.{file.extension}",
                # What is made anew is signed anew.
                etag=output.sha256 if variant is VideoVariant.VIDEO else sha256(file.data).hexdigest(),
            ),
            file.data,
        )
        if request.method == "GET":
            self._service.record_bytes_sent(record, response.content_length or 0)
        return response

    @openapi_operation(
        response=ErrorResponse, status=400, response_description="The operation is not supported."
    )
    async def reject_unsupported(self, request: web.Request) -> NoReturn:
        """Edit, extend or add a character to a video (not supported).

        Always fails: videos are made from prompts and images only. Use `POST /v1/videos/{id}/remix` to change
        a video.
        """
        await authenticate(request)
        raise InvalidRequest(
            f"`videos/{request.match_info['verb']}` is not supported;"
            " use `POST /v1/videos` or `POST /v1/videos/{id}/remix`",
            code="unsupported_operation",
        )

    async def _submit_job(
        self, request: web.Request, key: ApiKey, generation_request: GenerationRequest
    ) -> web.Response:
        record = await submit_job(request, self._service, key, generation_request, waits_for_result=False)
        return json_response(self._to_response(record), headers=job_headers(record))

    async def _get_own_video(self, request: web.Request, key: ApiKey) -> JobRecord:
        """Return the job of the path: one of the account that makes a video. Raises NotFound, Gone."""
        not_found = NotFound("The account has no video with this id", code="video_not_found")
        try:
            record = await self._service.get_job(key.account.id, request.match_info["id"])
        except NotFound as error:
            raise not_found from error
        has_video = any(output.content_type.startswith("video/") for output in record.outputs)
        if has_video or self._makes_video(record.job):
            return note_job(request, record)
        raise not_found

    async def _make_variant(
        self, job: Job, video: bytes, variant: VideoVariant, content_type: str
    ) -> VariantFile:
        """Return the video itself, or a marked file made from it."""
        file = await _make_file(video, variant, content_type)
        if variant is VideoVariant.VIDEO:
            return file
        return replace(file, data=await self._marker.mark(job, file.data, file.content_type))

    def _makes_video(self, job: Job) -> bool:
        """Return whether the model of a job makes videos; False for a model that is not known any more."""
        try:
            return self._service.get_model(job).makes_video
        except InvalidRequest:
            return False

    async def _load_input_images(self, source: JobRecord, model: Model) -> dict[str, bytes]:
        """Return the files that a video was made from, by parameter. Raises Gone."""
        given = {name: source.job.params.get(name) for name in model.image_inputs}
        keys = {name: key for name, key in given.items() if isinstance(key, str)}
        try:
            files = await asyncio.gather(*(self._objects.get(key) for key in keys.values()))
        except ObjectNotFound as error:
            raise Gone(
                "The input images of the video have expired and were deleted; create a new video",
                code="input_expired",
            ) from error
        return dict(zip(keys, files, strict=True))

    def _to_response(self, record: JobRecord) -> VideoResource:
        progress = self._events.job_progress(record.job.id, len(record.shards))
        return openai_videos.to_video_response(record, progress, self._retention_days)


def to_video_request(request: web.Request, fields: Mapping[str, Any], catalog: Catalog) -> GenerationRequest:
    """Translate the fields of the body of a new video. Raises InvalidRequest."""
    form, parameters = is_form(request), catalog.parameters_of(fields.get("model"))
    body = parse_body(openai_videos.VideoCreateBody, fields, form=form, parameters=parameters)
    return openai_videos.to_request(body, catalog, form=form, idempotency_key=parse_idempotency_key(request))


def _require_succeeded(record: JobRecord) -> JobRecord:
    """Return a completed video. Raises NotFound if it is unfinished or has failed."""
    if record.job.status is not JobStatus.SUCCEEDED:
        status = openai_videos.VIDEO_STATUS_NAMES[record.job.status]
        raise NotFound(f"The video is not completed: its status is {status}", code="video_not_ready")
    return record


@dataclass(frozen=True, kw_only=True, slots=True)
class VariantFile:
    """A file made from a video."""

    data: bytes
    content_type: str
    #: Extension of the file name, without a dot.
    extension: str


async def _make_file(video: bytes, variant: VideoVariant, content_type: str) -> VariantFile:
    """Return the video itself, or the thumbnail or sprite sheet made from it."""
    match variant:
        case VideoVariant.THUMBNAIL:
            data = await asyncio.to_thread(make_thumbnail, video)
            return VariantFile(data=data, content_type="image/webp", extension="webp")
        case VideoVariant.SPRITESHEET:
            data = await asyncio.to_thread(make_spritesheet, video)
            return VariantFile(data=data, content_type="image/jpeg", extension="jpg")
        case VideoVariant.VIDEO:
            extension = content_type.rpartition("/")[2]
            return VariantFile(data=video, content_type=content_type, extension=extension)
