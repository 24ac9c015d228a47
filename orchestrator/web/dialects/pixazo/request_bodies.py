"""Request bodies of Pixazo's endpoints: the document's fields, ranges and defaults.

Safety flags are validated and have no effect, which a warning says: the operator decides what may be
generated. Where the document names no upper limit, the model's own applies.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, WithJsonSchema

from orchestrator.catalog import Model, parse_size
from orchestrator.catalog.parameters.values import MAX_SEED
from orchestrator.errors import InvalidRequest, invalid_field
from orchestrator.web.dialects.dimensions import size_to_dimensions
from orchestrator.web.dialects.model_selection import scale_steps
from orchestrator.web.dialects.parameter_names import ModelParameters
from orchestrator.web.dialects.pixazo.base_bodies import (
    EndpointBody,
    PixazoBody,
    QueuedBody,
    QueuedImageBody,
    single_image_params,
)
from orchestrator.web.dialects.pixazo.input_files import FileInput, ImageInput, Url
from orchestrator.web.dialects.pixazo.prompt_cleanup import clean_prompt
from orchestrator.web.dialects.pixazo.sizes import AspectRatio, FalImageSize, Flux2ProImageSize
from orchestrator.web.dialects.raw_mode import RAW_DESCRIPTION, raw_guidance

SAFETY_DESCRIPTION = "Has no effect, which a warning says: the operator's content policy applies."
FORMAT_DESCRIPTION = "Format of the files; default: as the model makes them."

#: Prompt for a general model that is used to restore an image.
RESTORE_PROMPT = (
    "Restore this photograph: remove scratches, dust, stains and fading; keep everything else as it is."
)
#: Number of steps by acceleration, as a multiple of the model's default.
STEPS_FACTOR_BY_ACCELERATION = {"none": 1.0, "regular": 0.75, "high": 0.5}

Prompt = Annotated[str, Field(description="Description of the image, or of the change.")]
Seed = Annotated[
    int | None,
    Field(
        ge=0,
        json_schema_extra={"maximum": MAX_SEED},
        description="The same seed and fields give the same result; default: random.",
    ),
]
Steps = Annotated[int | None, Field(ge=1, description="Number of denoising steps, within the model's range.")]
GuidanceScale = Annotated[float | None, Field(ge=0, description="How closely the result follows the prompt.")]
ImageCount = Annotated[int, Field(ge=1, description="Number of images, within the model's range.")]
JpegOrPng = Annotated[Literal["jpeg", "png"] | None, Field(description=FORMAT_DESCRIPTION)]
JpegPngOrWebp = Annotated[
    Literal["jpeg", "png", "webp"] | None,
    Field(description=FORMAT_DESCRIPTION),
]
SafetyChecker = Annotated[bool | None, Field(description=SAFETY_DESCRIPTION)]


class Flux2ProEditBody(QueuedBody):
    """FLUX.2 Pro, image to image."""

    interpreted: ClassVar[frozenset[str]] = QueuedBody.interpreted | {"input_images", "image_size"}

    prompt: Prompt
    input_images: list[FileInput] = Field(
        alias="image_urls",
        min_length=1,
        description="URLs of input images; only the first one is used, and a warning says so.",
    )
    image_size: str = Field(
        "auto",
        max_length=20,
        description="Size in pixels as WIDTHxHEIGHT, or `auto` for that of the input image.",
    )
    safety_tolerance: Literal["1", "2", "3"] | None = Field(None, description=SAFETY_DESCRIPTION)
    enable_safety_checker: SafetyChecker = None
    output_format: JpegPngOrWebp = None

    def to_parameters(self, model: Model) -> ModelParameters:
        params = super().to_parameters(model)
        unused = len(self.input_images) - 1
        warnings = (
            [f"only the first of the `image_urls` is used: {unused} more had no effect"] if unused else []
        )
        return params.with_computed(single_image_params(model, self.input_images[0])).extended({}, *warnings)

    @property
    def match_input_size(self) -> bool:
        return self.image_size == "auto"

    def _dimensions(self, model: Model) -> dict[str, int]:
        if self.match_input_size:
            return {}
        parse_size(self.image_size, param="image_size")
        return size_to_dimensions(model, self.image_size)


class Flux2ProTextBody(QueuedBody):
    """FLUX.2 Pro, text to image."""

    interpreted: ClassVar[frozenset[str]] = QueuedBody.interpreted | {"image_size"}

    prompt: Prompt
    image_size: Flux2ProImageSize | None = Field(
        None, description="Shape of the image; default: the model's default."
    )
    safety_tolerance: int | None = Field(None, ge=1, le=4, description=SAFETY_DESCRIPTION)
    enable_safety_checker: SafetyChecker = None
    output_format: JpegPngOrWebp = None

    def _dimensions(self, model: Model) -> dict[str, int]:
        return size_to_dimensions(model, self.image_size)


class Flux2ProTrainerBody(QueuedBody):
    """FLUX.2 Pro, LoRA trainer."""

    dataset: FileInput = Field(
        alias="image_data_url",
        description="http(s) URL, data URL or base64 of a zip of images, each with an optional caption in a"
        " text file, or of one image.",
    )
    steps: Annotated[
        int | None, Field(ge=1, description="Number of training steps, within the model's range.")
    ] = None
    learning_rate: float | None = Field(None, ge=0, description="Learning rate.")


class FluxKontextRestoreBody(QueuedImageBody):
    """FLUX Kontext, image restoration."""

    states_values: ClassVar[bool] = False

    input_image: ImageInput = Field(
        alias="input_image",
        description="http(s) URL, data URL or base64 of the image to restore: jpeg, png, gif or webp.",
    )
    seed: Seed = None
    output_format: Literal["jpg", "png"] = Field("png", description="Format of the file.")
    safety_tolerance: int | None = Field(None, ge=0, le=2, description=SAFETY_DESCRIPTION)

    def to_parameters(self, model: Model) -> ModelParameters:
        params, prompt = super().to_parameters(model), model.parameters.get("prompt")
        if prompt and prompt.required and "prompt" not in params.values:
            return params.extended({"prompt": RESTORE_PROMPT})
        return params


class Flux11ProUltraBody(QueuedBody):
    """FLUX 1.1 Pro Ultra, text to image."""

    interpreted: ClassVar[frozenset[str]] = QueuedBody.interpreted | {"enhance_prompt", "aspect_ratio", "raw"}

    prompt: Prompt
    seed: Seed = None
    sync_mode: bool = Field(False, description="Respond with 200 and the result, if it is finished in time.")
    n: ImageCount = Field(1, alias="num_images")
    enable_safety_checker: SafetyChecker = None
    output_format: JpegOrPng = None
    safety_tolerance: Literal["1", "2", "3", "4", "5", "6"] | None = Field(
        None, description=SAFETY_DESCRIPTION
    )
    enhance_prompt: Annotated[
        bool | None,
        WithJsonSchema({"anyOf": [{"type": "boolean", "const": False}, {"type": "null"}]}),
        Field(description="Only `false` is allowed: no model here rewrites prompts."),
    ] = None
    aspect_ratio: AspectRatio | None = Field(
        None, description="Shape of the image; default: the model's default."
    )
    raw: bool | None = Field(None, description=RAW_DESCRIPTION)

    def to_parameters(self, model: Model) -> ModelParameters:
        params = super().to_parameters(model)
        if self.enhance_prompt:
            raise invalid_field(
                "enhance_prompt",
                "must be false: no model here rewrites prompts; send the prompt that the model should get",
            )
        return params.with_computed(raw_guidance(model)) if self.raw else params

    def _dimensions(self, model: Model) -> dict[str, int]:
        return size_to_dimensions(model, None, aspect_ratio=self.aspect_ratio)


class DiffusionBody(QueuedBody):
    """Fields that the older diffusion models have in common."""

    prompt: Prompt
    steps: Steps = Field(None, alias="num_inference_steps")
    cfg_scale: GuidanceScale = Field(None, alias="guidance_scale")
    n: ImageCount = Field(1, alias="num_images")
    enable_safety_checker: SafetyChecker = None
    output_format: JpegOrPng = None


class AcceleratedDiffusionBody(DiffusionBody):
    """The same fields, with an option for fewer steps."""

    interpreted: ClassVar[frozenset[str]] = DiffusionBody.interpreted | {"acceleration"}

    acceleration: Literal["none", "regular", "high"] = Field(
        "none",
        description="`regular` takes three quarters of the model's default steps, `high` half of them. It has"
        " no effect if the request sets the steps.",
    )

    def to_parameters(self, model: Model) -> ModelParameters:
        params = super().to_parameters(model)
        if self.acceleration == "none":
            return params
        fewer = scale_steps(model, STEPS_FACTOR_BY_ACCELERATION[self.acceleration])
        if "steps" in params.values:
            return params.extended({}, "`acceleration` has no effect: the request sets the number of steps")
        if not fewer:
            return params.extended({}, f"`acceleration` has no effect: {model.id} has no steps to leave out")
        return params.extended(fewer)


class FluxProTextBody(DiffusionBody):
    """FLUX Pro, text to image."""

    interpreted: ClassVar[frozenset[str]] = DiffusionBody.interpreted | {"image_size"}

    image_size: FalImageSize | None = Field(
        None, description="Shape of the image; default: the model's default."
    )

    def _dimensions(self, model: Model) -> dict[str, int]:
        return size_to_dimensions(model, self.image_size)


class FluxDevTextBody(AcceleratedDiffusionBody, FluxProTextBody):
    """FLUX Dev, text to image."""

    interpreted: ClassVar[frozenset[str]] = AcceleratedDiffusionBody.interpreted | FluxProTextBody.interpreted


class FluxDevEditBody(AcceleratedDiffusionBody, QueuedImageBody):
    """FLUX Dev, image to image."""

    interpreted: ClassVar[frozenset[str]] = AcceleratedDiffusionBody.interpreted | QueuedImageBody.interpreted

    input_image: ImageInput = Field(
        alias="image_url", description="http(s) URL, data URL or base64 of the image to change."
    )
    strength: float | None = Field(None, description="How far the result may differ from the input image.")


class FluxFillBody(QueuedImageBody):
    """FLUX Fill Dev, inpainting."""

    interpreted: ClassVar[frozenset[str]] = QueuedImageBody.interpreted | {"megapixels", "lora_scale"}

    prompt: Prompt
    input_image: ImageInput = Field(
        alias="image", description="http(s) URL, data URL or base64 of the image to change."
    )
    mask: ImageInput = Field(
        description="http(s) URL, data URL or base64 of an image of the same size; white marks the area to"
        " change."
    )
    seed: Seed = None
    cfg_scale: float = Field(
        30.0, alias="guidance", ge=0, description="How closely the result follows the prompt."
    )
    n: int = Field(1, alias="num_outputs", ge=1, le=4, description="Number of images.")
    steps: int = Field(28, alias="num_inference_steps", ge=1, description="Number of denoising steps.")
    megapixels: Literal["0.25", "1", "match_input"] = Field(
        "1", description="Size of the result; `match_input` for that of the input image."
    )
    output_format: Literal["webp", "jpg", "png"] = Field("webp", description="Format of the files.")
    quality: int = Field(
        80, alias="output_quality", ge=0, le=100, description="Quality of webp and jpg in percent."
    )
    lora_scale: float = Field(
        1.0,
        description="Strength of a LoRA; has no effect, since the endpoint takes no LoRA. A warning says so.",
    )
    disable_safety_checker: bool | None = Field(None, description=SAFETY_DESCRIPTION)

    def to_parameters(self, model: Model) -> ModelParameters:
        params = super().to_parameters(model)
        params = params.with_computed(self._mask_and_size(model, params.values))
        if self.lora_scale != 1.0:
            return params.extended({}, "`lora_scale` has no effect: the endpoint takes no LoRA")
        return params

    def _mask_and_size(self, model: Model, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return how the model reads the mask, and the size. Raises InvalidRequest for two sizes."""
        computed = {"mask_channel": "red"} if "mask_channel" in model.parameters else {}
        is_given = "megapixels" in self.model_fields_set
        if {"width", "height"} & params.keys():
            if is_given:
                raise InvalidRequest(
                    "`megapixels` and `width` both set the size; send one of them",
                    code="conflicting_fields",
                    param="megapixels",
                )
        elif self.megapixels != "match_input" and "megapixels" in model.parameters:
            return {**computed, "megapixels": float(self.megapixels)}
        elif self.megapixels != "match_input" and is_given:
            raise invalid_field("megapixels", f"must be match_input: {model.id} keeps the size of its image")
        return computed


KleinDimension = Literal[512, 1024, 1448, 2048]


class SingleResultBody(EndpointBody):
    """Body of an endpoint whose response has one result."""

    makes_one: ClassVar[bool] = True


class CleanedPromptBody(SingleResultBody):
    """Body with a prompt that is cleaned up, as the document says."""

    prompt: Prompt = Field(
        description="Description of the image. Harmless phrases that content moderation misreads are"
        " replaced, and a warning says so: `fingers brushing lips` becomes `hand near face`."
    )

    def to_parameters(self, model: Model) -> ModelParameters:
        prompt, notes = clean_prompt(self.prompt)
        return super().to_parameters(model).extended({"prompt": prompt}, *notes)


class Flux2KleinBody(SingleResultBody):
    """FLUX.2 Klein, text to image."""

    prompt: Prompt
    steps: int = Field(25, ge=1, description="Number of denoising steps, within the model's range.")
    width: KleinDimension = Field(1024, description="Width in pixels.")
    height: KleinDimension = Field(1024, description="Height in pixels.")


class Flux2DevTextBody(CleanedPromptBody):
    """FLUX.2 Dev, text to image."""

    steps: Steps = None
    width: int | None = Field(None, ge=1, description="Width in pixels, within the model's range.")
    height: int | None = Field(None, ge=1, description="Height in pixels, within the model's range.")


class FluxSchnellBody(SingleResultBody):
    """FLUX.1 Schnell, text to image."""

    prompt: Prompt
    steps: int = Field(4, alias="num_steps", ge=1, le=8, description="Number of denoising steps.")
    seed: Seed = None
    height: int = Field(1024, ge=1, description="Height in pixels, within the model's range.")
    width: int = Field(1024, ge=1, description="Width in pixels, within the model's range.")


class FluxSchnellBatchBody(CleanedPromptBody):
    """FLUX.1 Schnell, in a batch."""

    steps: int = Field(
        4, alias="num_steps", ge=1, description="Number of denoising steps, within the model's range."
    )
    seed: Seed = None
    height: int = Field(1024, ge=1, description="Height in pixels, within the model's range.")
    width: int = Field(1024, ge=1, description="Width in pixels, within the model's range.")
    webhook_url: Annotated[
        Url | None,
        Field(
            description="URL that is called when the request is finished. Without it, the response waits for"
            " the result, up to a minute."
        ),
    ] = None


class CheckStatusBody(PixazoBody):
    """Body of `checkStatus`."""

    requestId: str = Field(
        description="Id of the request, from the response that accepted it.",
        examples=["3f2a9c0d-5b7e-4f1a-8c6d-2e9b0a4f7c31"],
    )
