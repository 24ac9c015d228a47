"""OpenAI's words to ours: what a body becomes, and who is asked to do it. Nothing runs."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.catalog import Catalog
from orchestrator.errors import InvalidRequest
from orchestrator.intake.request_preparer import GenerationRequest
from orchestrator.media.formats import ImageEncoding
from orchestrator.settings import Settings
from orchestrator.web.dialects.openai import images as openai
from orchestrator.web.dialects.openai import videos as openai_videos
from orchestrator.web.dialects.openai.stream_events import PartialImageSchedule
from orchestrator.web.dialects.pixel_factory.translation import ImageGenerationBody, to_request
from tests.support.service import ROOT

CATALOG = Catalog.load(Settings.model_fields["workflows_dir"].default)


def generation(*, form: bool = False, **fields: Any) -> GenerationRequest:
    body = openai.parse_body(ImageGenerationBody, fields, form=form)
    return to_request(body, CATALOG, form=form, idempotency_key=None)


def edit(*, form: bool = False, **fields: Any) -> GenerationRequest:
    body = openai.parse_body(openai.ImageEditBody, fields, form=form)
    return openai.to_edit_request(body, CATALOG, form=form, idempotency_key="k")


def video(*, form: bool = False, **fields: Any) -> GenerationRequest:
    body = openai.parse_body(openai_videos.VideoCreateBody, fields, form=form)
    return openai_videos.to_request(body, CATALOG, form=form, idempotency_key=None)


def test_numbers_of_a_form_are_read_and_texts_stay_texts() -> None:
    asked = generation(form=True, prompt="12", n="2", seed="7", cfg_scale="1.5", steps="3")
    assert asked.params == {"prompt": "12", "n": 2, "seed": 7, "cfg_scale": 1.5, "steps": 3}


def test_further_parameters_of_a_form_are_read_as_the_model_has_them() -> None:
    loras = '[{"name": "ink", "strength": 0.5}]'
    asked = generation(form=True, model="flux-1-dev", prompt="a", loras=loras, strength="0.5")
    assert asked.params == {"prompt": "a", "loras": [{"name": "ink", "strength": 0.5}]}


def test_what_no_model_knows_stays_behind() -> None:
    asked = generation(prompt="a", user="u", style="vivid", moderation="low", hocus=1, background="opaque")
    assert asked.params == {"prompt": "a"}


def test_control_words_never_reach_a_model() -> None:
    """Whatever a manifest may call its parameters, `quality` is ours."""
    body = openai.parse_body(
        ImageGenerationBody, {"prompt": "a", "quality": "low", "stream": False}, form=False
    )
    assert openai.passthrough_params(body, CATALOG["flux-1-schnell"], form=False) == {"prompt": "a"}


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
def test_quality_is_a_share_of_the_usual_steps(quality: str, model: str, steps: int | None) -> None:
    asked = generation(prompt="a", model=model, quality=quality)
    assert asked.params.get("steps") == steps


def test_quality_stays_within_what_the_model_can_do() -> None:
    steps = CATALOG["flux-2-dev"].parameters["steps"]
    asked = generation(prompt="a", model="flux-2-dev", quality="max").params["steps"]
    assert asked <= getattr(steps, "maximum")  # noqa: B009 - the type of a parameter is a union


@pytest.mark.parametrize(
    ("pictures", "mask", "model"),
    [
        (1, False, "flux-1-kontext-dev"),
        (2, False, "qwen-image-edit"),
        (3, False, "qwen-image-edit"),
        (4, False, "flux-2-dev"),
        (1, True, "flux-1-fill-dev"),
    ],
)
def test_the_editor_follows_from_what_came(pictures: int, mask: bool, model: str) -> None:
    asked = edit(prompt="a", images=[f"p{number}" for number in range(pictures)], mask="m" if mask else None)
    assert asked.model == model
    assert asked.idempotency_key == "k"


def test_pictures_get_the_names_that_the_model_has_for_them() -> None:
    assert edit(prompt="a", image="p").params == {"prompt": "a", "image": "p"}
    assert edit(prompt="a", image="p", model="flux-2-dev").params == {"prompt": "a", "images": ["p"]}
    assert edit(prompt="a", image=["p", {"image_url": "q"}]).params["images"] == ["p", "q"]
    masked = edit(prompt="a", image=b"p", mask=b"m").params
    assert (masked["image"], masked["mask"]) == (b"p", b"m")


def test_a_catalogue_without_the_usual_editors_has_others() -> None:
    other = Catalog([CATALOG["flux-2-klein-4b"], CATALOG["flux-1-schnell"]])
    body = openai.parse_body(openai.ImageEditBody, {"prompt": "a", "image": "p"}, form=False)
    assert openai.to_edit_request(body, other, form=False, idempotency_key=None).model == "flux-2-klein-4b"
    with pytest.raises(InvalidRequest) as refused:
        openai.to_edit_request(body, Catalog([CATALOG["flux-1-schnell"]]), form=False, idempotency_key=None)
    assert refused.value.code == "unsupported_image"


@pytest.mark.parametrize(
    ("fields", "encoding"),
    [
        ({}, None),
        ({"output_format": "png"}, ImageEncoding("image/png")),
        ({"output_format": "jpeg"}, ImageEncoding("image/jpeg", 100)),
        ({"output_format": "webp", "output_compression": 40}, ImageEncoding("image/webp", 40)),
        ({"output_format": "jpeg", "output_compression": 0}, ImageEncoding("image/jpeg", 1)),
    ],
)
def test_formats_become_encodings(fields: dict[str, Any], encoding: ImageEncoding | None) -> None:
    assert openai.parse_body(openai.ImageRequestBody, fields, form=False).encoding == encoding


def test_a_background_goes_to_a_model_that_knows_of_it() -> None:
    able = Catalog.load(ROOT / "tests" / "workflows")
    fields = {"prompt": "a", "model": "test-transparent", "background": "transparent"}
    body = openai.parse_body(ImageGenerationBody, fields, form=False)
    asked = to_request(body, able, form=False, idempotency_key=None)
    assert asked.params == {"prompt": "a", "background": "transparent"}
    with pytest.raises(InvalidRequest) as refused:
        generation(prompt="a", background="transparent")
    assert (refused.value.code, refused.value.param) == ("unsupported_background", "background")


def test_json_is_taken_at_its_word() -> None:
    with pytest.raises(InvalidRequest, match="`n`"):
        generation(prompt="a", n="1")
    with pytest.raises(InvalidRequest, match="`stream`"):
        generation(prompt="a", stream="true")


@pytest.mark.parametrize(
    ("seconds", "frames"), [("4", 64), (5, 80), ("2.5", 40), (0.5, 8), ("10", 160), ("0005", 80)]
)
def test_seconds_are_frames_at_the_models_rate(seconds: str | float, frames: int) -> None:
    assert video(prompt="a", seconds=seconds).params["num_frames"] == frames


@pytest.mark.parametrize("seconds", ["", "four", "-1", "0", "17", "1e3", "9" * 5, "٤", "nan", " 4"])
def test_seconds_that_are_none(seconds: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        video(prompt="a", seconds=seconds)
    assert (refused.value.code, refused.value.param) == ("invalid_seconds", "seconds")


def test_seconds_are_counted_at_the_rate_that_is_asked_for() -> None:
    assert video(prompt="a", seconds="4", fps=24).params["num_frames"] == 96


@pytest.mark.parametrize("size", ["720x1280", "1280x720"])
@pytest.mark.parametrize(
    ("seconds", "picture", "model"),
    [
        ("4", None, "wan2.2-t2v-14b"),
        ("8", None, "wan2.2-t2v-14b"),
        ("12", None, "ltx2-t2v"),
        ("4", "p", "wan2.2-i2v-14b"),
        ("8", "p", "wan2.2-i2v-14b"),
    ],
)
def test_what_openais_own_clients_ask_for_is_made(
    size: str, seconds: str, picture: str | None, model: str
) -> None:
    assert video(prompt="a", size=size, seconds=seconds, input_reference=picture).model == model


def test_frames_count_more_than_seconds() -> None:
    assert video(form=True, prompt="a", seconds="4", num_frames="17").params["num_frames"] == 17


def test_who_makes_a_film_follows_from_what_came() -> None:
    assert video(prompt="a").model == "wan2.1-t2v-fast"
    assert video(prompt="a", input_reference="p").model == "wan2.1-i2v-480p"
    either = video(prompt="a", input_reference="p", model="wan2.2-5b")
    assert (either.model, either.params["image"]) == ("wan2.2-5b", "p")
    only = Catalog([CATALOG["ltx2-t2v"]])
    body = openai.parse_body(openai_videos.VideoCreateBody, {"prompt": "a"}, form=False)
    assert openai_videos.to_request(body, only, form=False, idempotency_key=None).model == "ltx2-t2v"


@pytest.mark.parametrize(("wanted", "shown"), [(0, []), (1, [10]), (2, [7, 14]), (3, [5, 10, 15])])
def test_partial_pictures_lie_evenly_over_the_run(wanted: int, shown: list[int]) -> None:
    partials, taken = PartialImageSchedule(wanted), []
    for step in range(1, 21):
        partials.set_progress(0, step / 20)
        if partials.take_next_index(0) is not None:
            taken.append(step)
    assert taken == shown


def test_partial_pictures_are_counted_by_shard() -> None:
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
