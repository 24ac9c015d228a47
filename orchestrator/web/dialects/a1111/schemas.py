"""Request and response bodies of the web UI's API."""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict, Field, RootModel

from orchestrator.catalog.parameters.values import MAX_SEED
from orchestrator.web.http.request_model import RequestModel
from orchestrator.web.http.response_model import JsonNumber, ResponseModel


class GenerationBody(RequestModel):
    """Fields of `txt2img` and `img2img`. Other parameters of the model are passed under their own names."""

    model_config = ConfigDict(extra="allow", frozen=True)

    prompt: str = Field("", description="Description of the images; `<lora:NAME:STRENGTH>` applies a LoRA.")
    negative_prompt: str | None = Field(None, description="Description of what to avoid.")
    seed: int | None = Field(
        None,
        ge=-1,
        json_schema_extra={"minimum": -1, "maximum": MAX_SEED},
        description="The same seed gives the same images; -1: a random one.",
    )
    steps: int | None = Field(None, description="Number of denoising steps; default: that of the model.")
    cfg_scale: int | float | None = Field(None, description="How closely the images follow the prompt.")
    width: int | None = Field(None, description="Width in pixels; default: that of the model.")
    height: int | None = Field(None, description="Height in pixels; default: that of the model.")
    batch_size: int | None = Field(None, description="Number of images, times `n_iter`: at most 10.")
    n_iter: int | None = Field(None, description="Number of images, times `batch_size`.")
    denoising_strength: int | float | None = Field(
        None, description="How far images may leave the input image, 0 to 1."
    )
    sampler_name: str | None = Field(None, description="Has no effect: the model has its sampler.")
    scheduler: str | None = Field(None, description="Has no effect: the model has its scheduler.")
    override_settings: dict[str, Any] | None = Field(
        None, description="Options of this request; `sd_model_checkpoint` chooses the model."
    )
    send_images: bool | None = Field(None, description="False: leave the images out of the response.")
    alwayson_scripts: dict[str, Any] | None = Field(None, description="Scripts; there are none.")


class TextToImageBody(GenerationBody):
    """Body of `POST /sdapi/v1/txt2img`."""


class ImageToImageBody(GenerationBody):
    """Body of `POST /sdapi/v1/img2img`."""

    init_images: list[str] | None = Field(None, description="The input image, and further ones: base64.")
    mask: str | None = Field(None, description="What to redraw is white: base64.")
    mask_blur: int | None = Field(None, ge=0, le=64, description="Radius in pixels by which it is blurred.")
    inpainting_mask_invert: int | None = Field(None, ge=0, le=1, description="1: redraw what is black.")
    inpainting_fill: int | None = Field(
        None, ge=0, le=3, description="What is below the mask first; the model redraws it, so not 1."
    )
    inpaint_full_res: bool | None = Field(
        None, description="Draw the masked part at the full size, and paste it into the input image."
    )
    inpaint_full_res_padding: int | None = Field(
        None, ge=0, le=2048, description="Pixels around the masked part that are drawn with it."
    )
    resize_mode: int | None = Field(
        None, ge=0, le=3, description="0: stretch the input image to the size, 1: crop it, 2: fill the rest."
    )
    include_init_images: bool | None = Field(None, description="Repeat the input images in `parameters`.")


class ExtraImageBody(RequestModel):
    """Body of `POST /sdapi/v1/extra-single-image`."""

    image: str = Field(description="The image: base64.")
    resize_mode: int | None = Field(None, ge=0, le=1, description="0: by a factor, 1: to a size.")
    upscaling_resize: int | float | None = Field(None, gt=0, le=8, description="The factor; default: 2.")
    upscaling_resize_w: int | None = Field(None, ge=1, le=8192, description="Width in pixels; default: 512.")
    upscaling_resize_h: int | None = Field(None, ge=1, le=8192, description="Height in pixels; default: 512.")
    upscaling_crop: bool | None = Field(None, description="Cut off what does not fit; default: true.")
    upscaler_1: str | None = Field(None, description="Name of an upscaler; `None` leaves the image as it is.")
    upscaler_2: str | None = Field(None, description="Only `None`.")
    extras_upscaler_2_visibility: int | float | None = Field(None, description="Only 0.")
    gfpgan_visibility: int | float | None = Field(None, description="Only 0: faces are not restored.")
    codeformer_visibility: int | float | None = Field(None, description="Only 0: faces are not restored.")
    codeformer_weight: int | float | None = Field(None, description="Has no effect without visibility.")
    upscale_first: bool | None = Field(None, description="Has no effect: faces are not restored.")
    show_extras_results: bool | None = Field(None, description="False: leave the image out of the response.")


class PngInfoBody(RequestModel):
    """Body of `POST /sdapi/v1/png-info`."""

    image: str = Field(description="A PNG: base64.")


class WebUiImagesResponse(ResponseModel):
    """Generated images."""

    images: list[str] = Field(description="The images in base64.", examples=[["iVBORw0KGgo="]])
    parameters: dict[str, Any] = Field(description="The request.", examples=[{"prompt": "a lighthouse"}])
    info: str = Field(description="JSON: seeds, model, sizes and texts.", examples=['{"seed": 7}'])


class ExtraImageResponse(ResponseModel):
    """An enlarged image."""

    html_info: str = Field(description="What was done.", examples=["4x-ultrasharp, 2x"])
    image: str = Field(description="The image in base64.", examples=["iVBORw0KGgo="])


class PngInfoResponse(ResponseModel):
    """The generation parameters in an image."""

    info: str = Field(
        description="The text of the parameters.", examples=["a lighthouse\nSteps: 20, Seed: 7"]
    )
    items: dict[str, Any] = Field(description="All texts of the image.", examples=[{}])
    parameters: dict[str, Any] = Field(description="The parameters by name.", examples=[{"Seed": "7"}])


class ProgressState(ResponseModel):
    """What is under way."""

    skipped: bool = Field(description="Always false.")
    interrupted: bool = Field(description="Always false.")
    stopping_generation: bool = Field(description="Always false.")
    job: str = Field(description="Id of the job; empty if there is none.", examples=["job_3f2a"])
    job_count: int = Field(description="Number of images that are not finished.", examples=[1])
    job_timestamp: str = Field(description="When it began.", examples=["20260131120000"])
    job_no: int = Field(description="Number of images that are finished.", examples=[0])
    sampling_step: int = Field(description="Step of the sampler.", examples=[7])
    sampling_steps: int = Field(description="Number of its steps.", examples=[20])


class ProgressResponse(ResponseModel):
    """Progress of the key's latest unfinished job of this API."""

    progress: JsonNumber = Field(description="0 to 1.", examples=[0.35])
    eta_relative: JsonNumber = Field(description="Seconds that are left; 0 if unknown.", examples=[1.4])
    state: ProgressState = Field(description="What the latest request does.")
    current_image: str | None = Field(description="The sampler's preview in base64.", examples=[None])
    textinfo: str | None = Field(description="Always null.", examples=[None])


class OptionsBody(RequestModel):
    """Body of `POST /sdapi/v1/options`: the options to change."""

    model_config = ConfigDict(extra="allow", frozen=True)

    sd_model_checkpoint: str | None = Field(None, description="The model of requests that name none.")


class OptionsResponse(ResponseModel):
    """The options of the API key."""

    sd_model_checkpoint: str = Field(
        description="The model of requests that name none.", examples=["sdxl-1.0"]
    )
    sd_checkpoint_hash: str = Field(description="Digest of the model's version.", examples=["5c7d5dc6dd"])
    sd_vae: str = Field(description="Always Automatic.", examples=["Automatic"])
    CLIP_stop_at_last_layers: int = Field(description="Always 1.", examples=[1])
    samples_format: str = Field(description="Always png.", examples=["png"])


class CheckpointResponse(ResponseModel):
    """A model that makes images."""

    title: str = Field(description="Name for `sd_model_checkpoint`.", examples=["sdxl-1.0"])
    model_name: str = Field(description="The same.", examples=["sdxl-1.0"])
    hash: str | None = Field(description="Digest of its version, short.", examples=["5c7d5dc6dd"])
    sha256: str | None = Field(description="Digest of its version.", examples=["5c7d5dc6dd8b"])
    filename: str = Field(description="The same as the title: files are not shown.", examples=["sdxl-1.0"])
    config: str | None = Field(description="Always null.", examples=[None])


class CheckpointsResponse(RootModel[list[CheckpointResponse]]):
    """The models that make images."""


class EntriesResponse(RootModel[list[dict[str, Any]]]):
    """Entries with the fields that the web UI gives them."""


class ValuesResponse(RootModel[dict[str, Any]]):
    """Values by name; empty where there is nothing to say."""
