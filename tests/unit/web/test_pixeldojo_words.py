"""PixelDojo's words to ours and back."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import pytest

from orchestrator.catalog import Catalog, Model, OutputSizes
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
from orchestrator.settings import SHIPPED_WORKFLOWS_DIR
from orchestrator.web.dialects.credits import to_json_number
from orchestrator.web.dialects.openai.images import parse_body
from orchestrator.web.dialects.pixeldojo import (
    models as pixeldojo_models,
)
from orchestrator.web.dialects.pixeldojo import (
    sizes as pixeldojo_shapes,
)
from orchestrator.web.dialects.pixeldojo import (
    translation as pixeldojo,
)
from pricing.rates import ModelPrice

CATALOG = Catalog.load(SHIPPED_WORKFLOWS_DIR)
SIZED = [model for model in CATALOG if OutputSizes.from_model(model)]


def params(model: str, **fields: Any) -> dict[str, Any]:
    body = parse_body(pixeldojo.RunBody, fields, form=False)
    return dict(pixeldojo.to_request(model, body, CATALOG, idempotency_key=None).params)


@pytest.mark.parametrize("model", SIZED, ids=lambda model: model.id)
@pytest.mark.parametrize("ratio", pixeldojo_shapes.ASPECT_RATIOS)
def test_every_shape_is_near_and_as_large_as_usual_if_it_can_be(model: Model, ratio: str) -> None:
    made = pixeldojo_shapes.aspect_ratio_to_dimensions(model, ratio, None)
    width, _, height = ratio.partition(":")
    off = made["width"] / made["height"] / (int(width) / int(height))
    assert abs(math.log(off)) < 0.06
    frame = OutputSizes.from_model(model)
    assert frame is not None
    share = made["width"] * made["height"] / math.prod(frame.default_size)
    assert share <= 1
    assert share > 0.85 or max(made.values()) > 0.95 * max(frame.width.maximum, frame.height.maximum)
    fitted = model.snap_to_grid(made)
    assert (fitted["width"], fitted["height"]) == (made["width"], made["height"])


def test_a_shape_stands_and_lies_alike() -> None:
    for model in SIZED:
        upright, lying = (
            pixeldojo_shapes.aspect_ratio_to_dimensions(model, ratio, None) for ratio in ("9:16", "16:9")
        )
        assert (upright["width"], upright["height"]) == (lying["height"], lying["width"])


@pytest.mark.parametrize(
    ("model", "resolution", "ratio", "size"),
    [
        ("flux-dev", "0.5 MP", None, (720, 720)),
        ("flux-dev", "1K", "1:1", (1024, 1024)),
        ("flux-dev", "2K", None, (2048, 2048)),
        ("flux-dev", "512x512", None, (512, 512)),
        ("wan2.2-t2v-14b", "720p", "16:9", (1280, 720)),
        ("wan2.2-t2v-14b", "480p", "9:16", (480, 848)),
        ("wan2.1-t2v-fast", "480p", None, (832, 480)),
    ],
)
def test_resolutions(model: str, resolution: str, ratio: str | None, size: tuple[int, int]) -> None:
    made = pixeldojo_shapes.aspect_ratio_to_dimensions(CATALOG[model], ratio, resolution)
    assert (made["width"], made["height"]) == size


def test_given_sides_go_before_a_shape() -> None:
    made = params("flux-dev", prompt="a", width=512, height=512, aspect_ratio="16:9")
    assert (made["width"], made["height"]) == (512, 512)


def test_a_model_without_sides_knows_no_shape() -> None:
    assert "width" not in params("flux-edit", prompt="a", aspect_ratio="16:9", image="QUJD")


@pytest.mark.parametrize(("seconds", "fps", "frames"), [(5, None, 80), (1.5, None, 24), (2, 8, 16)])
def test_seconds_are_frames(seconds: float, fps: int | None, frames: int) -> None:
    assert params("wan2.1-t2v-fast", prompt="a", duration=seconds, fps=fps)["num_frames"] == frames


def test_pictures_go_where_the_model_has_them() -> None:
    assert params("flux-edit", prompt="a", image_url="one")["image"] == "one"
    assert params("flux-2-dev", prompt="a", images=["one"], reference_images=["two"])["images"] == [
        "one",
        "two",
    ]
    with pytest.raises(InvalidRequest):
        params("flux-edit", prompt="a", images=["one", "two"])


def test_a_strength_for_all_loras() -> None:
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
        # Of these the document says nothing.
        (Forbidden("no"), 403, "forbidden"),
        (Conflict("no"), 409, "conflict"),
        (GenerationFailed("no"), 500, "generation_failed"),
    ],
)
def test_the_table_of_errors(error: ServiceError, status: int, code: str) -> None:
    found, body = pixeldojo.to_error_response(error)
    assert (found, body["error"]["code"], body["error"]["message"]) == (status, code, "no")


#: Lines of the two documents.
LINES = [
    ("1", "1 credit(s)"),
    ("0.25", "0.25 credit(s)"),
    (
        {"price": "1.5", "tiers": {"0.5 MP": "1", "1 MP": "1.5", "2 MP": "3", "4 MP": "5"}},
        "1.5 credit(s) (by resolution: 0.5 MP=1, 1 MP=1.5, 2 MP=3, 4 MP=5)",
    ),
    (
        {"price": "3", "tiers": {"1K": "2", "2K": "3", "4K": "4"}},
        "3 credit(s) (by resolution: 1K=2, 2K=3, 4K=4)",
    ),
    (
        {"price": "1", "scale": "seconds", "tiers": {"720p": "1", "1080p": "1.5"}},
        "1 credits/sec (by resolution: 720p=1, 1080p=1.5 /sec)",
    ),
    ({"price": "1.2", "scale": "seconds"}, "1.2 credits/sec"),
    (
        {"price": "8", "tiers": {"768p": {"6s": "8", "10s": "12"}, "1080p": {"6s": "12", "10s": "20"}}},
        "8 credit(s) (768p: 6s=8/10s=12; 1080p: 6s=12/10s=20)",
    ),
]


@pytest.mark.parametrize(("entry", "line"), LINES)
def test_costs_are_printed_as_in_the_documents(entry: object, line: str) -> None:
    assert (
        pixeldojo_models.format_credit_cost(pixeldojo_models.to_credit_price(ModelPrice.parse(entry))) == line
    )


@pytest.mark.parametrize("model", list(CATALOG), ids=lambda model: model.id)
def test_schemas_name_what_can_be_asked_for(model: Model) -> None:
    schema = pixeldojo_models.run_schema(model)
    properties = set(schema["properties"])
    assert set(model.parameters) < properties
    assert ("aspect_ratio" in properties) == (OutputSizes.from_model(model) is not None)
    assert ("duration" in properties) == ("num_frames" in model.parameters)
    assert ("lora_weights" in properties) == ("loras" in model.parameters)
    assert "webhook_url" in properties
    assert set(schema["required"]) <= properties
    asked = {name for option in schema.get("anyOf", []) for name in option["required"]}
    assert asked <= properties


def test_credits_have_a_fraction_only_where_there_is_one() -> None:
    assert [to_json_number(Fraction(n, 2)) for n in (2, 3)] == [1, 1.5]
