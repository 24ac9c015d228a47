"""PixelAPI's request bodies become GenerationRequests, and jobs its responses."""

from __future__ import annotations

from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.billing.values import Account
from orchestrator.errors import (
    Conflict,
    ContentBlocked,
    Forbidden,
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
from orchestrator.jobs import Job, JobError, JobStatus
from orchestrator.web.dialects.ids import job_id_from_uuid, job_id_to_uuid
from orchestrator.web.dialects.pixelapi import translation as pixelapi
from orchestrator.web.dialects.pixelapi.errors import PixelApiErrorResponse, to_error_response
from orchestrator.web.dialects.request_body import parse_body
from tests.support.shipped import SHIPPED_CATALOG as CATALOG

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
CREDIT = Fraction(1000)


def job(status: JobStatus = JobStatus.SUCCEEDED, **changes: Any) -> Job:
    fields: dict[str, Any] = {
        "id": "job_" + "0123456789abcdef" * 2,
        "account_id": "acct_1",
        "key_id": "key_1",
        "model": "sdxl-1.0",
        "params": {"prompt": "a"},
        "price": 1000,
        "created_at": NOW,
        "status": status,
    }
    return Job(**fields | changes)


def params(**fields: Any) -> dict[str, Any]:
    body = parse_body(pixelapi.PixelApiGenerateBody, fields)
    return dict(pixelapi.to_request(body, CATALOG, idempotency_key=None).params)


@given(side=st.integers(pixelapi.MIN_SIDE, pixelapi.MAX_SIDE))
def test_every_documented_side_is_exact_or_rejected_with_the_nearest_sizes(side: int) -> None:
    made = params(prompt="a", width=side, height=side)
    assert (made["width"], made["height"]) == (side, side)
    if side % 8 == 0:
        assert CATALOG["sdxl"].validate_params(made)["width"] == side
        return
    with pytest.raises(InvalidRequest, match=r"the nearest sizes are \d+x\d+ and \d+x\d+"):
        CATALOG["sdxl"].validate_params(made)


@pytest.mark.parametrize(
    ("guidance_scale", "cfg_scale"), [(0, 1.0), (0.5, 1.0), (1, 1), (1.5, 1.5), (7.5, 7.5)]
)
def test_guidance_of_one_and_below_disables_guidance(guidance_scale: float, cfg_scale: float) -> None:
    assert params(prompt="a", guidance_scale=guidance_scale)["cfg_scale"] == cfg_scale


def test_the_error_of_a_length_in_seconds_names_the_parameters_that_set_it() -> None:
    with pytest.raises(InvalidRequest, match=r"`duration`; `num_frames` and `fps` set the length"):
        params(model="wan2.1-t2v-fast", prompt="a", duration=1)


def test_undocumented_models_keep_their_own_ranges() -> None:
    made = params(model="sd-1.5", prompt="a", width=256, steps=5, guidance_scale=2)
    assert made == {"prompt": "a", "width": 256, "steps": 5, "cfg_scale": 2}
    assert params(model="cogvideo-2b", prompt="a") == {"prompt": "a"}


def test_makes_one_image_per_generation() -> None:
    with pytest.raises(InvalidRequest, match="`n` must be 1"):
        params(prompt="a", n=4)


@pytest.mark.parametrize("name", ["sdxl", "sdxl-1.0", "sdxl-base"])
def test_all_names_of_a_model_have_one_price(name: str) -> None:
    body = parse_body(pixelapi.PixelApiGenerateBody, {"model": name, "prompt": "a"})
    request = pixelapi.to_request(body, CATALOG, idempotency_key="k")
    assert (request.model, request.tariff_model, request.tariff) == (name, "sdxl", "pixelapi")
    assert request.store_blocked_job
    assert request.idempotency_key == "k"


STATUSES = [
    (job(JobStatus.QUEUED), "queued", 1.0),
    (job(JobStatus.RUNNING), "processing", 1.0),
    (job(JobStatus.SUCCEEDED), "completed", 1.0),
    (job(JobStatus.FAILED, error=JobError(code="out_of_memory", message="too large")), "failed", 0.0),
    (job(JobStatus.CANCELLED), "failed", 0.0),
    (job(JobStatus.FAILED, error=JobError(code=ContentBlocked.default_code, message="no")), "blocked", 0.0),
]


@pytest.mark.parametrize(("seen", "status", "credits"), STATUSES)
def test_reports_status_and_credits(seen: Job, status: str, credits: float) -> None:
    body = pixelapi.to_generation_response(seen, CREDIT, None)
    assert (body.status, body.credits_used) == (status, credits)
    assert body.created_at == "2026-03-01T12:00:00Z"
    assert body.error == (seen.error.message if seen.error else None)
    assert ("error" in body.model_dump(exclude_unset=True)) == (seen.error is not None)


@given(bits=st.integers(0, 2**128 - 1))
def test_converts_job_ids_to_uuids_and_back(bits: int) -> None:
    id = f"job_{bits:032x}"
    assert job_id_from_uuid(job_id_to_uuid(id)) == id


def test_returns_text_that_is_no_uuid_unchanged() -> None:
    assert job_id_from_uuid("nonsense") == "nonsense"


@pytest.mark.parametrize(
    ("name", "email"),
    [
        ("somebody@example.org", "somebody@example.org"),
        ("tester", "acct_1@accounts.invalid"),
        ("", "acct_1@accounts.invalid"),
        ("@home", "acct_1@accounts.invalid"),
        ("Some Body <a@b.c>", "acct_1@accounts.invalid"),
    ],
)
def test_states_an_email_address_of_every_account(name: str, email: str) -> None:
    account = Account(id="acct_1", name=name, plan="free", created_at=NOW, plan_since=NOW)
    assert pixelapi.account_email(account) == email


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidRequest("no"), 422),
        (NotAuthenticated("no"), 401),
        (InsufficientBalance("no"), 402),
        (Forbidden("no"), 403),
        (NotFound("no"), 404),
        (Gone("no"), 404),
        (MethodNotAllowed("no"), 405),
        (Conflict("no"), 409),
        (RateLimited("no"), 429),
        (ServiceUnavailable("no"), 500),
        (ServiceError("no"), 500),
    ],
)
def test_reports_errors_as_detail(error: ServiceError, status: int) -> None:
    assert to_error_response(error) == (status, PixelApiErrorResponse(detail="no"))


def test_responses_name_the_model_as_the_request_did() -> None:
    asked = job(JobStatus.QUEUED, model="qwen-image", requested_model="gpt-image-1")
    assert pixelapi.to_submit_response(asked, CREDIT).model == "gpt-image-1"
    assert pixelapi.to_generation_response(asked, CREDIT, None).model == "gpt-image-1"
    by_id = job(JobStatus.QUEUED, model="qwen-image")
    assert pixelapi.to_submit_response(by_id, CREDIT).model == "qwen-image"
