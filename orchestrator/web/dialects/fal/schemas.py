"""Request and response bodies of fal's API."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field

from orchestrator.catalog.parameters.values import MAX_SEED
from orchestrator.web.http.request_model import RequestModel
from orchestrator.web.http.response_model import JsonNumber, ResponseModel

_EXAMPLE_ID = "3f2a9c0d-5b7e-4f1a-8c6d-2e9b0a4f7c31"
_QUEUE = f"https://api.example.com/fal/queue/fal-ai/flux/requests/{_EXAMPLE_ID}"
_FILE_URL = "https://api.example.com/results/job_3f2a.../1767225600/9c4e.../outputs/3f/3f2a.png"


class FalInput(RequestModel):
    """Input of an app: the parameters of its model, by their own names or by fal's."""

    model_config = ConfigDict(extra="allow", frozen=True)

    prompt: str | None = Field(None, description="Description of the result.")
    image_size: str | dict[str, int] | None = Field(
        None, description="Name of a size such as landscape_16_9, or its width and height in pixels."
    )
    num_images: int | None = Field(None, description="Number of images.")
    image_url: str | None = Field(None, description="Input image: a URL or a data URL.")
    sync_mode: bool | None = Field(
        None, description="Return the files as data URLs in the result, instead of links."
    )


_IMAGE = {
    "url": _FILE_URL,
    "content_type": "image/png",
    "file_name": "3f2a.png",
    "file_size": 1482913,
    "width": 1024,
    "height": 1024,
}


class FalFile(ResponseModel):
    """A file of a result."""

    url: str = Field(description="Link to the file; it needs no key and expires.", examples=[_FILE_URL])
    content_type: str = Field(description="Content type.", examples=["image/png"])
    file_name: str = Field(description="Name.", examples=["3f2a.png"])
    file_size: int = Field(description="Size in bytes.", examples=[1482913])
    width: int | None = Field(None, description="Width in pixels.", examples=[1024])
    height: int | None = Field(None, description="Height in pixels.", examples=[1024])
    duration: JsonNumber | None = Field(None, description="Length of a video in seconds.", examples=[5.0625])
    fps: JsonNumber | None = Field(None, description="Frames per second of a video.", examples=[16])
    num_frames: int | None = Field(None, description="Number of frames of a video.", examples=[81])


class FalTimings(ResponseModel):
    """How long a run took."""

    inference: JsonNumber = Field(description="Seconds.", examples=[1.42])


class FalResult(ResponseModel):
    """The result of a request."""

    images: list[FalFile] | None = Field(
        None,
        description="The images; absent for other files.",
        examples=[[_IMAGE]],
    )
    image: FalFile | None = Field(None, description="The image of a model that changes one image.")
    video: FalFile | None = Field(None, description="The video.")
    audio: FalFile | None = Field(None, description="The audio file.")
    model_mesh: FalFile | None = Field(None, description="The mesh.")
    diffusers_lora_file: FalFile | None = Field(None, description="The trained LoRA.")
    seed: int | None = Field(
        None,
        ge=0,
        json_schema_extra={"minimum": 0, "maximum": MAX_SEED},
        description="Seed of the first file.",
        examples=[7],
    )
    prompt: str | None = Field(None, description="The prompt.", examples=["A lighthouse at dawn"])
    has_nsfw_concepts: list[bool] | None = Field(
        None,
        description="False for each image: what the content policy rejects is an error.",
        examples=[[False]],
    )
    timings: FalTimings | None = Field(None, description="How long it took.")


class QueueUrls(ResponseModel):
    """Addresses of a request."""

    request_id: str = Field(description="Id of the request.", examples=[_EXAMPLE_ID])
    response_url: str = Field(description="Its result.", examples=[_QUEUE])
    status_url: str = Field(description="Its state.", examples=[f"{_QUEUE}/status"])
    cancel_url: str = Field(description="Cancels it; for PUT.", examples=[f"{_QUEUE}/cancel"])


class FalLog(ResponseModel):
    """A line of a request's log."""

    message: str = Field(description="The line.", examples=["Using seed: 7"])
    level: Literal["INFO"] = Field(description="Always INFO.")
    source: Literal["USER"] = Field(description="Always USER.")
    timestamp: str = Field(description="When it was written.", examples=["2026-01-31T12:00:00.000000"])


class FalMetrics(ResponseModel):
    """How long a request took."""

    inference_time: JsonNumber | None = Field(None, description="Seconds of the run.", examples=[1.42])


class FalQueueStatus(QueueUrls):
    """The state of a request."""

    status: Literal["IN_QUEUE", "IN_PROGRESS", "COMPLETED"] = Field(
        description="State; COMPLETED also for a request that failed or was cancelled.",
        examples=["COMPLETED"],
    )
    queue_position: int | None = Field(
        None, description="Number of requests that start before it; only in the queue.", examples=[0]
    )
    logs: list[FalLog] | None = Field(
        description="Its log; null unless the address asks for `logs`.", examples=[None]
    )
    metrics: FalMetrics | None = Field(None, description="How long it took; once it is completed.")
    error: str | None = Field(None, description="Why it failed; absent otherwise.", examples=[None])
    error_type: str | None = Field(None, description="Code of the error; absent otherwise.", examples=[None])


class CancelResponse(ResponseModel):
    """What became of the cancellation of a request."""

    status: Literal["CANCELLATION_REQUESTED", "ALREADY_COMPLETED"] = Field(
        description="Whether it was cancelled.", examples=["CANCELLATION_REQUESTED"]
    )


class UploadBody(RequestModel):
    """Body of `POST /fal/storage/upload/initiate`."""

    file_name: str = Field(max_length=1000, description="Name of the file.", examples=["cat.png"])
    content_type: str = Field(max_length=200, description="Its content type.", examples=["image/png"])


class UploadResponse(ResponseModel):
    """Where to upload a file, and its address afterwards."""

    upload_url: str = Field(
        description="Takes the file by PUT, within an hour, without a key.",
        examples=[
            "https://api.example.com/fal/storage/upload/acct_1/file_3f2a/1767225600/9c4e/image/png/cat.png"
        ],
    )
    file_url: str = Field(
        description="Link to the file, for inputs; it works for a day.",
        examples=["https://api.example.com/uploads/acct_1/file_3f2a/1767225600/9c4e/cat.png"],
    )


class JsonWebKeys(ResponseModel):
    """The public keys that verify the signatures of fal's webhooks."""

    keys: list[dict[str, Any]] = Field(
        description="JSON Web Keys.",
        examples=[[{"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]],
    )
