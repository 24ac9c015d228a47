"""PixelDojo's request bodies become GenerationRequests, and models and errors its responses."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from typing import Any

import pytest
from jsonschema_rs import Draft202012Validator

from orchestrator.catalog import Model, OutputSizes
from orchestrator.catalog.parameters.size_text import Size
from orchestrator.catalog.tasks import TaskModels
from orchestrator.errors import (
    Conflict,
    Forbidden,
    GenerationFailed,
    Gone,
    InsufficientBalance,
    InvalidRequest,
    NotAuthenticated,
    NotFound,
    RateLimited,
    ServiceError,
    ServiceUnavailable,
)
from orchestrator.intake.field_names import errors_name_fields
from orchestrator.intake.request_preparer import GenerationRequest
from orchestrator.web.dialects.credits import in_credits, to_json_number
from orchestrator.web.dialects.dimensions import ASPECT_RATIOS, aspect_ratio_to_dimensions
from orchestrator.web.dialects.error_responses import to_error_response as to_error_response_of_path
from orchestrator.web.dialects.pixeldojo import models as pixeldojo_models
from orchestrator.web.dialects.pixeldojo import translation as pixeldojo
from orchestrator.web.dialects.pixeldojo.errors import to_error_response
from orchestrator.web.dialects.pixeldojo.name_schema import schema_of_name
from orchestrator.web.dialects.pixeldojo.run_schema import run_schema
from orchestrator.web.dialects.request_body import parse_body
from pricing.rates import ModelPrice
from tests.support.shipped import SHIPPED_CATALOG as CATALOG

SIZED = [model for model in CATALOG if OutputSizes.from_model(model)]


def params(model: str, **fields: Any) -> dict[str, Any]:
    fields = {name: value for name, value in fields.items() if name != "image" or CATALOG[model].image_inputs}
    body = parse_body(pixeldojo.RunBody, fields, parameters=CATALOG.parameters_of(model))
    return dict(pixeldojo.to_request(model, body, CATALOG, idempotency_key=None).params)


@pytest.mark.parametrize("model", SIZED, ids=lambda model: model.id)
@pytest.mark.parametrize("ratio", ASPECT_RATIOS)
def test_aspect_ratios_are_exact_and_have_about_the_default_area(model: Model, ratio: str) -> None:
    made = aspect_ratio_to_dimensions(model, ratio, None)
    width, _, height = ratio.partition(":")
    sizes = OutputSizes.from_model(model)
    assert sizes is not None
    if sizes.width.off_grid == "cut":
        assert made["width"] * int(height) == made["height"] * int(width)
    else:
        assert abs(math.log(made["width"] / made["height"] / (int(width) / int(height)))) < 0.06
    share = made["width"] * made["height"] / math.prod(sizes.default_size)
    assert share <= 1.03
    assert share > 0.8 or max(made.values()) > 0.9 * max(sizes.width.maximum, sizes.height.maximum)
    assert sizes.allows(Size(**made))


@pytest.mark.parametrize("resolution", ["0 MP", "0p", "0K", "0.001 MP", "1p"])
@pytest.mark.parametrize("ratio", [None, "16:9"])
def test_rejects_a_resolution_below_the_smallest_size(resolution: str, ratio: str | None) -> None:
    with pytest.raises(InvalidRequest) as raised:
        aspect_ratio_to_dimensions(CATALOG["sdxl-1.0"], ratio, resolution)
    assert (raised.value.code, raised.value.param) == ("invalid_resolution", "resolution")


def test_portrait_and_landscape_have_swapped_sides() -> None:
    for model in SIZED:
        portrait, landscape = (aspect_ratio_to_dimensions(model, ratio, None) for ratio in ("9:16", "16:9"))
        assert (portrait["width"], portrait["height"]) == (landscape["height"], landscape["width"])


@pytest.mark.parametrize(
    ("model", "resolution", "ratio", "size"),
    [
        ("flux-dev", "0.5 MP", None, (720, 720)),
        ("flux-dev", "1K", "1:1", (1024, 1024)),
        ("flux-dev", "2K", None, (2048, 2048)),
        ("flux-dev", "512x512", None, (512, 512)),
        ("wan2.2-t2v-14b", "720p", "16:9", (1280, 720)),
        ("wan2.2-t2v-14b", "480p", "9:16", (468, 832)),
        ("wan2.2-t2v-14b", "480p", None, (848, 480)),
        ("ltx2-t2v", "720p", "16:9", (1280, 720)),
        ("flux-dev", "1 MP", "21:9", (1512, 648)),
        ("flux-dev", "480p", "4:3", (640, 480)),
        ("wan2.1-t2v-fast", "480p", None, (832, 480)),
    ],
)
def test_converts_resolutions_to_dimensions(
    model: str, resolution: str, ratio: str | None, size: tuple[int, int]
) -> None:
    made = aspect_ratio_to_dimensions(CATALOG[model], ratio, resolution)
    assert (made["width"], made["height"]) == size


def test_width_and_height_must_agree_with_the_aspect_ratio() -> None:
    made = params("flux-dev", prompt="a", width=1024, height=1024, aspect_ratio="1:1")
    assert (made["width"], made["height"]) == (1024, 1024)
    with pytest.raises(InvalidRequest) as refused:
        params("flux-dev", prompt="a", width=512, height=512, aspect_ratio="16:9")
    assert refused.value.code == "conflicting_fields"


def test_refuses_a_size_for_a_model_without_width_and_height() -> None:
    for field, value in (("aspect_ratio", "16:9"), ("resolution", "1K")):
        with pytest.raises(InvalidRequest, match=f"does not take a `{field}`") as refused:
            params("4x-ultrasharp", image="QUJD", **{field: value})
        assert (refused.value.code, refused.value.param) == (f"unsupported_{field}", field)


@pytest.mark.parametrize(
    ("model", "fields", "size"),
    [
        ("flux-dev", {"resolution": "1920x1080"}, (1920, 1080)),
        ("flux-dev", {"resolution": "1080*1920"}, (1080, 1920)),
        ("flux-dev", {"resolution": " 1920 \u00d7 1080 "}, (1920, 1080)),
        ("flux-dev", {"resolution": "1920x1080", "aspect_ratio": "16:9"}, (1920, 1080)),
        ("flux-dev", {"resolution": "1 MP", "aspect_ratio": "16:9"}, (1280, 720)),
        ("flux-edit", {"resolution": "1024x768"}, (1024, 768)),
        ("flux-edit", {"aspect_ratio": "1:1"}, (1024, 1024)),
        ("wan2.2-i2v-14b", {"resolution": "640x360"}, (640, 360)),
        ("wan2.2-i2v-14b", {"resolution": "720p", "aspect_ratio": "9:16"}, (720, 1280)),
    ],
)
def test_a_resolution_is_a_size_or_the_name_of_one(
    model: str, fields: dict[str, Any], size: tuple[int, int]
) -> None:
    made = params(model, prompt="a", image="QUJD", **fields)
    assert (made["width"], made["height"]) == size


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"resolution": "1920x1080", "aspect_ratio": "1:1"}, "does not have the `aspect_ratio` 1:1"),
        ({"resolution": "1920x1080", "width": 1024}, "`width` is 1024, and `resolution` asks for 1920"),
        ({"aspect_ratio": "1:1", "height": 512}, "`height` is 512, and `aspect_ratio` asks for 1024"),
    ],
)
def test_refuses_sizes_that_contradict_each_other(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidRequest, match=said) as refused:
        params("flux-dev", prompt="a", **fields)
    assert refused.value.code == "conflicting_fields"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"duration": 2, "num_frames": 81}, "`num_frames` is 81, and `duration` asks for 32"),
        ({"duration": 2, "frames": 81}, "`frames` is 81, and `duration` asks for 32"),
        ({"duration": 2, "num_frames": 32, "fps": 8}, "`num_frames` is 32, and `duration` asks for 16"),
    ],
)
def test_refuses_a_duration_that_contradicts_the_number_of_frames(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidRequest, match=said) as refused:
        params("wan2.1-t2v-fast", prompt="a", **fields)
    assert refused.value.code == "conflicting_fields"


def test_a_duration_may_repeat_the_number_of_frames() -> None:
    made = params("wan2.1-t2v-fast", prompt="a", duration=2, num_frames=32)
    assert made["num_frames"] == 32
    assert params("wan2.1-t2v-fast", prompt="a", num_frames=50, fps=8) == {
        "prompt": "a",
        "num_frames": 50,
        "fps": 8,
    }


def test_a_video_is_never_shorter_than_its_duration() -> None:
    body = parse_body(pixeldojo.RunBody, {"prompt": "a", "duration": 5.01})
    request = pixeldojo.to_request("wan2.1-t2v-fast", body, CATALOG, idempotency_key=None)
    assert request.params["num_frames"] == 81
    assert request.warnings == ("`duration` is 5.0625 seconds: 5.01 is not a whole number of frames",)
    assert params("wan2.1-t2v-fast", prompt="a", duration=5.06)["num_frames"] == 81
    assert params("wan2.1-t2v-fast", prompt="a", duration=1 / 3, fps=60)["num_frames"] == 20


def named_error(model: str, **fields: Any) -> InvalidRequest:
    """Return the error of a refused body as the service reports it."""
    body = parse_body(pixeldojo.RunBody, fields, parameters=CATALOG.parameters_of(model))
    try:
        request = pixeldojo.to_request(model, body, CATALOG, idempotency_key=None)
        with errors_name_fields(request.field_names, request.computed_from):
            CATALOG[model].validate_params(request.params)
    except InvalidRequest as error:
        return error
    pytest.fail(f"{model} takes {fields}")


@pytest.mark.parametrize(
    ("model", "fields", "param", "said"),
    [
        ("flux-dev", {"num_inference_steps": 900}, "num_inference_steps", "`num_inference_steps` must be"),
        ("flux-dev", {"resolution": "8x8"}, "resolution", "`resolution`: `width` must be"),
        ("flux-dev", {"resolution": "2048x4096"}, "resolution", "`resolution`: `height` must be"),
        ("wan2.1-t2v-fast", {"resolution": "832x832"}, "resolution", "`resolution`: `size` must have"),
        ("wan2.1-t2v-fast", {"duration": 99}, "duration", "`duration` must be between"),
        ("flux-schnell", {"image_url": "QUJD"}, "image_url", "omit `image_url`, or use one of"),
        ("flux-schnell", {"reference_images": ["QUJD"]}, "reference_images", "`reference_images`"),
        ("flux-dev", {"image_url": "a", "image": "b"}, "image_url", "`image` and `image_url`"),
        ("flux-2-dev", {"reference_images": ["QUJD"] * 40}, "reference_images", "accepts at most"),
        ("flux-dev", {"lora_weights": "a b"}, "lora_weights", "`lora_weights` items need"),
        ("flux-dev", {"lora_weights": ["a"] * 5}, "lora_weights", "`lora_weights` must have at most 4"),
        ("flux-dev", {"lora_weights": "a", "lora_scale": 3}, "lora_scale", r"between -2 and 2 \(got 3\)"),
        ("flux-dev", {"lora_scale": 0.5}, "lora_scale", "only with `lora_weights`"),
        ("flux-dev", {"strength": 0.5}, "strength", "only with `image`"),
        ("flux-schnell", {"lora_weights": "a"}, "lora_weights", "does not support LoRAs"),
        ("flux-schnell", {"stpes": 3}, "stpes", "did you mean `steps`"),
    ],
)
def test_errors_name_the_field_that_was_sent(
    model: str, fields: dict[str, Any], param: str, said: str
) -> None:
    error = named_error(model, prompt="a", **fields)
    assert error.param == param
    assert re.search(said, error.message), error.message


def test_a_strength_of_one_without_loras_is_what_clients_send_to_every_model() -> None:
    assert params("flux-schnell", prompt="a", lora_scale=1) == {"prompt": "a"}


@pytest.mark.parametrize(("seconds", "fps", "frames"), [(5, None, 80), (1.5, None, 24), (2, 8, 16)])
def test_converts_the_duration_to_frames(seconds: float, fps: int | None, frames: int) -> None:
    assert params("wan2.1-t2v-fast", prompt="a", duration=seconds, fps=fps)["num_frames"] == frames


def test_passes_images_under_the_names_of_the_models_parameters() -> None:
    assert params("flux-edit", prompt="a", image_url="one")["image"] == "one"
    assert params("flux-2-dev", prompt="a", images=["one"], reference_images=["two"])["images"] == [
        "one",
        "two",
    ]
    with pytest.raises(InvalidRequest):
        params("flux-edit", prompt="a", images=["one", "two"])


@pytest.mark.parametrize("duration", [0.0, 0.2, 10.5, 10**400, math.inf, math.nan])
def test_rejects_a_duration_out_of_range(duration: float) -> None:
    with pytest.raises(InvalidRequest) as raised:
        params("wan2.1-t2v-fast", prompt="a", duration=duration)
    assert (raised.value.code, raised.value.param) == ("invalid_duration", "duration")
    assert "must be between 0.3125 and 10.3125 seconds for wan2.1-t2v-fast at 16 fps" in raised.value.message


def test_applies_one_strength_to_all_loras() -> None:
    made = params("flux-dev", prompt="a", lora_weights=["ink", "gold"], lora_scale=0.5)
    assert made["loras"] == [{"name": "ink", "strength": 0.5}, {"name": "gold", "strength": 0.5}]
    assert params("flux-dev", prompt="a", lora_weights="ink")["loras"] == [{"name": "ink", "strength": 1.0}]


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (NotAuthenticated("no"), 401, "unauthorized"),
        (InvalidRequest("no", code="invalid_json"), 400, "invalid_json"),
        (InvalidRequest("no", code="invalid_steps"), 400, "validation_error"),
        (InvalidRequest("no", code="model_not_found"), 404, "not_found"),
        (NotFound("no", code="job_not_found"), 404, "not_found"),
        (InsufficientBalance("no"), 402, "insufficient_credits"),
        (ServiceUnavailable("no", code="busy"), 500, "submission_failed"),
        (Gone("no"), 410, "expired"),
        (RateLimited("no"), 429, "rate_limit_exceeded"),
        (ServiceError("no"), 500, "internal_error"),
        # The document does not list these.
        (Forbidden("no"), 403, "forbidden"),
        (Conflict("no"), 409, "conflict"),
        (GenerationFailed("no"), 500, "generation_failed"),
    ],
)
def test_reports_the_documented_codes_and_statuses(error: ServiceError, status: int, code: str) -> None:
    found, body = to_error_response(error)
    assert (found, body.error.code, body.error.message) == (status, code, "no")


@pytest.mark.parametrize("path", ["/api/v1/jobs", "/api/v1/jobs/job_1", "/api/v1/models/x/schema"])
def test_an_unavailable_service_fails_no_submission_where_nothing_is_submitted(path: str) -> None:
    error = ServiceUnavailable("no", code="store_unavailable")
    status, body = to_error_response_of_path(path, error)
    assert (status, body["error"]["code"]) == (503, "store_unavailable")
    status, body = to_error_response_of_path("/api/v1/models/x/run", error)
    assert (status, body["error"]["code"]) == (500, "submission_failed")


def test_reports_a_missing_balance_in_credits() -> None:
    amounts = {"balance_usd": 0.02, "held_usd": 0.005, "available_usd": 0.015, "required_usd": 0.04}
    error = in_credits(InsufficientBalance("no dollars", details=amounts), Fraction(10_000))
    assert error.details == {"creditCost": 4, "creditsRemaining": 1.5}
    assert error.message == (
        "Insufficient credits: this request costs 4, but only 1.5 are available. Add credits and retry."
    )
    hidden = in_credits(InsufficientBalance("no", details={"required_usd": 0.04}), Fraction(10_000))
    assert hidden.details == {"creditCost": 4}
    assert "4" in hidden.message


def test_reports_a_spend_cap_in_credits() -> None:
    amounts = {"cap_usd": 1.0, "spent_usd": 0.99, "required_usd": 0.04, "period": "day"}
    capped = InsufficientBalance("no dollars", code="key_spend_cap", details=amounts)
    error = in_credits(capped, Fraction(10_000))
    assert error.details == {"creditCost": 4, "creditsSpent": 99, "creditCap": 100, "period": "day"}
    assert "spent or reserved 99 of its 100 per day" in error.message
    status, body = to_error_response(error)
    assert (status, body.error.code) == (402, "insufficient_credits")
    assert body.model_dump()["error"]["creditCap"] == 100


@pytest.mark.parametrize(
    ("entry", "cost"),
    [
        ("0.25", {"default": 0.25, "type": "fixed", "amount": 0.25}),
        (
            {"price": "3", "tiers": {"1K": "2", "2K": "3", "4K": "4"}},
            {"default": 3, "type": "fixed", "amount": 3, "byResolution": {"1K": 2, "2K": 3, "4K": 4}},
        ),
        (
            {"price": "1", "scale": "seconds", "tiers": {"720p": "1", "1080p": "1.5"}},
            {"default": 1, "type": "per_second", "amount": 1, "byResolution": {"720p": 1, "1080p": 1.5}},
        ),
        (
            {"price": "8", "tiers": {"768p": {"6s": "8", "10s": "12"}}},
            {"default": 8, "type": "fixed", "amount": 8, "byResolution": {"768p": {"6s": 8, "10s": 12}}},
        ),
    ],
)
def test_shows_prices_by_resolution_and_length(entry: object, cost: dict[str, Any]) -> None:
    shown = pixeldojo_models.to_credit_cost(ModelPrice.parse(entry))
    assert shown.model_dump(exclude_unset=True) == cost


@pytest.mark.parametrize("model", list(CATALOG), ids=lambda model: model.id)
def test_run_schemas_have_all_parameters_of_the_model(model: Model) -> None:
    schema = run_schema(model)
    properties = set(schema["properties"])
    assert set(model.parameters) < properties
    assert ("aspect_ratio" in properties) == (OutputSizes.from_model(model) is not None)
    assert ("duration" in properties) == ("num_frames" in model.parameters)
    assert ("lora_weights" in properties) == ("loras" in model.parameters)
    assert "webhook_url" in properties
    assert set(schema["required"]) <= properties


def test_credits_without_a_fraction_are_integers() -> None:
    assert [to_json_number(Fraction(n, 2)) for n in (2, 3)] == [1, 1.5]


def ultra(name: str = "flux-1.1-pro-ultra", **fields: Any) -> GenerationRequest:
    catalog = CATALOG.with_stand_ins({name: TaskModels(model="flux-2-dev")})
    body = parse_body(pixeldojo.RunBody, {"prompt": "a", **fields})
    return pixeldojo.to_request(name, body, catalog, idempotency_key=None)


def test_the_raw_mode_of_flux_ultra_lowers_the_guidance() -> None:
    assert ultra(raw=True).params["cfg_scale"] == pytest.approx(CATALOG["flux-2-dev"].default_cfg * 0.6)
    assert "cfg_scale" not in ultra(raw=False).params
    with pytest.raises(InvalidRequest, match="send one of them"):
        ultra(raw=True, guidance_scale=9)
    with pytest.raises(InvalidRequest, match=r"`raw` must be true or false \(got 'yes'\)"):
        ultra(raw="yes")
    with pytest.raises(InvalidRequest, match="has no parameter `raw`"):
        ultra("flux-2-pro", raw=True)


def test_the_schema_of_flux_ultra_has_the_raw_mode() -> None:
    names = ("flux-1.1-pro-ultra", "flux-2-pro")
    catalog = CATALOG.with_stand_ins({name: TaskModels(model="flux-2-dev") for name in names})
    with_raw, without = (schema_of_name(catalog, name) for name in names)
    assert with_raw["properties"]["raw"]["type"] == "boolean"
    assert "raw" not in without["properties"]
    validator = Draft202012Validator(with_raw)
    assert validator.is_valid({"prompt": "a", "raw": True})
    assert not validator.is_valid({"prompt": "a", "raw": True, "cfg_scale": 3})


@pytest.mark.parametrize("model", SIZED, ids=lambda model: model.id)
def test_the_schema_lists_the_size(model: Model) -> None:
    schema = run_schema(model)
    assert "size" in schema["properties"]
    if "size" in model.parameters:
        return
    validator = Draft202012Validator(schema["properties"]["size"])
    size = OutputSizes.from_model(model).default_size  # type: ignore[union-attr]
    assert validator.is_valid(f"{size.width}x{size.height}")
    assert not validator.is_valid("1x1")
