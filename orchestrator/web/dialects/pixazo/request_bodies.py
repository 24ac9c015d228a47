"""Request bodies of Pixazo's endpoints: the document's fields, ranges and defaults.

Safety flags are validated and ignored: the operator decides what may be generated. Some other fields are
ignored because no model here uses them; their descriptions say so. Prompts are used as they are written.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from orchestrator.catalog import Model, parse_size
from orchestrator.web.dialects.dimensions import (
    aspect_ratio_to_dimensions,
    round_down_to_step,
)
from orchestrator.web.dialects.model_selection import scale_steps
from orchestrator.web.dialects.pixazo.base_bodies import (
    EndpointBody,
    ImageUrl,
    PixazoBody,
    QueuedBody,
    QueuedImageBody,
    Url,
    single_image_params,
)
from orchestrator.web.dialects.pixazo.sizes import (
    AspectRatio,
    FalImageSize,
    Flux2ProImageSize,
    size_name_to_dimensions,
)

SAFETY_FIELD_IGNORED = "Ignored: the operator's content policy applies."
FORMAT_DESCRIPTION = "Format of the files; default: as the model makes them."
FIELD_IGNORED = "Ignored: no model here uses it."

#: Prompt for a general model that is used to restore an image.
RESTORE_PROMPT = (
    "Restore this photograph: remove scratches, dust, stains and fading; keep everything else as it is."
)
#: Number of steps by acceleration, as a multiple of the model's default.
STEPS_FACTOR_BY_ACCELERATION = {"none": 1.0, "regular": 0.75, "high": 0.5}

Prompt = Annotated[str, Field(description="Description of the image, or of the change.")]
Seed = Annotated[
    int | None, Field(ge=0, description="The same seed and fields give the same result; default: random.")
]
Steps = Annotated[int | None, Field(ge=1, description="Number of denoising steps, within the model's range.")]
GuidanceScale = Annotated[float | None, Field(ge=0, description="How closely the result follows the prompt.")]
ImageCount = Annotated[int, Field(ge=1, le=4, description="Number of images.")]
JpegOrPng = Annotated[Literal["jpeg", "png"] | None, Field(description=FORMAT_DESCRIPTION)]
JpegPngOrWebp = Annotated[
    Literal["jpeg", "png", "webp"] | None,
    Field(description=FORMAT_DESCRIPTION),
]
SafetyChecker = Annotated[bool | None, Field(description=SAFETY_FIELD_IGNORED)]


class Flux2ProEditBody(QueuedBody):
    """FLUX.2 Pro, image to image."""

    prompt: Prompt
    input_images: list[Url] = Field(
        alias="image_urls", min_length=1, description="URLs of input images; only the first one is used."
    )
    image_size: str = Field(
        "auto",
        max_length=20,
        description="Size in pixels as WIDTHxHEIGHT, or `auto` for that of the input image.",
    )
    safety_tolerance: Literal["1", "2", "3"] | None = Field(None, description=SAFETY_FIELD_IGNORED)
    enable_safety_checker: SafetyChecker = None
    output_format: JpegPngOrWebp = None

    def to_params(self, model: Model) -> dict[str, Any]:
        return super().to_params(model) | single_image_params(model, self.input_images[0])

    @property
    def match_input_size(self) -> bool:
        return self.image_size == "auto"

    def _dimensions(self, model: Model) -> dict[str, int]:
        sides = {} if self.match_input_size else parse_size(self.image_size, param="image_size").to_params()
        return {name: round_down_to_step(model, name, pixels) for name, pixels in sides.items()}


class Flux2ProTextBody(QueuedBody):
    """FLUX.2 Pro, text to image."""

    prompt: Prompt
    image_size: Flux2ProImageSize | None = Field(
        None, description="Shape of the image; default: the model's default."
    )
    safety_tolerance: int | None = Field(None, ge=1, le=4, description=SAFETY_FIELD_IGNORED)
    enable_safety_checker: SafetyChecker = None
    output_format: JpegPngOrWebp = None

    def _dimensions(self, model: Model) -> dict[str, int]:
        return size_name_to_dimensions(model, self.image_size)


class Flux2ProTrainerBody(QueuedBody):
    """FLUX.2 Pro, LoRA trainer."""

    dataset: Url = Field(
        alias="image_data_url",
        description="http(s) URL or data URL of a zip of images, each with an optional caption in a text"
        " file, or of one image.",
    )
    steps: Annotated[
        int | None, Field(ge=1, description="Number of training steps, within the model's range.")
    ] = None
    learning_rate: float | None = Field(None, ge=0, description="Learning rate.")


class FluxKontextRestoreBody(QueuedImageBody):
    """FLUX Kontext, image restoration."""

    input_image: ImageUrl = Field(
        alias="input_image",
        description="http(s) URL or data URL of the image to restore: jpeg, png, gif or webp.",
    )
    seed: Seed = None
    output_format: Literal["jpg", "png"] = Field("png", description="Format of the file.")
    safety_tolerance: int = Field(2, ge=0, le=2, description=SAFETY_FIELD_IGNORED)

    def to_params(self, model: Model) -> dict[str, Any]:
        prompt = model.parameters.get("prompt")
        restore = {"prompt": RESTORE_PROMPT} if prompt and prompt.required else {}
        return super().to_params(model) | restore


class Flux11ProUltraBody(QueuedBody):
    """FLUX 1.1 Pro Ultra, text to image."""

    prompt: Prompt
    seed: Seed = None
    sync_mode: bool = Field(False, description="Respond with 200 and the result, if it is finished in time.")
    n: ImageCount = Field(1, alias="num_images")
    enable_safety_checker: SafetyChecker = None
    output_format: JpegOrPng = None
    safety_tolerance: Literal["1", "2", "3", "4", "5", "6"] | None = Field(
        None, description=SAFETY_FIELD_IGNORED
    )
    enhance_prompt: bool | None = Field(None, description=FIELD_IGNORED)
    aspect_ratio: AspectRatio | None = Field(
        None, description="Shape of the image; default: the model's default."
    )
    raw: bool | None = Field(None, description=FIELD_IGNORED)

    def _dimensions(self, model: Model) -> dict[str, int]:
        return aspect_ratio_to_dimensions(model, self.aspect_ratio)


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

    acceleration: Literal["none", "regular", "high"] = Field(
        "none",
        description="`regular` takes three quarters of the model's default steps, `high` half of them.",
    )

    def to_params(self, model: Model) -> dict[str, Any]:
        return scale_steps(model, STEPS_FACTOR_BY_ACCELERATION[self.acceleration]) | super().to_params(model)


class FluxProTextBody(DiffusionBody):
    """FLUX Pro, text to image."""

    image_size: FalImageSize | None = Field(
        None, description="Shape of the image; default: the model's default."
    )

    def _dimensions(self, model: Model) -> dict[str, int]:
        return size_name_to_dimensions(model, self.image_size)


class FluxDevTextBody(AcceleratedDiffusionBody, FluxProTextBody):
    """FLUX Dev, text to image."""


class FluxDevEditBody(AcceleratedDiffusionBody, QueuedImageBody):
    """FLUX Dev, image to image."""

    input_image: ImageUrl = Field(
        alias="image_url", description="http(s) URL or data URL of the image to change."
    )
    strength: float | None = Field(None, description="How far the result may differ from the input image.")


class FluxFillBody(QueuedImageBody):
    """FLUX Fill Dev, inpainting."""

    prompt: Prompt
    input_image: ImageUrl = Field(
        alias="image", description="http(s) URL or data URL of the image to change."
    )
    mask: ImageUrl = Field(
        description="http(s) URL or data URL of an image of the same size; white marks the area to change."
    )
    seed: Seed = None
    cfg_scale: float = Field(
        30.0, alias="guidance", ge=0, description="How closely the result follows the prompt."
    )
    n: ImageCount = Field(1, alias="num_outputs")
    steps: int = Field(28, alias="num_inference_steps", ge=1, description="Number of denoising steps.")
    size: Literal["0.25", "1", "match_input"] = Field(
        "1", alias="megapixels", description="Size of the result; `match_input` for that of the input image."
    )
    output_format: Literal["webp", "jpg", "png"] = Field("webp", description="Format of the files.")
    quality: int = Field(
        80, alias="output_quality", ge=0, le=100, description="Quality of webp and jpg in percent."
    )
    lora_scale: float = Field(1.0, description=FIELD_IGNORED)
    disable_safety_checker: bool = Field(False, description=SAFETY_FIELD_IGNORED)

    def to_params(self, model: Model) -> dict[str, Any]:
        megapixels = None if self.size == "match_input" else float(self.size)
        params = {"mask": self.mask, "mask_channel": "red", "megapixels": megapixels}
        supported = {name: value for name, value in params.items() if name in model.parameters}
        return super().to_params(model) | supported


KleinDimension = Literal[512, 1024, 1448, 2048]


class Flux2KleinBody(EndpointBody):
    """FLUX.2 Klein, text to image."""

    prompt: Prompt
    steps: int = Field(25, ge=1, description="Number of denoising steps, within the model's range.")
    width: KleinDimension = Field(1024, description="Width in pixels.")
    height: KleinDimension = Field(1024, description="Height in pixels.")


class Flux2DevTextBody(EndpointBody):
    """FLUX.2 Dev, text to image."""

    prompt: Prompt
    steps: Steps = None
    width: int | None = Field(None, ge=1, description="Width in pixels, within the model's range.")
    height: int | None = Field(None, ge=1, description="Height in pixels, within the model's range.")


class FluxSchnellBody(EndpointBody):
    """FLUX.1 Schnell, text to image."""

    prompt: Prompt
    steps: int = Field(4, alias="num_steps", ge=1, le=8, description="Number of denoising steps.")
    seed: Seed = None
    height: int = Field(1024, ge=1, description="Height in pixels, within the model's range.")
    width: int = Field(1024, ge=1, description="Width in pixels, within the model's range.")


class FluxSchnellBatchBody(FluxSchnellBody):
    """FLUX.1 Schnell, in a batch."""

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
