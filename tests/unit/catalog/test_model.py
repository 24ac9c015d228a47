from __future__ import annotations

from typing import Any

import pytest

from orchestrator.catalog import CatalogError, ModelKind, build_request_schema
from orchestrator.errors import InvalidRequest
from tests.support.drafts import CATALOG, PROMPT, SEED, node, parse, saving

FLUX = CATALOG["flux-1-schnell"]
WAN = CATALOG["wan2.1-t2v-fast"]
I2V = CATALOG["wan2.1-i2v-480p"]
UPSCALER = CATALOG["4x-ultrasharp"]
FILL = CATALOG["flux-1-fill-dev"]


def code(model: Any, **request: Any) -> str:
    with pytest.raises(InvalidRequest) as caught:
        model.validate_params(request)
    assert caught.value.status == 400
    return caught.value.code


def test_defaults_fill_what_a_request_leaves_out() -> None:
    assert FLUX.validate_params({"prompt": "a fox", "user": None, "steps": None}) == {
        "n": 1,
        "prompt": "a fox",
        "negative_prompt": "",
        "width": 1024,
        "height": 1024,
        "steps": 4,
        "cfg_scale": 1.0,
        "seed": None,
    }


def test_unknown_parameters_are_refused_with_those_that_there_are() -> None:
    with pytest.raises(InvalidRequest, match=r"has no parameter `stpes`; did you mean `steps`.* n, prompt,"):
        FLUX.validate_params({"prompt": "a fox", "stpes": 3})
    assert code(FLUX, prompt="a fox", strength=0.5) == "unknown_parameter"


def test_videos_have_the_documents_defaults() -> None:
    params = WAN.validate_params({"prompt": "a fox runs"})
    assert (params["num_frames"], params["fps"], params["n"]) == (81, 16, 1)


def test_a_request_is_taken_as_it_is() -> None:
    request = {"prompt": "x", "n": 4, "width": 1344, "height": 768, "steps": 8, "cfg_scale": 2, "seed": 5}
    assert FLUX.validate_params(request).items() >= request.items()


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ({}, "missing_prompt"),
        ({"prompt": None}, "missing_prompt"),
        ({"prompt": ""}, "missing_prompt"),
        ({"prompt": " \n"}, "missing_prompt"),
        ({"prompt": 7}, "invalid_prompt"),
        ({"prompt": "x" * 1_000_000}, "invalid_prompt"),
        ({"prompt": "a\0"}, "invalid_prompt"),
        ({"prompt": "\ud83d"}, "invalid_prompt"),
        ({"prompt": "x", "n": 0}, "invalid_n"),
        ({"prompt": "x", "n": 5}, "invalid_n"),
        ({"prompt": "x", "n": True}, "invalid_n"),
        ({"prompt": "x", "n": "2"}, "invalid_n"),
        ({"prompt": "x", "width": 1023}, "invalid_width"),
        ({"prompt": "x", "width": 8}, "invalid_width"),
        ({"prompt": "x", "height": 4096}, "invalid_height"),
        ({"prompt": "x", "steps": 0}, "invalid_steps"),
        ({"prompt": "x", "steps": 10_000}, "invalid_steps"),
        ({"prompt": "x", "cfg_scale": float("nan")}, "invalid_cfg_scale"),
        ({"prompt": "x", "seed": -1}, "invalid_seed"),
        ({"prompt": "x", "seed": 2**64}, "invalid_seed"),
        ({"prompt": "x", "seed": "1"}, "invalid_seed"),
    ],
)
def test_names_what_is_invalid(request_: dict[str, Any], expected: str) -> None:
    assert code(FLUX, **request_) == expected


def test_a_video_is_made_one_at_a_time() -> None:
    assert code(WAN, prompt="x", n=2) == "invalid_n"
    assert code(UPSCALER, prompt="", image="a.png", n=2) == "invalid_n"


def test_sides_may_be_long_only_while_the_area_is_small() -> None:
    assert WAN.validate_params({"prompt": "x", "width": 480, "height": 832})["height"] == 832
    assert code(WAN, prompt="x", width=832, height=832) == "invalid_size"


def test_required_images_are_named() -> None:
    assert I2V.image_inputs == UPSCALER.image_inputs == ("image",)
    assert FLUX.image_inputs == ()
    assert code(I2V, prompt="x") == "missing_image"
    assert code(UPSCALER, prompt="") == "missing_image"
    assert UPSCALER.validate_params({"prompt": "", "image": "a.png"}) == {
        "n": 1,
        "prompt": "",
        "image": "a.png",
    }


def test_a_prompt_without_an_effect_may_be_missing() -> None:
    assert UPSCALER.validate_params({"image": "a.png"})["prompt"] == ""


def test_requires_only_what_has_an_effect() -> None:
    shipped = [model for model in CATALOG if not model.id.startswith("test-")]
    required = {
        model.id: {name: "x" for name, spec in model.parameters.items() if spec.required} for model in shipped
    }
    unused = [text for model in shipped for text in model.describe_unused(required[model.id])]
    assert (len(shipped) > 50, [text for text in unused if "does not use" in text]) == (True, [])


def test_an_input_is_scaled_down_to_what_the_model_takes() -> None:
    assert FILL.limit_image_size(3000, 2000) == (2048, 1365)
    assert FILL.limit_image_size(1000, 2000) == (1000, 2000)
    with pytest.raises(InvalidRequest) as caught:
        FILL.limit_image_size(15, 2000)
    assert caught.value.code == "invalid_image"
    assert FLUX.limit_image_size(10**6, 10**6) == (10**6, 10**6)  # takes no image: nothing to limit


def test_an_upscaler_rejects_a_larger_input() -> None:
    assert UPSCALER.limit_image_size(2048, 2048) == (2048, 2048)
    with pytest.raises(InvalidRequest) as caught:
        UPSCALER.limit_image_size(2049, 100)
    assert caught.value.code == "invalid_image"


def test_lengths_and_sizes_are_made_larger_and_cut() -> None:
    params = WAN.validate_params({"prompt": "x", "num_frames": 82, "width": 488})
    assert (params["num_frames"], params["width"]) == (82, 488)
    graph = WAN.render_graph(params | {"seed": 0}, filename_prefix="p")
    latent = graph["latent"]["inputs"]
    assert (latent["length"], latent["width"], latent["height"]) == (85, 496, 480)
    cut, crop = graph["cut-decode-0"], graph["crop-decode-0"]
    assert (cut["class_type"], crop["class_type"]) == ("ImageFromBatch", "ImageCrop")
    assert cut["inputs"] == {"image": ["decode", 0], "batch_index": 0, "length": 82}
    assert crop["inputs"] == {"image": ["cut-decode-0", 0], "width": 488, "height": 480, "x": 4, "y": 0}
    assert graph["video"]["inputs"]["images"] == ["crop-decode-0", 0]


def test_the_size_of_a_result_is_known_beforehand() -> None:
    assert FLUX.output_size({"width": 1000, "height": 512}, None) == (1000, 512)
    assert UPSCALER.output_size({}, (100, 50)) == (400, 200)
    assert UPSCALER.output_size({}, None) is None


def test_a_graph_is_rendered_with_native_values() -> None:
    params = FLUX.example_params(prompt="{{ 7*7 }}", seed=2**64 - 1, steps=8, width=1344, height=768)
    graph = FLUX.render_graph(params, filename_prefix="job/1")
    assert graph["positive"]["inputs"]["text"] == "{{ 7*7 }}"
    assert graph["sampler"]["inputs"].items() >= {"seed": 2**64 - 1, "steps": 8, "cfg": 1.0}.items()
    assert graph["latent"]["inputs"] == {"width": 1344, "height": 768, "batch_size": 1}
    assert graph["save"]["inputs"]["filename_prefix"] == "job/1"
    assert graph["unet"]["inputs"]["unet_name"] == "flux1-schnell.safetensors"


def test_a_negative_prompt_costs_nothing_where_it_does_nothing() -> None:
    plain = FLUX.render_graph(FLUX.example_params(), filename_prefix="p")
    guided = FLUX.render_graph(FLUX.example_params(cfg_scale=3, negative_prompt="fog"), filename_prefix="p")
    assert plain["sampler"]["inputs"]["negative"] == ["zeroed", 0]
    assert "negative" not in plain
    assert guided["sampler"]["inputs"]["negative"] == ["negative", 0]
    assert guided["negative"]["inputs"]["text"] == "fog"


def test_a_seed_must_be_drawn_first() -> None:
    with pytest.raises(ValueError, match="seed"):
        FLUX.render_graph(FLUX.validate_params({"prompt": "x"}), filename_prefix="p")


def test_a_parameter_that_is_new_since_the_job_was_accepted_has_its_default() -> None:
    graph = FLUX.render_graph({"prompt": "x", "seed": 1}, filename_prefix="p")
    assert graph["sampler"]["inputs"]["steps"] == 4


def test_chooses_weights_by_the_gpus_preferred_type() -> None:
    def encoder(*dtypes: str) -> str:
        graph = FLUX.render_graph(FLUX.example_params(), filename_prefix="p", preferred_dtypes=dtypes)
        return str(graph["clip"]["inputs"]["clip_name2"])

    assert encoder() == "t5xxl_fp16.safetensors"
    assert encoder("nvfp4", "fp8", "fp16") == "t5xxl_fp8_e4m3fn_scaled.safetensors"
    assert encoder("fp16", "fp8") == "t5xxl_fp16.safetensors"
    assert encoder("int8") == "t5xxl_fp16.safetensors"
    assert [weight.slot for weight in FLUX.select_weights()] == ["unet", "clip_l", "t5xxl", "vae"]


def test_a_run_is_expected_to_take_longer_with_more_of_everything() -> None:
    usual = WAN.estimate_run_seconds(WAN.example_params())
    assert WAN.estimate_run_seconds(WAN.example_params(num_frames=161)) > usual * 1.9
    assert WAN.estimate_run_seconds(WAN.example_params(steps=40)) > usual
    assert WAN.estimate_run_seconds(WAN.example_params(), profile="cpu") > usual * 10
    assert UPSCALER.estimate_run_seconds({}) > 0


def test_what_the_model_list_shows() -> None:
    assert (FLUX.default_steps, FLUX.default_cfg, FLUX.max_n) == (4, 1.0, 4)
    assert (UPSCALER.default_steps, UPSCALER.default_cfg, UPSCALER.max_n) == (1, 1.0, 1)
    assert (WAN.kind, I2V.kind, UPSCALER.kind) == (ModelKind.VIDEO, ModelKind.I2V, ModelKind.UPSCALE)
    assert WAN.makes_video
    assert not UPSCALER.makes_video


def test_versions_have_different_digests() -> None:
    assert parse().digest == parse().digest
    assert parse().digest != parse(description="Another.").digest
    assert parse().digest != parse(saving(more=node("X"))).digest


SIDE = {"type": "integer", "default": 64, "minimum": 16, "maximum": 64}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"id": "../up"}, "id: "),
        ({"id": None}, "id: Field required"),
        ({"colour": "red"}, "colour: Extra inputs"),
        ({"kind": "picture"}, "kind: "),
        ({"max_resolution": "2048"}, "max_resolution: "),
        ({"aliases": ["Not An Id"]}, "aliases: "),
        ({"outputs": []}, "outputs: "),
        ({"outputs": [{"node": "nowhere", "media": "image"}]}, "outputs: graph.json has no node 'nowhere'"),
        ({"parameters": {"weights": SEED}}, "'weights' is not a valid parameter name"),
        ({"parameters": {"Prompt": PROMPT}}, "'Prompt' is not a valid parameter name"),
        ({"parameters": {"p": {"type": "integer", "minimum": 0}}}, "parameters.p.maximum: Field"),
        ({"parameters": {"p": {"type": "texture"}}}, "parameters.p: "),
        ({"requires": {"comfyui": "new"}}, "requires.comfyui: "),
        (
            {"max_resolution": "8x8", "parameters": {"width": SIDE, "height": SIDE}},
            "refuses its defaults: `size` must have at most as many pixels as 8x8 (got 64x64)",
        ),
        (
            {"resources": {"vram_bytes": "1", "load_seconds": 0.0, "step_seconds": 0.0}},
            "resources.vram_bytes",
        ),
    ],
)
def test_a_manifest_error_names_file_key_and_expectation(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(CatalogError, match=r"^draft/model\.toml: ") as caught:
        parse(**changes)
    assert said in str(caught.value)


WEIGHT = {
    "slot": "unet",
    "path": "diffusion_models/a.safetensors",
    "url": "https://weights.example/a.safetensors",
    "bytes": 1,
    "dtype": "bf16",
}


@pytest.mark.parametrize(
    "changes",
    [
        {"path": "a.safetensors"},
        {"path": "/etc/passwd"},
        {"path": "loras/../../a"},
        {"path": "loras\\a"},
        {"url": "file:///etc/passwd"},
        {"sha256": "abc"},
        {"bytes": -1},
        {"dtype": "float"},
        {"slot": "Unet"},
    ],
)
def test_rejects_weight_paths_outside_their_folder(changes: dict[str, Any]) -> None:
    assert parse(weights=[WEIGHT]).select_weights()[0].file == "a.safetensors"
    with pytest.raises(CatalogError, match="weights"):
        parse(weights=[WEIGHT | changes])


def test_two_variants_must_differ() -> None:
    assert len(parse(weights=[WEIGHT, WEIGHT | {"dtype": "fp8"}]).select_weights()) == 1
    with pytest.raises(CatalogError, match="two variants with dtype bf16"):
        parse(weights=[WEIGHT, WEIGHT])


def test_the_schema_of_a_request() -> None:
    schema = build_request_schema(FLUX)
    assert schema["required"] == ["prompt"]
    assert schema["properties"]["width"] == {
        "type": "integer",
        "minimum": 16,
        "maximum": 2048,
        "multipleOf": 8,
        "description": "Width of the result in pixels.",
        "default": 1024,
    }
    assert schema["properties"]["n"]["maximum"] == 4
    assert schema["additionalProperties"] is False
    assert build_request_schema(WAN)["properties"]["n"]["maximum"] == 1
    assert build_request_schema(I2V)["required"] == ["prompt", "image"]
    assert build_request_schema(CATALOG["flux-2-dev"])["properties"]["images"]["default"] == []


GUIDED = {
    "prompt": {"type": "string", "required": True, "blank": False, "replaced_by": "image"},
    "image": {"type": "image"},
    "strength": {"type": "number", "default": 0.75, "minimum": 0.0, "maximum": 1.0, "needs": "image"},
}


def test_a_parameter_that_another_one_replaces_is_required_without_that_one() -> None:
    model = parse(parameters=GUIDED)
    assert model.validate_params({"image": "a.png"})["prompt"] == ""
    with pytest.raises(InvalidRequest, match="Prompt is required, unless `image` is given") as refused:
        model.validate_params({"prompt": " "})
    assert refused.value.code == "missing_prompt"


def test_refuses_a_value_without_the_parameter_that_it_needs() -> None:
    model = parse(parameters=GUIDED)
    assert model.validate_params({"prompt": "a", "image": "a.png", "strength": 0.5})["strength"] == 0.5
    assert model.validate_params({"prompt": "a", "strength": 0.75})["strength"] == 0.75  # the default
    with pytest.raises(InvalidRequest, match="`strength` has an effect only with `image`") as refused:
        model.validate_params({"prompt": "a", "strength": 0.5})
    assert (refused.value.code, refused.value.param) == ("unsupported_strength", "strength")


def test_names_parameters_of_a_request_without_an_effect() -> None:
    model = parse(parameters=GUIDED)
    assert model.describe_unused({"prompt": " ", "image": None}) == ()
    trainer = CATALOG["sdxl-1.0-lora-trainer"]
    assert trainer.describe_unused({"lora_name": "my-fox", "trigger_word": "sks"}) == ()
    unused, *_ = model.describe_unused({"strength": 0.5})
    assert unused == "`strength` has no effect: draft does not use one"
    upscaler = CATALOG["4x-ultrasharp"]
    assert upscaler.describe_unused({"prompt": "a", "image": "a.png"}) == (
        "`prompt` has no effect: 4x-ultrasharp does not use one",
    )


def test_the_schema_of_a_request_says_what_a_parameter_needs_and_what_replaces_it() -> None:
    schema = build_request_schema(parse(parameters=GUIDED), {"image": ("image", "image_url")})
    assert schema["required"] == []
    prompt, strength = schema["allOf"]
    fields = [{"required": [name], "properties": {name: {"minItems": 1}}} for name in ("image", "image_url")]
    assert prompt == {"anyOf": [{"required": ["prompt"], "properties": {"prompt": {"minItems": 1}}}, *fields]}
    assert strength["if"] == {
        "required": ["strength"],
        "properties": {"strength": {"not": {"const": 0.75}}},
    }
    assert strength["then"] == {"anyOf": fields}


@pytest.mark.parametrize("field", ["needs", "replaced_by"])
def test_rejects_a_manifest_that_names_no_other_parameter(field: str) -> None:
    for other in ("picture", "image"):
        with pytest.raises(CatalogError, match="there is no other parameter"):
            parse(parameters={"prompt": {"type": "string"}, "image": {"type": "image", field: other}})
