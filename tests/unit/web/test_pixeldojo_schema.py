"""The schema of a run says what the service refuses: bodies that it allows are taken, others are refused."""

from __future__ import annotations

import string
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema_rs import Draft202012Validator

from orchestrator.catalog import Model
from orchestrator.catalog.tasks import TaskModels
from orchestrator.errors import InvalidRequest
from orchestrator.intake.field_names import errors_name_fields
from orchestrator.web.dialects.pixeldojo import translation as pixeldojo
from orchestrator.web.dialects.pixeldojo.name_schema import schema_of_name
from orchestrator.web.dialects.pixeldojo.run_schema import run_schema
from orchestrator.web.dialects.request_body import parse_body
from tests.support.repeats import one_of_each_kind, tries
from tests.support.shipped import SHIPPED_CATALOG as CATALOG

MODELS = [pytest.param(model, id=model.id) for model in CATALOG]
#: Most optional fields of a generated body.
MAX_OPTIONAL_FIELDS = 4
WORDS = st.text(string.ascii_letters + string.digits + " \n.,é木", min_size=1, max_size=20)

Schema = dict[str, Any]


def take(model: Model, body: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters of the job that a body asks for. Raises InvalidRequest."""
    parsed = parse_body(pixeldojo.RunBody, body, parameters=CATALOG.parameters_of(model.id))
    request = pixeldojo.to_request(model.id, parsed, CATALOG, idempotency_key=None)
    with errors_name_fields(request.field_names, request.computed_from):
        return model.validate_params(request.params)


def refusal(model: Model, body: dict[str, Any]) -> str | None:
    """Return the field of a refused body that the error names; None if the body is taken."""
    try:
        take(model, body)
    except InvalidRequest as error:
        return error.param
    return None


@cache
def schema_of(id: str) -> Schema:
    return run_schema(CATALOG[id])


@cache
def validator_of(id: str) -> Draft202012Validator:
    return Draft202012Validator(schema_of(id))


def values(schema: Schema) -> st.SearchStrategy[Any]:
    """Return the values that one property allows."""
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "anyOf" in schema:
        return st.one_of([values({"type": schema.get("type"), **each}) for each in schema["anyOf"]])
    match schema.get("type"):
        case "integer":
            step = schema.get("multipleOf", 1)
            least, most = -(-schema["minimum"] // step), schema["maximum"] // step
            return st.integers(least, most).map(lambda number: number * step)
        case "number":
            return st.floats(schema["minimum"], schema["maximum"]) | st.sampled_from(
                [schema["minimum"], schema["maximum"]]
            )
        case "boolean":
            return st.booleans()
        case "array":
            return st.lists(
                values(schema["items"]), min_size=schema.get("minItems", 0), max_size=schema["maxItems"]
            )
        case "object":
            return st.fixed_dictionaries(
                {}, optional={name: values(each) for name, each in schema["properties"].items()}
            )
    return texts(schema)


def texts(schema: Schema) -> st.SearchStrategy[str]:
    if schema.get("format") == "uri":
        return st.just("https://example.com/hook")
    if "pattern" in schema and "maxLength" not in schema:
        return st.from_regex(schema["pattern"].removesuffix("$") + r"\Z")
    return WORDS


@cache
def values_of(id: str, name: str) -> st.SearchStrategy[Any]:
    """Return the values that a property of a model allows. They take a while to prepare."""
    return values(schema_of(id)["properties"][name])


@st.composite
def bodies(draw: st.DrawFn, id: str) -> dict[str, Any]:
    """Draw a body that the schema of a model allows."""
    schema = schema_of(id)
    properties, required = schema["properties"], schema["required"]
    optional = sorted(properties.keys() - set(required))
    chosen = draw(st.lists(st.sampled_from(optional), max_size=MAX_OPTIONAL_FIELDS, unique=True))
    return {name: draw(values_of(id, name)) for name in [*required, *chosen]}


@pytest.mark.exhaustive
@pytest.mark.parametrize("model", one_of_each_kind(CATALOG))
@settings(
    max_examples=tries(10),
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)
@given(data=st.data())
def test_takes_every_body_that_the_schema_allows(model: Model, data: st.DataObject) -> None:
    body = data.draw(bodies(model.id).filter(validator_of(model.id).is_valid))
    params = take(model, body)
    for name in body.keys() & params.keys() - {"image", "images", "loras"}:
        assert params[name] == body[name]


def forbidden_values(schema: Schema) -> Iterator[Any]:
    """Yield values that a property forbids, next to those that it allows."""
    if "anyOf" in schema:
        yield from [{}, True, "?!" * 40]
        return
    kind = schema["type"]
    yield from [{}, [[]]] if kind != "object" else [[[]]]
    if kind in ("integer", "number"):
        yield from [schema["minimum"] - 1, schema["maximum"] + 1, "many", str(schema["minimum"]), True]
    if kind == "integer":
        yield schema["minimum"] + 0.5
    if schema.get("multipleOf", 1) > 1:
        yield schema["minimum"] + 1
    if kind == "array":
        yield [next(iter(_samples(schema["items"])))] * (schema["maxItems"] + 1)
    if kind == "string":
        yield 7
    if "enum" in schema:
        yield f"{schema['enum'][0]}?"
    if "maxLength" in schema:
        yield "a" * (schema["maxLength"] + 1)


def _samples(schema: Schema) -> Iterator[Any]:
    yield {"name": "ink"} if schema["type"] == "object" else "ink"


@pytest.mark.exhaustive
@pytest.mark.parametrize("model", MODELS)
def test_refuses_every_value_that_the_schema_forbids(model: Model) -> None:
    schema, validator = schema_of(model.id), validator_of(model.id)
    base = dict.fromkeys(schema["required"], "ink") | {
        name: "ink" for name in ("image", "prompt", "dataset") if name in schema["properties"]
    }
    assert validator.is_valid(base)
    take(model, base)
    for name, each in schema["properties"].items():
        for value in forbidden_values(each) if name != "webhook_url" else ():
            body = base | {name: value}
            assert not validator.is_valid(body), (name, value)
            assert refusal(model, body) == name, value


@pytest.mark.exhaustive
@pytest.mark.parametrize("model", MODELS)
def test_refuses_fields_that_the_schema_does_not_have(model: Model) -> None:
    base = {name: "ink" for name in ("image", "prompt", "dataset") if name in model.parameters}
    for name in ("stpes", "webhook", "enable_magic", "mask", "duration", "aspect_ratio", "lora_weights"):
        if name not in schema_of(model.id)["properties"]:
            assert refusal(model, base | {name: "5"}) == name


@pytest.mark.parametrize("model", MODELS)
def test_refuses_a_body_without_a_required_field(model: Model) -> None:
    for name in ("image", "images", "prompt", "dataset"):
        spec = model.parameters.get(name)
        if spec is not None and spec.required:
            body = {other: "ink" for other in ("image", "prompt", "dataset") if other in model.parameters}
            absent = (name, name.rstrip("s"), spec.replaced_by)
            body = {other: value for other, value in body.items() if other not in absent}
            assert not validator_of(model.id).is_valid(body)
            assert refusal(model, body) is not None


def test_the_schema_of_a_name_with_several_models_depends_on_the_images() -> None:
    everything = TaskModels(generate="z-image-turbo", edit="flux-1-kontext-dev", mask="flux-1-fill-dev")
    catalog = CATALOG.with_stand_ins({"everything": everything, "edits": TaskModels(edit="flux-edit")})
    schema = schema_of_name(catalog, "everything")
    assert {"prompt", "image", "mask", "loras", "megapixels", "webhook_url"} <= schema["properties"].keys()
    valid = Draft202012Validator(schema).is_valid
    image = {"prompt": "a", "image_url": "ink"}
    assert valid({"prompt": "a", "lora_weights": "ink"})
    assert valid(image)
    assert valid(image | {"mask": "ink", "megapixels": 1})
    assert not valid(image | {"lora_weights": "ink"})  # only the model without images takes some
    assert not valid(image | {"megapixels": 1})
    assert not valid({"prompt": "a", "mask": "ink"})
    assert not valid({"prompt": "a", "stpes": 3})
    edits = Draft202012Validator(schema_of_name(catalog, "edits"))
    assert edits.is_valid(image)
    assert not edits.is_valid({"prompt": "a"})
    assert schema_of_name(catalog, "flux-dev") == run_schema(CATALOG["flux-1-dev"])
