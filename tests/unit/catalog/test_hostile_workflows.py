"""Files of which somebody has changed anything at all: they are imported or refused, and nothing else."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.catalog.import_export import InvalidWorkflow, export_api, export_ui
from tests.support.canvas import drawn, imported, sdxl
from tests.support.drafts import CATALOG, FACTS, unhurried
from tests.support.repeats import tries

Path = tuple[str | int, ...]

LORA = {"model": ["model", 0], "clip": ["model", 1], "lora_name": "ink.safetensors"}
LORAS = drawn(
    ink=("LoraLoader", "", LORA | {"strength_model": 0.5, "strength_clip": 0.5}),
    wide=("PrimitiveInt", "", {"value": 1280}),
    half=("ComfyMathExpression", "", {"expression": "a / 2", "values.a": ["wide", 0]}),
    way=("ComfySwitchNode", "", {"switch": True, "on_true": ["half", 1], "on_false": 512}),
    size=("GetImageSize", "", {"image": ["scaled", 0]}),
    scaled=("ImageScaleBy", "", {"image": ["blank", 0], "upscale_method": "area", "scale_by": 2.0}),
    blank=("EmptyImage", "", {"width": 256, "height": 256, "batch_size": 1, "color": 0}),
    latent=("EmptyLatentImage", "", {"width": ["way", 0], "height": ["size", 1], "batch_size": 1}),
)
LORAS["sampler"]["inputs"]["model"] = ["ink", 0]
FILES = [
    LORAS,
    sdxl(),
    export_api(CATALOG["flux-1-redux-dev"]),
    export_api(CATALOG["sdxl-1.0"]),
    export_ui(CATALOG["wan2.2-i2v-14b"], FACTS),
]
VALUES: list[Any] = [
    *(None, True, 0, -1, 3, 10**30, 0.5, 1e308, "", "x", "../../x.safetensors", "ink.safetensors", [], {}),
    *(["model", 0], ["ink", 1], ["nobody", 0], [0, 0], {"__value__": [1]}, "{{ seed }}", "{% raw %}", "{{ '"),
    *(
        "a / 0",
        "9 ** 9 ** 9",
        "LoraLoader",
        "ComfyMathExpression",
        "PixelFactoryInteger",
        "Steps",
        "Width",
        "é\ud800",
    ),
]


def places(data: Any, path: Path = ()) -> Iterator[Path]:
    """Every place below the root."""
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


def changed(data: Any, path: Path, value: Any) -> Any:
    """A copy with another value in one place, where that place is still there."""
    result = copy.deepcopy(data)
    inner = result
    with suppress(LookupError, TypeError):
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = copy.deepcopy(value)
    return result


PLACES = [sorted(places(data), key=str) for data in FILES]


@pytest.mark.exhaustive
@settings(unhurried, max_examples=tries(300))
@given(st.data())
def test_whatever_is_changed_it_is_imported_or_refused(data: st.DataObject) -> None:
    number = data.draw(st.integers(0, len(FILES) - 1), "file")
    file = FILES[number]
    for _ in range(data.draw(st.integers(1, 4), "changes")):
        file = changed(file, data.draw(st.sampled_from(PLACES[number])), data.draw(st.sampled_from(VALUES)))
    with suppress(InvalidWorkflow):
        made = imported(json.loads(json.dumps(file)))
        assert all(text.encode() for text in made.files.values())


def test_a_formula_of_formulas_is_worked_out_once() -> None:
    """Forty levels, each of which takes the one before twice: a billion ways through them."""
    whole = {"expression": "(a + b) / 2"}
    levels = {
        f"f{at}": ("ComfyMathExpression", "", whole | {f"values.{name}": before for name in "ab"})
        for at, before in enumerate((["f0", 0], *([f"f{at}", 1] for at in range(1, 40))), start=1)
    }
    graph = drawn(f0=("PrimitiveInt", "", {"value": 512}), **levels)
    graph["latent"]["inputs"]["width"] = ["f40", 1]
    result = imported(graph)
    assert result.problems == ()
    assert result.bound_inputs["f0.value"] == "{{ width }}"
