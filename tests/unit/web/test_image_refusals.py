"""Refusals of input images and masks name the field that was sent, and models that take them."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.catalog import Catalog
from orchestrator.catalog.tasks import TaskModels
from orchestrator.errors import InvalidRequest
from orchestrator.web.dialects.a1111 import translation as a1111
from orchestrator.web.dialects.a1111.schemas import ImageToImageBody
from orchestrator.web.dialects.fal import translation as fal
from orchestrator.web.dialects.huggingface import translation as huggingface
from orchestrator.web.dialects.input_image_models import (
    max_input_images,
    refusals_name_models,
)
from orchestrator.web.dialects.openai import images, videos
from orchestrator.web.dialects.openai.image_bodies import ImageEditBody, ImageGenerationBody
from orchestrator.web.dialects.parameter_names import SYNONYMS
from orchestrator.web.dialects.pixel_factory import translation as pixel_factory
from orchestrator.web.dialects.pixelapi import translation as pixelapi
from orchestrator.web.dialects.pixeldojo import translation as pixeldojo
from orchestrator.web.dialects.replicate import translation as replicate
from orchestrator.web.dialects.replicate.schemas import ModelPredictionBody
from orchestrator.web.dialects.request_body import parse_body
from tests.support.images import base64_png
from tests.support.shipped import SHIPPED_CATALOG

CATALOG = SHIPPED_CATALOG.with_stand_ins({"painter": TaskModels(generate="flux-1-schnell")})
PICTURE = base64_png(64, 64)
#: Names of fields for one image and for several, in every dialect with open parameters.
IMAGE_NAMES = sorted(
    {name for name, ours in SYNONYMS.items() if ours in ("image", "images")} | {"image", "images"}
)


def ask(dialect: str, model: str, fields: dict[str, Any]) -> object:
    """Translate a request of a dialect."""
    match dialect:
        case "generations":
            body = parse_body(ImageGenerationBody, {"model": model, "prompt": "a", **fields})
            return pixel_factory.to_request(body, CATALOG, form=False, idempotency_key=None)
        case "videos":
            film = parse_body(videos.VideoCreateBody, {"model": model, "prompt": "a", **fields})
            return videos.to_request(film, CATALOG, form=False, idempotency_key=None)
        case "pixelapi":
            asked = parse_body(pixelapi.PixelApiGenerateBody, {"model": model, "prompt": "a", **fields})
            return pixelapi.to_request(asked, CATALOG, idempotency_key=None)
        case "pixeldojo":
            run = parse_body(pixeldojo.RunBody, {"prompt": "a", **fields})
            return pixeldojo.to_request(model, run, CATALOG, idempotency_key=None)
        case "fal":
            return fal.to_request("fal-ai/x", model, {"prompt": "a", **fields}, CATALOG, idempotency_key=None)
        case "replicate":
            prediction = ModelPredictionBody(input={"prompt": "a", **fields})
            target = replicate.RunTarget(name=model, shown=f"a/{model}")
            return replicate.to_request(target, prediction, CATALOG, idempotency_key=None, cancel_after=None)
    sent = huggingface.TextToImageRequest(inputs=PICTURE, parameters={"prompt": "a", **fields})
    return huggingface.to_request(sent, CATALOG, f"pixel-factory/{model}", "", idempotency_key=None)


def refuse(dialect: str, model: str, **fields: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        ask(dialect, model, fields)
    return caught.value


def named_models(error: InvalidRequest) -> list[str]:
    """The models that a refusal names."""
    return error.message.partition("use one of: ")[2].removesuffix(", ...").split(", ")


def check_advice(dialect: str, model: str, fields: dict[str, Any]) -> InvalidRequest:
    """The refusal of a request, all of whose models take the same request."""
    error = refuse(dialect, model, **fields)
    models = named_models(error)
    assert models[0] in CATALOG
    for other in models:
        ask(dialect, other, fields)
    return error


OPEN_DIALECTS = ["generations", "pixelapi", "pixeldojo", "fal", "replicate"]


@pytest.mark.parametrize("dialect", OPEN_DIALECTS)
@pytest.mark.parametrize("name", IMAGE_NAMES)
def test_names_the_field_and_models_that_take_images(dialect: str, name: str) -> None:
    is_list = SYNONYMS.get(name, name) == "images"
    error = check_advice(dialect, "flux-1-schnell", {name: [PICTURE] if is_list else PICTURE})
    head = f"Model flux-1-schnell does not accept input images; omit `{name}`, or use one of: "
    assert error.message.startswith(f"{head}flux-1-kontext-dev, qwen-image-edit, flux-2-dev, ")
    assert error.param == name
    assert not any("mask" in CATALOG[model].parameters for model in named_models(error))


@pytest.mark.parametrize("dialect", OPEN_DIALECTS)
@pytest.mark.parametrize("name", ["mask", "mask_url", "mask_image"])
def test_names_models_that_take_masks(dialect: str, name: str) -> None:
    error = refuse(dialect, "flux-1-schnell", **{name: PICTURE})
    assert error.message == (
        f"Model flux-1-schnell does not accept a mask; omit `{name}`, or use one of: flux-1-fill-dev,"
        " qwen-image-edit-inpaint"
    )
    assert error.param == name


@pytest.mark.parametrize("dialect", OPEN_DIALECTS)
@pytest.mark.parametrize("model", ["flux-1-schnell", "flux-1-kontext-dev"])
def test_names_models_that_take_image_and_mask(dialect: str, model: str) -> None:
    error = check_advice(dialect, model, {"image": PICTURE, "mask": PICTURE})
    assert named_models(error) == ["flux-1-fill-dev", "qwen-image-edit-inpaint"]


def test_names_models_that_take_several_images_and_a_mask() -> None:
    fields = {"images": [PICTURE] * 2, "mask": PICTURE}
    error = refuse("generations", "flux-1-kontext-dev", **fields)
    takes_both = [
        model.id for model in CATALOG if "mask" in model.parameters and max_input_images(model) >= 2
    ]
    assert takes_both == (named_models(error) if takes_both else [])


def test_edits_name_models_that_take_as_many_images() -> None:
    body = parse_body(ImageEditBody, {"model": "flux-1-kontext-dev", "prompt": "a", "image": [PICTURE] * 2})
    with pytest.raises(InvalidRequest) as caught:
        images.to_edit_request(body, CATALOG, form=False, idempotency_key=None)
    models = named_models(caught.value)
    assert models[0] == "qwen-image-edit"
    assert all(max_input_images(CATALOG[model]) >= 2 for model in models)


@pytest.mark.parametrize(
    ("dialect", "name"), [("videos", "input_reference"), ("pixeldojo", "image_url"), ("fal", "image_url")]
)
def test_names_models_that_make_videos_of_images(dialect: str, name: str) -> None:
    error = check_advice(dialect, "cogvideox-2b", {name: PICTURE})
    assert error.message.startswith(f"Model cogvideox-2b does not accept input images; omit `{name}`, or")
    models = [CATALOG[id] for id in named_models(error)]
    assert models
    assert all(model.makes_video and max_input_images(model) for model in models)


@pytest.mark.parametrize(
    ("fields", "models"),
    [({}, "wan2.1-t2v-fast, wan2.2-t2v-14b, "), ({"input_reference": PICTURE}, "wan2.1-i2v-480p, ")],
)
def test_names_models_that_make_videos(fields: dict[str, Any], models: str) -> None:
    error = refuse("videos", "flux-1-schnell", **fields)
    assert error.message.startswith(f"Model flux-1-schnell does not make videos; use one of: {models}")


def test_names_models_that_take_as_many_images() -> None:
    error = refuse("generations", "flux-1-kontext-dev", images=[PICTURE] * 3)
    head, _, named = error.message.partition("; use one of: ")
    assert head == "`images`: Model flux-1-kontext-dev accepts at most 1 input image(s) (got 3)"
    assert all(max_input_images(CATALOG[id]) >= 3 for id in named.removesuffix(", ...").split(", "))
    assert "use one of" not in refuse("generations", "flux-1-kontext-dev", images=[PICTURE] * 99).message


def test_hugging_face_names_them_where_the_input_is_the_image() -> None:
    error = refuse("huggingface", "flux-1-schnell")
    assert "send the text as `inputs`, or use one of: flux-1-kontext-dev, " in error.message
    assert all(CATALOG[id].makes_video for id in named_models(refuse("huggingface", "cogvideox-2b")))


def test_automatic1111_names_its_own_field() -> None:
    body = ImageToImageBody.model_validate({"prompt": "a", "init_images": [PICTURE, PICTURE]})
    files = {"image": PICTURE, "images": [PICTURE]}
    with pytest.raises(InvalidRequest, match="`init_images`: Model flux-1-kontext-dev accepts") as caught:
        a1111.to_request(body, CATALOG, "flux-1-kontext-dev", files, idempotency_key=None)
    assert caught.value.param == "init_images"


def test_keeps_the_name_that_was_asked_for() -> None:
    assert refuse("generations", "painter", image=PICTURE).message.startswith("Model painter does not")
    assert refuse("pixeldojo", "painter", image_url=PICTURE).message.startswith("Model painter does not")


def test_omits_what_no_model_takes() -> None:
    alone = Catalog([SHIPPED_CATALOG["flux-1-schnell"]])
    with (
        pytest.raises(InvalidRequest) as caught,
        refusals_name_models(alone["flux-1-schnell"], alone),
    ):
        raise InvalidRequest("no", code="too_many_images", param="image")
    assert caught.value.message == "Model flux-1-schnell does not accept input images; omit `image`"


@pytest.mark.parametrize(("code", "param"), [("invalid_image", "image"), ("unknown_parameter", "stpes")])
def test_leaves_other_errors_as_they_are(code: str, param: str) -> None:
    with (
        pytest.raises(InvalidRequest) as caught,
        refusals_name_models(CATALOG["flux-1-schnell"], CATALOG),
    ):
        raise InvalidRequest("no", code=code, param=param)
    assert caught.value.message == "no"
