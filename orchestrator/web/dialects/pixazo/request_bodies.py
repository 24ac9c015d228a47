"""What each of Pixazo's endpoints takes: the document's fields, ranges and defaults.

Safety flags are taken and checked, and change nothing: what may be made here is the operator's to say, not a
caller's. Nor have models that run here a use for some other fields; their descriptions say so. Prompts are
taken as they were written.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from orchestrator.catalog import Model, parse_size
from orchestrator.web.dialects.model_selection import scale_steps
from orchestrator.web.dialects.pixazo.body_models import (
    EndpointBody,
    ImageUrl,
    QueuedBody,
    QueuedImageBody,
    single_image_params,
)
from orchestrator.web.dialects.pixazo.fields import PixazoBody, Url
from orchestrator.web.dialects.pixazo.sizes import (
    AspectRatio,
    FalImageSize,
    Flux2ProImageSize,
    round_down_to_step,
    size_name_to_dimensions,
)
from orchestrator.web.dialects.pixeldojo import sizes as shapes

SAFETY_FIELD_IGNORED = "Taken, and without effect: the operator's own content policy decides."
FIELD_IGNORED = "Taken, and without effect: the models that run here know nothing of the kind."

#: What is said to a model that restores no picture by itself.
RESTORE_PROMPT = (
    "Restore this photograph: remove scratches, dust, stains and fading; keep everything else as it is."
)
#: Share of a model's usual steps that an acceleration leaves.
STEPS_FACTOR_BY_ACCELERATION = {"none": 1.0, "regular": 0.75, "high": 0.5}

Prompt = Annotated[str, Field(description="What the picture shall show, or what shall change.")]
Seed = Annotated[int | None, Field(ge=0, description="For reproducible results; random when not given.")]
Steps = Annotated[int | None, Field(ge=1, description="Denoising steps, within the model's range.")]
GuidanceScale = Annotated[float | None, Field(ge=0, description="How closely the result follows the prompt.")]
ImageCount = Annotated[int, Field(ge=1, le=4, description="Number of pictures.")]
JpegOrPng = Annotated[Literal["jpeg", "png"] | None, Field(description="Format of the files; default: png.")]
JpegPngOrWebp = Annotated[
    Literal["jpeg", "png", "webp"] | None, Field(description="Format of the files; png.")
]
SafetyChecker = Annotated[bool | None, Field(description=SAFETY_FIELD_IGNORED)]


class Flux2ProEditBody(QueuedBody):
    """FLUX.2 Pro, image to image."""

    prompt: Prompt
    input_images: list[Url] = Field(
        alias="image_urls", min_length=1, description="Only the first one is worked on."
    )
    image_size: str = Field(
        "auto", max_length=20, description="`auto` for the picture's own size, or such as `1024x1024`."
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
        if self.image_size == "auto":
            return {}
        width, height = parse_size(self.image_size, param="image_size")
        return {
            "width": round_down_to_step(model, "width", width),
            "height": round_down_to_step(model, "height", height),
        }


class Flux2ProTextBody(QueuedBody):
    """FLUX.2 Pro, text to image."""

    prompt: Prompt
    image_size: Flux2ProImageSize | None = Field(
        None, description="Shape of the picture; default: the model's own."
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
        description="Address or data URL of a zip of pictures, each with its caption in a text file or with"
        " none; or of one picture.",
    )
    steps: Annotated[int | None, Field(ge=1, description="Training steps, within the model's range.")] = None
    learning_rate: float | None = Field(None, ge=0, description="How much is learnt from each step.")


class FluxKontextRestoreBody(QueuedImageBody):
    """FLUX Kontext, image restoration."""

    input_image: ImageUrl = Field(
        alias="input_image", description="The picture to restore: jpeg, png, gif, webp."
    )
    seed: Seed = None
    output_format: Literal["jpg", "png"] = Field("png", description="Format of the file.")
    safety_tolerance: int = Field(2, ge=0, le=2, description=SAFETY_FIELD_IGNORED)

    def to_params(self, model: Model) -> dict[str, Any]:
        prompt = model.parameters.get("prompt")
        told = {"prompt": RESTORE_PROMPT} if prompt and prompt.required else {}
        return super().to_params(model) | told


class Flux11ProUltraBody(QueuedBody):
    """FLUX 1.1 Pro Ultra, text to image."""

    prompt: Prompt
    seed: Seed = None
    sync_mode: bool = Field(False, description="Answer 200 with the result, if it comes soon enough.")
    n: ImageCount = Field(1, alias="num_images")
    enable_safety_checker: SafetyChecker = None
    output_format: JpegOrPng = None
    safety_tolerance: Literal["1", "2", "3", "4", "5", "6"] | None = Field(
        None, description=SAFETY_FIELD_IGNORED
    )
    enhance_prompt: bool | None = Field(None, description=FIELD_IGNORED)
    aspect_ratio: AspectRatio | None = Field(
        None, description="Shape of the picture; default: the model's own."
    )
    raw: bool | None = Field(None, description=FIELD_IGNORED)

    def _dimensions(self, model: Model) -> dict[str, int]:
        return shapes.aspect_ratio_to_dimensions(model, self.aspect_ratio, None)


class DiffusionBody(QueuedBody):
    """What older models are told in one way."""

    prompt: Prompt
    steps: Steps = Field(None, alias="num_inference_steps")
    cfg_scale: GuidanceScale = Field(None, alias="guidance_scale")
    n: ImageCount = Field(1, alias="num_images")
    enable_safety_checker: SafetyChecker = None
    output_format: JpegOrPng = None


class AcceleratedDiffusionBody(DiffusionBody):
    """The same, perhaps in fewer steps."""

    acceleration: Literal["none", "regular", "high"] = Field(
        "none",
        description="`regular` takes three quarters of the model's usual steps, `high` half of them.",
    )

    def to_params(self, model: Model) -> dict[str, Any]:
        return scale_steps(model, STEPS_FACTOR_BY_ACCELERATION[self.acceleration]) | super().to_params(model)


class FluxProTextBody(DiffusionBody):
    """FLUX Pro, text to image."""

    image_size: FalImageSize | None = Field(
        None, description="Shape of the picture; default: the model's own."
    )

    def _dimensions(self, model: Model) -> dict[str, int]:
        return size_name_to_dimensions(model, self.image_size)


class FluxDevTextBody(AcceleratedDiffusionBody, FluxProTextBody):
    """FLUX Dev, text to image."""


class FluxDevEditBody(AcceleratedDiffusionBody, QueuedImageBody):
    """FLUX Dev, image to image."""

    input_image: ImageUrl = Field(
        alias="image_url", description="Address or data URL of the picture to change."
    )
    strength: float | None = Field(None, description="How far the result may leave the picture.")


class FluxFillBody(QueuedImageBody):
    """FLUX Fill Dev, inpainting."""

    prompt: Prompt
    input_image: ImageUrl = Field(alias="image", description="The picture to change.")
    mask: ImageUrl = Field(description="Of the picture's size: white is made anew, black stays.")
    seed: Seed = None
    cfg_scale: float = Field(30.0, alias="guidance", ge=0, description="How closely the prompt is followed.")
    n: ImageCount = Field(1, alias="num_outputs")
    steps: int = Field(28, alias="num_inference_steps", ge=1, description="Denoising steps.")
    size: Literal["0.25", "1", "match_input"] = Field(
        "1", alias="megapixels", description="Size of the result; `match_input`: the picture's own."
    )
    output_format: Literal["webp", "jpg", "png"] = Field("webp", description="Format of the files.")
    quality: int = Field(80, alias="output_quality", ge=0, le=100, description="Of webp and jpg.")
    lora_scale: float = Field(1.0, description=FIELD_IGNORED)
    disable_safety_checker: bool = Field(False, description=SAFETY_FIELD_IGNORED)

    def to_params(self, model: Model) -> dict[str, Any]:
        megapixels = None if self.size == "match_input" else float(self.size)
        chosen = {"mask": self.mask, "mask_channel": "red", "megapixels": megapixels}
        known = {name: value for name, value in chosen.items() if name in model.parameters}
        return super().to_params(model) | known


KleinDimension = Literal[512, 1024, 1448, 2048]


class Flux2KleinBody(EndpointBody):
    """FLUX.2 Klein, text to image."""

    prompt: Prompt
    steps: int = Field(25, ge=1, description="Denoising steps, within the model's range.")
    width: KleinDimension = Field(1024, description="Pixels.")
    height: KleinDimension = Field(1024, description="Pixels.")


class Flux2DevTextBody(EndpointBody):
    """FLUX.2 Dev, text to image."""

    prompt: Prompt
    steps: Steps = None
    width: int | None = Field(None, ge=1, description="Pixels, within the model's range.")
    height: int | None = Field(None, ge=1, description="Pixels, within the model's range.")


class FluxSchnellBody(EndpointBody):
    """FLUX.1 Schnell, text to image."""

    prompt: Prompt
    steps: int = Field(4, alias="num_steps", ge=1, le=8, description="Denoising steps.")
    seed: Seed = None
    height: int = Field(1024, ge=1, description="Pixels, within the model's range.")
    width: int = Field(1024, ge=1, description="Pixels, within the model's range.")


class FluxSchnellBatchBody(FluxSchnellBody):
    """FLUX.1 Schnell, in a batch."""

    webhook_url: Annotated[
        Url | None, Field(description="Told of the end. Without it the answer waits for up to a minute.")
    ] = None


class CheckStatusBody(PixazoBody):
    """Which request of a batch is asked after."""

    requestId: str = Field(description="As it was given when the request was accepted.")
