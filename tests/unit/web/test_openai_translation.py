"""OpenAI's request bodies become GenerationRequests for the right model."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from orchestrator.catalog import Catalog, size_params_for_image
from orchestrator.catalog.parameters.size_text import Size
from orchestrator.catalog.tasks import TaskModels
from orchestrator.errors import InvalidRequest
from orchestrator.intake.request_preparer import GenerationRequest, with_name_defaults
from orchestrator.media.formats import ImageEncoding
from orchestrator.settings import Settings
from orchestrator.web.dialects.dimensions import size_to_dimensions
from orchestrator.web.dialects.openai import images as openai
from orchestrator.web.dialects.openai import videos as openai_videos
from orchestrator.web.dialects.openai.image_bodies import (
    ImageEditBody,
    ImageGenerationBody,
    ImageRequestBody,
)
from orchestrator.web.dialects.openai.stream_events import PartialImageSchedule
from orchestrator.web.dialects.pixel_factory.translation import to_request
from orchestrator.web.dialects.request_body import parse_body
from tests.support.service import ROOT

CATALOG = Catalog.load(Settings.model_fields["workflows_dir"].default)


def generation(*, form: bool = False, **fields: Any) -> GenerationRequest:
    body = parse_body(ImageGenerationBody, fields, form=form)
    return to_request(body, CATALOG, form=form, idempotency_key=None)


def edit(*, form: bool = False, **fields: Any) -> GenerationRequest:
    body = parse_body(ImageEditBody, fields, form=form)
    return openai.to_edit_request(body, CATALOG, form=form, idempotency_key="k")


def video(*, form: bool = False, **fields: Any) -> GenerationRequest:
    body = parse_body(openai_videos.VideoCreateBody, fields, form=form)
    return openai_videos.to_request(body, CATALOG, form=form, idempotency_key=None)


def test_parses_numbers_of_a_form_and_keeps_text() -> None:
    asked = generation(form=True, prompt="12", n="2", seed="7", cfg_scale="1.5", steps="3")
    assert asked.params == {"prompt": "12", "n": 2, "seed": 7, "cfg_scale": 1.5, "steps": 3}


def test_whole_numbers_of_a_form_may_have_a_fraction_of_zero() -> None:
    asked = generation(form=True, prompt="a", n="2.0", seed="7.00", steps="4.0", cfg_scale="2.0")
    assert asked.params == {"prompt": "a", "n": 2, "seed": 7, "steps": 4, "cfg_scale": 2.0}
    asked = edit(form=True, prompt="a", image=b"p", steps="4.0", seed=f"{2**64 - 1}.0", n="1.0")
    assert (asked.params["steps"], asked.params["seed"], asked.params["n"]) == (4, 2**64 - 1, 1)
    CATALOG[asked.model].validate_params({**asked.params, "image": "p"})
    assert video(form=True, model="wan2.1-t2v-fast", prompt="a", n="1").params["n"] == 1
    asked = video(form=True, model="wan2.1-t2v-fast", prompt="a", num_frames="17.0", fps="8.0", steps="3.0")
    assert (asked.params["num_frames"], asked.params["fps"], asked.params["steps"]) == (17, 8, 3)
    CATALOG["wan2.1-t2v-fast"].validate_params(asked.params)


@pytest.mark.parametrize("name", ["n", "seed", "steps", "num_frames", "fps", "output_compression"])
def test_rejects_fractions_of_whole_numbers_in_a_form(name: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        generation(form=True, prompt="a", **{name: "4.5"})
    assert (raised.value.code, raised.value.param) == (f"invalid_{name}", name)


def test_parses_parameters_of_a_form_by_their_type() -> None:
    loras = '[{"name": "ink", "strength": 0.5}]'
    asked = generation(form=True, model="flux-1-dev", prompt="a", loras=loras, strength="")
    assert asked.params == {"prompt": "a", "loras": [{"name": "ink", "strength": 0.5}]}


def test_warns_of_fields_of_sdks_without_an_effect() -> None:
    asked = generation(prompt="a", user="u", style="vivid", moderation="low", background="opaque")
    assert asked.params == {"prompt": "a"}
    assert asked.warnings == tuple(f"`{name}` has no effect" for name in ("user", "style", "moderation"))


def test_refuses_fields_that_the_model_does_not_have() -> None:
    with pytest.raises(InvalidRequest, match="has no parameter `stpes`; did you mean `steps`") as refused:
        generation(prompt="a", stpes=3)
    assert (refused.value.code, refused.value.param) == ("unknown_parameter", "stpes")


def test_does_not_pass_control_fields_to_the_model() -> None:
    """`quality` is a control field, even if a model has a parameter of that name."""
    body = parse_body(ImageGenerationBody, {"prompt": "a", "quality": "low", "stream": False}, form=False)
    assert body.passed_fields == {"prompt": "a"}


@pytest.mark.parametrize(
    ("quality", "model", "steps"),
    [
        ("low", "flux-1-schnell", 2),
        ("high", "flux-1-schnell", 6),
        ("max", "flux-1-dev", 40),
        ("max", "cogvideox-1.5-5b", 100),
        ("auto", "flux-1-dev", None),
        ("standard", "flux-1-dev", None),
    ],
)
def test_quality_scales_the_default_steps(quality: str, model: str, steps: int | None) -> None:
    asked = generation(prompt="a", model=model, quality=quality)
    assert asked.params.get("steps") == steps


def test_quality_stays_within_the_range_of_steps() -> None:
    steps = CATALOG["flux-2-dev"].parameters["steps"]
    asked = generation(prompt="a", model="flux-2-dev", quality="max").params["steps"]
    assert asked <= getattr(steps, "maximum")  # noqa: B009 - the type of a parameter is a union


@pytest.mark.parametrize(
    ("image_count", "mask", "model"),
    [
        (1, False, "flux-1-kontext-dev"),
        (2, False, "qwen-image-edit"),
        (3, False, "qwen-image-edit"),
        (4, False, "flux-2-dev"),
        (1, True, "flux-1-fill-dev"),
    ],
)
def test_chooses_a_model_that_accepts_the_images_and_the_mask(
    image_count: int, mask: bool, model: str
) -> None:
    asked = edit(
        prompt="a", images=[f"p{number}" for number in range(image_count)], mask="m" if mask else None
    )
    assert asked.model == model
    assert asked.idempotency_key == "k"


def test_passes_images_under_the_names_of_the_models_parameters() -> None:
    assert edit(prompt="a", image="p").params == {"prompt": "a", "image": "p"}
    assert edit(prompt="a", image="p", model="flux-2-dev").params == {"prompt": "a", "images": ["p"]}
    assert edit(prompt="a", image=["p", {"image_url": "q"}]).params["images"] == ["p", "q"]
    masked = edit(prompt="a", image=b"p", mask=b"m").params
    assert (masked["image"], masked["mask"]) == (b"p", b"m")


def test_chooses_another_model_if_no_preferred_one_is_in_the_catalogue() -> None:
    other = Catalog([CATALOG["flux-2-klein-4b"], CATALOG["flux-1-schnell"]])
    body = parse_body(ImageEditBody, {"prompt": "a", "image": "p"}, form=False)
    assert openai.to_edit_request(body, other, form=False, idempotency_key=None).model == "flux-2-klein-4b"
    with pytest.raises(InvalidRequest) as raised:
        openai.to_edit_request(body, Catalog([CATALOG["flux-1-schnell"]]), form=False, idempotency_key=None)
    assert raised.value.code == "unsupported_image"


@pytest.mark.parametrize(
    ("fields", "encoding"),
    [
        ({}, None),
        ({"output_format": "png"}, ImageEncoding("image/png", None, 100)),
        ({"output_format": "jpeg"}, ImageEncoding("image/jpeg", None, 100)),
        ({"output_format": "webp", "output_compression": 40}, ImageEncoding("image/webp", 40, 100)),
        ({"output_format": "jpeg", "output_compression": 0}, ImageEncoding("image/jpeg", 0, 100)),
    ],
)
def test_translates_output_formats_to_encodings(
    fields: dict[str, Any], encoding: ImageEncoding | None
) -> None:
    assert parse_body(ImageRequestBody, fields, form=False).encoding == encoding


def test_passes_background_only_to_a_model_that_supports_it() -> None:
    transparent = Catalog.load(ROOT / "tests" / "workflows")
    fields = {"prompt": "a", "model": "test-transparent", "background": "transparent"}
    body = parse_body(ImageGenerationBody, fields, form=False)
    asked = to_request(body, transparent, form=False, idempotency_key=None)
    assert asked.params == {"prompt": "a", "background": "transparent"}
    with pytest.raises(InvalidRequest) as raised:
        generation(prompt="a", background="transparent")
    assert (raised.value.code, raised.value.param) == ("unsupported_background", "background")


def test_rejects_text_in_place_of_other_json_types() -> None:
    with pytest.raises(InvalidRequest, match="`n`"):
        generation(prompt="a", n="1")
    with pytest.raises(InvalidRequest, match="`stream`"):
        generation(prompt="a", stream="true")


@pytest.mark.parametrize(
    ("seconds", "frames"), [("4", 64), (5, 80), ("2.5", 40), (0.5, 8), ("10", 160), ("0005", 80)]
)
def test_converts_seconds_to_frames_at_the_models_frame_rate(seconds: str | float, frames: int) -> None:
    assert video(prompt="a", seconds=seconds).params["num_frames"] == frames


@pytest.mark.parametrize("seconds", ["", "four", "-1", "0", "17", "1e3", "9" * 5, "٤", "nan", " 4"])
def test_rejects_invalid_seconds(seconds: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        video(prompt="a", seconds=seconds)
    assert (raised.value.code, raised.value.param) == ("invalid_seconds", "seconds")


def test_converts_seconds_at_the_requested_frame_rate() -> None:
    assert video(prompt="a", seconds="4", fps=24).params["num_frames"] == 96


@pytest.mark.parametrize(
    ("seconds", "fps", "frames"), [("4.5", 16, 72), (4.5, 24, 108), ("5.0625", 16, 81), ("5.06", 16, 81)]
)
def test_fractions_of_seconds_are_exact(seconds: str | float, fps: int, frames: int) -> None:
    asked = video(model="wan2.2-t2v-14b", prompt="a", seconds=seconds, fps=fps)
    assert asked.params["num_frames"] == frames


@pytest.mark.parametrize(
    ("model", "seconds", "fps", "nearest"),
    [
        ("wan2.2-t2v-14b", "4.3", 16, "4.25 and 4.3125"),
        ("wan2.2-t2v-14b", "4.1", 24, "4.0833 and 4.125"),
        ("ltx2.3-extend", "4.5", 24, "4.3333 and 4.6667"),
    ],
)
def test_rejects_seconds_between_two_frames(model: str, seconds: str, fps: int, nearest: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        video(model=model, prompt="a", seconds=seconds, fps=fps)
    assert (raised.value.code, raised.value.param) == ("invalid_seconds", "seconds")
    assert raised.value.message.endswith(f"(got {seconds}); the nearest values are {nearest}")


SORAS = CATALOG.with_stand_ins(
    {
        name: TaskModels.model_validate({key: value for key, value in row.items() if key != "enabled"})
        for name, row in tomllib.loads((ROOT / "workflows/stand-ins.toml").read_text()).items()
    }
)


def sora(name: str, **fields: Any) -> dict[str, Any]:
    """The parameters of a video of a stand-in as they are validated."""
    body = parse_body(openai_videos.VideoCreateBody, {"model": name, "prompt": "a", **fields})
    request = openai_videos.to_request(body, SORAS, form=False, idempotency_key=None)
    request = with_name_defaults(request, SORAS)
    return SORAS[request.served_by or ""].validate_params(request.params)


@pytest.mark.parametrize("name", ["sora-2", "sora-2-pro"])
@pytest.mark.parametrize("image", [None, "p"])
def test_stand_ins_make_all_sizes_and_lengths_of_openais_videos(name: str, image: str | None) -> None:
    for size in ("720x1280", "1280x720", "1024x1792", "1792x1024"):
        for seconds in ("4", "8", "12"):
            made = sora(name, size=size, seconds=seconds, input_reference=image)
            assert f"{made['width']}x{made['height']}" == size
            assert made["num_frames"] == int(seconds) * made["fps"]


@pytest.mark.parametrize("name", ["sora-2", "sora-2-pro"])
def test_stand_ins_have_openais_default_size_and_length(name: str) -> None:
    made = sora(name)
    assert (made["width"], made["height"], made["num_frames"] / made["fps"]) == (720, 1280, 4)
    assert sora(name, fps=30)["num_frames"] == 120
    assert sora(name, size="auto")["height"] == 1280


def test_what_a_request_sets_takes_the_place_of_the_default_of_the_name() -> None:
    assert sora("sora-2", num_frames=17)["num_frames"] == 17
    assert sora("sora-2", seconds="8")["num_frames"] == 192
    assert sora("sora-2", width=512, height=512)["width"] == 512
    assert sora("sora-2", aspect_ratio="16:9")["width"] == 1280
    assert sora("sora-2", resolution="1080p")["width"] == 1920


def test_a_video_that_starts_with_an_image_has_the_default_length_and_the_shape_of_the_image() -> None:
    body = parse_body(
        openai_videos.VideoCreateBody, {"model": "sora-2", "prompt": "a", "input_reference": "p"}
    )
    request = openai_videos.to_request(body, SORAS, form=False, idempotency_key=None)
    request = with_name_defaults(request, SORAS)
    assert request.params["num_frames"] == 96
    assert not {"width", "height"} & request.params.keys()
    model = SORAS["ltx2.3-i2v"]
    assert size_params_for_image(model, request.params, Size(720, 1280)) == {"width": 720, "height": 1280}
    assert size_params_for_image(model, request.params, Size(1920, 1080)) == {"width": 1280, "height": 720}


@pytest.mark.parametrize("size", ["720x1280", "1280x720"])
@pytest.mark.parametrize(
    ("seconds", "image", "model"),
    [
        ("4", None, "wan2.2-t2v-14b"),
        ("8", None, "wan2.2-t2v-14b"),
        ("12", None, "ltx2-t2v"),
        ("4", "p", "wan2.2-i2v-14b"),
        ("8", "p", "wan2.2-i2v-14b"),
    ],
)
def test_chooses_a_model_for_the_sizes_and_lengths_of_openais_clients(
    size: str, seconds: str, image: str | None, model: str
) -> None:
    assert video(prompt="a", size=size, seconds=seconds, input_reference=image).model == model


def test_num_frames_and_seconds_must_agree() -> None:
    agreeing = video(form=True, prompt="a", seconds="4", num_frames="64", model="wan2.1-t2v-fast")
    assert agreeing.params["num_frames"] == 64
    with pytest.raises(InvalidRequest, match="`num_frames` is 17, and another field asks for 64") as refused:
        video(form=True, prompt="a", seconds="4", num_frames="17", model="wan2.1-t2v-fast")
    assert refused.value.code == "conflicting_fields"


def test_chooses_a_video_model_by_the_input_image() -> None:
    assert video(prompt="a").model == "wan2.1-t2v-fast"
    assert video(prompt="a", input_reference="p").model == "wan2.1-i2v-480p"
    either = video(prompt="a", input_reference="p", model="wan2.2-5b")
    assert (either.model, either.params["image"]) == ("wan2.2-5b", "p")
    only = Catalog([CATALOG["ltx2-t2v"]])
    body = parse_body(openai_videos.VideoCreateBody, {"prompt": "a"}, form=False)
    assert openai_videos.to_request(body, only, form=False, idempotency_key=None).model == "ltx2-t2v"


@pytest.mark.parametrize(("requested", "shown"), [(0, []), (1, [10]), (2, [7, 14]), (3, [5, 10, 15])])
def test_spreads_partial_images_evenly_over_the_run(requested: int, shown: list[int]) -> None:
    partials, taken = PartialImageSchedule(requested), []
    for step in range(1, 21):
        partials.set_progress(0, step / 20)
        if partials.take_next_index(0) is not None:
            taken.append(step)
    assert taken == shown


def test_counts_partial_images_by_shard() -> None:
    partials = PartialImageSchedule(1)
    partials.set_progress(0, 0.9)
    partials.set_progress(1, 0.1)
    assert [partials.take_next_index(0), partials.take_next_index(1), partials.take_next_index(0)] == [
        0,
        None,
        None,
    ]
    partials.set_progress(1, 0.5)
    assert partials.take_next_index(1) == 0


def test_suggests_other_models_for_input_images() -> None:
    with pytest.raises(InvalidRequest) as raised:
        edit(prompt="a", image="p", model="qwen-image")
    assert raised.value.code == "unsupported_model"
    assert raised.value.message.startswith(
        "Model qwen-image does not accept input images; use one of: flux-1-kontext-dev, qwen-image-edit, "
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"image": ["p"] * 2, "model": "flux-1-kontext-dev"},
            "Model flux-1-kontext-dev accepts at most 1 input image(s) (got 2)",
        ),
        (
            {"image": "p", "mask": "m", "model": "flux-1-kontext-dev"},
            "Model flux-1-kontext-dev does not accept a `mask`; use one of: flux-1-fill-dev",
        ),
        (
            {"image": {"file_id": "f"}},
            "`image` must contain one of image_url, image, url, b64_json; `file_id` is not supported",
        ),
    ],
)
def test_names_what_is_wrong_with_an_edit(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        edit(prompt="a", **fields)
    assert raised.value.message.startswith(message)


@pytest.mark.parametrize(
    ("model", "path"), [("wan2.1-i2v-480p", "`POST /v1/videos` as `input_reference`"), ("hunyuan-3d", "")]
)
def test_an_edit_with_a_model_of_another_kind_is_told_where_its_image_belongs(model: str, path: str) -> None:
    with pytest.raises(InvalidRequest, match=f"Model {model} does not make images") as raised:
        edit(prompt="a", model=model, image=b"p")
    assert raised.value.code == "unsupported_model"
    assert path in raised.value.message
    assert "`POST /v1/images/generations` as `image`" in raised.value.message


@pytest.mark.parametrize(
    ("size", "shown"), [(1024, "1024"), ({"width": 8}, '{"width": 8}'), ("big", "'big'")]
)
def test_the_error_of_a_size_states_the_value(size: Any, shown: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        generation(model="flux-1-schnell", prompt="a", size=size)
    assert (raised.value.code, raised.value.param) == ("invalid_size", "size")
    assert f"(got {shown})" in raised.value.message


def test_names_a_model_that_does_not_make_videos() -> None:
    with pytest.raises(InvalidRequest, match="Model flux-1-schnell does not make videos"):
        video(prompt="a", model="flux-1-schnell")


def test_suggests_ids_close_to_an_unknown_model() -> None:
    with pytest.raises(InvalidRequest) as raised:
        generation(prompt="a", model="flux-1-schnel")
    assert raised.value.code == "model_not_found"
    assert raised.value.message.startswith(
        "Model 'flux-1-schnel' does not exist; did you mean flux-1-schnell"
    )


@pytest.mark.parametrize("text", ["1_0", "1e0", " 2", "2 ", "+2", "\u0662", "NaN", "2.", ".5", "-Infinity"])
@pytest.mark.parametrize("name", ["cfg_scale", "num_frames", "seed"])
def test_parameters_of_a_form_are_numbers_in_plain_digits_only(name: str, text: str) -> None:
    request = video(form=True, model="wan2.1-t2v-fast", prompt="a", **{name: text})
    with pytest.raises(InvalidRequest) as caught:
        CATALOG[request.model].validate_params(request.params)
    assert caught.value.code == f"invalid_{name}"
    plain = video(form=True, model="wan2.1-t2v-fast", prompt="1_0", **{name: "17"})
    assert (plain.params[name], plain.params["prompt"]) == (17, "1_0")


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"size": ["512x512", "512x512"]}, "size"),
        ({"num_inference_steps": ["4", "5"]}, "num_inference_steps"),
        ({"mask": [b"1", b"2"]}, "mask"),
    ],
)
def test_rejects_a_form_field_that_is_given_twice(fields: dict[str, Any], name: str) -> None:
    with pytest.raises(InvalidRequest, match=f"`{name}` is given 2 times") as caught:
        parse_body(ImageEditBody, fields, form=True, parameters={"steps"})
    assert caught.value.param == name


def test_lists_may_be_given_several_times_in_a_form() -> None:
    body = parse_body(
        ImageEditBody,
        {"prompt": "a", "image": [b"1", b"2"], "loras": ["ink", "gold"]},
        form=True,
        parameters={"loras"},
    )
    assert body.input_images() == [b"1", b"2"]


def test_a_trainer_takes_its_own_size() -> None:
    model = CATALOG["sd-1.5-lora-trainer"]
    for size in (512, "512", "512x512"):
        assert size_to_dimensions(model, size) == {"size": 512}
    for size in ("512x768", "wide", "1:1"):
        with pytest.raises(InvalidRequest) as caught:
            size_to_dimensions(model, size)
        assert caught.value.param == "size"


@pytest.mark.parametrize(
    ("fields", "way_out"),
    [
        ({"seconds": 1}, "`num_frames` and `fps` instead"),
        ({"duration": 1}, "`num_frames` and `fps` instead"),
        ({"input_reference": "aGVsbG8="}, "`image` instead"),
    ],
)
def test_fields_of_videos_in_a_generation_are_refused_with_the_way_out(
    fields: dict[str, Any], way_out: str
) -> None:
    with pytest.raises(InvalidRequest) as raised:
        generation(model="wan2.1-t2v-fast", prompt="a", **fields)
    assert (raised.value.code, raised.value.param) == ("unknown_parameter", next(iter(fields)))
    assert "`POST /v1/videos`: send the body to that path" in raised.value.message
    assert way_out in raised.value.message
