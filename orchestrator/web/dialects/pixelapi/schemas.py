"""PixelAPI's answers as models, for documents and for tests."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from orchestrator.web.dialects.openai.schemas import Answer

PixelApiStatus = Literal["queued", "processing", "completed", "failed", "blocked"]


class PixelApiSubmitResponse(Answer):
    """An accepted generation."""

    generation_id: str
    status: PixelApiStatus
    model: str
    credits_used: float


class PixelApiGenerationResponse(Answer):
    """What became of a generation."""

    id: str
    status: PixelApiStatus
    output_url: str | None = Field(description="Works for a day from the generation's end.")
    model: str
    credits_used: float
    created_at: str


class CreditBalanceResponse(Answer):
    """What is left of an account's credits."""

    credits_remaining: float
    plan: str
    email: str | None


class PixelApiHistoryItem(PixelApiGenerationResponse):
    """One line of the history."""

    prompt: str | None


class PixelApiHistoryResponse(Answer):
    """The latest generations, newest first."""

    generations: list[PixelApiHistoryItem]
