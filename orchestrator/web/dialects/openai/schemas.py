"""Answers of the OpenAI dialect as models, for documents and for tests: what a body has is said here."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Answer(BaseModel):
    """More fields may come with time."""

    model_config = ConfigDict(extra="allow")


class Usage(Answer):
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


class File(Answer):
    """One result: in the answer, or at an address that expires."""

    b64_json: str | None = None
    url: str | None = None


class Images(Answer):
    """The answer to a generation, an edit or a variation."""

    created: int = Field(description="Seconds since 1970.")
    data: list[File]
    usage: Usage
    background: Literal["transparent", "opaque"] | None = None
    output_format: str | None = None
    quality: str | None = None
    size: str | None = None


class Quote(Answer):
    """What a generation would cost."""

    model: str
    cost_usd: float
    cost_cents: float
    minimum_applied: bool


class Model(Answer):
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


class ModelList(Answer):
    """All models."""

    object: Literal["list"]
    data: list[Model]


class VideoError(Answer):
    """Why a video came to nothing."""

    code: str
    message: str


class Video(Answer):
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


class VideoList(Answer):
    """A page of videos."""

    object: Literal["list"]
    data: list[Video]
    first_id: str | None
    last_id: str | None
    has_more: bool


class VideoDeleted(Answer):
    """A video that is no more."""

    id: str
    object: Literal["video.deleted"]
    deleted: Literal[True]


class ErrorDetails(Answer):
    """What went wrong."""

    message: str
    type: str
    code: str
    param: str | None = Field(description="The field at fault.")


class Error(Answer):
    """Every failure, whatever its status."""

    error: ErrorDetails
