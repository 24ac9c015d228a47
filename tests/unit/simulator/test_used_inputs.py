"""A simulated result changes with a parameter exactly where a real one does: every model, without files."""

from __future__ import annotations

import io
from typing import Any

import pytest
from PIL import Image

from orchestrator.catalog import Model
from orchestrator.catalog.checks.effects import used_inputs_of_request
from orchestrator.catalog.parameters.values import (
    DatasetParameter,
    IntegerParameter,
    VideoParameter,
)
from orchestrator.errors import InvalidRequest
from orchestrator.media.marks.provenance import strip_graph_metadata
from orchestrator.media.sniffing import detect_content_type
from tests.support.drafts import CATALOG
from tests.support.repeats import one_of_each_kind
from tests.unit.simulator.model_graphs import sdxl
from tests.unit.simulator.simulator_bench import ExecutorHarness, node

#: Values of parameters that differ from all defaults.
CHANGES = {"negative_prompt": "blur", "seed": 7, "prompt": "two herons"}


def small_params(model: Model) -> dict[str, Any]:
    """Return the cheapest parameters of a model that needs no video or dataset."""
    integers = {name: spec for name, spec in model.parameters.items() if isinstance(spec, IntegerParameter)}
    least = {name: spec.minimum for name, spec in integers.items() if name in ("steps", "num_frames")}
    sides = {name: max(256, spec.minimum) for name, spec in integers.items() if name in ("width", "height")}
    try:
        return model.example_params(**least, **sides)
    except InvalidRequest:
        return model.example_params(**least)


def half_transparent_png() -> bytes:
    """Return an image whose mask is white in one half."""
    image = Image.new("RGBA", (256, 256), (200, 120, 40, 255))
    image.paste((0, 0, 0, 0), (0, 0, 128, 256))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def result_of(bench: ExecutorHarness, model: Model, params: dict[str, Any]) -> list[bytes]:
    graph = model.render_graph(params, filename_prefix="result")
    files = [path.read_bytes() for path in bench.saved_paths(bench.run_graph(graph))]
    return [strip_graph_metadata(data, str(detect_content_type(data))) for data in files]


MODELS = [
    model
    for model in CATALOG
    if not any(isinstance(spec, VideoParameter | DatasetParameter) for spec in model.parameters.values())
]


@pytest.mark.exhaustive
@pytest.mark.parametrize("model", one_of_each_kind(MODELS))
def test_results_change_with_what_the_real_ones_change_with(model: Model, bench: ExecutorHarness) -> None:
    (bench.folders.input / "example.png").write_bytes(half_transparent_png())
    params = small_params(model)
    before, used = result_of(bench, model, params), used_inputs_of_request(model, params)
    for name in CHANGES.keys() & model.parameters.keys():
        changed = {**params, name: CHANGES[name]}
        has_effect = used_inputs_of_request(model, changed) != used
        assert (result_of(bench, model, changed) != before) == has_effect, name


def test_a_mesh_depends_on_the_picture_and_the_seed(bench: ExecutorHarness) -> None:
    model, meshes = CATALOG["hunyuan-3d"], []
    for color, seed in (("red", 1), ("blue", 1), ("red", 2), ("red", 1)):
        Image.new("RGB", (64, 64), color).save(bench.folders.input / "picture.png")
        params = small_params(model) | {"image": "picture.png", "seed": seed}
        (mesh,) = result_of(bench, model, params)
        assert detect_content_type(mesh) == "model/gltf-binary"
        meshes.append(mesh)
    assert len(set(meshes)) == 3
    assert meshes[0] == meshes[3]


@pytest.mark.parametrize(("sampler", "changes"), [("euler", False), ("euler_ancestral", True)])
def test_a_seed_without_noise_counts_for_samplers_that_draw_some_later(
    bench: ExecutorHarness, sampler: str, changes: bool
) -> None:
    graph = sdxl()
    stage = graph["sampled"]["inputs"] | {
        "add_noise": "disable", "start_at_step": 0, "end_at_step": 4, "return_with_leftover_noise": "disable",
        "sampler_name": sampler,
    }  # fmt: skip
    del stage["seed"], stage["denoise"]
    results = []
    for seed in (1, 2):
        sampled = node("KSamplerAdvanced", **stage, noise_seed=seed)
        (path,) = bench.saved_paths(bench.run_graph(graph | {"sampled": sampled}))
        results.append(strip_graph_metadata(path.read_bytes(), "image/png"))
    assert (results[0] != results[1]) == changes
