"""Replace chains of LoRA loaders by one node that is repeated over a list parameter.

The author's LoRAs become its default. Each chain is a parameter, `loras`, `loras2`, ...: a model with two
experts has one for each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.catalog.checks.node_facts import output_types
from orchestrator.catalog.import_export.infer.bindings import ParameterBindings, ParameterDeclaration
from orchestrator.catalog.import_export.infer.constants import InputRef
from orchestrator.catalog.parameters.loras import LoraListParameter, is_lora_name
from orchestrator.catalog.rendering.graph import Link, iter_links, parse_link

_LORA_SUFFIX = ".safetensors"
#: Chained inputs by output slot, and their types.
_CHAINED_INPUTS = (("model", "MODEL"), ("clip", "CLIP"))


@dataclass(frozen=True, slots=True)
class _LoraLoader:
    """A node that adds one LoRA."""

    id: str
    name: str
    strength: float
    #: Its strength inputs, which all have the same value.
    strength_inputs: tuple[str, ...]
    #: Output slot -> the input that it modifies.
    chained_inputs: dict[int, str]

    @property
    def list_item(self) -> dict[str, Any]:
        return {"name": self.name, "strength": self.strength}


def bind_loras(bindings: ParameterBindings, needed: Sequence[str]) -> None:
    """Bind every LoRA that a list can represent, and add notes on the others."""
    loaders = dict(_find_loaders(bindings, needed))
    for row in _find_chains(bindings, loaders, needed):
        number = sum(spec["type"] == "loras" for spec in bindings.parameters.values()) + 1
        parameter = "loras" if number == 1 else f"loras{number}"
        if parameter not in bindings.parameters:
            _bind_chain(bindings, parameter, row)


def _find_loaders(bindings: ParameterBindings, needed: Sequence[str]) -> Iterator[tuple[str, _LoraLoader]]:
    for id in needed:
        if "lora_name" not in bindings.node_inputs(id) or "each" in bindings.node_meta.get(id, {}):
            continue
        loader = _read_loader(bindings, id)
        if isinstance(loader, _LoraLoader):
            yield id, loader
        else:
            file = bindings.graph[id]["inputs"].get("lora_name")
            bindings.notes.append(f"how requests could replace the LoRA {file} of node {id}: {loader}")


def _read_loader(bindings: ParameterBindings, id: str) -> _LoraLoader | str:
    """Return the loader, or the reason why a list cannot represent it."""
    inputs, declared = bindings.graph[id]["inputs"], bindings.node_inputs(id)
    types = output_types(bindings.node_facts(id))
    chained = {
        slot: name
        for slot, (name, type) in enumerate(_CHAINED_INPUTS[: len(types)])
        if types[slot] == type and name in declared
    }
    file = inputs["lora_name"] if isinstance(inputs.get("lora_name"), str) else ""
    name = file.removesuffix(_LORA_SUFFIX)
    strengths = tuple(key for key, item in declared.items() if item.type == "FLOAT")
    values = [inputs.get(key) for key in strengths]
    if any(InputRef(id, key) in bindings.expressions for key in ("lora_name", *strengths)):
        return "its author has made parameters of what it takes"
    if len(chained) < len(types) or any(parse_link(inputs.get(name)) is None for name in chained.values()):
        return f"{bindings.graph[id]['class_type']} hands on no model"
    if not file.endswith(_LORA_SUFFIX) or not is_lora_name(name):
        return f"a list takes plain names of {_LORA_SUFFIX} files only"
    if not values or not isinstance(values[0], int | float) or values.count(values[0]) < len(values):
        return "a list has one strength for model and text encoder, written as a number"
    return _LoraLoader(id, name, float(values[0]), strengths, chained)


def _find_chains(
    bindings: ParameterBindings, loaders: Mapping[str, _LoraLoader], needed: Sequence[str]
) -> Iterator[list[_LoraLoader]]:
    """Loaders of one kind, each linked to by the next one alone."""
    users: dict[str, set[str]] = {id: set() for id in loaders}
    for id in needed:
        for _, link in iter_links(bindings.graph[id]["inputs"]):
            users.get(link.node, set()).add(id)
    following = {id: _next_in_chain(bindings, loaders, loader, users[id]) for id, loader in loaders.items()}
    inner = set(following.values())
    for id in (id for id in loaders if id not in inner):
        row, after = [loaders[id]], following[id]
        while after is not None:
            row.append(loaders[after])
            after = following[after]
        yield row


def _next_in_chain(
    bindings: ParameterBindings, loaders: Mapping[str, _LoraLoader], loader: _LoraLoader, consumers: set[str]
) -> str | None:
    """Return the loader that is the only consumer of all outputs of `loader`; else None."""
    after = loaders.get(next(iter(consumers))) if len(consumers) == 1 else None
    if after is None or bindings.graph[after.id]["class_type"] != bindings.graph[loader.id]["class_type"]:
        return None
    inputs = bindings.graph[after.id]["inputs"]
    whole = all(
        parse_link(inputs[name]) == Link(loader.id, slot) for slot, name in loader.chained_inputs.items()
    )
    return after.id if whole else None


def _bind_chain(bindings: ParameterBindings, parameter: str, chain: Sequence[_LoraLoader]) -> None:
    """Replace a chain by its first loader, repeated over the list."""
    first, last = chain[0], chain[-1]
    for node in bindings.graph.values():
        for name, link in list(iter_links(node["inputs"])):
            if link.node == last.id:
                node["inputs"][name] = [first.id, link.slot]
    for loader in chain[1:]:
        del bindings.graph[loader.id]
    bypass = {str(slot): name for slot, name in first.chained_inputs.items()}
    bindings.node_meta[first.id] = {"each": f"{{{{ {parameter} }}}}", "bypass": bypass}
    bindings.set_expression(InputRef(first.id, "lora_name"), f"{{{{ item.name }}}}{_LORA_SUFFIX}")
    for name in first.strength_inputs:
        bindings.set_expression(InputRef(first.id, name), "{{ item.strength }}")
    bindings.parameters[parameter] = _declare_loras([loader.list_item for loader in chain])


def _declare_loras(items: list[dict[str, Any]]) -> ParameterDeclaration:
    """Declare the list parameter with the author's LoRAs as default, within limits that fit them."""
    usual = LoraListParameter(type="loras")
    strengths = [item["strength"] for item in items]
    limits = {
        "max_items": max(usual.max_items, len(items)),
        "min_strength": min(usual.min_strength, *strengths),
        "max_strength": max(usual.max_strength, *strengths),
    }
    unusual = {key: value for key, value in limits.items() if value != getattr(usual, key)}
    return {"type": "loras", **unusual, "default": items}
