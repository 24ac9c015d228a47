"""`/llms.txt`: the service described for language models, from the models and prices of this moment."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.billing.price_book import PriceBook
from orchestrator.catalog import Catalog
from orchestrator.web.dialects.pixeldojo.errors import DOCUMENTED_ERRORS
from orchestrator.web.dialects.pixeldojo.models import format_credit_cost, to_model_fields
from orchestrator.web.dialects.pixeldojo.schemas import PixelDojoModelFields

ENDPOINT_DESCRIPTIONS = (
    ("POST /api/v1/models/{apiId}/run", "Submit a generation job"),
    ("GET /api/v1/jobs/{jobId}", "Poll job status and outputs"),
    ("GET /api/v1/jobs/{jobId}/events", "Follow a job live (server-sent events)"),
    ("DELETE /api/v1/jobs/{jobId}", "Cancel a job"),
    ("POST /api/v1/jobs/{jobId}/webhook", "Send the webhook of a finished job again"),
    ("GET /api/v1/models", "List available models (with credit costs)"),
    ("GET /api/v1/models/{apiId}", "Model details and input parameters"),
    ("GET /api/v1/models/{apiId}/schema", "JSON Schema of a run's body"),
)
ERROR_DESCRIPTIONS = {
    "unauthorized": "Missing or invalid API key",
    "invalid_json": "Invalid JSON in request body",
    "validation_error": "Input validation failed",
    "not_found": "Model or job not found",
    "insufficient_credits": "Insufficient credits",
    "submission_failed": "Failed to submit job",
    "expired": "Job has expired",
    "rate_limit_exceeded": "Rate limit exceeded",
    "internal_error": "Internal server error",
}
SUBMIT_RESPONSE_EXAMPLE = """```json
{"jobId": "job_abc123", "status": "pending", "statusUrl": "URL/api/v1/jobs/job_abc123", "creditCost": 1, \
"creditsRemaining": 99}
```"""
COMPLETED_RESPONSE_EXAMPLE = """```json
{"jobId": "job_abc123", "status": "completed", "output": {"images": ["https://..."]}, "creditCost": 1, \
"expiresAt": "2025-01-23T12:00:00Z"}
```"""
CURL_EXAMPLE = """```bash
curl -X POST "URL/api/v1/models/MODEL/run" \\
  -H "Authorization: Bearer YOUR_API_KEY" \\
  -H "Content-Type: application/json" \\
  -d '{"prompt": "A sunset", "aspect_ratio": "1:1", "webhook_url": "https://example.com/webhook"}'
curl "URL/api/v1/jobs/job_abc123" -H "Authorization: Bearer YOUR_API_KEY"
```"""


def render_llms_txt(catalog: Catalog, prices: PriceBook, base_url: str) -> str:
    """The whole text, in Markdown; `base_url` is where callers reach the service."""
    return "\n".join(_render_lines(catalog, prices, base_url)) + "\n"


def _render_model(model: PixelDojoModelFields) -> str:
    """One model."""
    lines = [f"\n### {model.name} (`{model.apiId}`)", model.description]
    lines.append(f"- Cost: {format_credit_cost(model.creditCost)}")
    if model.features:
        lines.append(f"- Features: {', '.join(model.features)}")
    return "\n".join(lines)


def _render_lines(catalog: Catalog, prices: PriceBook, base_url: str) -> Iterator[str]:
    entries = [to_model_fields(model, prices) for model in catalog]
    first = next((one.apiId for one in entries if one.modality == "image"), "MODEL")
    yield "# Pixel Factory API (Async Jobs)"
    yield "> Generated from the models that are offered now. Optimized for LLM consumption."
    yield f"\n## Overview\n\n**Base URL:** `{base_url}/api/v1`\n\n### Core Endpoints\n"
    yield from (f"- `{endpoint}` — {meaning}" for endpoint, meaning in ENDPOINT_DESCRIPTIONS)
    yield "\n## Authentication\n\n`Authorization: Bearer YOUR_API_KEY`; models and schemas need none."
    for title, modality in (("Image", "image"), ("Video", "video"), ("Training", "training")):
        shown = [one for one in entries if one.modality == modality]
        if not shown:
            continue
        yield f"\n## {title} Models ({len(shown)} available)"
        yield from map(_render_model, shown)
    yield "\n## Response Format"
    yield f"\nSubmit:\n{SUBMIT_RESPONSE_EXAMPLE}".replace("URL", base_url)
    yield f"\nCompleted:\n{COMPLETED_RESPONSE_EXAMPLE}".replace("URL", base_url)
    yield "\n## Error Codes\n\n| Code | Status | Description |\n|------|--------|-------------|"
    yield from (
        f"| `{error.code}` | {error.status} | {ERROR_DESCRIPTIONS[error.code]} |"
        for error in DOCUMENTED_ERRORS
    )
    yield "\n## Rate Limits\n\nPer account and plan: see `X-RateLimit-Limit`, `-Remaining` and `-Reset`."
    yield "\n## Example\n\n" + CURL_EXAMPLE.replace("URL", base_url).replace("MODEL", first)
    yield f"\n## Links\n\n- OpenAPI: {base_url}/openapi.json\n- This text: {base_url}/llms.txt"
