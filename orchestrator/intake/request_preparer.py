"""Validates generation requests, reads their input files and computes their price."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, Protocol

from orchestrator.billing.price_book import PriceBook, to_billable_work
from orchestrator.catalog import Catalog, FollowImage, Model, reshape_for_image, size_params_for_image
from orchestrator.catalog.checks.effects import describe_ineffective
from orchestrator.catalog.live_catalog import LiveCatalog
from orchestrator.catalog.model import MAX_IMAGES_PER_REQUEST
from orchestrator.catalog.parameters.size_text import Size
from orchestrator.errors import invalid_field
from orchestrator.execution.inputs.uploads import replace_keys_with_filenames
from orchestrator.intake.canvas_fitting import fit_canvas
from orchestrator.intake.field_names import errors_name_fields, name_fields, rename_field
from orchestrator.intake.input_reader import InputFiles, InputReader
from orchestrator.intake.input_slots import InputOwner
from orchestrator.intake.lora_resolver import LoraResolver
from orchestrator.intake.model_names import name_model_in_each
from orchestrator.intake.moderated_texts import moderated_texts
from orchestrator.intake.name_defaults import find_name_defaults
from orchestrator.intake.size_warnings import warn_of_aspect_ratio, warn_of_input_size
from orchestrator.intake.transparency import (
    transparency_params,
    warn_of_lost_transparency,
    warn_of_transparency,
)
from orchestrator.intake.video_following import FramesAtRate, decides_on_shape, follow_video
from orchestrator.jobs import JobStatus, PendingResponse
from orchestrator.jobs.objects import INPUT_PREFIX, owned_object_key
from orchestrator.media.formats import ImageEncoding
from orchestrator.media.inputs.input_videos import InputVideo
from orchestrator.net.webhook_urls import WebhookUrlChecker, describe_rejected_url
from pricing.tariff import DEFAULT_TARIFF, Quote


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationRequest:
    """A generation request, translated from its dialect; the parameters are not validated yet."""

    #: Id, alias or stand-in, as it was asked for.
    model: str
    #: Id of the model that serves this request, of a name that has several; None: the only one of the name.
    served_by: str | None = None
    #: The name in errors and warnings, if the request did not name the model as `model`.
    shown_model: str | None = None
    #: Values by parameter name; files as base64 text, data URL, http(s) URL or bytes.
    params: Mapping[str, Any]
    #: Most images that the API of the request allows at once.
    max_images: int = MAX_IMAGES_PER_REQUEST
    idempotency_key: str | None = None
    #: What the caller gets by the response only; None if the caller finds the job in a list.
    pending_response: PendingResponse | None = None
    #: Whether an SDK sends the request again, without an idempotency key.
    is_retry: bool = False
    #: Dialect-qualified name of the request's dialect, such as `pixazo/flux-dev`; None for the native API.
    origin: str | None = None
    #: Price list that is applied if it has a price for the model; otherwise the default one applies.
    tariff: str = DEFAULT_TARIFF
    #: Name of the model in that price list; None for the requested name.
    tariff_model: str | None = None
    #: URL that is sent a webhook when the job finishes.
    webhook_url: str | None = None
    #: Final statuses that trigger the webhook; None for all.
    webhook_statuses: frozenset[JobStatus] | None = None
    #: Encoding of stored images; None keeps the model's output unchanged.
    encoding: ImageEncoding | None = None
    #: Content type in which images are delivered, if they are converted then.
    delivered_type: str | None = None
    #: How the size of the output follows the first input image, unless the request sets one.
    follow_image: FollowImage = FollowImage.SHAPE
    #: The largest number of pixels by aspect ratio, if the request sets a resolution without a shape: an
    #: output that follows the first input image, or the video, then has the shape of that one.
    pixels_by_shape: Callable[[float], float] | None = None
    #: The aspect ratio that the request asks for by name; a result of another one gets a warning.
    aspect_ratio: Fraction | None = None
    #: The number of frames of the requested length by frame rate, if the input video decides on the rate.
    frames_at_rate: FramesAtRate | None = None
    #: Parameters that may be empty texts, although the model needs them: some APIs make images of no prompt.
    may_be_blank: frozenset[str] = frozenset()
    #: Whether nothing is charged: a test of an operator.
    is_free: bool = False
    #: Whether a request that the content policy blocks is stored as a failed job instead of being rejected.
    store_blocked_job: bool = False
    #: Sentences about fields of the request that have no effect.
    warnings: tuple[str, ...] = ()
    #: The field that set a parameter, where it has another name; errors name the field.
    field_names: Mapping[str, str] = field(default_factory=dict)
    #: The field from which a parameter was computed; errors name it and the parameter.
    computed_from: Mapping[str, str] = field(default_factory=dict)
    #: The same request for the model that replaces transparent areas, for names that have one: it serves the
    #: request if the first image has such areas.
    if_transparent: GenerationRequest | None = None
    #: Stored with the job's parameters and ignored by the model.
    extra_params: Mapping[str, Any] = field(default_factory=dict)

    @property
    def content_type(self) -> str | None:
        """The content type that the caller gets images in; None for that of the model."""
        return self.encoding.content_type if self.encoding else self.delivered_type

    def with_field_names(self, names: Mapping[str, str]) -> GenerationRequest:
        """Return the request with the names by which the caller knows fields, by their names here."""
        known = {parameter: rename_field(field, names) for parameter, field in self.field_names.items()}
        fill = self.if_transparent
        return replace(
            self, field_names={**names, **known}, if_transparent=fill and fill.with_field_names(names)
        )


class InputContent(Protocol):
    """An input file as it is stored."""

    @property
    def data(self) -> bytes: ...

    @property
    def content_type(self) -> str: ...

    @property
    def sha256(self) -> str: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedRequest:
    """A validated request with its price."""

    request: GenerationRequest
    model: Model
    #: Validated parameters, with keys of the content instead of files.
    params: Mapping[str, Any]
    #: The input files by key.
    files: Mapping[str, InputContent]
    #: Captions of datasets, by parameter.
    captions: Mapping[str, str]
    quote: Quote
    #: Keys of the objects of LoRAs of the account, by the jobs that trained them.
    lora_objects: Mapping[str, str] = field(default_factory=dict)

    @property
    def user_texts(self) -> dict[str, str]:
        """Texts for moderation, by parameter: prompts and captions of datasets, not negative prompts."""
        return moderated_texts(self.model, self.params, self.captions)

    def files_of_job(self, job_id: str) -> dict[str, InputContent]:
        """Return the input files by the object keys under which a job stores them."""
        return {_job_file_key(job_id, key, file): file for key, file in self.files.items()}

    def params_of_job(self, job_id: str) -> dict[str, Any]:
        """Return the parameters with the object keys under which a job stores its input files."""
        keys = {key: _job_file_key(job_id, key, file) for key, file in self.files.items()}
        return replace_keys_with_filenames(self.model, self.params, keys)

    @property
    def digest(self) -> str:
        """SHA-256 of the request; requests with equal effect have equal digests."""
        request = self.request
        options = (request.tariff, request.webhook_url, request.origin, repr(request.encoding))
        text = json.dumps([self.model.id, self.params, *options], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestPreparer:
    """Validates requests, reads their input files and computes their price."""

    live_catalog: LiveCatalog
    #: Returns the price lists of today.
    get_price_book: Callable[[], PriceBook]
    input_reader: InputReader
    webhook_urls: WebhookUrlChecker
    lora_resolver: LoraResolver

    async def prepare(self, request: GenerationRequest, owner: InputOwner) -> PreparedRequest:
        """Validate a request and return it with its price.

        Raises InvalidRequest, and RateLimited if too many of the account's input files wait to be read.
        """
        await self._check_webhook_url(request, owner.account_id)
        catalog = self.live_catalog.visible_to(owner.account_id)
        request = await self._choose_by_transparency(request, owner)
        model = catalog.model_of_request(request.model, request.served_by)
        request = with_name_defaults(request, catalog)
        with errors_name_fields(request.field_names, request.computed_from):
            params = model.validate_params(
                {name: _replace_bytes(value) for name, value in request.params.items()},
                max_images=request.max_images,
                may_be_blank=request.may_be_blank,
            )
            loras = await self.lora_resolver.resolve(owner.account_id, model, params)
            files = await self.input_reader.read_inputs(owner, model, loras.params, request.params)
            if files.main_image_size:
                files = await self._follow_image(owner, model, request, files)
            if files.video:
                files = _follow_video(model, request, files, files.video)
        params = {**files.params, **transparency_params(model, files.transparent)}
        work = to_billable_work(model, params, files.main_image_size)
        quote = self.get_price_book().quote(
            request.tariff, model, work, request.tariff_model or request.model
        )
        unused = (
            *model.describe_unused(request.params),
            *describe_ineffective(model, params, request.params),
            *warn_of_aspect_ratio(params, request.aspect_ratio),
            *warn_of_transparency(model, params, files.transparent),
            *warn_of_lost_transparency(model, request.content_type, files.transparent),
        )
        warnings = name_fields((*request.warnings, *unused, *files.warnings), request.field_names)
        if request.shown_model:
            warnings = name_model_in_each(warnings, request.model, catalog, request.shown_model)
        return PreparedRequest(
            request=replace(request, warnings=warnings),
            model=model,
            params=params,
            files=files.files_by_key,
            captions=files.captions,
            quote=quote,
            lora_objects=loras.objects,
        )

    async def _choose_by_transparency(
        self, request: GenerationRequest, owner: InputOwner
    ) -> GenerationRequest:
        """Return the request for the model that replaces transparent areas if the first image has some."""
        fill = request.if_transparent
        image = fill and _first_image(fill.params)
        if fill is None or not isinstance(image, str | bytes):
            return request
        with errors_name_fields(request.field_names, request.computed_from):
            fetched, is_transparent = await self.input_reader.find_transparency(owner, image)
        if not is_transparent:
            return replace(request, params=_with_first_image(request.params, fetched))
        return replace(
            request,
            model=fill.model,
            served_by=fill.served_by,
            tariff_model=fill.tariff_model,
            params=_with_first_image(fill.params, fetched),
            encoding=fill.encoding,
            warnings=fill.warnings,
            field_names=fill.field_names,
            computed_from=fill.computed_from,
        )

    async def _follow_image(
        self, owner: InputOwner, model: Model, request: GenerationRequest, files: InputFiles
    ) -> InputFiles:
        """Let the size of the output follow the main input image, and fit the image to that size."""
        size = Size(*files.main_image_size or (1, 1))
        if request.pixels_by_shape is None:
            followed = size_params_for_image(model, request.params, size, request.follow_image)
        else:
            most = request.pixels_by_shape(size.width / size.height)
            followed = reshape_for_image(model, size, most)
        warnings = files.warnings
        if not (files.video and decides_on_shape(model)):
            made = Size(followed.get("width", size.width), followed.get("height", size.height))
            other_area = request.pixels_by_shape is not None
            warnings += tuple(warn_of_input_size(model, request.params, size, made, other_area=other_area))
        files = replace(files, params={**files.params, **followed}, warnings=warnings)
        return await fit_canvas(owner, model, request.params, files, self.input_reader.slots)

    async def _check_webhook_url(self, request: GenerationRequest, account_id: str) -> None:
        """Reject URLs to which nothing can be delivered. Deliveries check the address again."""
        url = request.webhook_url
        with errors_name_fields(request.field_names):
            if url is not None and not await self.webhook_urls.is_allowed(url, account_id):
                raise invalid_field("webhook_url", describe_rejected_url(url))


def with_name_defaults(request: GenerationRequest, catalog: Catalog) -> GenerationRequest:
    """Return the request with the size and the length that belong to the name of its model, if any."""
    defaults = find_name_defaults(
        request.model,
        catalog.defaults_of(request.model),
        catalog.model_of_request(request.model, request.served_by),
        request.params,
        sets_length=request.frames_at_rate is not None,
    )
    return replace(
        request,
        params={**request.params, **defaults.params},
        frames_at_rate=defaults.frames_at_rate or request.frames_at_rate,
    )


def _follow_video(
    model: Model, request: GenerationRequest, files: InputFiles, video: InputVideo
) -> InputFiles:
    """Let size, rate and length of the output follow the input video."""
    followed = follow_video(
        model,
        files.params,
        request.params,
        video,
        pixels_by_shape=request.pixels_by_shape,
        frames_at_rate=request.frames_at_rate,
    )
    warnings = (*files.warnings, *followed.warnings)
    return replace(files, params=followed.params, warnings=warnings)


def _first_image(params: Mapping[str, Any]) -> Any:
    """Return the first input image of a request, as it was sent; None if there is none."""
    several = params.get("images")
    return params.get("image") or (several[0] if isinstance(several, list) and several else None)


def _with_first_image(params: Mapping[str, Any], image: str | bytes) -> dict[str, Any]:
    """Return the parameters with another file as the first image."""
    if params.get("image"):
        return {**params, "image": image}
    return {**params, "images": [image, *params["images"][1:]]}


def _job_file_key(job_id: str, key: str, file: InputContent) -> str:
    return owned_object_key(INPUT_PREFIX, job_id, file.sha256, key.rpartition(".")[2])


def _replace_bytes(value: Any) -> Any:
    """Replace uploaded files by a text for validation, which only checks that a value is present."""
    if isinstance(value, bytes):
        return "upload" if value else ""
    return [_replace_bytes(item) for item in value] if isinstance(value, list) else value
