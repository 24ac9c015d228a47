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
from orchestrator.service import Service
from orchestrator.store import ApiKey
from orchestrator.web.auth import authenticate
from orchestrator.web.dialects.openai import images as openai
from orchestrator.web.dialects.openai import videos as openai_videos
from orchestrator.web.dialects.openai.schemas import Video, VideoDeleted, VideoList
from orchestrator.web.http.bodies import is_form, read_fields
from orchestrator.web.http.queries import choice, limit
from orchestrator.web.http.ranges import File, file_response
from orchestrator.web.jobs.wait_for_result import idempotency_key, job_headers
from orchestrator.web.openapi.operation import LIMIT, Value, describes

#: Milliseconds that SDKs are asked to let pass between two looks at an unfinished video.
POLL_AFTER = {"openai-poll-after-ms": "2000"}


class Order(StrEnum):
    """Of a list, by age."""

    ASCENDING = "asc"
    DESCENDING = "desc"


class Variant(StrEnum):
    """What can be downloaded of a video."""

    VIDEO = "video"  #: the film itself
    THUMBNAIL = "thumbnail"  #: its first frame, WebP
    SPRITESHEET = "spritesheet"  #: up to 25 of its frames, JPEG


AFTER = Value({"type": "string"}, "Id of the last video seen.")
ORDER = Value({"enum": [*Order], "default": "desc"}, "By age.")
VARIANT = Value({"enum": [*Variant], "default": "video"}, "The film, its first frame, or a sheet of frames.")
STILLS = ("video/mp4", "image/webp", "image/jpeg")
PARTS = {206: "The part that `Range` names.", 416: "There is no such part."}


class Videos:
    """The caller's own films; those of others look as if they did not exist."""

    def __init__(self, service: Service, kept_days: float) -> None:
        self._service = service
        self._kept_days = kept_days

    def routes(self) -> list[web.RouteDef]:
        return [route for root in ("/v1", "/api/v1") for route in self._routes(f"{root}/videos")]

    def _routes(self, root: str) -> list[web.RouteDef]:
        return [
            web.post(root, self.create),
            web.get(root, self.page),
            web.post(f"{root}/{{verb:edits|extensions|characters}}", self.refuse),
            web.get(f"{root}/{{id}}", self.get),
            web.delete(f"{root}/{{id}}", self.delete),
            web.get(f"{root}/{{id}}/content", self.content),
            web.post(f"{root}/{{id}}/remix", self.remix),
        ]

    @describes(body=openai_videos.VideoCreateBody, form=True, answer=Video, job=True)
    async def create(self, request: web.Request) -> web.Response:
        """Accepts a video; it is made while nobody waits."""
        key = await authenticate(request, self._service.store)
        fields, form = await read_fields(request), is_form(request)
        body = openai.parse_body(openai_videos.VideoCreateBody, fields, form=form)
        asked = openai_videos.to_request(
            body, self._service.catalog, form=form, idempotency_key=idempotency_key(request)
        )
        return await self._submit(key, asked)

    @describes(body=openai_videos.VideoRemixBody, form=True, answer=Video, job=True)
    async def remix(self, request: web.Request) -> web.Response:
        """The same video after other words."""
        key = await authenticate(request, self._service.store)
        source = _ready(await self._own(key, request.match_info["id"]))
        fields, form = await read_fields(request), is_form(request)
        body = openai.parse_body(openai_videos.VideoRemixBody, fields, form=form)
        model = self._service.catalog[source.job.model]
        pictures = await self._pictures(source, model)
        asked = openai_videos.to_remix_request(
            source.job, model, body.prompt, pictures, idempotency_key(request)
        )
        return await self._submit(key, asked)

    @describes(answer=VideoList, query={"limit": LIMIT, "after": AFTER, "order": ORDER})
    async def page(self, request: web.Request) -> web.Response:
        """Videos, newest first if not told otherwise."""
        key = await authenticate(request, self._service.store)
        page = await self._service.videos(
            key.account.id,
            limit=limit(request),
            cursor=request.query.get("after"),
            oldest_first=choice(request, "order", Order) is Order.ASCENDING,
        )
        ids = [record.job.id for record in page.items]
        body = {
            "object": "list",
            "data": [self._view(record) for record in page.items],
            "first_id": ids[0] if ids else None,
            "last_id": ids[-1] if ids else None,
            "has_more": page.cursor is not None,
        }
        return web.json_response(body)

    @describes(answer=Video)
    async def get(self, request: web.Request) -> web.Response:
        """One video and how far it is."""
        key = await authenticate(request, self._service.store)
        record = await self._own(key, request.match_info["id"])
        return web.json_response(self._view(record), headers={} if record.job.finished else POLL_AFTER)

    @describes(answer=VideoDeleted)
    async def delete(self, request: web.Request) -> web.Response:
        """Gives the video up if it is not ready, and forgets it."""
        key = await authenticate(request, self._service.store)
        record = await self._own(key, request.match_info["id"])
        await self._service.remove(record.job.id)
        return web.json_response({"id": record.job.id, "object": "video.deleted", "deleted": True})

    @describes(query={"variant": VARIANT}, media=STILLS, also=PARTS)
    async def content(self, request: web.Request) -> web.Response:
        """The film or stills of it, whole or in part."""
        key = await authenticate(request, self._service.store)
        variant = choice(request, "variant", Variant) or Variant.VIDEO
        record = _ready(await self._own(key, request.match_info["id"]))
        output = record.outputs[0]
        try:
            film = await self._service.objects.get(output.key)
        except ObjectNotFound as error:
            raise Gone("The video is kept no longer", code="video_expired") from error
        data, content_type, extension = await _variant(film, variant, output.content_type)
        name = f"{record.job.id}.{extension}"
        tag = f"{output.sha256}-{variant}"
        response = file_response(request, File(data=data, content_type=content_type, name=name, tag=tag))
        if request.method == "GET":
            await self._service.count_sent(record, response.content_length or 0)
        return response

    async def refuse(self, request: web.Request) -> NoReturn:
        """Films are made from words and pictures here, not from films."""
        await authenticate(request, self._service.store)
        raise InvalidRequest(
            f"`videos/{request.match_info['verb']}` is not offered", code="unsupported_operation"
        )

    async def _submit(self, key: ApiKey, asked: GenerationRequest) -> web.Response:
        with openai_videos.translate_param_errors():
            record = await self._service.submit(key, asked)
        return web.json_response(self._view(record), headers=job_headers(record))

    async def _own(self, key: ApiKey, video_id: str) -> JobRecord:
        try:
            record = await self._service.get(key.account.id, video_id)
        except NotFound as error:
            raise NotFound("There is no such video", code="video_not_found") from error
        films = any(output.content_type.startswith("video/") for output in record.outputs)
        model = record.job.model
        if films or (model in self._service.catalog and self._service.catalog[model].makes_video):
            return record
        raise NotFound("There is no such video", code="video_not_found")

    async def _pictures(self, source: JobRecord, model: Model) -> dict[str, bytes]:
        """The files that a film was made from, by parameter."""
        given = {name: source.job.params.get(name) for name in model.image_inputs}
        keys = {name: key for name, key in given.items() if isinstance(key, str)}
        try:
            files = await asyncio.gather(*(self._service.objects.get(key) for key in keys.values()))
        except ObjectNotFound as error:
            raise Gone(
                "The pictures that it was made from are kept no longer", code="input_expired"
            ) from error
        return dict(zip(keys, files, strict=True))

    def _view(self, record: JobRecord) -> dict[str, object]:
        progress = self._service.events.progress(record.job.id, len(record.shards))
        return openai_videos.to_video_response(record, progress, self._kept_days)


def _ready(record: JobRecord) -> JobRecord:
    """Raises NotFound for what is not made yet, or never will be."""
    if record.job.status is not JobStatus.SUCCEEDED:
        state = openai_videos.VIDEO_STATUS_NAMES[record.job.status]
        raise NotFound(f"The video is not there: it is {state}", code="video_not_ready")
    return record


async def _variant(film: bytes, variant: Variant, content_type: str) -> tuple[bytes, str, str]:
    """Data, type and extension."""
    if variant is Variant.THUMBNAIL:
        return await asyncio.to_thread(make_thumbnail, film), "image/webp", "webp"
    if variant is Variant.SPRITESHEET:
        return await asyncio.to_thread(make_spritesheet, film), "image/jpeg", "jpg"
    return film, content_type, content_type.rpartition("/")[2]
