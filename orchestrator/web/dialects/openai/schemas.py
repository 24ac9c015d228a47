"""Response bodies of OpenAI's images and videos APIs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from orchestrator.web.http.response_model import JsonNumber, ResponseModel


class TokenDetails(ResponseModel):
    """Tokens by kind."""

    image_tokens: int = Field(description="Always 0.", examples=[0])
    text_tokens: int = Field(description="Always 0.", examples=[0])


class GenerationUsage(ResponseModel):
    """What was made and what it cost. Nothing is counted in tokens; SDKs expect the fields."""

    model: str = Field(description="The model, by the name that was asked for.", examples=["flux-1-schnell"])
    warnings: list[str] = Field(
        description="What of the request had no effect, in sentences; also in the header"
        " `X-PixelFactory-Warnings`.",
        examples=[[]],
    )
    size: str | None = Field(
        description="Size of the results in pixels, WIDTHxHEIGHT.", examples=["1024x1024"]
    )
    width: int | None = Field(None, description="Width of the results in pixels.", examples=[1024])
    height: int | None = Field(None, description="Height of the results in pixels.", examples=[1024])
    frames: int | None = Field(None, description="Number of frames of a video.", examples=[81])
    fps: JsonNumber | None = Field(None, description="Frames per second of a video.", examples=[16])
    seconds: JsonNumber | None = Field(None, description="Length of a video in seconds.", examples=[5.0625])
    n: int = Field(description="Number of results.", examples=[1])
    steps: int = Field(description="Number of denoising steps.", examples=[4])
    duration_ms: int | None = Field(
        description="Milliseconds from the start to the end of the generation.", examples=[840]
    )
    cost_cents: JsonNumber = Field(
        description="Amount charged, in US cents; may have a fraction.", examples=[0.05]
    )
    input_tokens: int = Field(description="Always 0.", examples=[0])
    input_tokens_details: TokenDetails = Field(description="Input tokens by kind.")
    output_tokens: int = Field(description="Always 0.", examples=[0])
    total_tokens: int = Field(description="Always 0.", examples=[0])


class GeneratedFile(ResponseModel):
    """One result: either its data or a URL."""

    b64_json: str | None = Field(None, description="The file as base64 text.", examples=["iVBORw0KGgo..."])
    url: str | None = Field(None, description="URL of the file; it expires.", examples=[None])


class ImagesResponse(ResponseModel):
    """The results of a generation, an edit or a variation."""

    created: int = Field(
        description="Time at which the job was created, in seconds since 1970.", examples=[1769860800]
    )
    data: list[GeneratedFile] = Field(description="The results, one entry each.")
    background: Literal["transparent", "opaque"] | None = Field(
        None, description="Background of the images.", examples=["opaque"]
    )
    output_format: str | None = Field(
        None, description="Format of the images: png, jpeg or webp.", examples=["png"]
    )
    quality: str | None = Field(
        None, description="Quality of the images: low, medium, high, xhigh or max.", examples=["medium"]
    )
    size: str | None = Field(
        None, description="Size of the images in pixels, WIDTHxHEIGHT.", examples=["1024x1024"]
    )
    usage: GenerationUsage = Field(description="What was made and what it cost.")


class ImageStreamEvent(ResponseModel):
    """Fields that all image events of a stream have in common."""

    type: str = Field(description="Type of the event, for example `image_generation.partial_image`.")
    created_at: int = Field(description="Time of the event, in seconds since 1970.")
    image_index: int = Field(description="Index of the image among the results, from 0.")
    background: str | None = Field(None, description="Background of the image.")
    output_format: str | None = Field(None, description="Format of the image: png, jpeg or webp.")
    quality: str | None = Field(None, description="Quality of the image: low, medium, high, xhigh or max.")
    size: str | None = Field(None, description="Size in pixels, WIDTHxHEIGHT; `auto` if not known yet.")


class PartialImageEvent(ImageStreamEvent):
    """An unfinished image."""

    partial_image_index: int = Field(description="Index among the unfinished images of one result, from 0.")
    b64_json: str = Field(description="The image as base64 text.")


class CompletedImageEvent(ImageStreamEvent):
    """A finished image."""

    b64_json: str = Field(description="The image as base64 text.")
    usage: GenerationUsage = Field(description="What was made and what it cost, for all results together.")
    simulated: bool | None = Field(None, description="True for placeholders that a simulator made.")


class VideoError(ResponseModel):
    """Why a video failed."""

    code: str = Field(
        description="Machine-readable code, for example `out_of_memory`.", examples=["out_of_memory"]
    )
    message: str = Field(
        description="Explanation for a person.",
        examples=["The model does not fit into the memory of the GPU."],
    )


class VideoResource(ResponseModel):
    """A video, finished or not."""

    id: str = Field(
        description="Id of the video; it is the id of its job.",
        examples=["job_3f2a9c0d5b7e4f1a8c6d2e9b0a4f7c31"],
    )
    object: Literal["video"] = Field(description="Always `video`.", examples=["video"])
    model: str = Field(description="Id of the model.", examples=["wan2.1-t2v-fast"])
    status: Literal["queued", "in_progress", "completed", "failed"] = Field(
        description="State of the job; cancelled jobs are reported as failed.", examples=["completed"]
    )
    progress: int = Field(ge=0, le=100, description="Progress in percent.", examples=[100])
    prompt: str | None = Field(description="The prompt of the request.", examples=["Waves at dawn"])
    size: str | None = Field(description="Size in pixels, WIDTHxHEIGHT.", examples=["832x480"])
    seconds: str = Field(description="Length in whole seconds.", examples=["5"])
    created_at: int = Field(description="Time of creation, in seconds since 1970.", examples=[1769860800])
    completed_at: int | None = Field(
        description="Time of completion, in seconds since 1970.", examples=[1769860920]
    )
    expires_at: int | None = Field(
        description="Time at which the video is deleted, in seconds since 1970; null before completion.",
        examples=[1770465720],
    )
    remixed_from_video_id: str | None = Field(
        description="Id of the video that this one is a remix of.", examples=[None]
    )
    error: VideoError | None = Field(description="Why the video failed.", examples=[None])


class VideoList(ResponseModel):
    """A page of the account's videos."""

    object: Literal["list"] = Field(description="Always `list`.")
    data: list[VideoResource] = Field(description="The videos of this page.")
    first_id: str | None = Field(
        description="Id of the first video of this page.", examples=["job_3f2a9c0d5b7e4f1a8c6d2e9b0a4f7c31"]
    )
    last_id: str | None = Field(
        description="Id of the last video of this page; pass it as `after`.",
        examples=["job_3f2a9c0d5b7e4f1a8c6d2e9b0a4f7c31"],
    )
    has_more: bool = Field(description="Whether there are more pages.", examples=[False])


class DeletedVideoResource(ResponseModel):
    """Confirmation that a video was deleted."""

    id: str = Field(description="Id of the deleted video.", examples=["job_3f2a9c0d5b7e4f1a8c6d2e9b0a4f7c31"])
    object: Literal["video.deleted"] = Field(description="Always `video.deleted`.")
    deleted: Literal[True] = Field(description="Always true.", examples=[True])
