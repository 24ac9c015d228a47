"""What programs ask the web UI besides images: options, models, lists, an upscaler, and texts of PNGs."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from orchestrator.catalog import Catalog, Model, ModelKind
from orchestrator.errors import InvalidRequest, invalid_field
from orchestrator.intake.lora_resolver import LoraResolver
from orchestrator.jobs import Job
from orchestrator.media.inputs.input_images import ImageLimits, read_image
from orchestrator.media.inputs.payloads import InputRejected, PayloadDecoder
from orchestrator.store import ApiKeyScope
from orchestrator.web.dialects.a1111 import translation as a1111
from orchestrator.web.dialects.a1111.infotext import parse_infotext, read_texts
from orchestrator.web.dialects.a1111.inpainting import resize_result
from orchestrator.web.dialects.a1111.options import KeyOptions
from orchestrator.web.dialects.a1111.routes import ROOT, authenticate_a1111
from orchestrator.web.dialects.a1111.schemas import (
    CheckpointResponse,
    CheckpointsResponse,
    EntriesResponse,
    ExtraImageBody,
    ExtraImageResponse,
    OptionsBody,
    OptionsResponse,
    PngInfoBody,
    PngInfoResponse,
    ValuesResponse,
)
from orchestrator.web.dialects.run_input import to_run_request
from orchestrator.web.http.embedded_files import EmbeddedFiles, FileContent
from orchestrator.web.http.request_model import read_request_model
from orchestrator.web.http.response_model import json_response, to_json_dict
from orchestrator.web.jobs.output_urls import OutputDelivery
from orchestrator.web.jobs.pending_responses import submit_job
from orchestrator.web.jobs.wait_for_result import (
    job_headers,
    parse_idempotency_key,
    to_header_text,
    wait_for_result,
)
from orchestrator.web.openapi.operation import Access, openapi_operation
from orchestrator.web.protocols import GenerationApi

#: Lists that are empty here, or have one entry: the models have all of this built in.
LISTS: Mapping[str, tuple[str, Any]] = {
    "samplers": (
        "List the samplers: each model has its own",
        [{"name": "Default", "aliases": ["default"], "options": {}}],
    ),
    "schedulers": (
        "List the schedulers: each model has its own",
        [
            {
                "name": "automatic",
                "label": "Automatic",
                "aliases": None,
                "default_rho": -1,
                "need_inner_model": False,
            }
        ],
    ),
    "latent-upscale-modes": ("List the latent upscale modes: none", []),
    "sd-vae": ("List the VAEs: each model has its own", []),
    "hypernetworks": ("List the hypernetworks: none", []),
    "face-restorers": ("List the face restorers: none", []),
    "realesrgan-models": ("List the models of Real-ESRGAN: none", []),
    "prompt-styles": ("List the prompt styles: none", []),
    "embeddings": ("List the embeddings: none", {"loaded": {}, "skipped": {}}),
    "scripts": ("List the scripts: none", {"txt2img": [], "img2img": []}),
    "script-info": ("List the parameters of scripts: none", []),
    "cmd-flags": ("Get the command line of the web UI: nothing", {}),
}
#: Fields of `extra-single-image` that must ask for nothing.
_ZERO_FIELDS = ("gfpgan_visibility", "codeformer_visibility", "extras_upscaler_2_visibility")
NO_UPSCALER = "None"
#: LoRAs of the account that a list has at most.
MAX_LORAS = 100


def _lora_metadata(trigger_word: str | None) -> dict[str, str]:
    """Return what programs show of a LoRA, in the field in which trainers write it."""
    return {"modelspec.trigger_phrase": trigger_word} if trigger_word else {}


class A1111InfoRoutes:
    """Options, models, upscalers, and texts of PNGs."""

    def __init__(
        self,
        service: GenerationApi,
        delivery: OutputDelivery,
        options: KeyOptions,
        limits: ImageLimits,
        loras: LoraResolver,
    ) -> None:
        self._service = service
        self._loras = loras
        self._delivery = delivery
        self._options = options
        self._limits = limits

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get(f"{ROOT}/options", self.get_options),
            web.post(f"{ROOT}/options", self.set_options),
            web.get(f"{ROOT}/sd-models", self.list_models),
            web.get(f"{ROOT}/upscalers", self.list_upscalers),
            web.get(f"{ROOT}/loras", self.list_loras),
            web.post(f"{ROOT}/refresh-checkpoints", self.refresh),
            web.post(f"{ROOT}/extra-single-image", self.upscale),
            web.post(f"{ROOT}/png-info", self.read_png),
            *(web.get(f"{ROOT}/{name}", _list_handler(*entry)) for name, entry in LISTS.items()),
        ]

    @openapi_operation(response=OptionsResponse, access=Access.BASIC, tag="a1111")
    async def get_options(self, request: web.Request) -> web.Response:
        """Get the options of the API key."""
        key = await authenticate_a1111(request, ApiKeyScope.READ)
        catalog, chosen = self._service.catalog_for(key), await self._options.get_model(key.id)
        name = chosen if chosen is not None and chosen in catalog else a1111.DEFAULT_MODEL
        return json_response(
            OptionsResponse(
                sd_model_checkpoint=name,
                sd_checkpoint_hash=catalog[name].digest if name in catalog else "",
                sd_vae="Automatic",
                CLIP_stop_at_last_layers=1,
                samples_format="png",
            )
        )

    @openapi_operation(
        body=OptionsBody,
        response=ValuesResponse,
        response_description="Nothing: the options are set.",
        access=Access.BASIC,
        tag="a1111",
    )
    async def set_options(self, request: web.Request) -> web.Response:
        """Change the options of the API key.

        `sd_model_checkpoint` is the model of requests that name none. Others have no effect, which the header
        `X-PixelFactory-Warnings` says.
        """
        key = await authenticate_a1111(request, ApiKeyScope.GENERATE)
        body = await read_request_model(request, OptionsBody)
        if body.sd_model_checkpoint:
            name = a1111.require_checkpoint(self._service.catalog_for(key), body.sd_model_checkpoint)
            await self._options.set_model(key.id, name)
        # Programs send all options back with one of them changed.
        others = {name: value for name, value in body if name != "sd_model_checkpoint"}
        warnings = a1111.option_warnings(others)
        headers = {"X-PixelFactory-Warnings": to_header_text("; ".join(warnings))} if warnings else {}
        return web.json_response({}, headers=headers)

    @openapi_operation(response=CheckpointsResponse, access=Access.BASIC, tag="a1111")
    async def list_models(self, request: web.Request) -> web.Response:
        """List the models that make images."""
        key = await authenticate_a1111(request, ApiKeyScope.READ)
        offers = self._service.catalog_for(key).offers()
        found = [(name, model) for name, model in offers if a1111.makes_pictures(model)]
        return web.json_response([to_json_dict(_to_checkpoint(name, model)) for name, model in found])

    @openapi_operation(response=EntriesResponse, access=Access.BASIC, tag="a1111")
    async def list_upscalers(self, request: web.Request) -> web.Response:
        """List the upscalers."""
        key = await authenticate_a1111(request, ApiKeyScope.READ)
        catalog = self._service.catalog_for(key)
        names = _upscalers(catalog)
        return web.json_response(
            [
                {"name": name, "model_name": None, "model_path": None, "model_url": None, "scale": 4}
                for name in names
            ]
        )

    @openapi_operation(response=EntriesResponse, access=Access.BASIC, tag="a1111")
    async def list_loras(self, request: web.Request) -> web.Response:
        """List the LoRAs that prompts can name: the newest of the account, and those for all accounts."""
        key = await authenticate_a1111(request, ApiKeyScope.READ)
        page = await self._loras.store.list_loras(key.account.id, MAX_LORAS)
        own = [lora for lora in page.items if not self._loras.expiry.is_lora_expired(lora)]
        names = dict.fromkeys([*(lora.name for lora in own), *self._loras.shared.names()])
        words = {lora.name: lora.trigger_word for lora in reversed(own)}
        return web.json_response(
            [
                {"name": name, "alias": name, "path": "", "metadata": _lora_metadata(words.get(name))}
                for name in names
            ]
        )

    @openapi_operation(
        response=ValuesResponse,
        response_description="Nothing: models are read by themselves.",
        access=Access.BASIC,
        tag="a1111",
    )
    async def refresh(self, request: web.Request) -> web.Response:
        """Check for new models, which happens by itself."""
        await authenticate_a1111(request, ApiKeyScope.READ)
        return web.json_response({})

    @openapi_operation(
        body=ExtraImageBody, response=ExtraImageResponse, access=Access.BASIC, creates_job=True, tag="a1111"
    )
    async def upscale(self, request: web.Request) -> web.StreamResponse:
        """Create an enlarged image, and wait for it."""
        key = await authenticate_a1111(request, ApiKeyScope.GENERATE)
        body = await read_request_model(request, ExtraImageBody)
        _check_extras(body)
        image = await read_image(body.image, limits=self._limits, param="image")
        size = _wanted_size(body, (image.width, image.height))
        name = body.upscaler_1 or NO_UPSCALER
        headers: dict[str, str] = {}
        job: Job | None = None
        if name == NO_UPSCALER:
            data = image.data
        else:
            catalog = self._service.catalog_for(key)
            generation = to_run_request(
                _require_upscaler(catalog, name),
                {"image": base64.b64encode(image.data).decode("ascii")},
                catalog,
                own_names={},
                idempotency_key=parse_idempotency_key(request),
            )
            record = await submit_job(request, self._service, key, generation, waits_for_result=True)
            record = await wait_for_result(self._service, record)
            job, headers = record.job, job_headers(record)
            data = await self._delivery.load_file(record.outputs[0].key)
            self._service.record_bytes_sent(record)
        resized = await asyncio.to_thread(resize_result, data, size, crops=body.upscaling_crop is not False)
        if resized is not data:
            data = resized if job is None else await self._delivery.marker.mark(job, resized, "image/png")
        embedded = EmbeddedFiles()
        shown = "" if body.show_extras_results is False else embedded.add(FileContent.of(data))
        response = ExtraImageResponse(html_info=f"{name}, {size[0]}x{size[1]}", image=shown)
        return await embedded.to_response(response, headers=headers)

    @openapi_operation(body=PngInfoBody, response=PngInfoResponse, access=Access.BASIC, tag="a1111")
    async def read_png(self, request: web.Request) -> web.Response:
        """Get the generation parameters that a PNG carries."""
        await authenticate_a1111(
            request,
            ApiKeyScope.READ,
        )
        body = await read_request_model(request, PngInfoBody)
        try:
            data = PayloadDecoder("image", self._limits.max_bytes).decode(body.image)
        except InputRejected as rejected:
            raise InvalidRequest(str(rejected), code=rejected.code, param="image") from rejected
        texts = await asyncio.to_thread(read_texts, data)
        info = texts.pop("parameters", "")
        return json_response(
            PngInfoResponse(info=info, items=texts, parameters=parse_infotext(info) if info else {})
        )


def _list_handler(summary: str, entries: Any) -> Any:
    async def handle(request: web.Request) -> web.Response:
        await authenticate_a1111(request, ApiKeyScope.READ)
        return web.json_response(entries)

    return openapi_operation(
        summary=summary,
        description=f"{summary}. For programs that ask.",
        response=EntriesResponse if isinstance(entries, list) else ValuesResponse,
        access=Access.BASIC,
        tag="a1111",
    )(handle)


def _to_checkpoint(name: str, model: Model) -> CheckpointResponse:
    return CheckpointResponse(
        title=name,
        model_name=name,
        hash=model.digest[:10],
        sha256=model.digest,
        filename=name,
        config=None,
    )


def _check_extras(body: ExtraImageBody) -> None:
    """Raise InvalidRequest for what is not offered."""
    for name in _ZERO_FIELDS:
        if getattr(body, name):
            raise invalid_field(name, f"must be 0 (got {getattr(body, name)})")
    if body.upscaler_2 not in (None, "", NO_UPSCALER):
        raise invalid_field("upscaler_2", f"must be {NO_UPSCALER} (got {str(body.upscaler_2)[:40]!r})")


def _require_upscaler(catalog: Catalog, name: str) -> str:
    if name not in catalog or catalog[name].kind is not ModelKind.UPSCALE:
        known = ", ".join(_upscalers(catalog))
        raise invalid_field("upscaler_1", f"must be one of {known} (got {name[:40]!r})")
    return name


def _upscalers(catalog: Catalog) -> list[str]:
    return [NO_UPSCALER, *(model.id for model in catalog if model.kind is ModelKind.UPSCALE)]


def _wanted_size(body: ExtraImageBody, size: tuple[int, int]) -> tuple[int, int]:
    """Return the size of the result. Raises InvalidRequest if that is too large."""
    if body.resize_mode == 1:
        wanted = (body.upscaling_resize_w or 512, body.upscaling_resize_h or 512)
    else:
        factor = body.upscaling_resize or 2
        wanted = (max(round(size[0] * factor), 1), max(round(size[1] * factor), 1))
    if max(wanted) > 8192:
        raise invalid_field("upscaling_resize", f"must make at most 8192 pixels a side (got {wanted})")
    return wanted
