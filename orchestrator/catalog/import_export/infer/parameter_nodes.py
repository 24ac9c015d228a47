"""Extract parameter nodes (`custom_nodes/pixel_factory`), by which an author declares parameters.

They take precedence over inferred parameters, and are removed: values are written into the linked inputs,
and files are loaded by ComfyUI's nodes, so that the model runs without the node pack.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from orchestrator.catalog.import_export.infer.bindings import ParameterBindings, ParameterDeclaration
from orchestrator.catalog.import_export.infer.constants import InputRef
from orchestrator.catalog.import_export.infer.infer_parameters import seed_expression
from orchestrator.catalog.import_export.infer.list_nodes import (
    declare_choice,
    declare_images,
    declare_loras,
    replace_with_batch,
    replace_with_lora_loader,
)
from orchestrator.catalog.import_export.ui.ui_graph import InvalidWorkflow
from orchestrator.catalog.manifest import MAX_PARAMETERS, NAME_PATTERN, RESERVED_NAMES
from orchestrator.catalog.rendering.graph import iter_links, parse_link

#: ComfyUI node classes that replace the file parameter nodes, and their inputs; the first is the file.
_FILE_LOADERS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "PixelFactoryImage": ("LoadImage", ("image",)),
    "PixelFactoryMask": ("LoadImageMask", ("image", "channel")),
    "PixelFactoryVideo": ("LoadVideo", ("file",)),
    "PixelFactoryAudio": ("LoadAudio", ("audio",)),
}
#: Inputs of parameter nodes that must be linked; all others must be values.
_LINKED_INPUTS = frozenset({"model", "clip"})

NodeValues = Mapping[str, Any]


def extract_parameter_nodes(bindings: ParameterBindings) -> None:
    """Declare and bind the parameters of the graph's parameter nodes, and remove the nodes.

    Raises InvalidWorkflow for a node with an invalid name, value or range.
    """
    declaring = [id for id, node in bindings.graph.items() if node["class_type"] in _DECLARE_BY_CLASS]
    names = {str(bindings.graph[id]["inputs"].get("name")) for id in declaring}
    if len(names) > MAX_PARAMETERS:
        raise InvalidWorkflow(
            f"its nodes declare {len(names)} parameters; a model has at most {MAX_PARAMETERS}"
        )
    for id in declaring:
        node = bindings.graph[id]
        declare = _DECLARE_BY_CLASS[node["class_type"]]
        name = _read_parameter_name(id, node["inputs"])
        declaration = _add_common_keys(declare(node["inputs"]), node["inputs"])
        if bindings.parameters.setdefault(name, declaration) != declaration:
            raise InvalidWorkflow(f"node {id}: another node declares the parameter {name} differently")
        replace = _REPLACE_BY_CLASS.get(node["class_type"], _inline_value)
        replace(bindings, id, name)


def _read_parameter_name(id: str, values: NodeValues) -> str:
    for key in values:
        if key not in _LINKED_INPUTS and any(linked == key for linked, _ in iter_links(values)):
            raise InvalidWorkflow(f"node {id}: {key} must be a value of the node, not a link")
    name = values.get("name")
    if not isinstance(name, str) or not re.fullmatch(NAME_PATTERN, name) or name in RESERVED_NAMES:
        raise InvalidWorkflow(
            f"node {id}: {str(name)[:100]!r} is not a valid parameter name or is reserved;"
            " use lower-case letters, digits and underscores"
        )
    return name


def _add_common_keys(declaration: ParameterDeclaration, values: NodeValues) -> ParameterDeclaration:
    """Add the keys that all kinds of nodes have. A required parameter has no default."""
    if values.get("required"):
        declaration.pop("default", None)
        declaration["required"] = True
    description = str(values.get("description") or "").strip()
    return declaration | ({"description": description} if description else {})


def _inline_value(bindings: ParameterBindings, id: str, name: str) -> None:
    """Write the value into every input that is linked to the node, and bind it."""
    value = bindings.graph.pop(id)["inputs"].get("value")
    users = [
        InputRef(user, input)
        for user, node in bindings.graph.items()
        for input, each in node["inputs"].items()
        if isinstance(each, list) and id in each and (link := parse_link(each)) and link.node == id
    ]
    for place in users:
        bindings.graph[place.node]["inputs"][place.input] = value
        is_seed = bindings.parameters[name]["type"] == "seed"
        text = seed_expression(bindings, place) if is_seed else f"{{{{ {name} }}}}"
        bindings.set_expression(place, text)


def _replace_with_loader(bindings: ParameterBindings, id: str, name: str) -> None:
    node = bindings.graph[id]
    class_type, names = _FILE_LOADERS[node["class_type"]]
    inputs = {key: node["inputs"][key] for key in names if key in node["inputs"]}
    bindings.graph[id] = node | {"class_type": class_type, "inputs": inputs}
    bindings.set_expression(InputRef(id, names[0]), f"{{{{ {name} }}}}")
    if not bindings.parameters[name].get("required"):
        bindings.node_meta[id] = {"when": f"{{{{ {name} is not none }}}}"}


def _declare_text(values: NodeValues) -> ParameterDeclaration:
    declaration: ParameterDeclaration = {"type": "string", "default": str(values.get("value") or "")}
    return declaration | ({"blank": False} if values.get("required") else {})


def _declare_integer(values: NodeValues) -> ParameterDeclaration:
    if values.get("name") == "seed":
        return {"type": "seed"}
    step = values.get("step", 1)
    return {"type": "integer", **_read_range(values)} | ({"step": step} if step != 1 else {})


def _declare_number(values: NodeValues) -> ParameterDeclaration:
    numbers = {key: float(value) for key, value in _read_range(values).items()}
    step = values.get("step", 0)
    return {"type": "number", **numbers} | ({"step": float(step)} if step else {})


def _declare_boolean(values: NodeValues) -> ParameterDeclaration:
    return {"type": "boolean", "default": bool(values.get("value"))}


def _declare_image(values: NodeValues) -> ParameterDeclaration:
    return {"type": "image"}


def _declare_clip(type: str, values: NodeValues) -> ParameterDeclaration:
    """Declare a video or audio. Raises InvalidWorkflow for an invalid length."""
    seconds = values.get("max_seconds", 30.0)
    if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not 0.1 <= seconds <= 3600:
        raise InvalidWorkflow(
            f"parameter {values.get('name')}: max_seconds must be 0.1 to 3600 (got {str(seconds)[:40]})"
        )
    return {"type": type} | ({"max_seconds": float(seconds)} if seconds != 30 else {})


def _read_range(values: NodeValues) -> dict[str, int | float]:
    """Return default, minimum and maximum. Raises InvalidWorkflow if one is not a number or out of range."""
    keys = {"default": "value", "minimum": "minimum", "maximum": "maximum"}
    found = {word: values.get(key) for word, key in keys.items()}
    numbers = {
        word: value
        for word, value in found.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    if len(numbers) < len(found):
        raise InvalidWorkflow(f"parameter {values.get('name')}: value, minimum and maximum must be numbers")
    if not numbers["minimum"] <= numbers["default"] <= numbers["maximum"]:
        raise InvalidWorkflow(
            f"parameter {values.get('name')}: the value {numbers['default']} must be between"
            f" {numbers['minimum']} and {numbers['maximum']}"
        )
    return numbers


_DECLARE_BY_CLASS: Mapping[str, Callable[[NodeValues], ParameterDeclaration]] = {
    "PixelFactoryText": _declare_text,
    "PixelFactoryInteger": _declare_integer,
    "PixelFactoryNumber": _declare_number,
    "PixelFactoryBoolean": _declare_boolean,
    "PixelFactoryImage": _declare_image,
    "PixelFactoryMask": _declare_image,
    "PixelFactoryVideo": partial(_declare_clip, "video"),
    "PixelFactoryAudio": partial(_declare_clip, "audio"),
    "PixelFactoryChoice": declare_choice,
    "PixelFactoryImages": declare_images,
    "PixelFactoryLoras": declare_loras,
}
#: How a node is replaced; all others are replaced by their value.
_REPLACE_BY_CLASS: Mapping[str, Callable[[ParameterBindings, str, str], None]] = {
    **dict.fromkeys(_FILE_LOADERS, _replace_with_loader),
    "PixelFactoryImages": replace_with_batch,
    "PixelFactoryLoras": replace_with_lora_loader,
}

#: The classes of the node pack that declare parameters.
PARAMETER_NODE_CLASSES = frozenset(_DECLARE_BY_CLASS)
