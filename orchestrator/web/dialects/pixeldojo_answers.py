"""PixelDojo's answers as models, for documents and for tests."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from orchestrator.web.answers import Answer


class RunSubmitted(Answer):
    """An accepted run."""

    jobId: str
    status: Literal["pending", "processing", "completed", "failed", "cancelled"]
    statusUrl: str = Field(description="Where to poll.")
    creditCost: float
    creditsRemaining: float


class RunSchema(Answer):
    """What a run of one model takes."""

    apiId: str
    json_schema: dict[str, Any] = Field(alias="schema", description="A JSON Schema.")


class WebhookState(Answer):
    """How it stands with telling somebody of a job's end."""

    url: str
    status: Literal["pending", "delivered", "failed"]
    attempts: int
    deliveredAt: str | None
    error: str | None


class WebhookReplay(Answer):
    """A webhook that is sent once more."""

    jobId: str
    webhook: WebhookState
