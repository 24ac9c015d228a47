"""No accepted size of a video, given or derived from an input, has a side that the encoder refuses."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.catalog import Model, reshape_for_image, size_params_for_image
from orchestrator.catalog.checks.model_checks import validate_model
from orchestrator.catalog.parameters.output_sizes import OutputSizes
from orchestrator.catalog.parameters.size_text import Size
from orchestrator.errors import InvalidRequest
from tests.support.drafts import CATALOG, FACTS, node, parse, unhurried

VIDEO_MODELS = [model for model in CATALOG if model.makes_video]
FOLLOWING = [model for model in VIDEO_MODELS if {"image", "video"} & model.parameters.keys()]
#: What docs/how-to/callers.md promises; H.264 with its usual colours needs multiples of 2.
SIDE_STEP = 4


def sizes_of(model: Model) -> OutputSizes:
    assert model.output_sizes is not None, model.id
    return model.output_sizes


@pytest.mark.parametrize("model", VIDEO_MODELS, ids=lambda model: model.id)
def test_takes_only_sides_that_the_encoder_takes(model: Model) -> None:
    sizes = sizes_of(model)
    for spec in (sizes.width, sizes.height):
        taken = [side for side in range(spec.minimum - 8, spec.maximum + 9) if spec.allows(side)]
        assert taken
        assert [side for side in taken if side % SIDE_STEP] == []
        schema = spec.to_json_schema()
        assert schema["multipleOf"] % SIDE_STEP == 0
        assert not spec.allows_odd


@pytest.mark.parametrize("model", VIDEO_MODELS, ids=lambda model: model.id)
@pytest.mark.parametrize("size", [Size(501, 375), Size(500, 375), Size(375, 500), Size(502, 376)])
def test_rejects_odd_sizes_with_the_nearest_two(model: Model, size: Size) -> None:
    with pytest.raises(InvalidRequest, match="the nearest sizes are") as refused:
        model.example_params(**size.to_params())
    assert refused.value.param in ("width", "height", "size")
    for near in sizes_of(model).nearest_sizes(size):
        assert (near.width % SIDE_STEP, near.height % SIDE_STEP) == (0, 0)


@pytest.mark.exhaustive
@pytest.mark.parametrize("model", FOLLOWING, ids=lambda model: model.id)
@settings(unhurried, max_examples=60)
@given(
    picture=st.builds(Size, st.integers(64, 2048), st.integers(64, 2048)),
    name=st.sampled_from([None, "width", "height"]),
    data=st.data(),
)
def test_derived_sides_are_on_the_grid(
    model: Model, picture: Size, name: str | None, data: st.DataObject
) -> None:
    sizes = sizes_of(model)
    given_sides: dict[str, Any] = {}
    if name is not None:
        spec = sizes.width if name == "width" else sizes.height
        taken = [side for side in range(spec.minimum, spec.maximum + 1) if spec.allows(side)]
        given_sides[name] = data.draw(st.sampled_from(taken))
    made = [size_params_for_image(model, given_sides, picture)]
    made.append(reshape_for_image(model, picture, data.draw(st.integers(256 * 256, 1920 * 1080))))
    for sides in made:
        assert {key: side for key, side in sides.items() if side % SIDE_STEP} == {}


@pytest.mark.parametrize("given_sides", [{"width": 500}, {"height": 512}, {"height": 520}])
def test_completes_a_side_of_a_landscape_on_the_grid(given_sides: dict[str, int]) -> None:
    for model in FOLLOWING:
        sides = size_params_for_image(model, given_sides, Size(512, 384))
        assert {key: side for key, side in sides.items() if side % SIDE_STEP} == {}, model.id


def test_the_check_of_a_model_names_sides_that_may_be_odd() -> None:
    def problems(**rule: Any) -> list[str]:
        side = {"type": "integer", "default": 64, "minimum": 64, "maximum": 128, **rule}
        graph = {
            "picture": node("EmptyImage", width="{{ width }}", height="{{ height }}", batch_size=1, color=0),
            "video": node("CreateVideo", images=["picture", 0], fps=8.0),
            "save": node(
                "SaveVideo",
                video=["video", 0],
                filename_prefix="{{ filename_prefix }}",
                format="auto",
                codec="auto",
            ),
        }
        model = parse(
            graph,
            kind="video",
            parameters={"width": side, "height": side},
            outputs=[{"node": "save", "media": "video"}],
        )
        return [problem.message for problem in validate_model(model, FACTS)]

    assert [text.partition(" ")[0] for text in problems()] == ["`width`", "`height`"]
    assert problems(step=2) == []
    assert problems(grid=16, off_grid="reject") == []
    assert problems(grid=16) != []
