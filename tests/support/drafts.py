"""Models made in a test: a small valid manifest and graph, with whatever a test changes in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tomli_w
from hypothesis import HealthCheck, settings

from comfy_instances.protocol.node_facts import load_core_node_facts
from orchestrator.catalog import Catalog, Model
from orchestrator.catalog.import_export import ImportedModel
from tests.support.shipped import SHIPPED_CATALOG

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "workflows"
WEIGHTLESS = ROOT / "tests" / "workflows"

#: For property tests: a busy machine is no failure.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

FACTS = load_core_node_facts()
CATALOG = Catalog([*SHIPPED_CATALOG, *Catalog.load(WEIGHTLESS)])


def parse_imported(result: ImportedModel) -> Model:
    """The model that an import has made, without files."""
    return Model.parse(result.manifest, result.graph, Path("drawn"), result.files.get("nodes.json", "{}"))


PROMPT = {"type": "string", "required": True, "blank": False}
SEED = {"type": "seed"}


def manifest(**changes: Any) -> dict[str, Any]:
    """What `model.toml` holds; None takes a key away."""
    data = {
        "id": "draft",
        "name": "Draft",
        "kind": "image",
        "owner": "tests",
        "architecture": "none",
        "description": "For one test.",
        "created": "2026-01-01",
        "license": "none",
        "max_resolution": "2048x2048",
        "price_class": "draft",
        "parameters": {"prompt": PROMPT, "seed": SEED},
        "outputs": [{"node": "save", "media": "image"}],
        "requires": {"comfyui": "0.33.0"},
        "resources": {"vram_bytes": 0, "load_seconds": 0.0, "step_seconds": 0.0},
    } | changes
    return {key: value for key, value in data.items() if value is not None}


def node(class_type: str, meta: dict[str, Any] | None = None, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs} | ({"_meta": meta} if meta else {})


def saving(**nodes: Any) -> dict[str, Any]:
    """A graph of `nodes` and one that saves; `picture` is the one that it saves."""
    nodes = {"picture": node("EmptyImage", width=64, height=64, batch_size=1, color=0)} | nodes
    return nodes | {"save": node("SaveImage", images=["picture", 0], filename_prefix="{{ filename_prefix }}")}


def parse(graph: Any = None, **changes: Any) -> Model:
    """A model out of text, as it would be read from a disk."""
    text = json.dumps(saving() if graph is None else graph)
    return Model.parse(tomli_w.dumps(manifest(**changes)), text, Path("draft"))


def write(folder: Path, graph: Any = None, **changes: Any) -> Path:
    """The same, on a disk."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.toml").write_text(tomli_w.dumps(manifest(**changes)), "utf-8")
    (folder / "graph.json").write_text(json.dumps(saving() if graph is None else graph), "utf-8")
    return folder


def showing(text: str, **parameters: Any) -> Model:
    """A model whose node `shown` has the leaf `text` as its input `value`."""
    graph = saving(shown=node("Shown", value=text))
    return parse(graph, parameters={"prompt": PROMPT, "seed": SEED} | parameters)


def shown(model: Model, **params: Any) -> Any:
    """What the leaf of `showing` became."""
    graph = model.render_graph({"seed": 0, "prompt": "x"} | params, filename_prefix="p")
    return graph["shown"]["inputs"]["value"]
