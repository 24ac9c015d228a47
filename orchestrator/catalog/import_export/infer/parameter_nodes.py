"""Our own nodes (`custom_nodes/pixel_factory`), by which an author says what a parameter is.

They win over everything that could be guessed, and disappear: values are written where the nodes were
linked to, and pictures are loaded by ComfyUI's own nodes, so that the model runs without our pack.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.catalog.import_export.infer.bindings import Bindings, Declaration
from orchestrator.catalog.import_export.infer.constants import Place
from orchestrator.catalog.import_export.infer.infer_parameters import seed_expression
from orchestrator.catalog.import_export.ui.ui_graph import BadWorkflow
from orchestrator.catalog.manifest import NAME_PATTERN, RESERVED_NAMES
from orchestrator.catalog.rendering.graph import links_of

#: What loads the picture of a parameter in place of our node.
_LOADERS = {"PixelFactoryImage": "LoadImage", "PixelFactoryMask": "LoadImageMask"}
_LOADER_INPUTS = ("image", "channel")

Values = Mapping[str, Any]


def take_parameter_nodes(found: Bindings) -> None:
    """Declares and binds what the graph's parameter nodes say, and takes them out.

    Raises BadWorkflow for a node whose name, value or range can not be a parameter's.
    """
    for id, node in list(found.graph.items()):
        declare = _DECLARATIONS.get(node["class_type"])
        if declare is None:
            continue
        name = _name(id, node["inputs"])
        declaration = _with_common(declare(node["inputs"]), node["inputs"])
        if found.parameters.setdefault(name, declaration) != declaration:
            raise BadWorkflow(f"node {id}: another node declares the parameter {name} differently")
        if node["class_type"] in _LOADERS:
            _load(found, id, name, required=declaration.get("required", False))
        else:
            _write(found, id, name)


def _name(id: str, values: Values) -> str:
    for key in values:
        if any(linked == key for linked, _ in links_of(values)):
            raise BadWorkflow(f"node {id}: {key} must be written into the node, not linked to it")
    name = values.get("name")
    if not isinstance(name, str) or not re.fullmatch(NAME_PATTERN, name) or name in RESERVED_NAMES:
        raise BadWorkflow(f"node {id}: {str(name)[:100]!r} can not be the name of a parameter")
    return name


def _with_common(declaration: Declaration, values: Values) -> Declaration:
    """The declaration with what nodes of every kind say. What is required has no default."""
    if values.get("required"):
        declaration.pop("default", None)
        declaration["required"] = True
    description = str(values.get("description") or "").strip()
    return declaration | ({"description": description} if description else {})


def _write(found: Bindings, id: str, name: str) -> None:
    """The value goes to every input that the node is linked to."""
    value = found.graph.pop(id)["inputs"].get("value")
    for user, node in found.graph.items():
        for input in [key for key, link in links_of(node["inputs"]) if link.node == id]:
            node["inputs"][input] = value
            place = Place(user, input)
            is_seed = found.parameters[name]["type"] == "seed"
            found.places[place] = seed_expression(found, place) if is_seed else f"{{{{ {name} }}}}"


def _load(found: Bindings, id: str, name: str, *, required: bool) -> None:
    node = found.graph[id]
    inputs = {key: node["inputs"][key] for key in _LOADER_INPUTS if key in node["inputs"]}
    found.graph[id] = node | {"class_type": _LOADERS[node["class_type"]], "inputs": inputs}
    found.places[Place(id, "image")] = f"{{{{ {name} }}}}"
    if not required:
        found.words[id] = {"when": f"{{{{ {name} is not none }}}}"}


def _text(values: Values) -> Declaration:
    declaration: Declaration = {"type": "string", "default": str(values.get("value") or "")}
    return declaration | ({"blank": False} if values.get("required") else {})


def _integer(values: Values) -> Declaration:
    if values.get("name") == "seed":
        return {"type": "seed"}
    step = values.get("step", 1)
    return {"type": "integer", **_range(values)} | ({"step": step} if step != 1 else {})


def _number(values: Values) -> Declaration:
    numbers = {key: float(value) for key, value in _range(values).items()}
    step = values.get("step", 0)
    return {"type": "number", **numbers} | ({"step": float(step)} if step else {})


def _boolean(values: Values) -> Declaration:
    return {"type": "boolean", "default": bool(values.get("value"))}


def _picture(values: Values) -> Declaration:
    return {"type": "image"}


def _range(values: Values) -> dict[str, int | float]:
    """Raises BadWorkflow where one is missing or no number, or the default is out of range."""
    keys = {"default": "value", "minimum": "minimum", "maximum": "maximum"}
    found = {word: values.get(key) for word, key in keys.items()}
    numbers = {
        word: value
        for word, value in found.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    if len(numbers) < len(found):
        raise BadWorkflow(f"parameter {values.get('name')}: value, minimum and maximum must be numbers")
    if not numbers["minimum"] <= numbers["default"] <= numbers["maximum"]:
        raise BadWorkflow(f"parameter {values.get('name')}: its value is outside of its range")
    return numbers


_DECLARATIONS: Mapping[str, Callable[[Values], Declaration]] = {
    "PixelFactoryText": _text,
    "PixelFactoryInteger": _integer,
    "PixelFactoryNumber": _number,
    "PixelFactoryBoolean": _boolean,
    "PixelFactoryImage": _picture,
    "PixelFactoryMask": _picture,
}

#: The classes of the node pack.
PARAMETER_NODES = frozenset(_DECLARATIONS)
