"""The `webhooks` of the OpenAPI document: messages that the service sends in its default format.

Some dialects replace the body of `job.*` messages by their own; see their documentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, Field

from orchestrator.web.http.response_model import IsoDatetime, ResponseModel
from orchestrator.web.jobs.schemas import JobResponse
from orchestrator.web.openapi.examples import ExampleGenerator
from pricing.alerts import AlertMetric


class JobWebhook(ResponseModel):
    """Sent when a job with a `webhook_url` is finished."""

    type: Literal["job.succeeded", "job.failed", "job.cancelled"] = Field(
        description="Kind of message: how the job ended."
    )
    timestamp: IsoDatetime = Field(description="When the job was finished.")
    data: JobResponse = Field(description="The job, as `GET /api/v1/jobs/{id}` returns it, with fresh URLs.")


class BudgetAlertData(ResponseModel):
    """The alert that fired."""

    alert_id: str = Field(description="Id of the alert.", examples=["alert_5d1f0c8b"])
    watched: AlertMetric = Field(description="What the alert watches.")
    threshold_usd: float = Field(description="Threshold that was crossed, in US dollars.", examples=[20.0])
    reading_usd: float = Field(description="Value that crossed it, in US dollars.", examples=[19.87])
    at: IsoDatetime = Field(description="When it was crossed.")


class BudgetAlertWebhook(ResponseModel):
    """Sent when a budget alert with a `url` fires."""

    type: Literal["budget.alert"] = Field(description="Kind of message.")
    timestamp: IsoDatetime = Field(description="When the alert fired.")
    data: BudgetAlertData = Field(description="The alert, and the value that crossed its threshold.")


WEBHOOK_MODELS: tuple[type[BaseModel], ...] = (JobWebhook, BudgetAlertWebhook)

SIGNATURE_DESCRIPTION = """Messages are signed by the Standard Webhooks specification. To verify one, \
compute \
HMAC-SHA256 over `{webhook-id}.{webhook-timestamp}.{body}` with the account's secret \
(`GET /api/v1/webhooks/secret`; decode the base64 after `whsec_`), encode it as base64 and compare it \
with each \
`v1,...` value of `webhook-signature`. Reject timestamps that are more than 5 minutes off. Deliveries may \
repeat: \
ignore a `webhook-id` that you have processed. Answer with a 2xx status within 15 seconds; otherwise the \
delivery \
is retried for a day."""

WEBHOOK_HEADERS = {
    "webhook-id": "Id of the message, `msg_...`; the same for each retry.",
    "webhook-timestamp": "Time of this delivery, in seconds since 1970.",
    "webhook-signature": "Space-separated signatures, `v1,BASE64`; two while a rotated secret is still "
    "valid.",
}


def build_webhooks(
    schema_refs: Mapping[type[BaseModel], dict[str, Any]], examples: ExampleGenerator
) -> dict[str, Any]:
    """Return the `webhooks` section."""

    def build_webhook(summary: str, model: type[BaseModel]) -> dict[str, Any]:
        schema = schema_refs[model]
        content = {"application/json": {"schema": schema, "example": examples.response_example(schema)}}
        return {
            "post": {
                "summary": summary,
                "description": SIGNATURE_DESCRIPTION,
                "parameters": [
                    {
                        "name": name,
                        "in": "header",
                        "required": True,
                        "schema": {"type": "string"},
                        "description": description,
                    }
                    for name, description in WEBHOOK_HEADERS.items()
                ],
                "requestBody": {"required": True, "content": content},
                "responses": {"2XX": {"description": "The message is received and is not sent again."}},
            }
        }

    return {
        "jobFinished": build_webhook("Receive the result of a finished job", JobWebhook),
        "budgetAlert": build_webhook("Receive a budget alert", BudgetAlertWebhook),
    }
