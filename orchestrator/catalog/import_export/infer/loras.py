"""LoRAs in a row become one node, repeated over a list that requests may set; the author's are its default.

Each row is a parameter of its own, `loras`, `loras2`, ...: a model of two experts has a row for each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.catalog.checks.node_facts import output_types
from orchestrator.catalog.import_export.infer.bindings import Bindings, Declaration
from orchestrator.catalog.import_export.infer.constants import Place
from orchestrator.catalog.parameters.values import Loras, is_lora_name
from orchestrator.catalog.rendering.graph import Link, as_link, links_of

_ENDING = ".safetensors"
#: What is chained, by output slot, and the type that both ends have.
_CHAINED = (("model", "MODEL"), ("clip", "CLIP"))


@dataclass(frozen=True, slots=True)
class _Loader:
    """A node that adds one LoRA."""

    id: str
    name: str
    strength: float
    #: Its inputs of strength: all hold the same number.
    strengths: tuple[str, ...]
    #: Output slot -> the input that it hands on.
    chained: dict[int, str]

    @property
    def item(self) -> dict[str, Any]:
        return {"name": self.name, "strength": self.strength}


def find_loras(found: Bindings, needed: Sequence[str]) -> None:
    """Binds every LoRA that a list can hold, and notes the others."""
    loaders = dict(_loaders(found, needed))
    for row in _rows(found, loaders, needed):
        number = sum(spec["type"] == "loras" for spec in found.parameters.values()) + 1
        parameter = "loras" if number == 1 else f"loras{number}"
        if parameter not in found.parameters:
            _bind(found, parameter, row)


def _loaders(found: Bindings, needed: Sequence[str]) -> Iterator[tuple[str, _Loader]]:
    for id in needed:
        if "lora_name" not in found.inputs(id):
            continue
        loader = _loader(found, id)
        if isinstance(loader, _Loader):
            yield id, loader
        else:
            file = found.graph[id]["inputs"].get("lora_name")
            found.notes.append(f"how requests could replace the LoRA {file} of node {id}: {loader}")


def _loader(found: Bindings, id: str) -> _Loader | str:
    """What a node adds, or why no list can hold it."""
    inputs, declared = found.graph[id]["inputs"], found.inputs(id)
    types = output_types(found.entry(id))
    chained = {
        slot: name
        for slot, (name, type) in enumerate(_CHAINED[: len(types)])
        if types[slot] == type and name in declared
    }
    file = inputs["lora_name"] if isinstance(inputs.get("lora_name"), str) else ""
    name = file.removesuffix(_ENDING)
    strengths = tuple(key for key, item in declared.items() if item.type == "FLOAT")
    values = [inputs.get(key) for key in strengths]
    if any(Place(id, key) in found.places for key in ("lora_name", *strengths)):
        return "its author has made parameters of what it takes"
    if len(chained) < len(types) or any(as_link(inputs.get(name)) is None for name in chained.values()):
        return f"{found.graph[id]['class_type']} hands on no model"
    if not file.endswith(_ENDING) or not is_lora_name(name):
        return f"a list takes plain names of {_ENDING} files only"
    if not values or not isinstance(values[0], int | float) or values.count(values[0]) < len(values):
        return "a list has one strength for model and text encoder, written as a number"
    return _Loader(id, name, float(values[0]), strengths, chained)


def _rows(found: Bindings, loaders: Mapping[str, _Loader], needed: Sequence[str]) -> Iterator[list[_Loader]]:
    """Loaders of one kind, each linked to by the next one alone."""
    users: dict[str, set[str]] = {id: set() for id in loaders}
    for id in needed:
        for _, link in links_of(found.graph[id]["inputs"]):
            users.get(link.node, set()).add(id)
    following = {id: _following(found, loaders, loader, users[id]) for id, loader in loaders.items()}
    inner = set(following.values())
    for id in (id for id in loaders if id not in inner):
        row, after = [loaders[id]], following[id]
        while after is not None:
            row.append(loaders[after])
            after = following[after]
        yield row


def _following(
    found: Bindings, loaders: Mapping[str, _Loader], loader: _Loader, users: set[str]
) -> str | None:
    """The loader that is all that takes what `loader` gives."""
    after = loaders.get(next(iter(users))) if len(users) == 1 else None
    if after is None or found.graph[after.id]["class_type"] != found.graph[loader.id]["class_type"]:
        return None
    inputs = found.graph[after.id]["inputs"]
    whole = all(as_link(inputs[name]) == Link(loader.id, slot) for slot, name in loader.chained.items())
    return after.id if whole else None


def _bind(found: Bindings, parameter: str, row: Sequence[_Loader]) -> None:
    """Leaves the first of the row, repeated, in place of all."""
    first, last = row[0], row[-1]
    for node in found.graph.values():
        for name, link in list(links_of(node["inputs"])):
            if link.node == last.id:
                node["inputs"][name] = [first.id, link.slot]
    for loader in row[1:]:
        del found.graph[loader.id]
    bypass = {str(slot): name for slot, name in first.chained.items()}
    found.words[first.id] = {"each": f"{{{{ {parameter} }}}}", "bypass": bypass}
    found.places[Place(first.id, "lora_name")] = f"{{{{ item.name }}}}{_ENDING}"
    for name in first.strengths:
        found.places[Place(first.id, name)] = "{{ item.strength }}"
    found.parameters[parameter] = _declaration([loader.item for loader in row])


def _declaration(items: list[dict[str, Any]]) -> Declaration:
    """The list as drawn, in a range that holds it."""
    usual = Loras(type="loras")
    strengths = [item["strength"] for item in items]
    limits = {
        "max_items": max(usual.max_items, len(items)),
        "min_strength": min(usual.min_strength, *strengths),
        "max_strength": max(usual.max_strength, *strengths),
    }
    unusual = {key: value for key, value in limits.items() if value != getattr(usual, key)}
    return {"type": "loras", **unusual, "default": items}
