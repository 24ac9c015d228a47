"""`/llms.txt`: the API for language models, generated from the models and prices that are offered now.

It is self-contained: an agent that reads nothing else can create an image and a video, poll jobs, and verify
webhook signatures.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from orchestrator.billing.price_book import PriceBook
from orchestrator.catalog import Catalog, Model
from orchestrator.web.openapi.error_codes import ERROR_CODES
from pricing.tariff import DEFAULT_TARIFF

#: Fallbacks for a service that offers no image or no video model.
NO_IMAGE_MODEL, NO_VIDEO_MODEL = "IMAGE_MODEL", "VIDEO_MODEL"

INTRODUCTION = """\
# Pixel Factory API

> Image and video generation over HTTP. Generated from the models and prices that are offered now.

**Base URL:** `{base_url}`

## Authentication

Send `Authorization: Bearer $API_KEY` with every request; keys begin with `pk-`. `GET /v1/models`, \
`/openapi.json` \
and this text need no key.
"""

IMAGE_SECTION = """
## Create an image

`POST /v1/images/generations` waits for the result and returns it (OpenAI's images API; its SDKs work \
with the base \
URL `{base_url}/v1`).

```bash
curl {base_url}/v1/images/generations \\
  -H "Authorization: Bearer $API_KEY" -H "Content-Type: application/json" \\
  -H "Idempotency-Key: $(uuidgen)" \\
  -d '{{"model": "{image_model}", "prompt": "A lighthouse at dawn", "response_format": "url"}}'
```

The image is at `data[0].url`; the URL expires. With `"response_format": "b64_json"` it is base64 text in \
`data[0].b64_json`. Further fields: `n`, `size` (`WIDTHxHEIGHT`), `seed`, `negative_prompt` and the \
parameters of the \
model. `POST /v1/images/edits` (multipart form or JSON) takes input images in `image`, and a `mask`.
"""

VIDEO_SECTION = """
## Create a video

1. Create the job. The response is immediate and has an `id`:

```bash
curl {base_url}/v1/videos \\
  -H "Authorization: Bearer $API_KEY" -H "Content-Type: application/json" \\
  -d '{{"model": "{video_model}", "prompt": "Waves at a lighthouse"}}'
```

2. Poll every 2 seconds until `status` is `completed` or `failed` (before: `queued`, `in_progress`):

```bash
curl {base_url}/v1/videos/VIDEO_ID -H "Authorization: Bearer $API_KEY"
```

3. Download the MP4 file:

```bash
curl {base_url}/v1/videos/VIDEO_ID/content -H "Authorization: Bearer $API_KEY" -o video.mp4
```
"""

JOBS_SECTION = """
## Jobs

Every generation is a job; the response header `X-PixelFactory-Job` has its id.

- `POST /api/v1/models/MODEL/run`: create a job with any parameters of the model, without waiting. \
Returns `jobId` \
and `statusUrl`. A `webhook_url` in the body is called when the job is finished.
- `GET /api/v1/jobs/JOB_ID`: poll a job until `status` is `completed`, `failed` or `cancelled`. Results \
are in \
`output` by kind, for example `output.images[0]`; `error` says why it failed.
- `GET /api/v1/jobs/JOB_ID/events`: follow a job live (server-sent events).
- `GET /api/v1/jobs`: list jobs, newest first. `DELETE /api/v1/jobs/JOB_ID`: cancel a job; it is not charged.
- `GET /api/v1/models/MODEL/schema`: JSON Schema of the parameters of a model.
- `GET /api/v1/billing/balance`: balance in US dollars.
- `GET /api/v1/loras`: the LoRAs that you can use. The job of a trainer model makes one; other models take \
it at once as `"loras": [{"job_id": "job_...", "strength": 0.8}]`, or by `id`, `name` or `url` instead. \
`DELETE /api/v1/loras/JOB_ID` deletes it.

An `Idempotency-Key` header makes it safe to repeat a request: the same key and body return the same job \
and are \
charged once. Only completed jobs are charged.
"""

WEBHOOK_SECTION = """
## Webhooks

A finished job sends `POST` to its `webhook_url`:

```json
{"type": "job.succeeded", "timestamp": "2026-01-31T12:00:00+00:00", "data": {"jobId": "job_...", "status": \
"completed", "output": {"images": ["https://..."]}}}
```

`type` is `job.succeeded`, `job.failed` or `job.cancelled`; `data` is the job as `GET \
/api/v1/jobs/JOB_ID` returns \
it. Messages are signed by the Standard Webhooks specification: use its library, or verify them so:

```python
import base64, hashlib, hmac, time

def verify(secret: str, headers: dict, body: bytes) -> bool:
    # `secret` is that of GET /api/v1/webhooks/secret: "whsec_..."
    key = base64.b64decode(secret.removeprefix("whsec_"))
    message_id, timestamp = headers["webhook-id"], headers["webhook-timestamp"]
    if abs(time.time() - int(timestamp)) > 300:
        return False
    signed = f"{message_id}.{timestamp}.".encode() + body
    expected = "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    return any(hmac.compare_digest(expected, given) for given in headers["webhook-signature"].split())
```

Verify the raw body before you parse it. Answer with a 2xx status within 15 seconds; failed deliveries \
are retried \
for a day under the same `webhook-id`, so process each id once.
"""

DIALECT_SECTION = """
## APIs of other services

The same models, keys and prices, for clients of these APIs. Each has its own shapes of requests and errors.

| API | Address to configure | Models |
|---|---|---|
| OpenAI images and videos | `{base_url}/v1` | any id or name of this list |
| Replicate | `REPLICATE_BASE_URL={base_url}`; JavaScript `{base_url}/v1` | `OWNER/NAME`, `pixel-factory/ID` |
| fal | `{base_url}/fal`; queue `{base_url}/fal/queue`; `Authorization: Key $API_KEY` | `pixel-factory/ID` |
| AUTOMATIC1111 (`/sdapi/v1`) | `{base_url}`; HTTP Basic, the key is the password | `sd_model_checkpoint` |
| Hugging Face `text_to_image` | `{base_url}/hf/MODEL` | in the address |
| PixelAPI | `{base_url}/v1/image/generate` | `model` |
| PixelDojo | `{base_url}/api/v1/models/MODEL/run` | in the address |
| Pixazo | `{base_url}`, with paths such as `/flux-dev/v1/dev/textToImage` | in the address |
| Comfy Router | `COMFY_ROUTER_BASE_URL={base_url}` | `OWNER/ID` of `GET /v2/models` |
| Comfy API v2, own graphs | `COMFY_BASE_URL={base_url}` | graphs; needs a key with the scope `graphs` |
| ComfyUI (`/prompt`, `/ws`, `/history`) | `{base_url}` | graphs; needs a key with the scope `graphs` |
"""

ERROR_SECTION = """
## Errors

Errors have a body `{"error": {"message", "type", "code", "param"}}`; `param` names the request field. \
Retry only if \
the header `X-Should-Retry` is `true`, after `Retry-After` seconds. The headers `X-RateLimit-Limit`, \
`-Remaining` and \
`-Reset` state the rate limit.

| Status | Meaning |
|---|---|
| 400 | The request is invalid |
| 401, 403 | The API key is missing, invalid, or lacks a scope |
| 402 | The balance or the spend cap of the key does not cover the price |
| 404, 410 | The resource does not exist, or has expired |
| 409 | The idempotency key was used for a different request |
| 429 | The rate limit is exceeded |
| 500 | The generation failed, or internal error |
| 503 | No instance is available; retry later |

| Code | Meaning |
|---|---|"""


def render_llms_txt(catalog: Catalog, prices: PriceBook, base_url: str) -> str:
    """Return the whole text in Markdown; `base_url` is the URL of the service."""
    image_model = _example_model((model for model in catalog if model.makes_images), NO_IMAGE_MODEL)
    video_model = _example_model((model for model in catalog if model.makes_video), NO_VIDEO_MODEL)
    sections = [
        INTRODUCTION.format(base_url=base_url),
        IMAGE_SECTION.format(base_url=base_url, image_model=image_model),
        VIDEO_SECTION.format(base_url=base_url, video_model=video_model),
        JOBS_SECTION,
        DIALECT_SECTION.format(base_url=base_url),
        *_render_models(catalog, prices),
        WEBHOOK_SECTION,
        ERROR_SECTION,
        *(f"\n| `{code}` | {meaning} |" for code, meaning in ERROR_CODES.items()),
        f"\n\n## Links\n\n- All operations: {base_url}/openapi.json\n- For people: {base_url}/docs\n",
    ]
    return "".join(sections)


def _example_model(models: Iterable[Model], fallback: str) -> str:
    """Return the id of the first model that needs nothing but a prompt."""
    for model in models:
        if {name for name, spec in model.parameters.items() if spec.required} <= {"prompt"}:
            return model.id
    return fallback


def _render_models(catalog: Catalog, prices: PriceBook) -> Iterator[str]:
    """Yield the models by kind, with price and parameters."""
    yield "\n## Models\n\nPrices are for one result with default parameters; size and length change them.\n"
    groups = {
        "Image models": [model for model in catalog if model.makes_images],
        "Video models": [model for model in catalog if model.makes_video],
        "Other models": [model for model in catalog if not model.makes_images and not model.makes_video],
    }
    for title, models in groups.items():
        if models:
            yield f"\n### {title} ({len(models)})\n"
            yield from (_render_model(model, prices) for model in models)
    yield from _render_stand_ins(catalog)


def _render_stand_ins(catalog: Catalog) -> Iterator[str]:
    """Yield the names of other models, with the models that serve them."""
    if catalog.stand_ins:
        yield "\n### Other names\n\nRequests for these names are served by the models named here.\n\n"
    for name in catalog.stand_ins:
        if name in catalog:
            tasks = {f" ({task})": model for task, model in catalog.tasks_of(name).items()}
            served = tasks or {"": catalog[name]}
            yield f"- `{name}`: " + ", ".join(f"`{model.id}`{task}" for task, model in served.items()) + "\n"


def _render_model(model: Model, prices: PriceBook) -> str:
    usd = prices.example_quote(DEFAULT_TARIFF, model).usd
    required = ", ".join(f"`{name}`" for name, spec in model.parameters.items() if spec.required)
    optional = ", ".join(f"`{name}`" for name, spec in model.parameters.items() if not spec.required)
    lines = [f"\n#### {model.name} (`{model.id}`)\n", model.description, f"- Price: ${usd}"]
    if model.aliases:
        lines.append("- Aliases: " + ", ".join(f"`{alias}`" for alias in model.aliases))
    lines += [f"- Required parameters: {required}"] if required else []
    lines += [f"- Optional parameters: {optional}"] if optional else []
    return "\n".join(lines) + "\n"
