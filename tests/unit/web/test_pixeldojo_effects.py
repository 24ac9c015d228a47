"""Every field of a run changes what the outputs depend on, or the job says that it has no effect.

Graphs are rendered and compared, so that this needs no pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from orchestrator.catalog import Model, size_params_for_image
from orchestrator.catalog.checks.effects import describe_ineffective, used_inputs_of_request
from orchestrator.catalog.parameters.size_text import Size
from orchestrator.errors import InvalidRequest
from orchestrator.web.dialects.pixeldojo import translation as pixeldojo
from orchestrator.web.dialects.pixeldojo.run_schema import run_schema
from orchestrator.web.dialects.request_body import parse_body
from tests.support.repeats import one_of_each_kind
from tests.support.shipped import SHIPPED_CATALOG as CATALOG

#: Fields that concern the job, not what it makes.
JOB_FIELDS = {"webhook_url", "n", "lora_name"}
IMAGES = {"image", "image_url", "images", "reference_images"}
IMAGE_SIZE = Size(640, 512)
#: Values that mean the same.
SYNONYMS = [{"auto", "transparent"}, {"auto", "opaque"}]


@dataclass(frozen=True)
class Outcome:
    """What a body asks the instance to do."""

    #: All that the outputs depend on, and the size and length to which they are cut.
    makes: str
    warnings: tuple[str, ...]


def ask(model: Model, body: dict[str, Any]) -> Outcome:
    """Return the outcome of a body, as the service would prepare it. Raises InvalidRequest."""
    parsed = parse_body(pixeldojo.RunBody, body, parameters=CATALOG.parameters_of(model.id))
    request = pixeldojo.to_request(model.id, parsed, CATALOG, idempotency_key=None)
    params = model.validate_params(request.params)
    if any(params.get(name) for name in model.image_inputs):
        params |= size_params_for_image(model, request.params, IMAGE_SIZE, request.follow_image)
    of_length: tuple[str, ...] = ()
    if request.frames_at_rate:
        frames, of_length = request.frames_at_rate(params["fps"])
        params |= frames
    warnings = (
        *request.warnings,
        *of_length,
        *model.describe_unused(request.params),
        *describe_ineffective(model, params, request.params),
    )
    # Inputs of some models are fitted to the size before the graph gets them.
    size = params.get("width"), params.get("height")
    return Outcome(repr((size, used_inputs_of_request(model, params))), warnings)


def context_of(model: Model, name: str) -> dict[str, Any]:
    """Return the other fields of a body that has the field `name`."""
    fields = [other for other in ("prompt", "image", "dataset") if other in run_schema(model)["properties"]]
    fields += [other for other, spec in model.parameters.items() if spec.required and other not in IMAGES]
    body: dict[str, Any] = dict.fromkeys(fields, "a.png") | (
        {"mask": "a.png"} if "mask" in model.parameters else {}
    )
    if name in IMAGES:
        body.pop("image", None)
    if name == "prompt" and model.parameters[name].replaced_by:
        del body["image"]
    if name == "negative_prompt" and "cfg_scale" in model.parameters:
        body["cfg_scale"] = 4.0
    needed = model.parameters[name].needs if name in model.parameters else ""
    return (
        body
        | ({needed: "fog"} if needed and needed not in body else {})
        | ({"lora_weights": "ink"} if name == "lora_scale" else {})
    )


def values_of(schema: dict[str, Any]) -> Iterator[Any]:
    """Yield some values of a property, most of them allowed."""
    if "enum" in schema:
        yield from schema["enum"]
        return
    for one in schema.get("anyOf", ()):
        yield from values_of({"type": schema.get("type"), **one})
    match schema.get("type"):
        case "integer" | "number":
            step = schema.get("multipleOf", 1 if schema["type"] == "integer" else 0.1)
            low, high = schema["minimum"], schema["maximum"]
            yield from dict.fromkeys((low, low + step, low + 7 * step, high - high % step, high))
            yield from (whole for whole in (2, 3) if schema["type"] == "number" and low < whole < high)
        case "string" if "x00" in schema.get("pattern", "x00"):
            yield from ("b.png", "c.png")
        case "string" if "|" in schema["pattern"] and "http" in schema["pattern"]:
            yield from ("gold", "silver")
        case "string":
            yield from ("512x512", "640x512", "512x640")
        case "array" if schema["items"]["type"] == "object":
            yield from ([{"name": "gold"}], [{"name": "gold", "strength": 0.5}], [])
        case "array":
            yield from ([value] for value in values_of(schema["items"]))
        case "boolean":
            yield from (True, False)


@pytest.mark.exhaustive
@pytest.mark.parametrize("model", one_of_each_kind(CATALOG))
def test_every_field_has_an_effect_or_is_said_to_have_none(model: Model) -> None:
    for name, schema in run_schema(model)["properties"].items():
        if name in JOB_FIELDS:
            continue
        context, seen, taken, refused = context_of(model, name), dict[str, Any](), list[Any](), list[str]()
        for value in values_of(schema):
            try:
                outcome = ask(model, context | {name: value})
            except InvalidRequest as error:
                refused.append(error.message)
                continue
            taken.append(value)
            if any(f"`{name}`" in warning for warning in outcome.warnings):
                continue
            other = seen.setdefault(outcome.makes, value)
            assert name in ("aspect_ratio", "resolution") or is_same(value, other), (name, value, other)
        assert taken, (name, refused)
        assert len(seen) != 1 or all(is_same(value, taken[0]) for value in taken), f"{name} has no effect"


def is_same(value: Any, other: Any) -> bool:
    """Return whether two values may have one outcome."""
    one, two = (each[0] if isinstance(each, list) and len(each) == 1 else each for each in (value, other))
    return bool(one == two) or (isinstance(one, str) and {one, two} in SYNONYMS)
