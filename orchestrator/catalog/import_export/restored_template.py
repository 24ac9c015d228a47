"""What our export writes beside a graph, so that it comes back as the model that it was.

Each node carries the parts of its template that the values in the file do not show; one place carries the
manifest. ComfyUI keeps both when it saves the file again: as `_meta` of a node in API format, as
`properties` of a node and `extra` of the workflow in UI format.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from orchestrator.catalog.checks.node_facts import NodeFacts, inputs_of
from orchestrator.catalog.import_export.manifest_text import default_of, with_default, with_id
from orchestrator.catalog.import_export.ui.ui_to_api import OWN_KEY
from orchestrator.catalog.rendering.graph import as_link, links_of

_NO_FACTS: Mapping[str, Any] = {"input": {}}
_ONE_NAME = re.compile(r"\{\{ ([a-z][a-z0-9_]*) \}\}")
_PART_OF_ITEM = re.compile(r"\{\{ item\.([a-z]+) \}\}(.*)")

Node = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Own:
    """A model's template, put together again."""

    graph: dict[str, dict[str, Any]]
    manifest: str
    #: Parameter -> the value that an author has since given to what it sets.
    defaults: dict[str, Any] = field(default_factory=dict)

    def manifest_for(self, id: str) -> str:
        """The manifest with the author's new defaults; under another id, without its aliases."""
        text = self.manifest
        for name, value in self.defaults.items():
            text = with_default(text, name, value)
        return with_id(text, id)


def note_of(node: Node, rendered: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """What `rendered` inputs do not show of a template's `node` (its JSON).

    `names` gives the template's name of each rendered node.
    """
    hidden = {
        name: value
        for name, value in node["inputs"].items()
        if name not in rendered or rendered[name] != value
    }
    values = {name: _renamed(rendered[name], names) for name in hidden if name in rendered}
    words = {key: value for key, value in node.get("_meta", {}).items() if key != "title"}
    return {"names": list(node["inputs"]), "inputs": hidden, "values": values, "meta": words}


def restore(graph: Mapping[str, Node], own: Mapping[str, Any], facts: NodeFacts) -> Own | None:
    """The template in a graph that our export wrote; None for any other.

    Nodes, links and values that an author has added or changed since are taken as they are now; a
    changed value that a parameter sets becomes the parameter's default.
    """
    text = own.get("manifest")
    if not isinstance(text, str):
        return None
    names = _names(graph)
    result = Own({}, text)
    copies: dict[str, list[Node]] = {}
    for id, node in graph.items():
        copies.setdefault(names[id], []).append(node)
    for name, nodes in copies.items():
        first, *_ = nodes = sorted(nodes, key=_place)
        note = _note(first) if _place(first)[0] == name else {}
        entry = facts.get(first["class_type"], _NO_FACTS)
        defaults = {name: item.default for name, item in inputs_of(entry, first["inputs"]).items()}
        result.graph[name] = _node(first, note, names, defaults, result.defaults)
        result.defaults.update(_list_default(nodes, note, text))
    return result


def _names(graph: Mapping[str, Node]) -> dict[str, str]:
    """The template's own names of the nodes; the UI format has numbers only.

    Copies of a repeated node share one name. What an author has added, also by doubling one of ours,
    gets a name that is free.
    """
    first: dict[str, int] = {}
    for name, copy in map(_place, graph.values()):
        first[name] = min(copy, first.get(name, copy))
    names: dict[str, str] = {}
    seen: set[tuple[str, int]] = set()
    for id, node in graph.items():
        name, copy = place = _place(node)
        if name and place not in seen and (copy == first[name] or _follows(node, name, graph)):
            names[id] = name
            seen.add(place)
    taken = set(names.values())
    for id in graph:
        if id not in names:
            names[id] = next(free for free in _numbered(id) if free not in taken)
            taken.add(names[id])
    return names


def _follows(node: Node, name: str, graph: Mapping[str, Node]) -> bool:
    """Whether a node is linked to another copy of the template's node `name`."""
    return any(_place(graph[link.node])[0] == name for _, link in links_of(node["inputs"]))


def _numbered(id: str) -> Iterator[str]:
    """Names for a node that was called `id`; one with a point would look like a copy's."""
    plain = id.replace(".", "_")
    yield plain
    yield from (f"{plain}_{number}" for number in count(2))


def _node(
    node: Node,
    note: Mapping[str, Any],
    names: Mapping[str, str],
    defaults: Mapping[str, Any],
    changed: dict[str, Any],
) -> dict[str, Any]:
    noted = note.get("names")
    had = noted if isinstance(noted, list) else node["inputs"]
    inputs = {
        name: _renamed(value, names)
        for name, value in node["inputs"].items()
        # A screen shows every widget; those at rest that the template does not name are no news.
        if name in had or as_link(value) or (name in defaults and value != defaults[name])
    }
    for name, template in _mapping(note.get("inputs")).items():
        values = _mapping(note.get("values"))
        now = inputs.get(name, values.get(name))
        if name in values and now != values[name]:
            parameter = _ONE_NAME.fullmatch(template) if isinstance(template, str) else None
            if not isinstance(now, str | int | float) or not (parameter or _is_part(template)):
                continue
            if parameter:
                changed[parameter[1]] = now
        inputs[name] = template
    title = str(node["_meta"].get("title") or node["class_type"])
    return {
        "class_type": node["class_type"],
        "inputs": inputs,
        "_meta": {"title": title} | dict(_mapping(note.get("meta"))),
    }


def _list_default(nodes: list[Node], note: Mapping[str, Any], manifest: str) -> dict[str, Any]:
    """The new default of the list that a node is repeated over, where that is another one now."""
    parameter = _ONE_NAME.fullmatch(str(_mapping(note.get("meta")).get("each")))
    items = [item for item in map(_item, nodes) if item]
    if parameter is None or not items or items == default_of(manifest, parameter[1]):
        return {}
    return {parameter[1]: items}


def _item(node: Node) -> dict[str, Any]:
    """The element of the list that a copy now stands for, in as far as its inputs are parts of it."""
    item: dict[str, Any] = {}
    note = _note(node)
    values = _mapping(note.get("values"))
    for name, template in _mapping(note.get("inputs")).items():
        part = _PART_OF_ITEM.fullmatch(template) if isinstance(template, str) else None
        if part is None or name not in values:
            continue
        now = node["inputs"].get(name)
        if not isinstance(now, type(values[name])) or (part[2] and not str(now).endswith(part[2])):
            now = values[name]
        if part[1] not in item or now != values[name]:
            item[part[1]] = now.removesuffix(part[2]) if isinstance(now, str) else now
    return item


def _is_part(template: Any) -> bool:
    return isinstance(template, str) and _PART_OF_ITEM.fullmatch(template) is not None


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    link = as_link(value)
    return [names.get(link.node, link.node), link.slot] if link else value


def _place(node: Node) -> tuple[str, int]:
    """The template's name of a node, or "", and which copy of it this is where it is repeated."""
    name, copy = _note(node).get("id"), _note(node).get("copy")
    return name if isinstance(name, str) else "", copy if isinstance(copy, int) else 0


def _note(node: Node) -> Mapping[str, Any]:
    return _mapping(node["_meta"].get(OWN_KEY))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
