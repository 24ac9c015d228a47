"""Every field of a request sets a parameter, warns that it has no effect, or is refused."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.errors import InvalidRequest
from orchestrator.intake.field_names import errors_name_fields
from orchestrator.web.dialects.openai.image_bodies import ImageGenerationBody
from orchestrator.web.dialects.parameter_names import (
    SYNONYMS,
    WITHOUT_EFFECT,
    ModelParameters,
    rename_synonyms,
    take_parameters,
)
from orchestrator.web.dialects.pixel_factory.translation import to_request
from orchestrator.web.dialects.request_body import parse_body
from tests.support.shipped import SHIPPED_CATALOG as CATALOG


def generation(model: str, **fields: Any) -> ModelParameters:
    given = {"model": model, "prompt": "a fox", **fields}
    body = parse_body(ImageGenerationBody, given, parameters=CATALOG.parameters_of(model))
    request = to_request(body, CATALOG, form=False, idempotency_key=None)
    with errors_name_fields(request.field_names):
        CATALOG[model].validate_params(request.params)
    return ModelParameters(request.params, request.warnings)


def refusal(model: str, **fields: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as refused:
        generation(model, **fields)
    return refused.value


@pytest.mark.parametrize(
    ("field", "value", "params"),
    [
        ("num_inference_steps", 7, {"steps": 7}),
        ("numInferenceSteps", 7, {"steps": 7}),
        ("guidance_scale", 2.5, {"cfg_scale": 2.5}),
        ("guidance", 2.5, {"cfg_scale": 2.5}),
        ("cfgScale", 2.5, {"cfg_scale": 2.5}),
        ("num_images", 2, {"n": 2}),
        ("num_outputs", 2, {"n": 2}),
        ("random_seed", 3, {"seed": 3}),
        ("image_size", "768x512", {"width": 768, "height": 512}),
        ("imageSize", "landscape_4_3", {"width": 1024, "height": 768}),
        ("image_size", {"width": 640, "height": 512}, {"width": 640, "height": 512}),
        ("size", "1:1", {"width": 1024, "height": 1024}),
        ("aspect_ratio", "1:1", {"width": 1024, "height": 1024}),
        ("aspectRatio", "1:1", {"width": 1024, "height": 1024}),
        ("size", "auto", {}),
        ("resolution", "768x512", {"width": 768, "height": 512}),
    ],
)
def test_names_of_other_apis_set_our_parameters(field: str, value: Any, params: dict[str, Any]) -> None:
    made = generation("flux-1-dev", **{field: value})
    assert made.values == {"prompt": "a fox", **params}
    assert made.warnings == ()


@pytest.mark.parametrize("field", ["init_image", "image_url", "imageUrl", "input_image", "source_image"])
def test_names_of_an_input_image(field: str) -> None:
    made = generation("flux-1-dev-image-to-image", **{field: "QUJD"}, prompt_strength=0.5)
    assert made.values == {"prompt": "a fox", "image": "QUJD", "strength": 0.5}


def test_an_error_names_the_field_that_was_sent() -> None:
    error = refusal("flux-1-dev", num_inference_steps=5000)
    assert (error.param, error.code) == ("num_inference_steps", "invalid_num_inference_steps")
    assert error.message.startswith("`num_inference_steps` must be between 1 and 150")
    typed = refusal("flux-1-dev", num_inference_steps="many")
    assert (typed.param, typed.code) == ("num_inference_steps", "invalid_num_inference_steps")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"stpes": 3}, "stpes"),
        ({"strength": 0.5}, "strength"),
        ({"num_frames": 17}, "num_frames"),
        ({"fps": 24}, "fps"),
        ({"scale": 2}, "scale"),
        ({"loras": [{"name": "ink"}]}, "loras"),
    ],
)
def test_what_a_model_does_not_have_is_refused(fields: dict[str, Any], param: str) -> None:
    error = refusal("flux-1-schnell", **fields)
    assert (error.code, error.param, error.status) == ("unknown_parameter", param, 400)
    assert "Its parameters are: n, prompt," in error.message


def test_images_and_masks_that_a_model_does_not_take_are_refused() -> None:
    assert refusal("flux-1-schnell", image="QUJD").code == "too_many_images"
    assert refusal("flux-1-schnell", image_url="QUJD").code == "too_many_images"
    assert refusal("flux-1-kontext-dev", image="QUJD", mask="QUJD").code == "unsupported_mask"


@pytest.mark.parametrize("empty", [None, "", "  ", [], {}])
def test_an_empty_value_of_an_unknown_field_counts_as_not_given(empty: Any) -> None:
    assert generation("flux-1-schnell", loras=empty, hocus=empty).values == {"prompt": "a fox"}


def test_fields_of_sdks_without_an_effect_give_a_warning() -> None:
    made = generation("flux-1-schnell", user="u", style="vivid", moderation="low")
    assert made.warnings == ("`user` has no effect", "`style` has no effect", "`moderation` has no effect")
    assert generation("flux-1-schnell", moderation="auto", enable_safety_checker=True).warnings == ()


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("input_fidelity", "foo", "high, low"),
        ("style", "photo", "vivid, natural"),
        ("moderation", "high", "low, auto"),
        ("moderation", True, "low, auto"),
        ("enable_safety_checker", "yes", "true, false"),
        ("go_fast", 1, "true, false"),
        ("quality", "best", "low', 'medium"),
        ("background", "blue", "transparent', 'opaque' or 'auto"),
        ("user", 7, "a string"),
        ("safety_tolerance", [1], "a number"),
        ("output_quality", "good", "a number"),
    ],
)
def test_rejects_values_that_a_field_without_an_effect_cannot_have(
    field: str, value: Any, allowed: str
) -> None:
    error = refusal("flux-1-schnell", **{field: value})
    assert (error.code, error.param) == (f"invalid_{field}", field)
    assert allowed in error.message
    assert f"(got {value}" in error.message or f"(got {value!r})" in error.message


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("input_fidelity", ["high", "low"]),
        ("style", ["vivid", "natural"]),
        ("moderation", ["low"]),
        ("go_fast", [True, "true"]),
        ("enable_safety_checker", [False, "false"]),
        ("safety_tolerance", [2, "2"]),
        ("output_quality", [80, "80"]),
    ],
)
def test_warns_of_valid_values_of_a_field_without_an_effect(field: str, values: list[Any]) -> None:
    for value in values:
        made = generation("flux-1-schnell", **{field: value})
        assert made.warnings == (f"`{field}` has no effect",)


def test_a_negative_prompt_that_a_model_cannot_use_gives_a_warning() -> None:
    (model,) = [model for model in CATALOG if "negative_prompt" not in model.parameters][:1]
    made = take_parameters(model, {"negative_prompt": "blur"})
    assert made.warnings == (f"`negative_prompt` has no effect: {model.id} cannot use one",)


def test_effort_and_previews_without_an_effect_give_a_warning() -> None:
    made = generation("4x-ultrasharp", image="QUJD", quality="high", partial_images=2)
    assert made.warnings == (
        "`quality` has no effect: 4x-ultrasharp has no `steps`",
        "`partial_images` has no effect without `stream`",
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"steps": 4, "num_inference_steps": 5},
        {"size": "512x512", "width": 768},
        {"size": "512x512", "aspect_ratio": "16:9"},
        {"size": "512x512", "image_size": "square_hd"},
        {"size": "16:9", "aspect_ratio": "1:1"},
    ],
)
def test_fields_that_contradict_each_other_are_refused(fields: dict[str, Any]) -> None:
    assert refusal("flux-1-dev", **fields).code == "conflicting_fields"


def test_fields_that_agree_are_accepted() -> None:
    made = generation("flux-1-dev", steps=4, num_inference_steps=4, size="512x512", width=512)
    assert made.values == {"prompt": "a fox", "steps": 4, "width": 512, "height": 512}


def test_a_size_is_refused_where_the_input_decides_on_it() -> None:
    error = refusal("4x-ultrasharp", image="QUJD", size="512x512")
    assert (error.code, error.param) == ("unsupported_size", "size")
    assert generation("4x-ultrasharp", image="QUJD", size="auto").values["image"] == "QUJD"


def test_parameters_of_a_model_keep_their_names() -> None:
    named = rename_synonyms({"guidance": 1, "steps": 2}, (), {"guidance", "steps"})
    assert named.values == {"guidance": 1, "steps": 2}


def test_no_name_means_two_things() -> None:
    assert not SYNONYMS.keys() & SYNONYMS.values()
    assert not SYNONYMS.keys() & WITHOUT_EFFECT.keys()
