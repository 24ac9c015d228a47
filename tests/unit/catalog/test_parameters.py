from __future__ import annotations

import json
import math
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from orchestrator.catalog.parameters.values import MAX_SEED, IntegerParameter, Parameter
from orchestrator.errors import InvalidRequest
from tests.support.drafts import unhurried

PARAMETER: TypeAdapter[Parameter] = TypeAdapter(Parameter)
SIDE = {"type": "integer", "minimum": 256, "maximum": 2048, "step": 8}
CFG = {"type": "number", "minimum": 0.0, "maximum": 20.0}
TEXT = {"type": "string", "max_length": 20}


def declare(**fields: Any) -> Parameter:
    return PARAMETER.validate_python(fields)


def refused(spec: dict[str, Any], value: object) -> str:
    with pytest.raises(InvalidRequest) as caught:
        declare(**spec).validate_value("p", value)
    assert caught.value.code == "invalid_p"
    assert caught.value.param == "p"
    assert caught.value.status == 400
    return caught.value.message


@pytest.mark.parametrize(
    ("spec", "value"),
    [
        (SIDE, 256),
        (SIDE, 2048),
        (CFG, 0),
        (CFG, 7.25),
        (CFG, 20),
        (TEXT, ""),
        (TEXT, "שלום עולם"),
        (TEXT, "tab\tline\n"),
        (TEXT, "🦊" * 20),
        ({"type": "seed"}, 0),
        ({"type": "seed"}, MAX_SEED),
        ({"type": "boolean"}, False),
        ({"type": "image"}, "upload-1.png"),
    ],
)
def test_a_valid_value_stays_as_it_is(spec: dict[str, Any], value: Any) -> None:
    assert declare(**spec).validate_value("p", value) == value


@pytest.mark.parametrize(
    ("spec", "value"),
    [
        (SIDE, "1024"),
        (SIDE, 1024.0),
        (SIDE, True),
        (SIDE, None),
        (SIDE, [1024]),
        (SIDE, 8),
        (SIDE, 4096),
        (SIDE, 1023),
        (SIDE, 10**400),
        (CFG, math.nan),
        (CFG, math.inf),
        (CFG, -0.1),
        (CFG, 10**400),
        (CFG, "7"),
        (CFG, True),
        (TEXT, 7),
        (TEXT, "x" * 21),
        (TEXT, "a\0b"),
        (TEXT, "\ud800"),
        (TEXT, "\udfff tail"),
        ({"type": "string", "choices": ("a", "b")}, "c"),
        ({"type": "seed"}, -1),
        ({"type": "seed"}, 2**64),
        ({"type": "seed"}, "1"),
        ({"type": "seed"}, True),
        ({"type": "seed"}, 1.0),
        ({"type": "boolean"}, 1),
        ({"type": "image"}, ""),
        ({"type": "image"}, 3),
        ({"type": "images", "max_items": 2}, ["a", "b", "c"]),
        ({"type": "images"}, "a"),
        ({"type": "images"}, [""]),
        ({"type": "loras"}, {"name": "a"}),
        ({"type": "loras"}, [{"name": "../a"}]),
        ({"type": "loras"}, [{"name": ".hidden"}]),
        ({"type": "loras"}, [{"name": "a", "strength": math.nan}]),
        ({"type": "loras"}, [{"name": "a", "strength": 9}]),
        ({"type": "loras"}, [{"name": "a", "file": "b"}]),
        ({"type": "loras", "max_items": 1}, [{"name": "a"}, {"name": "b"}]),
    ],
)
def test_a_bad_value_is_refused(spec: dict[str, Any], value: object) -> None:
    message = refused(spec, value)
    assert "p" in message
    assert len(message) < 200


@pytest.mark.parametrize(
    "items",
    [
        [{"name": "ink"}],
        [{"name": "../ink", "strength": 1.0}],
        [{"name": "ink", "strength": 3.0}],
        [{"name": "ink", "strength": 1.0, "file": "x"}],
        [{"name": "ink", "strength": 1.0}] * 5,
    ],
)
def test_default_loras_are_such_as_requests_may_have(items: list[Any]) -> None:
    def declared(default: list[Any]) -> Parameter:
        return PARAMETER.validate_json(json.dumps({"type": "loras", "default": default}))

    assert declared([{"name": "ink", "strength": 1.0}])
    with pytest.raises(ValidationError):
        declared(items)


@pytest.mark.parametrize(
    "item",
    [
        "ink",
        {"name": "ink"},
        {"name": "ink.safetensors", "path": None},
        {"path": "ink", "scale": 1},
        {"job_id": "ink", "strength": 1.0, "scale": None},
        {"id": "ink"},
    ],
)
def test_loras_are_named_in_the_forms_of_all_clients(item: Any) -> None:
    assert declare(type="loras").validate_value("p", [item]) == [{"name": "ink", "strength": 1.0}]


def test_loras_are_named_by_url() -> None:
    url = "https://storage.example.com/loras/aa/b.safetensors?X-Amz-Signature=c%2F"
    assert declare(type="loras").validate_value("p", [{"url": url}]) == [{"name": url, "strength": 1.0}]
    with pytest.raises(InvalidRequest, match="4096"):
        declare(type="loras").validate_value("p", [{"url": url + "c" * 4096}])


@pytest.mark.parametrize(
    "item",
    [
        {"name": "ink", "url": "https://example.com/a"},
        {"name": "ink", "strength": 1, "scale": 1},
        {"strength": 1},
        {"name": 5},
        {"path": "folder/ink"},
        {"name": "ink", "strength": True},
        {"name": "ink", "strength": 10**400},
        {5: "ink"},
        5,
        None,
    ],
)
def test_rejects_loras_that_mean_two_things_or_none(item: Any) -> None:
    with pytest.raises(InvalidRequest):
        declare(type="loras").validate_value("p", [item])


def test_loras_get_their_default_strength() -> None:
    value = declare(type="loras").validate_value("p", [{"name": "ink"}, {"name": "oil", "strength": 1}])
    assert value == [{"name": "ink", "strength": 1.0}, {"name": "oil", "strength": 1.0}]


def test_an_image_must_fit_the_limits() -> None:
    spec = declare(type="image", max_width=2048, max_height=1024)
    assert spec.type == "image"
    spec.validate_dimensions("image", 2048, 1024)
    for width, height in ((2049, 16), (16, 1025), (15, 16), (16, 15)):
        with pytest.raises(InvalidRequest, match="pixels") as caught:
            spec.validate_dimensions("image", width, height)
        assert caught.value.code == "invalid_image"


@unhurried
@given(st.integers(5, 165), st.sampled_from([4, 8, 16, 64]))
def test_makes_the_next_larger_length_of_the_grid(value: int, grid: int) -> None:
    spec = IntegerParameter(type="integer", minimum=grid + 1, maximum=165, grid=grid, grid_offset=1)
    made = spec.round_up_to_grid(value)
    assert made % grid == 1
    assert value <= made < value + grid
    assert spec.allows(value) == (grid + 1 <= value <= spec.largest_allowed)
    assert spec.largest_allowed == spec.round_up_to_grid(spec.largest_allowed) <= 165


@unhurried
@given(
    value=st.integers(-10, 3000),
    step=st.sampled_from([1, 8]),
    grid=st.sampled_from([1, 4, 16]),
    off_grid=st.sampled_from(["cut", "reject"]),
)
def test_names_the_two_nearest_allowed_values(
    value: int, step: int, grid: int, off_grid: Literal["cut", "reject"]
) -> None:
    spec = IntegerParameter(
        type="integer", minimum=256, maximum=2048, step=step, grid=grid, off_grid=off_grid
    )
    allowed = [one for one in range(256, 2049) if spec.allows(one)]
    assert spec.largest_allowed == allowed[-1]
    nearest = spec.nearest_allowed(value)
    assert nearest == sorted(nearest)
    assert len(nearest) == 2
    assert set(nearest) <= set(allowed)
    farthest = max(abs(one - value) for one in nearest)
    assert all(abs(one - value) >= farthest for one in allowed if one not in nearest)
    if spec.allows(value):
        assert spec.validate_value("width", value) == value
    elif 256 <= value <= allowed[-1]:
        with pytest.raises(InvalidRequest, match=f"{nearest[0]} and {nearest[1]}"):
            spec.validate_value("width", value)


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "integer", "minimum": 2, "maximum": 1},
        {"type": "integer", "minimum": 0, "maximum": 9, "default": 10},
        {"type": "integer", "minimum": 4, "maximum": 9, "grid": 4, "grid_offset": 1},
        {"type": "integer", "minimum": 0, "maximum": 9, "step": 0},
        {"type": "integer", "minimum": "0", "maximum": 9},
        {"type": "number", "minimum": 2.0, "maximum": 1.0},
        {"type": "number", "minimum": 0.0, "maximum": math.inf},
        {"type": "string", "max_lenght": 3},
        {"type": "colour"},
        {},
    ],
)
def test_rejects_contradictory_declarations(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        declare(**fields)


@pytest.mark.parametrize(
    ("fields", "schema"),
    [
        (SIDE, {"type": "integer", "minimum": 256, "maximum": 2048, "multipleOf": 8}),
        (CFG, {"type": "number", "minimum": 0.0, "maximum": 20.0}),
        (TEXT, {"type": "string", "maxLength": 20, "pattern": r"^[^\x00]*$"}),
        (
            {"type": "string", "required": True, "blank": False},
            {"type": "string", "maxLength": 32_000, "pattern": r"^[^\x00]*[^\s\x00][^\x00]*$"},
        ),
        ({"type": "string", "choices": ("a",)}, {"type": "string", "enum": ["a"]}),
        ({"type": "seed"}, {"type": "integer", "minimum": 0, "maximum": MAX_SEED}),
        ({"type": "boolean"}, {"type": "boolean"}),
        ({"type": "image"}, {"type": "string", "contentEncoding": "base64"}),
    ],
)
def test_the_schema_agrees_with_the_validation(fields: dict[str, Any], schema: dict[str, Any]) -> None:
    assert declare(**fields).to_json_schema() == schema
