"""Translate requests of HuggingFace's text-to-image task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from pydantic import Field

from orchestrator.catalog import Catalog
from orchestrator.errors import InvalidRequest, invalid_field
from orchestrator.intake.field_names import errors_name_fields
from orchestrator.intake.model_names import errors_name_model
from orchestrator.intake.request_preparer import GenerationRequest
from orchestrator.web.dialects.hosted_names import require_hosted_name
from orchestrator.web.dialects.input_image_models import max_input_images, suggest_image_models
from orchestrator.web.dialects.run_input import to_run_request
from orchestrator.web.http.request_model import RequestModel

DIALECT_NAME = "huggingface"
#: Ids of repositories with the weights of a model of the catalog, in lower case.
REPOSITORIES: Mapping[str, str] = MappingProxyType(
    {
        "black-forest-labs/flux.1-schnell": "flux-1-schnell",
        "black-forest-labs/flux.1-dev": "flux-1-dev",
        "black-forest-labs/flux.1-krea-dev": "flux-1-krea-dev",
        "black-forest-labs/flux.1-kontext-dev": "flux-1-kontext-dev",
        "black-forest-labs/flux.2-dev": "flux-2-dev",
        "black-forest-labs/flux.2-klein-4b": "flux-2-klein-4b",
        "black-forest-labs/flux.2-klein-9b": "flux-2-klein-9b",
        "stabilityai/stable-diffusion-xl-base-1.0": "sdxl-1.0",
        "stabilityai/stable-diffusion-3.5-large": "sd-3.5-large",
        "stable-diffusion-v1-5/stable-diffusion-v1-5": "sd-1.5",
        "hidream-ai/hidream-i1-full": "hidream-i1",
        "baidu/ernie-image": "ernie-image",
    }
)
#: Names of fields of the task of an image to an image.
_FIELD_NAMES: Mapping[str, str] = MappingProxyType({"target_size": "size"})
#: `Accept` of a response in another format than that of the model.
_FORMATS = {"image/png": "png", "image/jpeg": "jpeg", "image/jpg": "jpeg", "image/webp": "webp"}
#: Options of the hosted API, which concern its own servers.
_OPTIONS = frozenset({"use_cache", "wait_for_model"})


class TextToImageRequest(RequestModel):
    """Body of `POST /hf/{model}`."""

    inputs: str = Field(
        description="Description of the image; with a `prompt` in `parameters`, the image in base64.",
        examples=["A lighthouse at dawn"],
    )
    parameters: dict[str, Any] | None = Field(
        None,
        description="Parameters of the model, by its own names or by those of the task:"
        " `negative_prompt`, `guidance_scale`, `num_inference_steps`, `width`, `height`, `seed`.",
    )
    options: dict[str, Any] | None = Field(None, description="`use_cache`, `wait_for_model`: no effect.")


def to_request(
    body: TextToImageRequest, catalog: Catalog, asked: str, accept: str, *, idempotency_key: str | None
) -> GenerationRequest:
    """Translate a request for the model that the address asks for. Raises InvalidRequest, NotFound."""
    name = require_hosted_name(catalog, asked, REPOSITORIES)
    fields = _to_fields(body, catalog, name, accept)
    sent_as = {_input_field(body): "inputs"}
    with errors_name_model(name, catalog), errors_name_fields(sent_as):
        generation = to_run_request(
            name,
            fields,
            catalog,
            own_names=_FIELD_NAMES,
            idempotency_key=idempotency_key,
        )
    warnings = [f"`{name[:40]}` in `options` has no effect" for name in body.options or {}]
    return replace(
        generation.with_field_names(sent_as),
        warnings=(*generation.warnings, *warnings),
        origin=f"{DIALECT_NAME}/{asked}",
    )


def _to_fields(body: TextToImageRequest, catalog: Catalog, name: str, accept: str) -> dict[str, Any]:
    """Return the fields of a run. Raises InvalidRequest."""
    fields = {name: value for name, value in (body.parameters or {}).items() if value is not None}
    input_field = _input_field(body)
    served_by = catalog.models_of(name)
    if input_field == "image" and not any(map(max_input_images, served_by)):
        models = suggest_image_models(catalog, for_video=all(model.makes_video for model in served_by))
        raise InvalidRequest(
            f"Model {name} does not accept input images, which `inputs` is beside a `prompt` in `parameters`;"
            f" send the text as `inputs`{', or ' if models else ''}{models}",
            code="unknown_parameter",
            param="prompt",
        )
    if input_field in fields:
        raise invalid_field(input_field, "is the field `inputs` here; leave it out of `parameters`")
    for count in ("num_images_per_prompt", "num_images", "n"):
        if fields.pop(count, 1) != 1:
            raise invalid_field(count, "must be 1: the response is one image")
    unknown = next((name for name in body.options or {} if name not in _OPTIONS), None)
    if unknown is not None:
        raise invalid_field("options", f"has no {unknown[:40]!r}; it has {', '.join(sorted(_OPTIONS))}")
    asked = accept.partition(";")[0].split(",")[0].strip().lower()
    if asked in _FORMATS and "output_format" not in fields:
        fields["output_format"] = _FORMATS[asked]
    return {input_field: body.inputs, **fields}


def _input_field(body: TextToImageRequest) -> str:
    """Return what `inputs` is: the text, or the image of a request whose text is among the parameters."""
    return "image" if (body.parameters or {}).get("prompt") is not None else "prompt"
