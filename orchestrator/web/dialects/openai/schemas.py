"""Answers of the OpenAI dialect as models, for documents and for tests: what a body has is said here."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class ResponseModel(BaseModel):
    """More fields may come with time."""

    model_config = ConfigDict(extra="allow")


class GenerationUsage(ResponseModel):
    """What was made and what it cost. Nothing is counted in tokens."""

    model: str
    size: str | None = Field(description="WIDTHxHEIGHT of the results.")
    n: int = Field(description="Number of results.")
    steps: int
    duration_ms: int | None
    cost_cents: float = Field(description="May have a fraction.")
    input_tokens: int
    output_tokens: int
    total_tokens: int
    input_tokens_details: dict[str, int]


class GeneratedFile(ResponseModel):
    """One result: in the answer, or at an address that expires."""

    b64_json: str | None = None
    url: str | None = None


class ImagesResponse(ResponseModel):
    """The answer to a generation, an edit or a variation."""

    created: int = Field(description="Seconds since 1970.")
    data: list[GeneratedFile]
    usage: GenerationUsage
    background: Literal["transparent", "opaque"] | None = None
    output_format: str | None = None
    quality: str | None = None
    size: str | None = None


class QuoteResponse(ResponseModel):
    """What a generation would cost."""

    model: str
    cost_usd: float
    cost_cents: float
    minimum_applied: bool


class ModelEntry(ResponseModel):
    """One model of the list."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    type: Literal["image", "video", "i2v", "upscale", "3d", "trainer"]
    display_name: str
    architecture: str
    max_resolution: str
    default_steps: int
    default_cfg: float
    price_per_image_cents: float
    featured: bool


class ModelList(ResponseModel):
    """All models."""

    object: Literal["list"]
    data: list[ModelEntry]


class VideoError(ResponseModel):
    """Why a video came to nothing."""

    code: str
    message: str


class VideoResource(ResponseModel):
    """A video, ready or not."""

    id: str
    object: Literal["video"]
    model: str
    status: Literal["queued", "in_progress", "completed", "failed"]
    progress: int = Field(ge=0, le=100, description="Percent.")
    prompt: str | None
    size: str | None
    seconds: str
    created_at: int
    completed_at: int | None
    expires_at: int | None
    remixed_from_video_id: str | None
    error: VideoError | None


class VideoList(ResponseModel):
    """A page of videos."""

    object: Literal["list"]
    data: list[VideoResource]
    first_id: str | None
    last_id: str | None
    has_more: bool


class DeletedVideoResource(ResponseModel):
    """A video that is no more."""

    id: str
    object: Literal["video.deleted"]
    deleted: Literal[True]


class ErrorDetails(ResponseModel):
    """What went wrong."""

    message: str
    type: str
    code: str
    param: str | None = Field(description="The field at fault.")


class ErrorResponse(ResponseModel):
    """Every failure, whatever its status."""

    error: ErrorDetails
