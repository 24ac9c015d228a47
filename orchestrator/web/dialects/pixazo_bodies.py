"""What each of Pixazo's endpoints takes: the document's fields, ranges and defaults.

Safety flags are taken and checked, and change nothing: what may be made here is the operator's to say, not a
caller's. Nor have models that run here a use for some other fields; their descriptions say so. Prompts are
taken as they were written.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from orchestrator.catalog import Model, parse_size
from orchestrator.web.dialects import pixeldojo_shapes as shapes
from orchestrator.web.dialects.pixazo_fields import Address, Fields
from orchestrator.web.dialects.pixazo_forms import Gateway, Picture, Pictured, Queued, worked_on
from orchestrator.web.dialects.pixazo_sizes import Fal, Pro, Ratio, named, stepped
from orchestrator.web.dialects.routing import share_of_steps

SAFETY = "Taken, and without effect: the operator's own content policy decides."
UNUSED = "Taken, and without effect: the models that run here know nothing of the kind."

#: What is said to a model that restores no picture by itself.
RESTORE = "Restore this photograph: remove scratches, dust, stains and fading; keep everything else as it is."
#: Share of a model's usual steps that an acceleration leaves.
ACCELERATION = {"none": 1.0, "regular": 0.75, "high": 0.5}

Prompt = Annotated[str, Field(description="What the picture shall show, or what shall change.")]
Seed = Annotated[int | None, Field(ge=0, description="For reproducible results; random when not given.")]
Steps = Annotated[int | None, Field(ge=1, description="Denoising steps, within the model's range.")]
Guidance = Annotated[float | None, Field(ge=0, description="How closely the result follows the prompt.")]
Count = Annotated[int, Field(ge=1, le=4, description="Number of pictures.")]
Lossy = Annotated[Literal["jpeg", "png"] | None, Field(description="Format of the files; default: png.")]
AnyFormat = Annotated[Literal["jpeg", "png", "webp"] | None, Field(description="Format of the files; png.")]
SafetyChecker = Annotated[bool | None, Field(description=SAFETY)]


class ProEditBody(Queued):
    """FLUX.2 Pro, image to image."""

    prompt: Prompt
    pictures: list[Address] = Field(
        alias="image_urls", min_length=1, description="Only the first one is worked on."
    )
    image_size: str = Field(
        "auto", max_length=20, description="`auto` for the picture's own size, or such as `1024x1024`."
    )
    safety_tolerance: Literal["1", "2", "3"] | None = Field(None, description=SAFETY)
    enable_safety_checker: SafetyChecker = None
    output_format: AnyFormat = None

    def params(self, model: Model) -> dict[str, Any]:
        return super().params(model) | worked_on(model, self.pictures[0])

    @property
    def like_picture(self) -> bool:
        return self.image_size == "auto"

    def _sides(self, model: Model) -> dict[str, int]:
        if self.image_size == "auto":
            return {}
        width, height = parse_size(self.image_size, param="image_size")
        return {"width": stepped(model, "width", width), "height": stepped(model, "height", height)}


class ProTextBody(Queued):
    """FLUX.2 Pro, text to image."""

    prompt: Prompt
    image_size: Pro | None = Field(None, description="Shape of the picture; default: the model's own.")
    safety_tolerance: int | None = Field(None, ge=1, le=4, description=SAFETY)
    enable_safety_checker: SafetyChecker = None
    output_format: AnyFormat = None

    def _sides(self, model: Model) -> dict[str, int]:
        return named(model, self.image_size)


class TrainerBody(Queued):
    """FLUX.2 Pro, LoRA trainer."""

    dataset: Address = Field(
        alias="image_data_url",
        description="Address or data URL of a zip of pictures, each with its caption in a text file or with"
        " none; or of one picture.",
    )
    steps: Annotated[int | None, Field(ge=1, description="Training steps, within the model's range.")] = None
    learning_rate: float | None = Field(None, ge=0, description="How much is learnt from each step.")


class RestoreBody(Pictured):
    """FLUX Kontext, image restoration."""

    picture: Picture = Field(alias="input_image", description="The picture to restore: jpeg, png, gif, webp.")
    seed: Seed = None
    output_format: Literal["jpg", "png"] = Field("png", description="Format of the file.")
    safety_tolerance: int = Field(2, ge=0, le=2, description=SAFETY)

    def params(self, model: Model) -> dict[str, Any]:
        prompt = model.parameters.get("prompt")
        told = {"prompt": RESTORE} if prompt and prompt.required else {}
        return super().params(model) | told


class UltraBody(Queued):
    """FLUX 1.1 Pro Ultra, text to image."""

    prompt: Prompt
    seed: Seed = None
    sync_mode: bool = Field(False, description="Answer 200 with the result, if it comes soon enough.")
    n: Count = Field(1, alias="num_images")
    enable_safety_checker: SafetyChecker = None
    output_format: Lossy = None
    safety_tolerance: Literal["1", "2", "3", "4", "5", "6"] | None = Field(None, description=SAFETY)
    enhance_prompt: bool | None = Field(None, description=UNUSED)
    aspect_ratio: Ratio | None = Field(None, description="Shape of the picture; default: the model's own.")
    raw: bool | None = Field(None, description=UNUSED)

    def _sides(self, model: Model) -> dict[str, int]:
        return shapes.sides(model, self.aspect_ratio, None)


class Diffused(Queued):
    """What older models are told in one way."""

    prompt: Prompt
    steps: Steps = Field(None, alias="num_inference_steps")
    cfg_scale: Guidance = Field(None, alias="guidance_scale")
    n: Count = Field(1, alias="num_images")
    enable_safety_checker: SafetyChecker = None
    output_format: Lossy = None


class Accelerated(Diffused):
    """The same, perhaps in fewer steps."""

    acceleration: Literal["none", "regular", "high"] = Field(
        "none",
        description="`regular` takes three quarters of the model's usual steps, `high` half of them.",
    )

    def params(self, model: Model) -> dict[str, Any]:
        return share_of_steps(model, ACCELERATION[self.acceleration]) | super().params(model)


class ProBody(Diffused):
    """FLUX Pro, text to image."""

    image_size: Fal | None = Field(None, description="Shape of the picture; default: the model's own.")

    def _sides(self, model: Model) -> dict[str, int]:
        return named(model, self.image_size)


class DevTextBody(Accelerated, ProBody):
    """FLUX Dev, text to image."""


class DevEditBody(Accelerated, Pictured):
    """FLUX Dev, image to image."""

    picture: Picture = Field(alias="image_url", description="Address or data URL of the picture to change.")
    strength: float | None = Field(None, description="How far the result may leave the picture.")


class FillBody(Pictured):
    """FLUX Fill Dev, inpainting."""

    prompt: Prompt
    picture: Picture = Field(alias="image", description="The picture to change.")
    mask: Picture = Field(description="Of the picture's size: white is made anew, black stays.")
    seed: Seed = None
    cfg_scale: float = Field(30.0, alias="guidance", ge=0, description="How closely the prompt is followed.")
    n: Count = Field(1, alias="num_outputs")
    steps: int = Field(28, alias="num_inference_steps", ge=1, description="Denoising steps.")
    size: Literal["0.25", "1", "match_input"] = Field(
        "1", alias="megapixels", description="Size of the result; `match_input`: the picture's own."
    )
    output_format: Literal["webp", "jpg", "png"] = Field("webp", description="Format of the files.")
    quality: int = Field(80, alias="output_quality", ge=0, le=100, description="Of webp and jpg.")
    lora_scale: float = Field(1.0, description=UNUSED)
    disable_safety_checker: bool = Field(False, description=SAFETY)

    def params(self, model: Model) -> dict[str, Any]:
        megapixels = None if self.size == "match_input" else float(self.size)
        chosen = {"mask": self.mask, "mask_channel": "red", "megapixels": megapixels}
        known = {name: value for name, value in chosen.items() if name in model.parameters}
        return super().params(model) | known


Side = Literal[512, 1024, 1448, 2048]


class KleinBody(Gateway):
    """FLUX.2 Klein, text to image."""

    prompt: Prompt
    steps: int = Field(25, ge=1, description="Denoising steps, within the model's range.")
    width: Side = Field(1024, description="Pixels.")
    height: Side = Field(1024, description="Pixels.")


class TextToImageBody(Gateway):
    """FLUX.2 Dev, text to image."""

    prompt: Prompt
    steps: Steps = None
    width: int | None = Field(None, ge=1, description="Pixels, within the model's range.")
    height: int | None = Field(None, ge=1, description="Pixels, within the model's range.")


class SchnellBody(Gateway):
    """FLUX.1 Schnell, text to image."""

    prompt: Prompt
    steps: int = Field(4, alias="num_steps", ge=1, le=8, description="Denoising steps.")
    seed: Seed = None
    height: int = Field(1024, ge=1, description="Pixels, within the model's range.")
    width: int = Field(1024, ge=1, description="Pixels, within the model's range.")


class BatchBody(SchnellBody):
    """FLUX.1 Schnell, in a batch."""

    webhook_url: Annotated[
        Address | None, Field(description="Told of the end. Without it the answer waits for up to a minute.")
    ] = None


class CheckBody(Fields):
    """Which request of a batch is asked after."""

    requestId: str = Field(description="As it was given when the request was accepted.")
