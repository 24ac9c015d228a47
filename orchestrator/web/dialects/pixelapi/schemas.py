"""Response bodies of PixelAPI."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from orchestrator.web.http.response_model import JsonNumber, ResponseModel

PixelApiStatus = Literal["queued", "processing", "completed", "failed", "blocked"]


class PixelApiSubmitResponse(ResponseModel):
    """An accepted generation."""

    generation_id: str = Field(
        description="Id of the generation, a UUID.", examples=["3f2a9c0d-5b7e-4f1a-8c6d-2e9b0a4f7c31"]
    )
    status: PixelApiStatus = Field(description="State of the generation.", examples=["queued"])
    model: str = Field(description="The model, as the request named it.", examples=["sdxl"])
    credits_used: JsonNumber = Field(
        description="Credits that the generation costs if it succeeds.", examples=[1]
    )


class PixelApiGenerationResponse(ResponseModel):
    """A generation, finished or not."""

    id: str = Field(
        description="Id of the generation, a UUID.", examples=["3f2a9c0d-5b7e-4f1a-8c6d-2e9b0a4f7c31"]
    )
    status: PixelApiStatus = Field(
        description="State of the generation; `blocked` if the content policy rejects it.",
        examples=["completed"],
    )
    output_url: str | None = Field(
        description="URL of the result, valid for 24 hours after completion; otherwise null.",
        examples=["https://api.example.com/results/job_3f2a.../1767225600/9c4e.../outputs/3f/3f2a.png"],
    )
    model: str = Field(description="The model, as the request named it.", examples=["sdxl"])
    credits_used: JsonNumber = Field(description="Credits charged; 0 if the generation failed.", examples=[1])
    created_at: str = Field(
        description="Time of creation, for example `2026-02-18T10:30:00Z`.", examples=["2026-02-18T10:30:00Z"]
    )
    error: str | None = Field(
        None, description="Why the generation failed; absent otherwise.", examples=[None]
    )


class CreditBalanceResponse(ResponseModel):
    """The account's credits."""

    credits_remaining: JsonNumber = Field(description="Credits that the account can spend.", examples=[96])
    plan: str = Field(description="Plan of the account.", examples=["free"])
    email: str = Field(
        description="Name of the account, if it is an email address; else an address at `accounts.invalid`.",
        examples=["user@example.com"],
    )


class PixelApiHistoryItem(PixelApiGenerationResponse):
    """A generation of the history."""

    prompt: str | None = Field(
        description="The prompt of the request.", examples=["A lighthouse at dawn, oil painting"]
    )


class PixelApiHistoryResponse(ResponseModel):
    """The account's latest generations, newest first."""

    generations: list[PixelApiHistoryItem] = Field(description="The generations.")


class PixelApiModelFields(ResponseModel):
    """Fields of a listed model that PixelAPI's clients read."""

    credits: JsonNumber = Field(
        description="Price of one result with default parameters, in PixelAPI credits.", examples=[1]
    )
