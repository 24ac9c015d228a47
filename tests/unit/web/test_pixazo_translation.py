"""Pixazo's request bodies become GenerationRequests, and jobs and errors its responses."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from orchestrator.catalog import Catalog, FollowImage, OutputSizes
from orchestrator.errors import (
    Conflict,
    ContentBlocked,
    Forbidden,
    GenerationFailed,
    Gone,
    InsufficientBalance,
    InvalidRequest,
    MethodNotAllowed,
    NotAuthenticated,
    NotFound,
    RateLimited,
    ServiceError,
    ServiceUnavailable,
)
from orchestrator.execution.failures import FAILURE_MESSAGES
from orchestrator.intake.request_preparer import GenerationRequest
from orchestrator.jobs import Job, JobError, JobRecord, JobStatus, Output, create_shards
from orchestrator.media.formats import ImageEncoding
from orchestrator.web.dialects.dimensions import NAMED_SIZES
from orchestrator.web.dialects.error_responses import find_error_format
from orchestrator.web.dialects.ids import job_id_from_uuid
from orchestrator.web.dialects.pixazo import translation as pixazo
from orchestrator.web.dialects.pixazo.endpoints import PIXAZO_ENDPOINTS, PixazoEndpoint, ResponseMode
from orchestrator.web.dialects.pixazo.errors import PixazoErrorResponse, to_error_response
from orchestrator.web.dialects.pixazo.request_ids import (
    JobReference,
    parse_request_id,
    to_origin,
    to_request_id,
)
from orchestrator.web.dialects.pixazo.sizes import AspectRatio, FalImageSize, Flux2ProImageSize
from pricing.book import TariffRevisions
from pricing.tariff import SHIPPED_TARIFFS
from tests.support.pixazo_gateway import (
    CATALOG,
    DEV,
    EDIT,
    FILL,
    KLEIN,
    PRO_EDIT,
    PRO_TEXT,
    RESTORE,
    TEXT,
    TRAINER,
    ULTRA,
    URL,
)

NOW = datetime(2026, 3, 31, 10, tzinfo=UTC)


def asked(endpoint: PixazoEndpoint, **fields: Any) -> GenerationRequest:
    body, model = endpoint.body.parse(fields), endpoint.resolve_model(CATALOG)
    return pixazo.to_request(endpoint, body, model, header_webhook_url=None, idempotency_key=None)


def params(endpoint: PixazoEndpoint, **fields: Any) -> dict[str, Any]:
    return dict(asked(endpoint, **fields).params)


def job(status: JobStatus = JobStatus.SUCCEEDED, **changes: Any) -> Job:
    fields: dict[str, Any] = {
        "id": "job_" + "0123456789abcdef" * 2,
        "account_id": "acct_1",
        "key_id": "key_1",
        "model": "flux-1-dev",
        "params": {"prompt": "a"},
        "price": 25_000,
        "created_at": NOW,
        "status": status,
        "origin": "pixazo/flux-dev",
    }
    return Job(**fields | changes)


@pytest.mark.parametrize("endpoint", PIXAZO_ENDPOINTS, ids=lambda endpoint: endpoint.path)
def test_every_endpoint_has_a_model_a_price_and_the_gateways_errors(endpoint: PixazoEndpoint) -> None:
    assert endpoint.resolve_model(CATALOG).id
    assert (
        endpoint.tariff_id
        in TariffRevisions.load(SHIPPED_TARIFFS).in_force_on(pixazo.TARIFF, NOW.date()).prices
    )
    assert find_error_format(endpoint.path).schema is PixazoErrorResponse


@pytest.mark.parametrize("path", ["/v1/models", "/api/v1/jobs/1", "/admin/v1/keys", "/", "/docs", "/v1/v2"])
def test_other_paths_do_not_have_the_gateways_errors(path: str) -> None:
    assert find_error_format(path).schema is not PixazoErrorResponse


def test_requests_have_origin_and_price_of_their_endpoint() -> None:
    request = asked(EDIT, prompt="a", image_url=URL)
    assert (request.origin, request.model, request.tariff_model) == (
        "pixazo/flux-dev",
        "flux-dev-image-to-image",
        "flux-dev",
    )
    assert (request.tariff, request.store_blocked_job) == ("pixazo", True)
    assert not asked(TEXT, prompt="a").store_blocked_job
    assert asked(ULTRA, prompt="a").tariff_model == "pro1.1"


def test_translates_fields_to_model_parameters() -> None:
    assert params(
        EDIT, prompt="a", image_url=URL, strength=0.5, num_inference_steps=9, guidance_scale=2, num_images=3
    ) == {
        "prompt": "a",
        "image": URL,
        "strength": 0.5,
        "steps": 9,
        "cfg_scale": 2.0,
        "n": 3,
    }
    assert params(FILL, prompt="a", image=URL, mask=URL + "?mask", seed=7) == {
        "prompt": "a",
        "image": URL,
        "mask": URL + "?mask",
        "mask_channel": "red",
        "megapixels": 1.0,
        "steps": 28,
        "cfg_scale": 30.0,
        "seed": 7,
        "n": 1,
    }
    assert params(RESTORE, input_image=URL) == {"image": URL}
    restored = RESTORE.body.parse({"input_image": URL}).to_parameters(CATALOG["flux-1-kontext-dev"])
    assert restored.values.keys() == {"image", "prompt"}
    assert params(TRAINER, image_data_url=URL, steps=1500, learning_rate=0.00003) == {
        "dataset": URL,
        "steps": 1500,
        "learning_rate": 0.00003,
    }
    assert params(KLEIN, prompt="a") == {"prompt": "a", "steps": 25, "width": 1024, "height": 1024}
    assert params(TEXT, prompt="a", width=1021) == {"prompt": "a", "width": 1021}


def test_treats_null_as_not_given() -> None:
    assert params(KLEIN, prompt="a", steps=None, width=None) == params(KLEIN, prompt="a")
    assert asked(RESTORE, input_image=URL, output_format=None).encoding == ImageEncoding("image/png")


def test_edits_the_first_of_several_images() -> None:
    request = asked(PRO_EDIT, prompt="a", image_urls=[URL, URL + "?2"])
    assert (request.params["images"], request.follow_image) == ([URL], FollowImage.SIZE)
    request = asked(PRO_EDIT, prompt="a", image_urls=[URL], image_size="1000x512")
    assert (request.params["width"], request.params["height"]) == (1000, 512)
    assert request.follow_image is FollowImage.SHAPE


@pytest.mark.parametrize(("acceleration", "steps"), [("none", None), ("regular", 15), ("high", 10)])
def test_acceleration_reduces_the_default_steps(acceleration: str, steps: int | None) -> None:
    assert params(DEV, prompt="a", acceleration=acceleration).get("steps") == steps
    assert params(DEV, prompt="a", acceleration=acceleration, num_inference_steps=33)["steps"] == 33


ENCODINGS: list[tuple[PixazoEndpoint, dict[str, Any], ImageEncoding | None]] = [
    (DEV, {"prompt": "a"}, None),
    (DEV, {"prompt": "a", "output_format": "jpeg"}, ImageEncoding("image/jpeg")),
    (RESTORE, {"input_image": URL, "output_format": "jpg"}, ImageEncoding("image/jpeg")),
    (FILL, {"prompt": "a", "image": URL, "mask": URL}, ImageEncoding("image/webp", 80)),
    (FILL, {"prompt": "a", "image": URL, "mask": URL, "output_quality": 0}, ImageEncoding("image/webp", 1)),
    (FILL, {"prompt": "a", "image": URL, "mask": URL, "output_format": "png"}, ImageEncoding("image/png")),
]


@pytest.mark.parametrize(("endpoint", "fields", "encoding"), ENCODINGS)
def test_translates_output_formats_to_encodings(
    endpoint: PixazoEndpoint, fields: dict[str, Any], encoding: ImageEncoding | None
) -> None:
    assert asked(endpoint, **fields).encoding == encoding


NAMED = [
    *((DEV, name) for name in get_args(FalImageSize)),
    *((PRO_TEXT, name) for name in get_args(Flux2ProImageSize)),
]


@pytest.mark.parametrize(("endpoint", "name"), NAMED)
def test_converts_named_sizes_to_dimensions_of_the_model(endpoint: PixazoEndpoint, name: str) -> None:
    made = params(endpoint, prompt="a", image_size=name)
    model = endpoint.resolve_model(CATALOG)
    assert model.validate_params(made)["width"] == made["width"]
    width, height = NAMED_SIZES[name]
    assert made["width"] / made["height"] == pytest.approx(width / height, rel=0.02)
    assert made["width"] * made["height"] == pytest.approx(width * height, rel=0.05)
    shape, _, numbers = name.partition("_")
    if numbers.count("_"):
        long, short = sorted(map(int, numbers.split("_")), reverse=True)
        expected = short / long if shape == "portrait" else long / short
        assert made["width"] / made["height"] == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("ratio", get_args(AspectRatio))
def test_converts_aspect_ratios_to_dimensions(ratio: str) -> None:
    made = params(ULTRA, prompt="a", aspect_ratio=ratio)
    width, height = map(int, ratio.split(":"))
    assert made["width"] / made["height"] == pytest.approx(width / height, rel=0.03)


@given(width=st.integers(1, 20_000), height=st.integers(1, 20_000))
def test_every_image_size_has_a_similar_size_of_the_model(width: int, height: int) -> None:
    model = CATALOG["flux-2-dev"]
    sizes = OutputSizes.from_model(model)
    assert sizes is not None
    fitted = sizes.fit_size(width, height)
    model.validate_params({"prompt": "a", "width": fitted[0], "height": fitted[1]})
    if 512 <= width <= 1024 and 512 <= height <= 1024:
        assert math.log(fitted[0] / width) == pytest.approx(0, abs=0.05)
        assert math.log(fitted[1] / height) == pytest.approx(0, abs=0.05)


def test_translates_webhook_events_to_job_statuses() -> None:
    assert asked(DEV, prompt="a").webhook_statuses is None
    request = asked(DEV, prompt="a", webhook=URL, webhook_events_filter=["failed"])
    assert request.webhook_url == URL
    assert request.webhook_statuses == frozenset({JobStatus.FAILED, JobStatus.CANCELLED})
    both = asked(DEV, prompt="a", webhook=URL, webhook_events_filter=["failed", "completed"])
    assert both.webhook_statuses == frozenset({JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.SUCCEEDED})


OUTPUT = Output(key="outputs/a.png", content_type="image/webp", size=1, sha256="", width=8, height=8)


def test_reports_a_completed_request() -> None:
    done = job(started_at=NOW, finished_at=NOW + timedelta(seconds=15))
    (shard,) = create_shards(done, 1)
    record = JobRecord(job=done, shards=[replace(shard, outputs=(OUTPUT,))])
    body = pixazo.to_status_response(record, [URL])
    assert body.model_dump(exclude_unset=True) == {
        "request_id": "flux-dev_01234567-89ab-cdef-0123-456789abcdef",
        "status": "COMPLETED",
        "model_id": "flux-dev",
        "error": None,
        "output": {"media_url": [URL], "media_type": "image/webp"},
        "created_at": "2026-03-31T10:00:00.000Z",
        "updated_at": "2026-03-31T10:00:15.000Z",
        "completed_at": "2026-03-31T10:00:15.000Z",
    }


def failed(code: str) -> Job:
    return job(JobStatus.FAILED, error=JobError(code=code, message="why"), finished_at=NOW)


#: Failures that the caller did not cause.
SERVER_FAILURES = {
    "instance_gone",
    "abandoned",
    "expired",
    "stalled",
    "superseded",
    "store_unavailable",
    "internal",
}
STATUSES = [
    (job(JobStatus.QUEUED), "QUEUED", "queued"),
    (job(JobStatus.RUNNING), "PROCESSING", "processing"),
    (job(JobStatus.CANCELLED, finished_at=NOW), "FAILED", "failed"),
    (failed(ContentBlocked.default_code), "FAILED", "failed"),
    *(
        (failed(code), "ERROR" if code in SERVER_FAILURES else "FAILED", "failed")
        for code in FAILURE_MESSAGES
    ),
]


@pytest.mark.parametrize(("seen", "status", "batch_status"), STATUSES)
def test_reports_statuses(seen: Job, status: str, batch_status: str) -> None:
    body = pixazo.to_status_response(JobRecord(job=seen, shards=create_shards(seen, 1)), [])
    assert (body.status, body.output) == (status, None)
    assert (body.error is not None) == (batch_status == "failed")
    batch = pixazo.to_batch_status_response(seen, None).model_dump(exclude_unset=True)
    assert batch["status"] == batch_status
    assert ("error" in batch) == (batch_status == "failed")


@given(bits=st.integers(0, 2**128 - 1), endpoint=st.sampled_from(PIXAZO_ENDPOINTS))
def test_parses_the_request_id_of_a_job(bits: int, endpoint: PixazoEndpoint) -> None:
    seen = job(id=f"job_{bits:032x}", origin=to_origin(endpoint.id))
    assert parse_request_id(to_request_id(seen)) == JobReference(
        origin=to_origin(endpoint.id), job_id=seen.id
    )
    assert job_id_from_uuid(pixazo.to_batch_queued_response(seen).requestId) == seen.id


@given(st.text())
def test_rejects_text_that_is_no_request_id(text: str) -> None:
    assert parse_request_id(text) is None


MISSING = {"error": "Not Found", "message": "gone"}
SHORT = InsufficientBalance("poor", details={"required_usd": 0.04})
ERRORS: list[tuple[ServiceError, int, dict[str, str]]] = [
    (InvalidRequest("`seed` is odd"), 400, {"error": "seed is odd"}),
    (ContentBlocked("not that"), 400, {"error": "not that"}),
    (NotAuthenticated("who?"), 401, {"error": "Unauthorized", "message": "who?"}),
    (
        SHORT,
        402,
        {
            "error": "Insufficient Balance",
            "message": "Your wallet does not have enough balance. Required: $0.04",
        },
    ),
    (
        InsufficientBalance("This key has spent enough", code="key_spend_cap"),
        402,
        {"error": "Insufficient Balance", "message": "This key has spent enough"},
    ),
    (Forbidden("no"), 403, {"error": "Forbidden", "message": "no"}),
    (NotFound("gone"), 404, MISSING),
    (Gone("gone"), 404, MISSING),
    (MethodNotAllowed("no"), 405, {"error": "Method Not Allowed", "message": "no"}),
    (Conflict("no"), 409, {"error": "Conflict", "message": "no"}),
    (RateLimited("slow"), 429, {"error": "Too Many Requests", "message": "slow"}),
    (GenerationFailed("sorry"), 500, {"error": "Internal Server Error", "message": "sorry"}),
    (ServiceUnavailable("later"), 500, {"error": "Internal Server Error", "message": "later"}),
]


@pytest.mark.parametrize(("error", "status", "body"), ERRORS)
def test_reports_errors(error: ServiceError, status: int, body: dict[str, str]) -> None:
    assert to_error_response(error) == (status, PixazoErrorResponse.model_validate(body))


@pytest.mark.parametrize("endpoint", PIXAZO_ENDPOINTS, ids=lambda endpoint: endpoint.path)
def test_names_an_unavailable_model_as_the_document_does(endpoint: PixazoEndpoint) -> None:
    with pytest.raises(InvalidRequest) as caught:
        endpoint.resolve_model(Catalog([]))
    assert to_error_response(caught.value) == (
        400,
        PixazoErrorResponse(
            error="Model not found", message=f"Model '{endpoint.id}' not found or is disabled"
        ),
    )


@pytest.mark.parametrize("endpoint", PIXAZO_ENDPOINTS, ids=lambda endpoint: endpoint.path)
def test_every_field_has_a_description(endpoint: PixazoEndpoint) -> None:
    body: type[BaseModel] = endpoint.body
    for name, schema in body.model_json_schema()["properties"].items():
        assert schema.get("description"), name


def test_only_queued_and_batch_endpoints_have_webhooks() -> None:
    modes = {
        endpoint.response_mode for endpoint in PIXAZO_ENDPOINTS if "webhook_url" in endpoint.body.model_fields
    }
    assert modes == {ResponseMode.QUEUED, ResponseMode.BATCH}


@pytest.mark.parametrize(
    ("endpoint", "param", "field"),
    [
        (PRO_EDIT, "images", "image_urls"),
        (PRO_EDIT, "image", "image_urls"),
        (EDIT, "image", "image_url"),
        (RESTORE, "image", "input_image"),
        (FILL, "image", "image"),
        (PRO_EDIT, "width", "image_size"),
        (ULTRA, "height", "aspect_ratio"),
        (TEXT, "width", "width"),
        (DEV, "steps", "num_inference_steps"),
        (DEV, "cfg_scale", "guidance_scale"),
        (TRAINER, "dataset", "image_data_url"),
    ],
)
def test_names_the_documented_field_of_a_rejected_parameter(
    endpoint: PixazoEndpoint, param: str, field: str
) -> None:
    error = InvalidRequest(f"`{param}` is not valid", code=f"invalid_{param}", param=param)
    translated = endpoint.body.model_construct().translate_error(error)
    assert (translated.message, translated.param) == (f"{field} is not valid", field)


def test_reports_a_rejected_webhook_with_the_documented_phrase() -> None:
    error = InvalidRequest("`webhook_url` must be public", code="invalid_webhook_url", param="webhook_url")
    translated = DEV.body.model_construct().translate_error(error)
    assert (translated.message, translated.param) == ("Invalid webhook URL", "webhook")
