"""Every field of Pixazo's endpoints changes the result, warns that it does not, or is refused.

The tests walk over all endpoints and fields, and compare the graphs that instances would get.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from orchestrator.catalog import Model
from orchestrator.catalog.tasks import TaskModels
from orchestrator.errors import InvalidRequest
from orchestrator.intake.field_names import errors_name_fields
from orchestrator.intake.request_preparer import GenerationRequest
from orchestrator.web.dialects.dimensions import NAMED_SIZES
from orchestrator.web.dialects.pixazo import translation as pixazo
from orchestrator.web.dialects.pixazo.endpoints import PIXAZO_ENDPOINTS, PixazoEndpoint, ResponseMode
from orchestrator.web.dialects.pixazo.errors import to_error_response
from orchestrator.web.dialects.pixazo.prompt_cleanup import REPLACEMENTS, clean_prompt
from orchestrator.web.dialects.pixazo.request_bodies import FluxKontextRestoreBody
from tests.support.images import base64_png
from tests.support.pixazo_gateway import (
    BATCH,
    CATALOG,
    DEV,
    EDIT,
    FILL,
    KLEIN,
    OTHER_URL,
    PRO,
    PRO_EDIT,
    PRO_TEXT,
    RESTORE,
    SCHNELL,
    TEXT,
    TRAINER,
    ULTRA,
    URL,
)

HOOK = "https://hooks.example.com/done"

#: Names of the fields with an input file.
FILE_FIELDS = ("image_urls", "image_data_url", "input_image", "image_url", "image", "mask")


def endpoint_name(endpoint: object) -> str:
    return endpoint.path if isinstance(endpoint, PixazoEndpoint) else ""


def schema_of(endpoint: PixazoEndpoint) -> dict[str, Any]:
    return _schema_of_body(endpoint.body)


@cache
def _schema_of_body(body: type[BaseModel]) -> dict[str, Any]:
    return body.model_json_schema()


def smallest_body(endpoint: PixazoEndpoint) -> dict[str, Any]:
    """Return the required fields."""
    values: dict[str, Any] = {"prompt": "a fox", "image_urls": [URL]} | dict.fromkeys(
        ("image_data_url", "input_image", "image_url", "image", "mask"), URL
    )
    return {name: values[name] for name in schema_of(endpoint)["required"]}


def asked(
    endpoint: PixazoEndpoint, fields: Mapping[str, Any], header: str | None = None
) -> GenerationRequest:
    """Return the request; errors name the fields as the gateway's responses do."""
    model = endpoint.resolve_model(CATALOG)
    body = endpoint.body.parse(fields, model.parameters)
    try:
        request = pixazo.to_request(endpoint, body, model, header_webhook_url=header, idempotency_key=None)
        with errors_name_fields(request.field_names, request.computed_from):
            model.validate_params(request.params)
    except InvalidRequest as error:
        raise body.translate_error(error) from error
    return request


@pytest.mark.parametrize("endpoint", PIXAZO_ENDPOINTS, ids=endpoint_name)
@pytest.mark.parametrize(
    ("name", "value"),
    [("width", "a"), ("height", "a"), ("width", 0.5), ("height", 10**6), ("size", "a"),
     ("size", "9999999x64"), ("aspect_ratio", "a"), ("resolution", "a")],
)  # fmt: skip
def test_a_bad_size_is_named_as_it_was_sent(endpoint: PixazoEndpoint, name: str, value: Any) -> None:
    with pytest.raises(InvalidRequest) as refused:
        asked(endpoint, smallest_body(endpoint) | {name: value})
    assert refused.value.param == name
    assert name in refused.value.message


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"size": "999x64"}, "image_size makes width 512, and size asks for 999; send one of them"),
        ({"width": 999}, "width is 999, and image_size asks for 512; send one of them"),
    ],
)
def test_two_sizes_are_both_named_as_they_were_sent(fields: dict[str, Any], said: str) -> None:
    assert refusal(DEV, {"prompt": "a fox", "image_size": "square", **fields}) == said


def outcome(endpoint: PixazoEndpoint, request: GenerationRequest, waits: bool) -> dict[str, Any]:
    """Return all that a request decides: the graph, and what is done with its result."""
    model: Model = endpoint.resolve_model(CATALOG)
    params = model.validate_params(request.params)
    return {
        "graph": model.render_graph(params | {"seed": params.get("seed") or 0}, filename_prefix="f"),
        "n": params["n"],
        "encoding": request.encoding,
        "follow_image": request.follow_image,
        "webhook": (request.webhook_url, request.webhook_statuses),
        "waits": waits,
    }


def outcome_of(endpoint: PixazoEndpoint, fields: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    request = asked(endpoint, fields)
    waits = endpoint.body.parse(fields).waits_for_result
    return outcome(endpoint, request, waits), request.warnings


def refusal(endpoint: PixazoEndpoint, fields: Mapping[str, Any]) -> str:
    with pytest.raises(InvalidRequest) as refused:
        asked(endpoint, fields)
    status, body = to_error_response(refused.value)
    assert status == 400
    return body.error


def refusal_or_outcome(
    endpoint: PixazoEndpoint, fields: Mapping[str, Any]
) -> str | tuple[dict[str, Any], tuple[str, ...]]:
    try:
        return outcome_of(endpoint, fields)
    except InvalidRequest as error:
        return to_error_response(error)[1].error


def allows(endpoint: PixazoEndpoint, name: str, value: Any) -> bool:
    """Whether the endpoint has the field, and its schema allows the value."""
    schema = schema_of(endpoint)["properties"].get(name)
    return schema is not None and (not isinstance(value, str) or f"'{value}'" in str(schema))


def values_of(name: str, schema: Mapping[str, Any]) -> Iterator[Any]:
    """Yield values of a field that differ from its default."""
    default = schema.get("default")
    spec = next((each for each in schema.get("anyOf", ()) if each.get("type") != "null"), schema)
    if name == "prompt":
        yield "a hare"
    elif name in ("webhook", "webhook_url"):
        yield HOOK
    elif name == "image_urls":
        yield from ([OTHER_URL], [URL, OTHER_URL])
    elif name in FILE_FIELDS:
        yield OTHER_URL
    elif name == "image_size" and "enum" not in spec:
        yield from ("512x768", "1024x1024")
    elif "enum" in spec:
        yield from (value for value in spec["enum"] if value != default)
    elif spec["type"] == "boolean":
        yield from (value for value in (True, False) if value != default)
    elif spec["type"] == "array":
        yield from (["completed"], ["failed"])
    elif name in ("width", "height"):
        yield from (512, 2048)
    elif name == "learning_rate":
        yield from (0.00003, 0.001)
    elif spec["type"] == "integer":
        yield from (value for value in (2, spec.get("maximum", 4)) if value != default)
    else:
        yield from (value for value in (0.5, spec.get("maximum", 0.7)) if value != default)


#: Values that ask for what happens anyway.
NEUTRAL: list[tuple[str, Any]] = [
    ("enable_safety_checker", True),
    ("disable_safety_checker", False),
    ("acceleration", "none"),
    ("lora_scale", 1.0),
    ("enhance_prompt", False),
    ("raw", False),
    ("sync_mode", False),
    ("image_size", "square_hd"),
    ("image_size", "square_1_1"),
    ("aspect_ratio", "1:1"),
]
FIELDS = [
    pytest.param(endpoint, name, value, id=f"{endpoint.path}-{name}-{str(value)[:40]}")
    for endpoint in PIXAZO_ENDPOINTS
    for name, schema in endpoint.body.model_json_schema()["properties"].items()
    for value in values_of(name, schema)
]


@pytest.mark.exhaustive
@pytest.mark.parametrize(("endpoint", "name", "value"), FIELDS)
def test_every_field_has_an_effect_or_a_warning_or_is_refused(
    endpoint: PixazoEndpoint, name: str, value: Any
) -> None:
    plain = smallest_body(endpoint)
    before, _ = outcome_of(endpoint, plain)
    fields = plain | {name: value}
    if (name, value) == ("enhance_prompt", True):
        assert refusal(endpoint, fields).startswith("enhance_prompt must be false")
        return
    after, warnings = outcome_of(endpoint, fields)
    asks_for_nothing = (name, value) in NEUTRAL
    assert after != before or asks_for_nothing or any(f"`{name}`" in warning for warning in warnings), (
        warnings
    )


@pytest.mark.parametrize(
    ("endpoint", "fields"),
    [
        (endpoint, {name: value})
        for endpoint in PIXAZO_ENDPOINTS
        for name, value in NEUTRAL
        if allows(endpoint, name, value)
    ],
)
def test_a_value_that_asks_for_nothing_gives_no_warning(
    endpoint: PixazoEndpoint, fields: dict[str, Any]
) -> None:
    plain = smallest_body(endpoint)
    assert outcome_of(endpoint, plain | fields) == outcome_of(endpoint, plain)
    assert outcome_of(endpoint, plain | fields)[1] == ()


#: Names that other APIs give to the document's fields, by path and document's name.
OTHER_NAMES: list[tuple[PixazoEndpoint, str, str, Any]] = [
    (DEV, "num_inference_steps", "steps", 9),
    (DEV, "num_inference_steps", "numInferenceSteps", 9),
    (DEV, "guidance_scale", "guidance", 7.5),
    (DEV, "guidance_scale", "cfg_scale", 7.5),
    (DEV, "num_images", "n", 2),
    (DEV, "num_images", "num_outputs", 2),
    (DEV, "webhook", "webhook_url", HOOK),
    (DEV, "image_size", "imageSize", "square"),
    (EDIT, "strength", "prompt_strength", 0.3),
    (EDIT, "image_url", "image", OTHER_URL),
    (EDIT, "image_url", "input_image", OTHER_URL),
    (PRO_EDIT, "image_urls", "images", [OTHER_URL]),
    (PRO_EDIT, "image_urls", "reference_images", [OTHER_URL]),
    (RESTORE, "input_image", "image_url", OTHER_URL),
    (FILL, "image", "image_url", OTHER_URL),
    (FILL, "mask", "mask_url", OTHER_URL),
    (FILL, "guidance", "guidance_scale", 12.0),
    (FILL, "num_outputs", "num_images", 2),
    (KLEIN, "steps", "num_inference_steps", 9),
    (TEXT, "steps", "num_steps", 9),
    (SCHNELL, "num_steps", "steps", 2),
    (BATCH, "webhook_url", "webhook", HOOK),
    (TRAINER, "image_data_url", "dataset", OTHER_URL),
]


@pytest.mark.parametrize(("endpoint", "documented", "other", "value"), OTHER_NAMES, ids=endpoint_name)
def test_other_names_set_the_documented_fields(
    endpoint: PixazoEndpoint, documented: str, other: str, value: Any
) -> None:
    plain = {name: given for name, given in smallest_body(endpoint).items() if name != documented}
    assert outcome_of(endpoint, plain | {other: value}) == outcome_of(endpoint, plain | {documented: value})
    assert refusal(endpoint, plain | {other: {}}).startswith(other) or "webhook" in other.lower()


def test_two_names_of_a_field_must_agree() -> None:
    plain = smallest_body(DEV)
    asked(DEV, plain | {"steps": 9, "num_inference_steps": 9})
    assert "set the same parameter to different values" in refusal(
        DEV, plain | {"steps": 9, "num_inference_steps": 8}
    )
    assert "send one of them" in refusal(DEV, plain | {"image_size": "square", "width": 640, "height": 640})


#: Parameters of the model beyond the document.
FURTHER: list[tuple[PixazoEndpoint, dict[str, Any], str]] = [
    (TEXT, {"seed": 7}, "seed"),
    (DEV, {"seed": 7}, "seed"),
    (TEXT, {"guidance_scale": 2.5}, "cfg_scale"),
    (KLEIN, {"seed": 7}, "seed"),
    (TEXT, {"size": "640x512"}, "width"),
    (TEXT, {"aspect_ratio": "16:9"}, "width"),
    (PRO_TEXT, {"seed": 7}, "seed"),
    (TEXT, {"images": [URL]}, "images"),
    (RESTORE, {"prompt": "Remove the stain"}, "prompt"),
    (SCHNELL, {"cfg_scale": 2.0, "negative_prompt": "blur"}, "negative_prompt"),
    (SCHNELL, {"cfgScale": 2.0, "negativePrompt": "blur"}, "negative_prompt"),
    (DEV, {"negative_prompt": "blur", "true_cfg_scale": 3.0}, "true_cfg_scale"),
    (TEXT, {"aspectRatio": "16:9"}, "width"),
]


@pytest.mark.parametrize(("endpoint", "fields", "param"), FURTHER, ids=endpoint_name)
def test_accepts_further_parameters_of_the_model(
    endpoint: PixazoEndpoint, fields: dict[str, Any], param: str
) -> None:
    plain = smallest_body(endpoint)
    assert param in asked(endpoint, plain | fields).params
    assert outcome_of(endpoint, plain | fields)[0] != outcome_of(endpoint, plain)[0]


def test_inpainting_takes_one_size() -> None:
    plain = smallest_body(FILL)
    sized = asked(FILL, plain | {"size": "640x512"}).params
    assert (sized["width"], sized["height"], sized.get("megapixels")) == (640, 512, None)
    assert asked(FILL, plain).params["megapixels"] == 1.0
    assert "send one of them" in refusal(FILL, plain | {"size": "640x512", "megapixels": "0.25"})


@pytest.mark.parametrize("endpoint", PIXAZO_ENDPOINTS, ids=endpoint_name)
@pytest.mark.parametrize("name", ["stpes", "foo", "promt", "x" * 500, "Größe"])
def test_refuses_unknown_fields_and_lists_the_known_ones(endpoint: PixazoEndpoint, name: str) -> None:
    message = refusal(endpoint, smallest_body(endpoint) | {name: 1})
    assert message.startswith(f"{name[:60]} is not a parameter of this endpoint")
    assert set(schema_of(endpoint)["properties"]) <= set(message.partition("parameters are: ")[2].split(", "))
    assert schema_of(endpoint)["additionalProperties"] is False


@pytest.mark.parametrize(
    ("endpoint", "name", "nearest"),
    [(TEXT, "stpes", "steps"), (DEV, "num_image", "num_images"), (EDIT, "strenght", "strength")],
)
def test_names_the_nearest_field(endpoint: PixazoEndpoint, name: str, nearest: str) -> None:
    assert f"did you mean {nearest}?" in refusal(endpoint, smallest_body(endpoint) | {name: 1})


@pytest.mark.parametrize(
    ("endpoint", "fields"),
    [
        (DEV, {"mask": URL}),
        (SCHNELL, {"image_url": URL}),
        (SCHNELL, {"loras": [{"name": "a"}]}),
        (RESTORE, {"mask": URL}),
        (RESTORE, {"strength": 0.5}),
        (KLEIN, {"num_images": 2}),
        (TEXT, {"n": 2}),
        (SCHNELL, {"n": 2}),
        (BATCH, {"num_outputs": 2}),
        (FILL, {"size": "512"}),
        (TRAINER, {"prompt": "a fox"}),
        (TEXT, {"size": 512}),
        (TEXT, {"aspect_ratio": ["1:1"]}),
    ],
    ids=endpoint_name,
)
def test_refuses_what_the_model_has_not(endpoint: PixazoEndpoint, fields: dict[str, Any]) -> None:
    (name,) = fields
    assert name in refusal(endpoint, smallest_body(endpoint) | fields)


WRONG_VALUES: tuple[Any, ...] = (True, 1.5, "many", "", [], {}, ["x"], -1, 10**400)


@pytest.mark.parametrize("endpoint", PIXAZO_ENDPOINTS, ids=endpoint_name)
@pytest.mark.parametrize("value", WRONG_VALUES, ids=lambda value: repr(value)[:12])
def test_a_wrong_value_is_refused_in_the_phrases_of_the_document(
    endpoint: PixazoEndpoint, value: Any
) -> None:
    plain = smallest_body(endpoint)
    before, _ = outcome_of(endpoint, plain)
    for name in schema_of(endpoint)["properties"]:
        told = refusal_or_outcome(endpoint, plain | {name: value})
        if isinstance(told, str):
            assert told.startswith(name) or told == "Invalid webhook URL", told
        else:
            assert told[0] != before or told[1] or (name, value) in NEUTRAL, name


def test_null_is_not_given() -> None:
    for endpoint in PIXAZO_ENDPOINTS:
        plain = smallest_body(endpoint)
        nulls = dict.fromkeys(schema_of(endpoint)["properties"])
        assert outcome_of(endpoint, nulls | plain) == outcome_of(endpoint, plain)


#: Values that the document allows: it names no upper limit for them.
IN_RANGE: list[tuple[PixazoEndpoint, dict[str, Any], str]] = [
    (DEV, {"guidance_scale": 10.5}, "cfg_scale"),
    (DEV, {"guidance_scale": 50}, "cfg_scale"),
    (PRO, {"guidance_scale": 20}, "cfg_scale"),
    (EDIT, {"guidance_scale": 100}, "cfg_scale"),
    (DEV, {"num_inference_steps": 51}, "steps"),
    (PRO, {"num_inference_steps": 100}, "steps"),
    (EDIT, {"num_inference_steps": 60}, "steps"),
    (FILL, {"num_inference_steps": 99}, "steps"),
    (TEXT, {"steps": 100}, "steps"),
    (KLEIN, {"steps": 75}, "steps"),
    (BATCH, {"num_steps": 12}, "steps"),
    (EDIT, {"strength": 0.01}, "strength"),
    (EDIT, {"strength": 0.04}, "strength"),
    (TEXT, {"width": 128}, "width"),
    (TEXT, {"width": 16}, "width"),
    (SCHNELL, {"height": 64}, "height"),
    (PRO_EDIT, {"image_size": "64x128"}, "width"),
    (KLEIN, {"width": 1448}, "width"),
    (BATCH, {"width": 1920}, "width"),
]


@pytest.mark.parametrize(("endpoint", "fields", "param"), IN_RANGE, ids=endpoint_name)
def test_accepts_the_ranges_of_the_document(
    endpoint: PixazoEndpoint, fields: dict[str, Any], param: str
) -> None:
    (value,) = fields.values()
    request = asked(endpoint, smallest_body(endpoint) | fields)
    expected = int(str(value).partition("x")[0]) if param == "width" else value
    assert (request.params[param], request.warnings) == (expected, ())


@pytest.mark.parametrize(
    ("endpoint", "fields", "reason"),
    [
        (DEV, {"guidance_scale": 101}, "guidance_scale must be between 0 and 100"),
        (DEV, {"num_inference_steps": 151}, "num_inference_steps must be between 1 and 150"),
        (EDIT, {"strength": 0.001}, "strength must be between 0.01 and 1"),
        (EDIT, {"strength": 1.1}, "strength must be between 0.01 and 1"),
        (TEXT, {"width": 4096}, "width must be between 16 and 2048"),
        (DEV, {"num_images": 0}, "num_images must be a positive integer"),
    ],
)
def test_refuses_other_values_with_the_allowed_range(
    endpoint: PixazoEndpoint, fields: dict[str, Any], reason: str
) -> None:
    assert refusal(endpoint, smallest_body(endpoint) | fields).startswith(reason)


NAMED = [
    (endpoint, name)
    for endpoint in PIXAZO_ENDPOINTS
    for name in NAMED_SIZES
    if allows(endpoint, "image_size", name)
]


@pytest.mark.parametrize(("endpoint", "name"), NAMED, ids=lambda value: endpoint_name(value) or str(value))
def test_named_sizes_have_exactly_their_numbers_and_shape(endpoint: PixazoEndpoint, name: str) -> None:
    params = asked(endpoint, smallest_body(endpoint) | {"image_size": name}).params
    assert (params["width"], params["height"]) == NAMED_SIZES[name]
    shape, _, numbers = name.partition("_")
    if numbers.count("_"):
        short, long = sorted(map(int, numbers.split("_")))
        wide, high = (long, short) if shape == "landscape" else (short, long)
        assert params["width"] * high == params["height"] * wide


def zip_head() -> bytes:
    return b"PK\x03\x04" + bytes(60)


FILES = {
    "png": base64.b64decode(base64_png(16, 16)),
    "jpeg": b"\xff\xd8\xff\xe0" + bytes(60),
    "webp": b"RIFF\x24\x00\x00\x00WEBPVP8 " + bytes(40),
    "gif": b"GIF89a" + bytes(40),
    "zip": zip_head(),
}


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("form", ["plain", "urlsafe", "unpadded", "lines", "data"])
def test_every_file_field_takes_base64(kind: str, form: str) -> None:
    text = base64.b64encode(FILES[kind]).decode()
    text = {
        "plain": text,
        "urlsafe": base64.urlsafe_b64encode(FILES[kind]).decode(),
        "unpadded": text.rstrip("="),
        "lines": "\n".join(text[at : at + 76] for at in range(0, len(text), 76)) + "\n",
        "data": f"data:application/octet-stream;base64,{text}",
    }[form]
    for endpoint in PIXAZO_ENDPOINTS:
        for name in set(FILE_FIELDS) & set(schema_of(endpoint)["properties"]):
            given = [text] if name == "image_urls" else text
            params = asked(endpoint, smallest_body(endpoint) | {name: given}).params
            assert text.strip() in (*params.values(), *params.get("images", ()))


def test_a_url_may_be_in_base64_itself() -> None:
    encoded = base64.b64encode(OTHER_URL.encode()).decode()
    assert asked(TRAINER, {"image_data_url": encoded}).params["dataset"] == OTHER_URL
    assert asked(EDIT, {"prompt": "a", "image_url": encoded}).params["image"] == OTHER_URL


@pytest.mark.parametrize(
    ("endpoint", "fields", "message"),
    [
        (DEV, {"image_size": "wide"}, "landscape_16_9 (got 'wide')"),
        (DEV, {"num_images": 0}, "num_images must be a positive integer (got 0)"),
        (DEV, {"numberOfImages": True}, "numberOfImages must be a positive integer (got True)"),
        (DEV, {"output_format": "gif"}, "output_format must be one of: jpeg, png (got 'gif')"),
        (DEV, {"guidance_scale": "3"}, "guidance_scale must be a non-negative number (got '3')"),
        (TEXT, {"prompt": 7}, "prompt is required and must be a string (got 7)"),
    ],
)
def test_errors_of_fields_state_the_given_value(
    endpoint: PixazoEndpoint, fields: dict[str, Any], message: str
) -> None:
    assert refusal(endpoint, smallest_body(endpoint) | fields).endswith(message)


@pytest.mark.parametrize(
    "text", ["old.png", "dataset.zip", "hello", "aGVsbG8gd29ybGQ=", "http://", "file:///etc/passwd", " ", "x"]
)
def test_refuses_text_that_is_neither_url_nor_file(text: str) -> None:
    for endpoint in PIXAZO_ENDPOINTS:
        for name in set(FILE_FIELDS) & set(schema_of(endpoint)["properties"]):
            given = [text] if name == "image_urls" else text
            message = refusal(endpoint, smallest_body(endpoint) | {name: given})
            expected = "must be a non-empty array of URLs" if name == "image_urls" else "must be a valid URL"
            # The document gives the whole text of the restoring endpoint's error.
            value = "" if endpoint.body is FluxKontextRestoreBody else f" (got {text!r})"
            assert message == f"{name} {expected}{value}"


@given(st.text())
def test_any_text_for_a_file_is_accepted_or_refused(text: str) -> None:
    told = refusal_or_outcome(TRAINER, {"image_data_url": text})
    assert not isinstance(told, str) or told.startswith("image_data_url ")


def test_raw_lowers_the_guidance() -> None:
    natural = asked(ULTRA, {"prompt": "a", "raw": True})
    assert natural.params["cfg_scale"] < CATALOG["flux-2-dev"].default_cfg
    assert "send one of them" in refusal(ULTRA, {"prompt": "a", "raw": True, "guidance_scale": 9})


def test_enhance_prompt_is_refused_with_the_way_out() -> None:
    assert refusal(ULTRA, {"prompt": "a", "enhance_prompt": True}).startswith("enhance_prompt must be false")


def test_acceleration_beside_steps_gives_a_warning() -> None:
    request = asked(DEV, {"prompt": "a", "acceleration": "high", "num_inference_steps": 33})
    assert request.params["steps"] == 33
    assert request.warnings == ("`acceleration` has no effect: the request sets the number of steps",)


def test_further_images_of_an_edit_give_a_warning() -> None:
    assert asked(PRO_EDIT, {"prompt": "a", "image_urls": [URL]}).warnings == ()
    (warning,) = asked(PRO_EDIT, {"prompt": "a", "image_urls": [URL] * 8}).warnings
    assert "`image_urls`" in warning
    assert "7 more" in warning


def test_a_stand_in_may_have_a_model_per_task() -> None:
    names = TaskModels(generate="flux-2-dev", edit="flux-1-kontext-dev")
    catalog = CATALOG.with_stand_ins({PRO_EDIT.id: names, PRO_TEXT.id: names})
    assert PRO_EDIT.resolve_model(catalog).id == "flux-1-kontext-dev"
    assert PRO_TEXT.resolve_model(catalog).id == "flux-2-dev"
    request = pixazo.to_request(
        PRO_EDIT,
        PRO_EDIT.body.parse(smallest_body(PRO_EDIT)),
        PRO_EDIT.resolve_model(catalog),
        header_webhook_url=None,
        idempotency_key=None,
    )
    assert (request.model, request.served_by) == (PRO_EDIT.id, "flux-1-kontext-dev")


def test_the_stand_in_of_flux_2_pro_takes_eight_references() -> None:
    model = CATALOG["flux-2-dev"]
    params = model.validate_params({"prompt": "a", "images": [f"{number}.png" for number in range(8)]})
    graph = model.render_graph(params | {"seed": 1}, filename_prefix="f")
    assert sum(node["class_type"] == "LoadImage" for node in graph.values()) == 8


@pytest.mark.parametrize(
    ("fields", "header", "url", "warning"),
    [
        ({}, None, None, None),
        ({"webhook": HOOK}, None, HOOK, None),
        ({}, HOOK, HOOK, None),
        ({"webhook": HOOK}, HOOK, HOOK, None),
        ({"webhook": HOOK}, URL, HOOK, "the header `X-Webhook-URL` has no effect"),
        ({"webhook_events_filter": ["failed"]}, None, None, "`webhook_events_filter` has no effect"),
        ({"webhook_events_filter": ["failed"]}, HOOK, HOOK, None),
    ],
)
def test_chooses_the_webhook(
    fields: dict[str, Any], header: str | None, url: str | None, warning: str | None
) -> None:
    request = asked(DEV, {"prompt": "a", **fields}, header)
    assert request.webhook_url == url
    assert [text[: len(warning or "")] for text in request.warnings] == ([warning] if warning else [])


@pytest.mark.parametrize("mode", ResponseMode)
def test_the_webhook_header_works_for_every_kind_of_endpoint(mode: ResponseMode) -> None:
    endpoint = next(each for each in PIXAZO_ENDPOINTS if each.response_mode is mode)
    assert asked(endpoint, smallest_body(endpoint), HOOK).webhook_url == HOOK


def test_output_quality_of_a_png_gives_a_warning() -> None:
    plain = smallest_body(FILL)
    assert asked(FILL, plain | {"output_format": "png", "output_quality": 95}).warnings == (
        "`output_quality` has no effect: a png has no quality",
    )
    assert asked(FILL, plain | {"output_format": "png"}).warnings == ()


def test_the_lowest_quality_is_one() -> None:
    request = asked(FILL, smallest_body(FILL) | {"output_quality": 0})
    assert request.encoding is not None
    assert (request.encoding.quality, request.warnings) == (1, ("`output_quality` is 1, the lowest quality",))
    assert asked(FILL, smallest_body(FILL) | {"output_quality": 1}).warnings == ()


CLEANED = [
    ("fingers brushing lips", "hand near face"),
    ("A girl, Fingers  brushing\nlips, at dawn", "A girl, Hand near face, at dawn"),
    ("her fingers touching her lips", "her hand near face"),
    ("seen by the naked eye", "seen by the unaided eye"),
    ("a SHOOTING STAR", "a Meteor"),
    ("two killer whales", "two orcas"),
]


@pytest.mark.parametrize(("prompt", "cleaned"), CLEANED)
@pytest.mark.parametrize("endpoint", [TEXT, BATCH], ids=endpoint_name)
def test_cleans_prompts_up_where_the_document_says_so(
    endpoint: PixazoEndpoint, prompt: str, cleaned: str
) -> None:
    request = asked(endpoint, {"prompt": prompt})
    assert request.params["prompt"] == cleaned
    assert [text.partition(":")[0] for text in request.warnings] == ["`prompt` was cleaned up"]


@pytest.mark.parametrize(
    "prompt", ["naked", "lips", "fingers", "a shooting", "eye of a storm", "snaked eyes"]
)
def test_leaves_other_prompts_as_they_are(prompt: str) -> None:
    assert clean_prompt(prompt) == (prompt, ())


def test_other_endpoints_use_prompts_as_they_are_written() -> None:
    for endpoint in PIXAZO_ENDPOINTS:
        if endpoint not in (TEXT, BATCH) and "prompt" in schema_of(endpoint)["properties"]:
            prompt = "fingers brushing lips"
            assert asked(endpoint, smallest_body(endpoint) | {"prompt": prompt}).params["prompt"] == prompt


@given(
    st.lists(st.sampled_from([*REPLACEMENTS, "a", "her", "naked eye", "shooting star", ","])).map(" ".join)
)
def test_a_cleaned_prompt_stays_as_it_is(prompt: str) -> None:
    cleaned, _ = clean_prompt(prompt)
    assert clean_prompt(cleaned) == (cleaned, ())
