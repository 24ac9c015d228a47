"""The list in the error for an unknown field names what a request to the model may have, in every dialect."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.catalog import Model
from orchestrator.errors import InvalidRequest
from orchestrator.web.dialects.openai import videos
from orchestrator.web.dialects.openai.image_bodies import ImageGenerationBody
from orchestrator.web.dialects.parameter_names import SYNONYMS, WITHOUT_EFFECT
from orchestrator.web.dialects.pixazo import translation as pixazo
from orchestrator.web.dialects.pixazo.endpoints import PIXAZO_ENDPOINTS, PixazoEndpoint
from orchestrator.web.dialects.pixel_factory import translation as pixel_factory
from orchestrator.web.dialects.pixelapi import translation as pixelapi
from orchestrator.web.dialects.pixeldojo import translation as pixeldojo
from orchestrator.web.dialects.request_body import parse_body
from scripts.fuzz.parameters import PICTURES, VALUES
from tests.support.shipped import SHIPPED_CATALOG as CATALOG

Send = Callable[[Model, dict[str, Any]], object]
LIST = "Its parameters are: "
#: Where an example that is valid for most models has another name or type.
EXAMPLES = {name: values[0] for name, values in VALUES.items()} | {
    "image_url": PICTURES[0],
    "reference_images": [PICTURES[0]],
    "guidance_scale": 2.0,
    "output_format": "png",
}
#: Fields of results, which models take with any value.
DIALECT_FIELDS = {
    *("webhook_url", "response_format", "quality", "background", "stream", "partial_images"),
    *("output_format", "output_compression"),
}


def generation(model: Model, fields: dict[str, Any]) -> object:
    body = parse_body(ImageGenerationBody, {"model": model.id, **fields}, parameters=model.parameters)
    return pixel_factory.to_request(body, CATALOG, form=False, idempotency_key=None)


def video(model: Model, fields: dict[str, Any]) -> object:
    body = parse_body(videos.VideoCreateBody, {"model": model.id, **fields}, parameters=model.parameters)
    return videos.to_request(body, CATALOG, form=False, idempotency_key=None)


def run(model: Model, fields: dict[str, Any]) -> object:
    body = parse_body(pixeldojo.RunBody, fields, parameters=model.parameters)
    return pixeldojo.to_request(model.id, body, CATALOG, idempotency_key=None)


def pixelapi_generation(model: Model, fields: dict[str, Any]) -> object:
    given = {"model": model.id, **fields}
    body = parse_body(pixelapi.PixelApiGenerateBody, given, parameters=model.parameters)
    try:
        return pixelapi.to_request(body, CATALOG, idempotency_key=None)
    except InvalidRequest as error:
        raise body.use_document_names(error, CATALOG) from error


#: Names that a dialect lists under another one: `guidance_scale`, `seconds`.
OTHER_NAMES: dict[Send, set[str]] = {pixelapi_generation: {"cfg_scale"}, video: {"duration"}}


def refusal(send: Send, model: Model, **fields: Any) -> InvalidRequest | None:
    try:
        send(model, fields)
    except InvalidRequest as error:
        return error
    return None


def is_taken(send: Send, model: Model, name: str) -> bool:
    """Whether the field sets something, with a right or a wrong value."""
    error = refusal(send, model, **{name: EXAMPLES.get(name, 1)})
    if error is None or error.param != name:
        return error is None
    return not error.code.startswith(("unknown_", "unsupported_", "too_many_images", "conflicting"))


def listed(send: Send, model: Model) -> list[str]:
    error = refusal(send, model, hocus=1)
    assert error is not None
    assert error.code == "unknown_parameter", error.message
    _, separator, names = error.message.partition(LIST)
    assert separator, error.message
    assert not names.endswith("..."), names
    return names.split(", ")


@pytest.mark.parametrize("send", [generation, video, run, pixelapi_generation])
def test_lists_exactly_what_is_taken(send: Send) -> None:
    wrong = []
    for model in CATALOG:
        if send is video and not model.makes_video:
            continue
        names = listed(send, model)
        refused = [name for name in names if not is_taken(send, model, name)]
        others = EXAMPLES.keys() - {*names, *SYNONYMS, *WITHOUT_EFFECT, "negative_prompt", *DIALECT_FIELDS}
        others -= OTHER_NAMES.get(send, set())
        missing = [name for name in sorted(others) if is_taken(send, model, name)]
        if refused or missing or len(names) != len(set(names)):
            wrong.append(f"{model.id}: refused {refused}, missing {missing}, listed {names}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("send", [generation, run, pixelapi_generation])
@pytest.mark.parametrize("name", ["image", "image_url", "init_image", "images", "input_images"])
def test_every_name_of_an_image_is_that_of_the_model(send: Send, name: str) -> None:
    models = [model for model in CATALOG if {"image", "images"} & model.parameters.keys()]
    assert len(models) > 15
    for model in models:
        given = ["QUJD"] if name.endswith("images") else "QUJD"
        request: Any = send(model, {name: given, **({"mask": "QUJD"} if "mask" in model.parameters else {})})
        made = {key: request.params.get(key) for key in ("image", "images")}
        expected = {"image": "QUJD"} if "image" in model.parameters else {"images": ["QUJD"]}
        assert {key: value for key, value in made.items() if value} == expected, model.id


@pytest.mark.parametrize("send", [generation, run, pixelapi_generation])
@pytest.mark.parametrize(
    "fields",
    [
        {"size": "768x512"},
        {"image_size": "768x512"},
        {"resolution": "768x512"},
        {"size": {"width": 768, "height": 512}},
    ],
)
def test_every_name_of_a_size_sets_width_and_height(send: Send, fields: dict[str, Any]) -> None:
    models = [model for model in CATALOG if model.output_sizes]
    assert len(models) > 30
    for model in models:
        request: Any = send(model, fields)
        assert (request.params["width"], request.params["height"]) == (768, 512), model.id


@pytest.mark.parametrize("send", [generation, video, run, pixelapi_generation])
def test_names_of_loras_set_them_on_every_model_that_takes_any(send: Send) -> None:
    models = [model for model in CATALOG if "loras" in model.parameters]
    assert len(models) > 5
    for model in models:
        if send is video and not model.makes_video:
            continue
        request: Any = send(model, {"lora_weights": ["ink", "clay"], "lora_scale": 0.5})
        expected = [{"name": name, "strength": 0.5} for name in ("ink", "clay")]
        assert request.params["loras"] == expected, model.id
    error = refusal(send, CATALOG["wan2.1-t2v-fast" if send is video else "flux-1-schnell"], lora_weights="a")
    assert error is None or error.code == "unsupported_lora"


def submit(endpoint: PixazoEndpoint, **fields: Any) -> Any:
    model = endpoint.resolve_model(CATALOG)
    body = endpoint.body.parse({"prompt": "a", **fields}, model.parameters)
    return pixazo.to_request(endpoint, body, model, header_webhook_url=None, idempotency_key=None)


def test_pixazo_lists_and_takes_the_names_of_other_apis() -> None:
    (text,) = [one for one in PIXAZO_ENDPOINTS if one.path == "/flux-dev/v1/dev/textToImage"]
    made = submit(text, lora_weights="ink", lora_scale=0.5)
    assert made.params["loras"] == [{"name": "ink", "strength": 0.5}]
    (several,) = [one for one in PIXAZO_ENDPOINTS if one.path == "/generateT2I"]
    picture = f"data:image/png;base64,{PICTURES[0]}"
    assert submit(several, image_url=picture).params["images"] == [picture]
    with pytest.raises(InvalidRequest) as refused:
        submit(several, hocus=1)
    names = refused.value.message.partition(LIST)[2].split(", ")
    assert {"image", "images", "size", "aspect_ratio", "resolution", "prompt"} <= {*names}
