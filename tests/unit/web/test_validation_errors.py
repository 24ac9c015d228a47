"""Errors of wrong types name what a field takes, not one member of a union."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.errors import InvalidRequest
from orchestrator.web.dialects.openai.image_bodies import ImageGenerationBody
from orchestrator.web.dialects.request_body import parse_body


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"cfg_scale": "high"}, "`cfg_scale` must be a number (got 'high')"),
        ({"guidance_scale": True}, "`guidance_scale` must be a number (got True)"),
        ({"steps": "many"}, "`steps` must be an integer (got 'many')"),
        ({"steps": 2.5}, "`steps` must be an integer (got 2.5)"),
        ({"num_images": "two"}, "`num_images` must be an integer (got 'two')"),
        ({"stream": 1}, "`stream` must be true or false (got 1)"),
        ({"prompt": 7}, "`prompt` must be a string (got 7)"),
        ({"prompt": ["a"]}, "`prompt` must be a string"),
        ({"size": [512]}, "`size` must be a string, an integer or an object"),
        ({"size": {"width": "a", "height": 2}}, "`size` must be an integer at `width` (got 'a')"),
        ({"image": 5}, "`image` must be a string, an object or a list (got 5)"),
        ({"image": {"foo": 1}}, "`image` must be a string or an object at `foo` (got 1)"),
        ({"image": [{"foo": 1}]}, "`image` must be a string or an object at `[0].foo` (got 1)"),
        ({"images": ["a", {"foo": 1}]}, "`images` must be a string or an object at `[1].foo` (got 1)"),
        ({"images": ["a", 5]}, "`images` must be a string or an object at `[1]` (got 5)"),
        ({"partial_images": 9}, "`partial_images` must be less than or equal to 3 (got 9)"),
    ],
)
def test_names_the_types_that_a_field_takes(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_body(ImageGenerationBody, fields)
    assert refused.value.message == message
    assert refused.value.param == next(iter(fields))


def test_shortens_long_values() -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_body(ImageGenerationBody, {"steps": "x" * 100_000})
    assert len(refused.value.message) < 120
