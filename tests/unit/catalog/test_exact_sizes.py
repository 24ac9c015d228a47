"""Rendered graphs make exactly the size and length that was asked for, for all models."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from orchestrator.billing.price_book import to_billable_work
from orchestrator.catalog import Model, OutputSizes
from orchestrator.catalog.checks.model_checks import validate_rendered_graph
from orchestrator.catalog.parameters.canvases import has_canvas
from orchestrator.catalog.parameters.size_text import Size
from orchestrator.catalog.parameters.values import IntegerParameter
from orchestrator.errors import InvalidRequest
from tests.support.drafts import CATALOG, FACTS, unhurried

#: A model that changes or extends a video takes its size and length from that.
GENERATORS = [model for model in CATALOG if "video" not in model.parameters]
SIZED = [model for model in GENERATORS if OutputSizes.from_model(model)]
TIMED = [model for model in GENERATORS if "num_frames" in model.parameters]
SIZES = [
    (1920, 1080),
    (1080, 1920),
    (1280, 720),
    (720, 1280),
    (640, 360),
    (360, 640),
    (1448, 1448),
    (1024, 1024),
    (1023, 1024),
    (1024, 1025),
    (832, 480),
    (1000, 1000),
    (848, 480),
    (512, 520),
    (2048, 2056),
    (4096, 4096),
    (255, 256),
    (8, 8),
]
_NAMED_SIZE = re.compile(r"(\d+)x(\d+)")

Graph = Mapping[str, Mapping[str, Any]]


def image_source(graph: Graph, output: str) -> str:
    """The node whose images an output saves, directly or in a video."""
    inputs = graph[output]["inputs"]
    return image_source(graph, inputs["video"][0]) if "video" in inputs else str(inputs["images"][0])


def upstream(graph: Graph, node: str) -> set[str]:
    found = {node}
    for value in graph[node]["inputs"].values():
        if isinstance(value, list) and len(value) == 2 and value[0] in graph:
            found |= upstream(graph, value[0])
    return found


def made_size(model: Model, graph: Graph, node: str) -> tuple[int, int]:
    """The size of the images of a node, by ComfyUI's rules for the nodes that the models use."""
    inputs, kind = graph[node]["inputs"], graph[node]["class_type"]
    match kind:
        case "ImageCrop":
            width, height = made_size(model, graph, inputs["image"][0])
            assert 0 <= inputs["x"] <= width - inputs["width"]
            assert 0 <= inputs["y"] <= height - inputs["height"]
            return inputs["width"], inputs["height"]
        case "ImageFromBatch":
            return made_size(model, graph, inputs["image"][0])
        case "JoinImageWithAlpha":
            return made_size(model, graph, inputs["image"][0])
    return latent_size(graph, node)


#: Pixels per latent position of the nodes that make latents, in total where a graph doubles them.
BLOCKS = {
    "EmptyLatentImage": 8,
    "EmptySD3LatentImage": 8,
    "EmptyFlux2LatentImage": 16,
    "EmptyHiDreamO1LatentImage": 32,
    "EmptyHunyuanLatentVideo": 8,
    "EmptyHunyuanVideo15Latent": 16,
    "WanImageToVideo": 8,
    "Wan22ImageToVideoLatent": 16,
    "EmptyLTXVLatentVideo": 32,
    "ImageScale": 8,
    "EmptyImage": 1,
}


def latent_size(graph: Graph, node: str) -> tuple[int, int]:
    """The size that the latents above a node decode to."""
    sizes = set()
    for id in upstream(graph, node):
        block = BLOCKS.get(graph[id]["class_type"])
        inputs = graph[id]["inputs"]
        if block and isinstance(inputs.get("width"), int):
            doubled = 2 if graph[id]["class_type"] == "EmptyLTXVLatentVideo" else 1
            sizes.add(
                (inputs["width"] // block * block * doubled, inputs["height"] // block * block * doubled)
            )
    assert len(sizes) == 1, sizes
    return sizes.pop()


def made_frames(graph: Graph, node: str) -> int:
    """The number of frames of a node, by ComfyUI's rules."""
    inputs, kind = graph[node]["inputs"], graph[node]["class_type"]
    if kind == "ImageCrop":
        return made_frames(graph, inputs["image"][0])
    if kind == "ImageFromBatch":
        return min(int(inputs["length"]), made_frames(graph, inputs["image"][0]) - int(inputs["batch_index"]))
    if kind == "ImageBatch":
        return sum(made_frames(graph, inputs[name][0]) for name in ("image1", "image2"))
    if kind in ("EmptyImage", "RepeatImageBatch"):
        return int(inputs["batch_size" if kind == "EmptyImage" else "amount"])
    lengths = {
        graph[id]["inputs"][name]
        for id in upstream(graph, node)
        for name in ("length", "num_frames")
        if isinstance(graph[id]["inputs"].get(name), int)
    }
    (length,) = lengths
    return int(length)


def render(model: Model, **params: Any) -> Graph | None:
    """Render the graph of a request; None if it was rejected with two sizes or numbers that are allowed."""
    images = {name: "a.png" for name in model.image_inputs if name == "image"}
    try:
        checked = model.example_params(**params, **images)
    except InvalidRequest as error:
        assert_names_allowed(model, error, params)
        return None
    return model.render_graph(checked, filename_prefix="p")


def assert_names_allowed(model: Model, error: InvalidRequest, params: Mapping[str, Any]) -> None:
    if error.param == "num_frames":
        spec = model.parameters["num_frames"]
        assert isinstance(spec, IntegerParameter)
        assert f"must be between {spec.minimum} and {spec.largest_allowed} (got " in error.message
        return
    nearest = _NAMED_SIZE.findall(error.message.partition("the nearest sizes are ")[2])
    assert len(nearest) == 2
    sizes = model.output_sizes
    assert sizes is not None
    assert nearest[0] != nearest[1]
    for width, height in nearest:
        assert sizes.allows(Size(int(width), int(height)))
        assert (int(width), int(height)) != (params.get("width"), params.get("height"))
        model.example_params(width=int(width), height=int(height))


def assert_has_size(model: Model, width: int, height: int) -> bool:
    graph = render(model, width=width, height=height)
    if graph is None:
        return False
    if not has_canvas(model):  # whose image is brought to the size before the run
        for output in model.outputs:
            assert made_size(model, graph, image_source(graph, output.node)) == (width, height)
    params = model.example_params(width=width, height=height)
    assert model.output_size(params, None) == (width, height)
    work = to_billable_work(model, params, None)
    assert (work.width, work.height) == (width, height)
    return True


@pytest.mark.exhaustive
@pytest.mark.parametrize("model", SIZED, ids=lambda model: model.id)
def test_sizes_are_exact_or_rejected_with_the_nearest_two(model: Model) -> None:
    sizes = OutputSizes.from_model(model)
    assert sizes is not None
    made = {size for size in SIZES if assert_has_size(model, *size)}
    random_sizes = random.Random(7)
    for _ in range(25):
        width = random_sizes.randrange(sizes.width.minimum, sizes.width.maximum + 1, 8)
        height = random_sizes.randrange(sizes.height.minimum, sizes.height.maximum + 1, 8)
        assert_has_size(model, width, height)
    assert (8, 8) not in made
    assert (640, 360) in made
    assert_has_size(model, *sizes.max_size)


@pytest.mark.exhaustive
@pytest.mark.parametrize("model", SIZED, ids=lambda model: model.id)
def test_one_wrong_side_does_not_change_the_other(model: Model) -> None:
    sizes = OutputSizes.from_model(model)
    assert sizes is not None
    width, height = sizes.default_size
    for wanted in (Size(width + 1, height), Size(width, height + 1)):
        if not sizes.allows(wanted):
            first = sizes.nearest_sizes(wanted)[0]
            assert sum(abs(one - other) for one, other in zip(first, wanted, strict=True)) <= 32, first


@pytest.mark.exhaustive
@pytest.mark.parametrize("model", SIZED, ids=lambda model: model.id)
def test_the_largest_size_is_allowed_in_both_directions(model: Model) -> None:
    width, height = model.manifest.max_size
    assert assert_has_size(model, width, height)
    assert assert_has_size(model, height, width)


@pytest.mark.exhaustive
@pytest.mark.parametrize("model", SIZED, ids=lambda model: model.id)
def test_nothing_is_inserted_where_nothing_is_cut(model: Model) -> None:
    sizes = OutputSizes.from_model(model)
    assert sizes is not None
    size = sizes.fit_aspect_ratio(1.0, sizes.default_size.area, on_grid=True)
    assert size is not None
    params: dict[str, Any] = size.to_params()
    if isinstance(spec := model.parameters.get("num_frames"), IntegerParameter):
        params["num_frames"] = spec.minimum
    params = model.example_params(**params)
    graph = model.render_graph(params, filename_prefix="p")
    assert graph == model.render_graph(params, filename_prefix="p", cut=False)


@pytest.mark.exhaustive
@pytest.mark.parametrize("model", TIMED, ids=lambda model: model.id)
def test_lengths_are_exact(model: Model) -> None:
    spec = model.parameters["num_frames"]
    assert isinstance(spec, IntegerParameter)
    for frames in range(spec.minimum - 1, spec.maximum + 2):
        graph = render(model, num_frames=frames)
        if graph is None:
            assert frames in (spec.minimum - 1, spec.maximum + 1)
            continue
        for output in model.outputs:
            assert made_frames(graph, image_source(graph, output.node)) == frames
        assert to_billable_work(model, model.example_params(num_frames=frames), None).frames == frames


@pytest.mark.exhaustive
@pytest.mark.parametrize("model", TIMED, ids=lambda model: model.id)
@settings(unhurried, max_examples=10)
@given(data=st.data())
def test_cut_graphs_are_valid(model: Model, data: st.DataObject) -> None:
    sizes, spec = OutputSizes.from_model(model), model.parameters["num_frames"]
    assert sizes is not None
    assert isinstance(spec, IntegerParameter)
    request = {
        "width": 8 * data.draw(st.integers(32, sizes.width.maximum // 8)),
        "height": 8 * data.draw(st.integers(32, sizes.height.maximum // 8)),
        "num_frames": data.draw(st.integers(spec.minimum, spec.maximum)),
    }
    assume(sizes.allows(Size(request["width"], request["height"])))
    assert validate_rendered_graph(model, request, FACTS) == []
