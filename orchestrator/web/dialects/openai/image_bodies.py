"""Request bodies of OpenAI's images API, as its official SDKs send them.

The pydantic model that validates a request also documents it. Fields of OpenAI that have no effect here
(`user`, `style`, `moderation`, `input_fidelity`, ...) are accepted with a warning; every other field is a
parameter of the model, or a name that another API gives to one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from pydantic import Field

from orchestrator.catalog import Model
from orchestrator.catalog.parameters.values import MAX_SEED
from orchestrator.errors import InvalidRequest, invalid_field
from orchestrator.intake.request_preparer import GenerationRequest
from orchestrator.media.formats import ImageEncoding
from orchestrator.web.dialects.dimensions import SizeField
from orchestrator.web.dialects.image_formats import format_for_run
from orchestrator.web.dialects.lora_fields import LORA_FIELDS, LoraFields
from orchestrator.web.dialects.model_selection import image_field_names
from orchestrator.web.dialects.parameter_names import ModelParameters

Quality = Literal["low", "medium", "high", "xhigh", "max", "auto", "standard", "hd"]

#: Base64 text, a data URL or a URL; an uploaded file; or one of these in an object: `{"image_url": ...}`,
#: `{"url": ...}`, `{"image_url": {"url": ...}}`, `{"b64_json": ...}`.
ImageInput = str | bytes | dict[str, str | dict[str, str]]
#: Names of the models whose responses OpenAI gives as URLs unless base64 is asked for.
URL_MODELS_PREFIX = "dall-e-"


class ImageRequestBody(LoraFields):
    """Fields that all requests for images have in common."""

    control_fields = frozenset(
        {"model", "size", "aspect_ratio", "resolution", "quality", "background", "image", "images", "mask"}
        | {"response_format", "output_format", "output_compression", "stream", "partial_images"}
        | LORA_FIELDS
    )

    model: str | None = Field(None, description="Id or alias of a model.")
    n: int | None = Field(None, description="Number of results.")
    size: SizeField | None = Field(
        None, description="Size in pixels as WIDTHxHEIGHT; `auto` or no value: the model's default."
    )
    aspect_ratio: str | None = Field(
        None, description="Aspect ratio of the results, such as 16:9, instead of a size."
    )
    resolution: str | None = Field(
        None, max_length=20, description="Number of pixels, such as 720p, 1K or 0.5 MP, instead of a size."
    )
    quality: Quality | None = Field(
        None,
        description="Number of denoising steps relative to the model's default (low 0.5, high 1.5, max 2);"
        " ignored if `steps` is set.",
    )
    response_format: Literal["b64_json", "url"] | None = Field(
        None,
        description="Return the files as base64 text or as URLs that expire; default: b64_json, but url for"
        " models named `dall-e-...`.",
    )
    output_format: Literal["png", "jpeg", "webp"] | None = Field(
        None, description="Format of the images; default: as the model makes them."
    )
    output_compression: int | None = Field(
        None,
        ge=0,
        le=100,
        description="Quality of a JPEG or WebP in percent; default: 100, and files that the model makes in"
        " this format stay as they are.",
    )
    background: Literal["transparent", "opaque", "auto"] | None = Field(
        None, description="`transparent` needs a model with a `background` parameter."
    )
    stream: bool | None = Field(None, description="Respond with server-sent events.")
    partial_images: int | None = Field(
        None, ge=0, le=3, description="Number of unfinished images that a stream shows; default: 0."
    )

    @property
    def wants_urls(self) -> bool:
        """Whether the response contains URLs instead of the files themselves."""
        if self.response_format is None:
            return (self.model or "").startswith(URL_MODELS_PREFIX) and not self.stream
        return self.response_format == "url"

    @property
    def encoding(self) -> ImageEncoding | None:
        """The format to deliver images in, or None for the format that the model makes."""
        if self.output_format is None:
            return None
        quality = None if self.output_format == "png" else self.output_compression
        return ImageEncoding(f"image/{self.output_format}", quality, default_quality=100)

    def to_generation_request(
        self, model: Model, params: ModelParameters, idempotency_key: str | None
    ) -> GenerationRequest:
        """Return the request to run `model`; see `format_for_run` for the format of its stored images."""
        request = super().to_generation_request(model, params, idempotency_key)
        delivered = self.encoding.content_type if self.encoding else None
        return replace(request, encoding=format_for_run(model, self.encoding), delivered_type=delivered)


class ImageInputRequestBody(ImageRequestBody):
    """Fields that all requests with input images have in common."""

    image: ImageInput | list[ImageInput] | None = Field(
        None, description="Input image or images: base64 text, data URL, http(s) URL or uploaded file."
    )
    images: list[ImageInput] | None = Field(None, description="Further input images, in the same forms.")
    mask: ImageInput | None = Field(
        None, description="Image of the input's size; its transparent pixels mark the area to edit."
    )

    def input_images(self) -> list[str | bytes]:
        """Return all input images in order. Raises InvalidRequest."""
        first = self.image if isinstance(self.image, list) else [] if self.image is None else [self.image]
        return [
            *(unwrap_image_input(image, "image") for image in first),
            *(unwrap_image_input(image, "images") for image in self.images or ()),
        ]

    @property
    def last_image_field(self) -> str:
        """The field with the last input image."""
        return "images" if self.images else "image"

    def to_generation_request(
        self, model: Model, params: ModelParameters, idempotency_key: str | None
    ) -> GenerationRequest:
        """Return the request to run `model`; errors and warnings of images name the field that was sent."""
        request = super().to_generation_request(model, params, idempotency_key)
        first = self.image if isinstance(self.image, list) else [] if self.image is None else [self.image]
        counts = {"image": len(first), "images": len(self.images or ())}
        names = image_field_names(model, counts, self.given_names)
        return replace(request, field_names={**request.field_names, **names})

    def mask_params(self) -> dict[str, str | bytes]:
        """Return the mask as a model parameter, if there is one. Raises InvalidRequest."""
        return {} if self.mask is None else {"mask": unwrap_image_input(self.mask, "mask")}


class ImageGenerationBody(ImageInputRequestBody):
    """Body of `POST /images/generations`: the fields of OpenAI's SDKs and of the Pixel Factory document.
    Other parameters of the model are passed under their own names.
    """

    prompt: str | None = Field(
        None, description="Description of the result; may be empty for a model that does not use it."
    )
    negative_prompt: str | None = Field(None, description="Description of what to avoid.")
    steps: int | None = Field(None, description="Number of denoising steps.")
    cfg_scale: int | float | None = Field(None, description="How closely the result follows the prompt.")
    seed: int | None = Field(
        None,
        json_schema_extra={"minimum": 0, "maximum": MAX_SEED},
        description="The same seed and parameters give the same result.",
    )
    num_frames: int | None = Field(None, description="Number of frames (video models).")
    fps: int | None = Field(None, description="Frames per second (video models).")


class ImageEditBody(ImageInputRequestBody):
    """Body of `POST /images/edits`."""

    markup: ImageInput | None = Field(None, description="Not supported; use the prompt or a `mask` instead.")
    prompt: str | None = Field(None, description="Description of the change.")


class ImageVariationBody(ImageRequestBody):
    """Body of `POST /images/variations`."""

    image: ImageInput | None = Field(
        None, description="Image to vary: base64 text, data URL, http(s) URL or uploaded file."
    )


#: Keys of an input image as an object, and of objects in it.
_IMAGE_KEYS = ("image_url", "image", "url", "b64_json")
#: Keys that say what kind of object it is: `{"type": "image_url", "image_url": {"url": ..., "detail": ...}}`.
_DESCRIBING_KEYS = frozenset({"type", "detail"})


def unwrap_image_input(image: ImageInput, field: str) -> str | bytes:
    """Return the URL or data of an input image. Raises InvalidRequest."""
    while isinstance(image, dict):
        keys = [key for key in _IMAGE_KEYS if key in image]
        others = image.keys() - {*keys} - _DESCRIBING_KEYS
        if len(keys) != 1 or others:
            wrong = f"; `{next(iter(others))[:40]}` is not supported" if others else ""
            error = invalid_field(field, f"must contain one of {', '.join(_IMAGE_KEYS)}{wrong}")
            code = "invalid_image" if field == "images" else error.code
            raise InvalidRequest(error.message, code=code, param=field)
        image = image[keys[0]]  # type: ignore[assignment]
    return image
