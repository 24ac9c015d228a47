"""A caller's graph as a model, so that it runs, is retried, stored and charged as any other job."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Container, Mapping, Sequence
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

from orchestrator.catalog.live_catalog import LiveCatalog
from orchestrator.catalog.manifest import ModelKind, ModelManifest, OutputNode, Requirements, Resources
from orchestrator.catalog.model import Model
from orchestrator.catalog.model_source import ModelSource
from orchestrator.catalog.parameters.example_values import EXAMPLE_IMAGE
from orchestrator.catalog.rendering.graph import ApiGraph
from orchestrator.catalog.rendering.render import CompiledGraph, LastRendered
from orchestrator.jobs import Job
from orchestrator.own_graphs import OWN_GRAPH_ID
from orchestrator.own_graphs.values import PREFIX_INPUT

#: Parameters of a job: the checked graph, ids of its output nodes, object keys of its files, and the longest
#: run in seconds that its hold pays for.
GRAPH_PARAM, OUTPUTS_PARAM, FILES_PARAM, SECONDS_PARAM = "graph", "outputs", "files", "max_seconds"
#: Key of the object that stands for a file within a stored graph; its value is the position among the files.
FILE_INDEX = "@file"
#: By output node that only shows its result: the class that saves it instead, since results are what callers
#: get, and the input that holds it.
_SAVED_INSTEAD: Mapping[str, tuple[str, str]] = {
    "PreviewImage": ("SaveImage", "images"),
    "SaveImageWebsocket": ("SaveImage", "images"),
    "PreviewAudio": ("SaveAudio", "audio"),
}
#: Models of recently used graphs. What instances can serve is remembered by model, so equal ones are shared.
_MAX_CACHED = 256
_cache: OrderedDict[str, OwnGraphModel] = OrderedDict()


class OwnGraphModel(Model):
    """The graph of one job or of several equal ones. Nothing in it is a template."""

    def __init__(self, graph: ApiGraph, outputs: Sequence[str]) -> None:
        text = json.dumps([graph, list(outputs)], sort_keys=True)
        super().__init__(
            _make_manifest(outputs),
            CompiledGraph({}, frozenset(), Path("own-graph")),
            ModelSource("", json.dumps(graph), {}),
        )
        self.graph = graph
        self._text = text

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the graph, hexadecimal."""
        return hashlib.sha256(f"own graph\0{self._text}".encode()).hexdigest()

    @property
    def is_own_graph(self) -> bool:
        return True

    @cached_property
    def classes(self) -> dict[str, str]:
        """Class by node, as the caller sent it."""
        return {id: node["class_type"] for id, node in self.graph.items()}

    @cached_property
    def file_inputs(self) -> tuple[str, ...]:
        return (FILES_PARAM,)

    def run_limit(self, params: Mapping[str, Any]) -> float | None:
        """Return the longest run in seconds."""
        return float(params[SECONDS_PARAM])

    def example_params(self, **values: Any) -> dict[str, Any]:
        """Return parameters with example files in place of uploads."""
        return {"n": 1, FILES_PARAM: [EXAMPLE_IMAGE] * _count_files(self.graph)} | values

    def estimate_run_seconds(self, params: Mapping[str, Any], profile: str | None = None) -> float:
        """Return the expected seconds: a share of the longest run, since the graph has not been measured."""
        return min(float(params.get(SECONDS_PARAM, 60.0)) / 4, 60.0)

    def render_graph(
        self,
        params: Mapping[str, Any],
        *,
        filename_prefix: str,
        preferred_dtypes: Sequence[str] = (),
        available_files: Container[str] | None = None,
        cut: bool = True,
        last: LastRendered | None = None,
    ) -> ApiGraph:
        """Return the graph with the names of uploaded files, and a prefix of the service's own."""
        files = params[FILES_PARAM]
        return {id: _render_node(id, node, files, filename_prefix) for id, node in self.graph.items()}


def own_graph_model(graph: ApiGraph, outputs: Sequence[str]) -> OwnGraphModel:
    """Return the model of a graph; the same object for equal graphs, as long as it is remembered."""
    key = hashlib.sha256(json.dumps([graph, list(outputs)], sort_keys=True).encode()).hexdigest()
    model = _cache.pop(key, None) or OwnGraphModel(graph, outputs)
    _cache[key] = model
    while len(_cache) > _MAX_CACHED:
        _cache.popitem(last=False)
    return model


def model_of_job(live_catalog: LiveCatalog, job: Job) -> Model:
    """Return what a job runs: the caller's graph, or the model for which it was accepted.

    Raises InvalidRequest (`model_not_found`).
    """
    if job.model == OWN_GRAPH_ID:
        return own_graph_model(job.params[GRAPH_PARAM], job.params[OUTPUTS_PARAM])
    return live_catalog.get_known_model(job.model, job.model_version)


def _render_node(id: str, node: Mapping[str, Any], files: Sequence[str], prefix: str) -> dict[str, Any]:
    inputs = {name: _fill(value, files) for name, value in node["inputs"].items()}
    class_type = node["class_type"]
    if class_type in _SAVED_INSTEAD:
        class_type, result = _SAVED_INSTEAD[class_type]
        inputs = {result: inputs.get(result), PREFIX_INPUT: prefix}
    for name in inputs:
        if name.rpartition(".")[2] == PREFIX_INPUT:
            inputs[name] = prefix
    return {"class_type": class_type, "inputs": inputs}


def _fill(value: Any, files: Sequence[str]) -> Any:
    return files[value[FILE_INDEX]] if isinstance(value, dict) and FILE_INDEX in value else value


def _count_files(graph: ApiGraph) -> int:
    used = [
        value[FILE_INDEX]
        for node in graph.values()
        for value in node["inputs"].values()
        if isinstance(value, dict) and FILE_INDEX in value
    ]
    return max(used, default=-1) + 1


def _make_manifest(outputs: Sequence[str]) -> ModelManifest:
    return ModelManifest(
        id=OWN_GRAPH_ID,
        name="Own graph",
        kind=ModelKind.IMAGE,
        owner="caller",
        architecture="own-graph",
        description="A graph that the caller has sent.",
        created=date(2026, 1, 1),
        license="",
        max_resolution="16384x16384",
        price_class=OWN_GRAPH_ID,
        parameters={},
        outputs=tuple(OutputNode(node=id, media="image") for id in outputs),
        requires=Requirements(comfyui="0.33.0"),
        resources=Resources(vram_bytes=0, load_seconds=10.0, step_seconds=1.0),
    )
