"""Response bodies of PixelDojo; those of the jobs API, which has its format, are in `web.jobs.schemas`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from orchestrator.web.http.response_model import JsonNumber, ResponseModel
from orchestrator.web.jobs.schemas import JobStatusName, JobWebhookStatus


class RunModelResponse(ResponseModel):
    """An accepted run."""

    jobId: str = Field(description="Id of the job.")
    status: JobStatusName = Field(description="State of the job.")
    statusUrl: str = Field(description="URL to poll for the result.")
    creditCost: JsonNumber = Field(description="Credits that the job costs if it succeeds.")
    creditsRemaining: JsonNumber = Field(description="Credits that the account can still spend.")


class RunSchemaResponse(ResponseModel):
    """The parameters of a model."""

    apiId: str = Field(description="Id of the model.")
    json_schema: dict[str, Any] = Field(alias="schema", description="JSON Schema of the body of a run.")


class WebhookReplayResponse(ResponseModel):
    """A webhook that is sent again."""

    jobId: str | None = Field(description="Id of the job.")
    webhook: JobWebhookStatus | None = Field(description="Delivery of the webhook.")


class CreditCost(ResponseModel):
    """Price of a model in credits."""

    default: JsonNumber = Field(description="Price with default parameters, the same as `amount`.")
    type: Literal["fixed", "per_second"] = Field(
        description="Whether the price is for one result or for one second of it."
    )
    amount: JsonNumber = Field(description="Price in credits.")
    byResolution: dict[str, Any] | None = Field(
        None, description="Prices by resolution, or by resolution and length; absent if there are none."
    )


class PixelDojoModelFields(ResponseModel):
    """Fields of a listed model that PixelDojo's clients read."""

    apiId: str = Field(description="Id of the model in PixelDojo's API.")
    name: str = Field(description="Name for people.")
    description: str = Field(description="What the model is good at.")
    modality: Literal["image", "video", "training"] = Field(description="What the model makes.")
    creditCost: CreditCost = Field(description="Price in PixelDojo credits.")
    features: list[str] = Field(description="Abilities besides making a result from a prompt: LoRA, Editing.")
    aliases: list[str] = Field(description="Other ids under which the model can be requested.")


class PixelDojoModelDetails(PixelDojoModelFields):
    """Fields of a single model that PixelDojo's clients read."""

    parameters: dict[str, Any] = Field(description="JSON Schemas of the parameters of a run, by name.")
    requestSchema: dict[str, Any] = Field(description="JSON Schema of the body of a run.")
