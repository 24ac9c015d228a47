"""Routes of the web UI's API: make images, follow them, and choose the model."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterable
from contextlib import suppress
from typing import Any

from aiohttp import BasicAuth, web

from orchestrator.catalog import Catalog
from orchestrator.catalog.parameters.values import ImageParameter
from orchestrator.errors import InvalidRequest, NotAuthenticated, invalid_field, missing_field
from orchestrator.intake.model_names import errors_name_model
from orchestrator.jobs import JobRecord, JobStatus
from orchestrator.jobs.events import JobEvent, ShardPreview
from orchestrator.media.inputs.input_images import ImageLimits, InputImage, read_image
from orchestrator.media.marks.source_marks import SourceType
from orchestrator.media.sniffing import detect_content_type
from orchestrator.store import ApiKey, ApiKeyScope
from orchestrator.web.auth import authenticate, bearer_token
from orchestrator.web.dialects.a1111 import translation as a1111
from orchestrator.web.dialects.a1111.infotext import add_infotext
from orchestrator.web.dialects.a1111.inpainting import (
    MaskOptions,
    PreparedImages,
    paste_result,
    prepare_images,
    size_of,
)
from orchestrator.web.dialects.a1111.options import KeyOptions
from orchestrator.web.dialects.a1111.schemas import (
    GenerationBody,
    ImageToImageBody,
    ProgressResponse,
    ProgressState,
    TextToImageBody,
    ValuesResponse,
    WebUiImagesResponse,
)
from orchestrator.web.http.embedded_files import EmbeddedFiles, FileContent
from orchestrator.web.http.request_model import read_request_model
from orchestrator.web.http.response_model import json_response
from orchestrator.web.jobs.job_updates import JobUpdates
from orchestrator.web.jobs.output_urls import OutputDelivery
from orchestrator.web.jobs.pending_responses import submit_job
from orchestrator.web.jobs.wait_for_result import job_headers, parse_idempotency_key, wait_for_result
from orchestrator.web.openapi.operation import Access, ParameterSpec, openapi_operation
from orchestrator.web.protocols import GenerationApi

ROOT = "/sdapi/v1"
#: Size of an image from another one if the request sets none, as in the web UI.
DEFAULT_SIDE = 512
#: Jobs of the account among which the latest one of this API is looked for.
_LOOKED_AT = 20
#: How long `progress` waits for a preview.
PREVIEW_SECONDS = 1.0
CHALLENGE = {"WWW-Authenticate": 'Basic realm="Pixel Factory", charset="UTF-8"'}
SKIP_IMAGE = {"skip_current_image": ParameterSpec({"type": "string"}, "`true`: without the preview.")}


async def authenticate_a1111(request: web.Request, scope: ApiKeyScope, *, is_poll: bool = False) -> ApiKey:
    """Return the API key: the password of HTTP Basic, or a bearer token. Raises as `authenticate` does."""
    header = request.headers.get("Authorization", "")
    token = bearer_token(request)
    if header.lower().startswith("basic "):
        try:
            given = BasicAuth.decode(header, encoding="utf-8")
        except ValueError:
            given = None
        # Some programs have one field, and send the key as the name.
        token = (given.password or given.login) if given else None
    try:
        if not token:
            raise NotAuthenticated(
                "Missing API key: send it as the password of HTTP Basic authentication",
                code="missing_api_key",
            )
        return await authenticate(request, scope, token=token, is_poll=is_poll)
    except NotAuthenticated as error:
        raise NotAuthenticated(error.message, code=error.code, headers=CHALLENGE) from error


class A1111Routes:
    """`txt2img`, `img2img`, `progress` and `interrupt`."""

    def __init__(
        self,
        service: GenerationApi,
        delivery: OutputDelivery,
        updates: JobUpdates,
        options: KeyOptions,
        limits: ImageLimits,
    ) -> None:
        self._service = service
        self._delivery = delivery
        self._updates = updates
        self._options = options
        self._limits = limits

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post(f"{ROOT}/txt2img", self.text_to_image),
            web.post(f"{ROOT}/img2img", self.image_to_image),
            web.get(f"{ROOT}/progress", self.get_progress),
            web.post(f"{ROOT}/interrupt", self.interrupt),
        ]

    @openapi_operation(
        body=TextToImageBody, response=WebUiImagesResponse, access=Access.BASIC, creates_job=True, tag="a1111"
    )
    async def text_to_image(self, request: web.Request) -> web.StreamResponse:
        """Create images from a text, and wait for them.

        The model is `sd_model_checkpoint` of `override_settings`, or of `POST /sdapi/v1/options`.
        """
        key = await authenticate_a1111(request, ApiKeyScope.GENERATE)
        if not request.can_read_body:
            raise InvalidRequest(
                "The request needs a JSON object as its body; an empty one makes an image of the defaults",
                code="invalid_json",
            )
        body = await read_request_model(request, TextToImageBody)
        catalog = self._service.catalog_for(key)
        chosen = a1111.chosen_model(body, catalog, await self._options.get_model(key.id))
        record = await self._run(request, key, body, chosen or a1111.DEFAULT_MODEL, {})
        files = [await self._load(output.key) for output in record.outputs]
        return await self._respond(record, body, files)

    @openapi_operation(
        body=ImageToImageBody,
        response=WebUiImagesResponse,
        access=Access.BASIC,
        creates_job=True,
        tag="a1111",
    )
    async def image_to_image(self, request: web.Request) -> web.StreamResponse:
        """Create images from an image and a text, and wait for them.

        With a `mask`, its white part is redrawn.
        """
        key = await authenticate_a1111(request, ApiKeyScope.GENERATE)
        body = await read_request_model(request, ImageToImageBody)
        catalog = self._service.catalog_for(key)
        chosen = a1111.chosen_model(body, catalog, await self._options.get_model(key.id))
        name = _image_model(body, chosen, catalog)
        image, mask, options = await self._read_files(body)
        size = (body.width or DEFAULT_SIDE, body.height or DEFAULT_SIDE)
        _check_size(size, catalog, name)
        prepared = await asyncio.to_thread(prepare_images, image, mask, size, body.resize_mode or 0, options)
        params = _file_params(prepared, body, catalog, name, size)
        record = await self._run(request, key, body, name, params)
        files = [await self._load(output.key) for output in record.outputs]
        if mask is not None and prepared.box is not None:
            box, whole = prepared.box, mask
            files = [
                await asyncio.to_thread(paste_result, file, image, whole, box, options) for file in files
            ]
            return await self._respond(record, body, files, SourceType.COMPOSITE)
        return await self._respond(record, body, files)

    async def _finish(self, record: JobRecord, data: bytes, text: str, source: SourceType) -> bytes:
        """Return an image with its text, marked and signed again: the text is a change of the file."""
        content_type = detect_content_type(data) or "application/octet-stream"
        return await self._delivery.marker.mark(record.job, add_infotext(data, text), content_type, source)

    @openapi_operation(response=ProgressResponse, query=SKIP_IMAGE, access=Access.BASIC, tag="a1111")
    async def get_progress(self, request: web.Request) -> web.Response:
        """Get the progress of the account's latest unfinished request, with the sampler's preview."""
        key = await authenticate_a1111(request, ApiKeyScope.READ, is_poll=True)
        with_image = request.query.get("skip_current_image", "false").lower() not in ("true", "1")
        records = await self._unfinished(key)
        record = records[0] if records else None
        if record is not None and record.job.status is JobStatus.RUNNING and with_image:
            await self._await_preview(record.job.id)
        return json_response(self._progress(record, with_image=with_image))

    @openapi_operation(
        response=ValuesResponse,
        response_description="Nothing: the requests are cancelled.",
        access=Access.BASIC,
        tag="a1111",
    )
    async def interrupt(self, request: web.Request) -> web.Response:
        """Cancel the account's unfinished requests of this API."""
        key = await authenticate_a1111(request, ApiKeyScope.GENERATE)
        for record in await self._unfinished(key):
            await self._service.cancel_job(record.job.id)
        return web.json_response({})

    async def _run(
        self, request: web.Request, key: ApiKey, body: GenerationBody, name: str, images: dict[str, Any]
    ) -> JobRecord:
        """Create the job of a request and wait for its end."""
        catalog = self._service.catalog_for(key)
        with errors_name_model(name, catalog):
            generation = a1111.to_request(
                body, catalog, name, images, idempotency_key=parse_idempotency_key(request)
            )
        record = await submit_job(request, self._service, key, generation, waits_for_result=True)
        return await wait_for_result(self._service, record)

    async def _respond(
        self,
        record: JobRecord,
        body: GenerationBody,
        files: list[bytes],
        source: SourceType = SourceType.GENERATED,
    ) -> web.StreamResponse:
        embedded = EmbeddedFiles()
        sizes = [await asyncio.to_thread(size_of, file) for file in files]
        texts = a1111.to_infotexts(record, sizes)
        model = self._service.get_model(record.job)
        images = (
            []
            if body.send_images is False
            else [
                embedded.add(FileContent.of(await self._finish(record, file, text, source)))
                for file, text in zip(files, texts, strict=True)
            ]
        )
        self._service.record_bytes_sent(record)
        response = WebUiImagesResponse(
            images=images,
            parameters=a1111.to_parameters(body),
            info=a1111.to_info(record, model, sizes, texts),
        )
        return await embedded.to_response(response, headers=job_headers(record))

    async def _load(self, key: str) -> bytes:
        return await self._delivery.load_file(key)

    async def _read_files(self, body: ImageToImageBody) -> tuple[InputImage, InputImage | None, MaskOptions]:
        """Return the input image and the mask. Raises InvalidRequest."""
        if not body.init_images:
            raise missing_field("init_images")
        if body.mask is not None and body.inpainting_fill == 1:
            raise invalid_field(
                "inpainting_fill", "must be 0, 2 or 3: the model redraws the mask without what is below it"
            )
        image = await read_image(body.init_images[0], limits=self._limits, param="init_images")
        mask = None
        if body.mask is not None:
            mask = await read_image(body.mask, limits=self._limits, param="mask")
        return (
            image,
            mask,
            MaskOptions(
                blur=4 if body.mask_blur is None else body.mask_blur,
                is_inverted=body.inpainting_mask_invert == 1,
                only_masked=body.inpaint_full_res is not False,
                padding=body.inpaint_full_res_padding or 0,
            ),
        )

    async def _unfinished(self, key: ApiKey) -> list[JobRecord]:
        """Return the account's unfinished jobs of this API, newest first; the running ones before others."""
        found: list[JobRecord] = []
        for status in (JobStatus.RUNNING, JobStatus.QUEUED):
            page = await self._service.list_jobs(key.account.id, limit=_LOOKED_AT, cursor=None, status=status)
            found += [
                one for one in page.items if (one.job.origin or "").startswith(a1111.DIALECT_NAME + "/")
            ]
        return found

    async def _await_preview(self, job_id: str) -> None:
        """Wait a little for a preview: they are made only while a client listens."""
        with self._updates.events.subscribe(job_id) as subscription, suppress(TimeoutError):
            await asyncio.wait_for(_next_preview(subscription), PREVIEW_SECONDS)

    def _progress(self, record: JobRecord | None, *, with_image: bool) -> ProgressResponse:
        if record is None:
            return ProgressResponse(
                progress=0.0, eta_relative=0.0, state=_state("", 0, 0), current_image=None, textinfo=None
            )
        job, events = record.job, self._updates.events
        latest = list(events.latest_events(job.id))
        steps = next(reversed(events.latest_progress(job.id)), None)
        preview = next((one for one in reversed(latest) if isinstance(one, ShardPreview)), None)
        queue = self._updates.get_queue_position(job.id)
        seconds = 0.0
        if queue is not None and queue.expected_finish is not None:
            seconds = max((queue.expected_finish - self._updates.clock()).total_seconds(), 0.0)
        done = sum(bool(shard.outputs) for shard in record.shards)
        state = _state(job.id, len(record.shards) - done, done).model_copy(
            update={
                "job_timestamp": job.created_at.strftime("%Y%m%d%H%M%S"),
                "sampling_step": round(steps.value) if steps else 0,
                "sampling_steps": round(steps.maximum) if steps else 0,
            }
        )
        image = base64.b64encode(preview.data).decode("ascii") if preview and with_image else None
        fraction = (done + events.job_progress(job.id, 1)) / len(record.shards)
        return ProgressResponse(
            # Clients take 0 for the end.
            progress=min(max(round(fraction, 4), 0.01), 0.99),
            eta_relative=round(seconds, 2),
            state=state,
            current_image=image,
            textinfo=None,
        )


async def _next_preview(events: AsyncIterable[JobEvent]) -> None:
    async for event in events:
        if isinstance(event, ShardPreview):
            return


def _state(job: str, waiting: int, done: int) -> ProgressState:
    return ProgressState(
        skipped=False,
        interrupted=False,
        stopping_generation=False,
        job=job,
        job_count=waiting,
        job_timestamp="0",
        job_no=done,
        sampling_step=0,
        sampling_steps=0,
    )


def _image_model(body: ImageToImageBody, chosen: str | None, catalog: Catalog) -> str:
    """Return the model of a request with an image: the chosen one if it takes images, or the default."""
    wanted = "mask" if body.mask is not None else "image"
    default = a1111.DEFAULT_MASK_MODEL if body.mask is not None else a1111.DEFAULT_IMAGE_MODEL
    if chosen is None:
        return default
    if any(wanted in model.parameters for model in catalog.models_of(chosen)):
        return chosen
    if (body.override_settings or {}).get("sd_model_checkpoint"):
        raise InvalidRequest(
            f"Model {chosen} does not accept {'a mask' if wanted == 'mask' else 'input images'}; leave out"
            f" `sd_model_checkpoint` to use {default}",
            code=f"unsupported_{wanted}",
            param="init_images" if wanted == "image" else "mask",
        )
    return default


def _check_size(size: tuple[int, int], catalog: Catalog, name: str) -> None:
    """Raise InvalidRequest for a size that is not worth preparing images for."""
    most = max(max(model.manifest.max_size) for model in catalog.models_of(name))
    for side, value in zip(("width", "height"), size, strict=True):
        if not 16 <= value <= most:
            raise invalid_field(side, f"must be between 16 and {most} (got {str(value)[:20]})")


def _file_params(
    prepared: PreparedImages, body: ImageToImageBody, catalog: Catalog, name: str, size: tuple[int, int]
) -> dict[str, Any]:
    """Return the files of a request under the names of the model's parameters."""
    images = [_encode(prepared.image), *(body.init_images or [])[1:]]
    model = next(
        (one for one in catalog.models_of(name) if isinstance(one.parameters.get("image"), ImageParameter)),
        catalog[name],
    )
    params: dict[str, Any] = {"image": images[0]}
    if images[1:]:
        params["images"] = images[1:]
    if prepared.mask is not None:
        params["mask"] = _encode(prepared.mask)
    if model.output_sizes is not None:
        params |= {"width": size[0], "height": size[1]}
    return params


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
