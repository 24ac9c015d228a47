"""Names that error messages suggest are similar to the unknown one."""

from __future__ import annotations

import pytest

from orchestrator.errors import InvalidRequest
from orchestrator.similar_names import find_misspelt, find_similar
from orchestrator.web.dialects.parameter_names import take_parameters
from tests.support.drafts import CATALOG

PARAMETERS = [
    "n",
    "prompt",
    "negative_prompt",
    "width",
    "height",
    "steps",
    "cfg_scale",
    "seed",
    "true_cfg_scale",
]


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("stpes", "steps"),
        ("promt", "prompt"),
        ("Width ", "width"),
        ("hight", "height"),
        ("seeds", "seed"),
        ("steps_count", "steps"),
        ("cfgscale", "cfg_scale"),
        ("negative", "negative_prompt"),
    ],
)
def test_finds_misspelt_names_and_names_with_the_same_words(name: str, nearest: str) -> None:
    assert find_similar(name, PARAMETERS) == [nearest]


@pytest.mark.parametrize(
    "name", ["hocus", "style_preset", "tiling", "image", "x", "", "n[]", "eta", "sampler"]
)
def test_suggests_nothing_without_a_similarity(name: str) -> None:
    assert find_similar(name, PARAMETERS) == []


def test_finds_misspelt_names_only() -> None:
    assert find_misspelt("guidence_scale", ["guidance_scale", "scale"]) == ["guidance_scale"]
    assert find_misspelt("steps_count", ["steps"]) == []


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("flx-schnell", "flux-1-schnell"),
        ("stable-diffusion-xl", "sd-1.5 or sd-3.5-large"),
        ("qwen", "qwen-image or"),
    ],
)
def test_an_unknown_model_is_answered_with_similar_ones(name: str, nearest: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        CATALOG[name]
    assert f"did you mean {nearest}" in raised.value.message


@pytest.mark.parametrize("name", ["gpt-image-1", "sora-9", "imagen-4", "midjourney", "kling-v2-6", "foo"])
def test_an_unknown_model_unlike_all_others_gets_no_suggestion(name: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        CATALOG[name]
    assert raised.value.message == f"Model {name!r} does not exist; `GET /v1/models` lists all"


def test_enabled_stand_ins_are_suggested() -> None:
    with pytest.raises(InvalidRequest, match="did you mean sora-2"):
        CATALOG.with_stand_ins({"sora-2": "ltx2.3-t2v"})["sora2"]


def test_other_names_of_a_parameter_are_known_when_they_are_misspelt() -> None:
    with pytest.raises(InvalidRequest, match="did you mean `cfg_scale`"):
        take_parameters(CATALOG["flux-1-dev"], {"guidence_scale": 2})
    with pytest.raises(InvalidRequest, match="did you mean `steps`"):
        take_parameters(CATALOG["flux-1-dev"], {"num_inference_stesp": 2})
