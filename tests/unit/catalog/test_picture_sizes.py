"""Sizes of outputs that follow an input image."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.catalog import FollowImage, Model, size_params_for_image
from orchestrator.catalog.parameters.canvases import has_margins, plan_canvas
from orchestrator.catalog.parameters.size_text import Size
from orchestrator.errors import InvalidRequest
from tests.support.drafts import CATALOG
from tests.support.repeats import tries

FILL, OUTPAINT, KONTEXT = (CATALOG[f"flux-1-{name}"] for name in ("fill-dev", "outpaint", "kontext-dev"))
VIDEOS = [model for model in CATALOG if model.makes_video and model.image_inputs]
EDITS = [model for model in CATALOG if model.image_inputs and model.output_sizes and not model.makes_video]


def followed(
    model: Model, image: tuple[int, int], follow: FollowImage = FollowImage.SHAPE, **given: Any
) -> dict[str, int]:
    return size_params_for_image(model, given, Size(*image), follow)


@pytest.mark.parametrize("model", VIDEOS, ids=lambda model: model.id)
@pytest.mark.parametrize("image", [(720, 1280), (1280, 720), (1000, 1000), (3000, 2000), (600, 800)])
def test_videos_have_the_shape_of_their_image(model: Model, image: tuple[int, int]) -> None:
    made = followed(model, image)
    assert model.output_sizes is not None
    default = model.output_sizes.default_size
    if model.output_sizes.width.minimum**2 >= default.area:
        pytest.skip("the default size is the smallest one")
    assert abs(math.log(made["width"] / made["height"] / (image[0] / image[1]))) < 0.06
    assert 0.7 * default.area < made["width"] * made["height"] <= 1.03 * default.area
    assert model.example_params(**made) | made == model.example_params(**made)


@pytest.mark.exhaustive
@pytest.mark.parametrize("model", EDITS, ids=lambda model: model.id)
@settings(max_examples=tries(100))
@given(width=st.integers(200, 5000), height=st.integers(200, 5000))
def test_edits_keep_the_shape_of_their_image(model: Model, width: int, height: int) -> None:
    if has_margins(model) or max(width, height) > 2.5 * min(width, height):
        return
    made = followed(model, (width, height))
    assert abs(math.log(made["width"] / made["height"] / (width / height))) < 0.08
    model.example_params(**made)


def test_an_image_within_the_limits_keeps_its_size() -> None:
    assert followed(KONTEXT, (901, 603)) == {"width": 901, "height": 603}
    assert followed(FILL, (1999, 1203)) == {"width": 1999, "height": 1203}


@pytest.mark.parametrize("model", ["flux-2-dev", "flux-1-kontext-dev", "qwen-image-edit", "hidream-o1"])
@pytest.mark.parametrize("image", [(1920, 1080), (3000, 2000), (1536, 2048), (1400, 600)])
def test_a_large_image_is_made_smaller_in_exactly_its_shape(model: str, image: tuple[int, int]) -> None:
    made = followed(CATALOG[model], image)
    assert made["width"] * image[1] == made["height"] * image[0]
    assert 0.8 * 1024**2 < min(image[0] * image[1], made["width"] * made["height"]) <= 1024**2


def test_a_small_image_is_not_enlarged_beyond_the_grid() -> None:
    assert followed(CATALOG["flux-2-dev"], (100, 50)) == {"width": 96, "height": 48}
    assert followed(KONTEXT, (100, 50)) == {"width": 512, "height": 256}


def test_one_given_side_is_completed_by_the_shape() -> None:
    assert followed(KONTEXT, (600, 400), width=300) == {"width": 300, "height": 256}
    assert followed(KONTEXT, (600, 400), width=900) == {"width": 900, "height": 600}
    assert followed(KONTEXT, (600, 400), height=512) == {"width": 768, "height": 512}


def test_reference_images_decide_on_the_shape() -> None:
    klein = CATALOG["flux-2-klein-4b"]
    assert followed(klein, (600, 400)) == {"width": 600, "height": 400}
    assert followed(klein, (600, 400), width=512, height=512) == {}
    assert followed(klein, (600, 400), width=600) == {"width": 600, "height": 400}


@pytest.mark.parametrize(
    ("model", "given"),
    [(OUTPAINT, {"width": 512, "left": 64}), (FILL, {"height": 512, "megapixels": 1.0})],
)
def test_a_size_may_be_set_once_only(model: Model, given: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        followed(model, (256, 256), **given)
    assert refused.value.code == "conflicting_fields"


@given(
    width=st.integers(16, 2048),
    height=st.integers(16, 2048),
    size=st.tuples(st.integers(2, 256), st.integers(2, 256)),
)
def test_margins_lead_to_the_size(width: int, height: int, size: tuple[int, int]) -> None:
    given = {"width": 8 * size[0], "height": 8 * size[1]}
    plan = plan_canvas(OUTPAINT, given, OUTPAINT.example_params(**given), Size(width, height))
    assert plan is not None
    margins = plan.margins
    assert min(margins.values()) >= 0
    assert plan.made.width + margins["left"] + margins["right"] == given["width"]
    assert plan.made.height + margins["top"] + margins["bottom"] == given["height"]
    assert plan.image.width <= max(8, width)


@given(
    width=st.integers(16, 2048),
    height=st.integers(16, 2048),
    size=st.tuples(st.integers(16, 2048), st.integers(16, 2048)),
)
def test_outpainting_makes_any_number_of_pixels(width: int, height: int, size: tuple[int, int]) -> None:
    given = {"width": size[0], "height": size[1]}
    plan = plan_canvas(OUTPAINT, given, OUTPAINT.example_params(**given), Size(width, height))
    assert plan is not None
    assert OUTPAINT.output_sizes is not None
    made = OUTPAINT.output_sizes.made_size(Size(*size))
    sides = (("left", "right", "width"), ("top", "bottom", "height"))
    for before, after, side in sides:
        margins = plan.margins[before], plan.margins[after]
        assert getattr(plan.made, side) + sum(margins) == getattr(made, side)
        # What the cut takes away is a border or a margin, never a part of the image.
        cut = getattr(made, side) - given[side]
        border = getattr(plan.made, side) - getattr(plan.canvas, side)
        assert min(margins) * 2 + border >= cut
        assert all(margin % 8 == 0 for margin in margins)


@pytest.mark.parametrize("image", [(300, 500), (301, 503), (1920, 1080), (64, 2048), (997, 1009)])
@pytest.mark.parametrize("megapixels", [0.1, 0.25, 1.0, 4.0])
def test_an_image_with_megapixels_keeps_its_shape(image: tuple[int, int], megapixels: float) -> None:
    made = followed(FILL, image, megapixels=megapixels)
    width, height = made["width"], made["height"]
    factor = math.sqrt(width * height / math.prod(image))
    assert abs(width - image[0] * factor) <= 1
    assert abs(height - image[1] * factor) <= 1
    assert width * height <= megapixels * 1024 * 1024 + max(width, height)
    plan = plan_canvas(FILL, {"megapixels": megapixels}, FILL.example_params() | made, Size(*image))
    assert plan is not None
    assert (plan.image, plan.params["megapixels"]) == (Size(width, height), None)


def test_a_shape_with_small_parts_is_exact_at_every_number_of_megapixels() -> None:
    for megapixels in (0.25, 1.0):
        made = followed(FILL, (300, 500), megapixels=megapixels)
        assert made["width"] * 5 == made["height"] * 3


@given(width=st.integers(16, 2048), height=st.integers(16, 2048))
def test_margins_are_added_to_an_image_of_any_size(width: int, height: int) -> None:
    params = OUTPAINT.example_params() | followed(OUTPAINT, (width, height))
    assert (params["width"], params["height"]) == (width + 512, height)
    plan = plan_canvas(OUTPAINT, {}, params, Size(width, height))
    assert plan is not None
    assert OUTPAINT.output_sizes is not None
    made = OUTPAINT.output_sizes.made_size(Size(width + 512, height))
    assert made == (plan.made.width + 512, plan.made.height)
