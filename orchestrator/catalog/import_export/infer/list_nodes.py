"""Parameter nodes with several values: a choice among texts, a list of images and a list of LoRAs.

ComfyUI's own nodes replace the lists: a batch of as many image loaders as a request has images, and one LoRA
loader that is repeated over the list.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from typing import Any

from orchestrator.catalog.import_export.infer.bindings import ParameterBindings, ParameterDeclaration
from orchestrator.catalog.import_export.infer.constants import InputRef
from orchestrator.catalog.import_export.ui.ui_graph import InvalidWorkflow
from orchestrator.catalog.parameters.loras import LORA_SUFFIX, LoraListParameter, is_lora_name
from orchestrator.catalog.rendering.graph import iter_links

#: Largest `max_items` of the nodes.
_MAX_ITEMS = 16
#: The option of a row of the LoRA list node without a LoRA.
_NO_LORA = "none"

NodeValues = Mapping[str, Any]


def declare_choice(values: NodeValues) -> ParameterDeclaration:
    """Raises InvalidWorkflow if there are no choices, or the value is none of them."""
    lines = [line.strip() for line in str(values.get("choices") or "").splitlines()]
    choices = list(dict.fromkeys(line for line in lines if line))
    value = values.get("value")
    if value not in choices:
        allowed = ", ".join(choices) or "none: write one a line into `choices`"
        raise InvalidWorkflow(
            f"parameter {values.get('name')}: the value {str(value)[:40]!r} must be one of the choices"
            f" ({allowed[:200]})"
        )
    return {"type": "string", "default": value, "choices": choices}


def declare_images(values: NodeValues) -> ParameterDeclaration:
    """Raises InvalidWorkflow if the largest number of images is invalid."""
    return {"type": "images", "max_items": _read_max_items(values)}


def replace_with_batch(bindings: ParameterBindings, id: str, name: str) -> None:
    """Replace a list of images by a batch of as many loaders as a request has images."""
    node = bindings.graph[id]
    example = _first_image(node["inputs"].get("images"))
    inputs: dict[str, Any] = {}
    for index in range(bindings.parameters[name]["max_items"]):
        loader = next(free for free in _loader_ids(id, index) if free not in bindings.graph)
        bindings.graph[loader] = {"class_type": "LoadImage", "inputs": {"image": example}, "_meta": {}}
        bindings.set_expression(InputRef(loader, "image"), f"{{{{ {name}[{index}] }}}}")
        bindings.node_meta[loader] = {"when": f"{{{{ {name} | length > {index} }}}}"}
        inputs[f"images.image{index}"] = [loader, 0]
    bindings.graph[id] = node | {"class_type": "BatchImagesNode", "inputs": inputs}
    bindings.node_meta[id] = {"when": f"{{{{ {name} | length > 0 }}}}"}


def _first_image(images: Any) -> str:
    """Return the first file of the widget, whose value may be one file, a list, or a wrapped list."""
    if isinstance(images, Mapping):
        images = images.get("__value__")
    if isinstance(images, list):
        images = next(iter(images), "")
    return images if isinstance(images, str) else ""


def _loader_ids(id: str, index: int) -> Any:
    yield f"{id}:{index}"
    yield from (f"{id}:{index}:{number}" for number in count())


def declare_loras(values: NodeValues) -> ParameterDeclaration:
    """Raises InvalidWorkflow if a LoRA, a strength or the largest number of LoRAs is invalid."""
    parameter = values.get("name")
    low, high = (values.get(key, usual) for key, usual in (("minimum", -2.0), ("maximum", 2.0)))
    if not _is_number(low) or not _is_number(high) or low > high:
        raise InvalidWorkflow(
            f"parameter {parameter}: minimum and maximum must be numbers in this order"
            f" (got {str(low)[:20]} and {str(high)[:20]})"
        )
    items = list(_read_items(values, low, high))
    max_items = _read_max_items(values)
    if len(items) > max_items:
        raise InvalidWorkflow(
            f"parameter {parameter}: max_items must be at least {len(items)}, the number of LoRAs of the node"
            f" (got {max_items})"
        )
    usual = LoraListParameter(type="loras")
    limits = {"max_items": max_items, "min_strength": float(low), "max_strength": float(high)}
    kept = {key: value for key, value in limits.items() if value != getattr(usual, key)}
    return {"type": "loras", **kept, "default": items}


def _read_items(values: NodeValues, low: float, high: float) -> Any:
    """Yield the LoRAs of the node's rows. Raises InvalidWorkflow."""
    for number in count(1):
        file = values.get(f"lora_{number}")
        if file is None:
            return
        if file == _NO_LORA:
            continue
        name, strength = str(file).removesuffix(LORA_SUFFIX), values.get(f"strength_{number}", 1.0)
        if not is_lora_name(name):
            raise InvalidWorkflow(
                f"parameter {values.get('name')}: lora_{number} must be a {LORA_SUFFIX} file directly in"
                f" models/loras (got {str(file)[:100]!r}); move the file there"
            )
        if not _is_number(strength) or not low <= strength <= high:
            raise InvalidWorkflow(
                f"parameter {values.get('name')}: strength_{number} must be between {low:g} and {high:g}"
                f" (got {str(strength)[:20]})"
            )
        yield {"name": name, "strength": float(strength)}


def replace_with_lora_loader(bindings: ParameterBindings, id: str, name: str) -> None:
    """Replace a list of LoRAs by one loader that is repeated over the list."""
    node = bindings.graph[id]
    links = {key: node["inputs"][key] for key, _ in iter_links(node["inputs"])}
    if "model" not in links:
        raise InvalidWorkflow(f"node {id}: link the input `model` of the LoRA list")
    with_clip = "clip" in links
    inputs: dict[str, Any] = {key: links[key] for key in ("model", "clip") if key in links}
    strengths: tuple[str, ...] = ("strength_model", "strength_clip") if with_clip else ("strength_model",)
    inputs |= {"lora_name": "", **dict.fromkeys(strengths, 1.0)}
    class_type = "LoraLoader" if with_clip else "LoraLoaderModelOnly"
    bindings.graph[id] = node | {"class_type": class_type, "inputs": inputs}
    bypass = {"0": "model"} | ({"1": "clip"} if with_clip else {})
    bindings.node_meta[id] = {"each": f"{{{{ {name} }}}}", "bypass": bypass}
    bindings.set_expression(InputRef(id, "lora_name"), f"{{{{ item.name }}}}{LORA_SUFFIX}")
    for strength in strengths:
        bindings.set_expression(InputRef(id, strength), "{{ item.strength }}")


def _read_max_items(values: NodeValues) -> int:
    """Raises InvalidWorkflow."""
    items = values.get("max_items", 4)
    if not isinstance(items, int) or isinstance(items, bool) or not 1 <= items <= _MAX_ITEMS:
        raise InvalidWorkflow(
            f"parameter {values.get('name')}: max_items must be 1 to {_MAX_ITEMS} (got {str(items)[:40]})"
        )
    return items


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
