"""PixelAPI's answers as models, for documents and for tests."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from orchestrator.web.dialects.openai.schemas import ResponseModel

PixelApiStatus = Literal["queued", "processing", "completed", "failed", "blocked"]


class PixelApiSubmitResponse(ResponseModel):
    """An accepted generation."""

    generation_id: str
    status: PixelApiStatus
    model: str
    credits_used: float


class PixelApiGenerationResponse(ResponseModel):
    """What became of a generation."""

    id: str
    status: PixelApiStatus
    output_url: str | None = Field(description="Works for a day from the generation's end.")
    model: str
    credits_used: float
    created_at: str


class CreditBalanceResponse(ResponseModel):
    """What is left of an account's credits."""

    credits_remaining: float
    plan: str
    email: str | None


class PixelApiHistoryItem(PixelApiGenerationResponse):
    """One line of the history."""

    prompt: str | None


class PixelApiHistoryResponse(ResponseModel):
    """The latest generations, newest first."""

    generations: list[PixelApiHistoryItem]
