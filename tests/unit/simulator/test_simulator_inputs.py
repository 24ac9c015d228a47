"""Dynamic inputs are unfolded and nested as the nodes want them."""

from __future__ import annotations

from typing import Any

import pytest

from comfy_instances.simulator.validation.input_specs import expand_input_specs, nest_inputs
from tests.unit.simulator.simulator_bench import FACTS


@pytest.mark.parametrize(
    ("class_type", "live", "required"),
    [
        ("ImageInvert", {}, {"image"}),
        ("BatchImagesNode", {}, {"images.image0"}),
        ("ResizeImageMaskNode", {}, {"input", "scale_method"}),
        ("ResizeImageMaskNode", {"resize_type": "no such choice"}, {"input", "scale_method"}),
        (
            "ResizeImageMaskNode",
            {"resize_type": "scale width"},
            {"input", "scale_method", "resize_type", "resize_type.width"},
        ),
        ("SaveVideo", {"codec": "auto"}, {"video", "filename_prefix", "format", "codec"}),
        (
            "SaveVideo",
            {"codec": "h264", "codec.encoding": "re-encode"},
            {"video", "filename_prefix", "format", "codec", "codec.encoding.crf"},
        ),
    ],
)
def test_what_is_required_depends_on_what_was_chosen(
    class_type: str, live: dict[str, Any], required: set[str]
) -> None:
    specs = expand_input_specs(FACTS[class_type], live)
    assert {name for name, spec in specs.items() if spec.required} == required


@pytest.mark.parametrize(
    ("class_type", "values", "nested"),
    [
        ("ImageInvert", {"image": 1}, {"image": 1}),
        ("BatchImagesNode", {}, {"images": {}}),
        ("BatchImagesNode", {"images.image0": 1, "images.image1": 2}, {"images": {"image0": 1, "image1": 2}}),
        (
            "ResizeImageMaskNode",
            {"resize_type.width": 5, "resize_type": "scale width", "input": 1},
            {"resize_type": {"resize_type": "scale width", "width": 5}, "input": 1},
        ),
        (
            "SaveVideo",
            {"codec": "h264", "codec.encoding": "re-encode", "codec.encoding.crf": 9.0},
            {"codec": {"codec": "h264", "encoding": {"encoding": "re-encode", "crf": 9.0}}},
        ),
    ],
)
def test_values_arrive_as_the_function_takes_them(
    class_type: str, values: dict[str, Any], nested: dict[str, Any]
) -> None:
    assert nest_inputs(FACTS[class_type], values) == nested
