"""The Pixel Factory document: OpenAI's images API with fields of its own, usage with costs, and models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from orchestrator.billing.model_listing import default_cents, list_model
from orchestrator.catalog import Catalog, Model
from orchestrator.catalog.tasks import find_tasks
from orchestrator.intake.name_defaults import default_params
from orchestrator.intake.request_preparer import GenerationRequest
from orchestrator.jobs import Job, JobRecord, Output
from orchestrator.web.dialects.input_image_models import refusals_name_models
from orchestrator.web.dialects.model_selection import (
    check_image_count,
    check_mask,
    to_image_params,
    with_fill,
)
from orchestrator.web.dialects.openai.image_bodies import ImageGenerationBody, ImageRequestBody
from orchestrator.web.dialects.openai.images import VIDEO_ONLY_FIELDS, image_response_fields, to_model_params
from orchestrator.web.dialects.openai.schemas import (
    GeneratedFile,
    GenerationUsage,
    ImagesResponse,
    TokenDetails,
)
from orchestrator.web.dialects.parameter_names import our_name
from orchestrator.web.dialects.pixel_factory.schemas import ModelEntry, ModelEntryList, ServingModel
from orchestrator.web.dialects.request_body import names_sent_fields
from orchestrator.web.video_length import video_length
from pricing.money import to_cents
from pricing.tariff import Tariff

DEFAULT_MODEL = "flux-1-schnell"


def is_video_body(fields: Mapping[str, Any], catalog: Catalog) -> bool:
    """Whether a body is that of a video: by a field that only those have, for a model that makes videos."""
    name = fields.get("model")
    parameters = catalog.parameters_of(name)
    given = {
        our_name(field, VIDEO_ONLY_FIELDS, parameters)
        for field, value in fields.items()
        if value not in (None, "")
    }
    if not given & VIDEO_ONLY_FIELDS - {*parameters}:
        return False
    return not name or (name in catalog and any(model.makes_video for model in catalog.models_of(name)))


@names_sent_fields
def to_request(
    body: ImageGenerationBody, catalog: Catalog, *, form: bool, idempotency_key: str | None
) -> GenerationRequest:
    """Translate a generation. Raises InvalidRequest."""
    images, mask = body.input_images(), body.mask_params()

    def translate(has_mask: bool) -> GenerationRequest:
        tasks = find_tasks(image_count=len(images), has_mask=has_mask)
        model = catalog.resolve(body.model or DEFAULT_MODEL, *tasks)
        with refusals_name_models(model, catalog, len(images), has_mask=bool(mask)):
            check_image_count(model, len(images), body.last_image_field)
            check_mask(model, has_mask=has_mask)
        params = to_model_params(body, model, form=form).extended(to_image_params(model, images) | mask)
        return body.to_generation_request(model, params, idempotency_key)

    return with_fill(translate, has_image=bool(images), has_mask=bool(mask))


def to_response(
    record: JobRecord, model: Model, body: ImageRequestBody, files: Sequence[Mapping[str, str]]
) -> ImagesResponse:
    """Return the response to a finished generation; `files` has `b64_json` or `url` of each output."""
    return ImagesResponse(
        created=int(record.job.created_at.timestamp()),
        data=[GeneratedFile.model_validate(file) for file in files],
        **image_response_fields(body, record.outputs),
        usage=to_usage(record, model),
    )


def to_usage(record: JobRecord, model: Model) -> GenerationUsage:
    """Return what was made and what it cost. Nothing is counted in tokens, but SDKs expect the fields."""
    job, outputs = record.job, record.outputs
    return GenerationUsage(
        model=job.shown_model,
        warnings=list(job.warnings),
        size=f"{outputs[0].width}x{outputs[0].height}" if outputs and outputs[0].width else None,
        n=len(outputs),
        steps=job.params.get("steps", model.default_steps),
        duration_ms=duration_ms(job),
        cost_cents=to_cents(job.price),
        input_tokens=0,
        input_tokens_details=TokenDetails(image_tokens=0, text_tokens=0),
        output_tokens=0,
        total_tokens=0,
        **_dimensions(outputs[0] if outputs else None),
    )


def _dimensions(output: Output | None) -> dict[str, Any]:
    """Return the size of a result, and the length of a video."""
    if output is None or output.width is None:
        return {}
    return {"width": output.width, "height": output.height, **video_length(output)}


def duration_ms(job: Job) -> int | None:
    """Return the milliseconds from the first shard's start to the last shard's end."""
    if job.started_at is None or job.finished_at is None:
        return None
    return round((job.finished_at - job.started_at).total_seconds() * 1000)


def to_model_list(catalog: Catalog, tariff: Tariff) -> ModelEntryList:
    """Return all models, and names that they stand in for, with their prices."""
    entries = [
        with_serving_models(to_model_entry(model, tariff, name, catalog), catalog, tariff)
        for name, model in catalog.offers()
    ]
    return ModelEntryList(object="list", data=entries)


def with_serving_models(entry: ModelEntry, catalog: Catalog, tariff: Tariff) -> ModelEntry:
    """Return the entry of a name with the models that serve it, if they are others than that of the name."""
    served_by = serving_models(catalog, tariff, entry.id)
    return entry.model_copy(update={"served_by": served_by}) if served_by else entry


def serving_models(catalog: Catalog, tariff: Tariff, name: str) -> dict[str, ServingModel]:
    """Return the models of a stand-in, or of an alias with several, by task; nothing for other names."""
    models = {str(task): model for task, model in catalog.tasks_of(name).items()}
    if not models and name in catalog.stand_ins:
        models = {"model": catalog[name]}
    return {
        task: ServingModel(
            model=model.id,
            price_per_image_cents=default_cents(
                model, tariff, default_params(catalog.defaults_of(name), model)
            ),
        )
        for task, model in models.items()
    }


def to_model_entry(model: Model, tariff: Tariff, name: str, catalog: Catalog) -> ModelEntry:
    """Return a model and its price, under its id or another `name` that requests may use."""
    listing = list_model(model, tariff, name, default_params(catalog.defaults_of(name), model))
    return ModelEntry.model_validate({"object": "model", **asdict(listing)})
