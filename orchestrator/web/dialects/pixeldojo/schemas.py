"""Response bodies of PixelDojo; those of the jobs API, which has its format, are in `web.jobs.schemas`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from orchestrator.web.http.response_model import JsonNumber, ResponseModel
from orchestrator.web.jobs.schemas import JobStatusName, JobWebhookStatus


class RunModelResponse(ResponseModel):
    """An accepted run."""

    jobId: str = Field(description="Id of the job.", examples=["job_3f2a9c0d5b7e4f1a8c6d2e9b0a4f7c31"])
    status: JobStatusName = Field(description="State of the job.", examples=["pending"])
    statusUrl: str = Field(
        description="URL to poll for the result.",
        examples=["https://api.example.com/api/v1/jobs/job_3f2a9c0d5b7e4f1a8c6d2e9b0a4f7c31"],
    )
    creditCost: JsonNumber = Field(description="Credits that the job costs if it succeeds.", examples=[1])
    creditsRemaining: JsonNumber | None = Field(
        None,
        description="Credits that the account can still spend; only for keys with the scope `billing`.",
        examples=[99],
    )


class RunSchemaResponse(ResponseModel):
    """The parameters of a model."""

    apiId: str = Field(description="Id of the model.", examples=["flux-dev"])
    json_schema: dict[str, Any] = Field(
        alias="schema",
        description="JSON Schema of the body of a run.",
        examples=[{"type": "object", "properties": {"prompt": {"type": "string"}}, "required": ["prompt"]}],
    )


class WebhookReplayResponse(ResponseModel):
    """A webhook that is sent again."""

    jobId: str | None = Field(description="Id of the job.", examples=["job_3f2a9c0d5b7e4f1a8c6d2e9b0a4f7c31"])
    webhook: JobWebhookStatus | None = Field(description="Delivery of the webhook.")


class CreditCost(ResponseModel):
    """Price of a model in credits."""

    default: JsonNumber = Field(
        description="Price with default parameters, the same as `amount`.", examples=[1]
    )
    type: Literal["fixed", "per_second"] = Field(
        description="Whether the price is for one result or for one second of it.", examples=["fixed"]
    )
    amount: JsonNumber = Field(description="Price in credits.", examples=[1])
    byResolution: dict[str, Any] | None = Field(
        None,
        description="Prices by resolution, or by resolution and length; absent if there are none.",
        examples=[{"1K": 1, "2K": 2}],
    )


class PixelDojoModelFields(ResponseModel):
    """Fields of a listed model that PixelDojo's clients read."""

    apiId: str = Field(description="Id of the model in PixelDojo's API.", examples=["flux-dev"])
    name: str = Field(description="Name for people.", examples=["FLUX.1 Dev"])
    description: str = Field(
        description="What the model is good at.", examples=["High quality text to image."]
    )
    modality: Literal["image", "video", "training"] = Field(
        description="What the model makes.", examples=["image"]
    )
    creditCost: CreditCost = Field(description="Price in PixelDojo credits.")
    features: list[str] = Field(
        description="Abilities besides making a result from a prompt: LoRA, Editing.", examples=[["LoRA"]]
    )
    aliases: list[str] = Field(
        description="Other ids under which the model can be requested.", examples=[["flux-dev"]]
    )


class PixelDojoModelDetails(PixelDojoModelFields):
    """Fields of a single model that PixelDojo's clients read."""

    parameters: dict[str, Any] = Field(
        description="JSON Schemas of the parameters of a run, by name.",
        examples=[{"prompt": {"type": "string"}}],
    )
    requestSchema: dict[str, Any] = Field(
        description="JSON Schema of the body of a run.",
        examples=[{"type": "object", "properties": {"prompt": {"type": "string"}}, "required": ["prompt"]}],
    )
