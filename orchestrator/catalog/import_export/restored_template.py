"""Metadata of exported workflows, from which an import restores the original model.

Each node stores the parts of its template that its values do not show; the manifest is stored once. ComfyUI
keeps both when it saves the file: in `_meta` of a node in API format, in `properties` of a node and `extra`
of the workflow in UI format.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from orchestrator.catalog.checks.node_facts import NodeFacts, resolve_inputs
from orchestrator.catalog.import_export.manifest_text import (
    read_default,
    replace_default,
    replace_example,
    replace_id,
)
from orchestrator.catalog.import_export.ui.ui_graph import as_mapping
from orchestrator.catalog.import_export.ui.ui_to_api import EXPORT_METADATA_KEY
from orchestrator.catalog.rendering.graph import iter_links, parse_link

_EMPTY_FACTS: Mapping[str, Any] = {"input": {}}
_SINGLE_PARAMETER_PATTERN = re.compile(r"\{\{ ([a-z][a-z0-9_]*) \}\}")
_ITEM_FIELD_PATTERN = re.compile(r"\{\{ item\.([a-z]+) \}\}(.*)")

NodeJson = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RestoredTemplate:
    """The restored template of a model."""

    graph: dict[str, dict[str, Any]]
    manifest: str
    #: Parameter -> the value of its input, if the author has changed it after the export.
    changed_defaults: dict[str, Any] = field(default_factory=dict)

    def build_manifest(self, id: str) -> str:
        """Return the manifest with the changed defaults; under another id, without its aliases."""
        text = self.manifest
        for name, value in self.changed_defaults.items():
            text = replace_default(text, name, value)
            text = replace_example(text, name, value)
        return replace_id(text, id)


def template_metadata(
    node: NodeJson, rendered: Mapping[str, Any], names: Mapping[str, str]
) -> dict[str, Any]:
    """Return the parts of a template `node` (its JSON) that the `rendered` inputs do not show.

    `names` maps rendered node ids to template node ids.
    """
    hidden = {
        name: value
        for name, value in node["inputs"].items()
        if name not in rendered or rendered[name] != value
    }
    values = {name: _rename_link(rendered[name], names) for name in hidden if name in rendered}
    words = {key: value for key, value in node.get("_meta", {}).items() if key != "title"}
    return {"names": list(node["inputs"]), "inputs": hidden, "values": values, "meta": words}


def restore_template(
    graph: Mapping[str, NodeJson], export_metadata: Mapping[str, Any], facts: NodeFacts
) -> RestoredTemplate | None:
    """Restore the template of an exported graph; None if the graph has no export metadata.

    Nodes, links and values that the author has added or changed after the export are kept; a changed value
    of an input that a parameter sets becomes the default of the parameter.
    """
    text = export_metadata.get("manifest")
    if not isinstance(text, str):
        return None
    names = _restore_names(graph)
    result = RestoredTemplate({}, text)
    copies: dict[str, list[NodeJson]] = {}
    for id, node in graph.items():
        copies.setdefault(names[id], []).append(node)
    for name, nodes in copies.items():
        first, *_ = nodes = sorted(nodes, key=_template_position)
        note = _node_metadata(first) if _template_position(first)[0] == name else {}
        entry = facts.get(first["class_type"], _EMPTY_FACTS)
        defaults = {name: item.default for name, item in resolve_inputs(entry, first["inputs"]).items()}
        result.graph[name] = _restore_node(first, note, names, defaults, result.changed_defaults)
        result.changed_defaults.update(_restore_list_default(nodes, note, text))
    return result


def _restore_names(graph: Mapping[str, NodeJson]) -> dict[str, str]:
    """Return the template's node ids by graph node id; the UI format has numbers only.

    Copies of a repeated node share one id. Nodes that the author has added or duplicated get unused ids.
    """
    first: dict[str, int] = {}
    for name, copy in map(_template_position, graph.values()):
        first[name] = min(copy, first.get(name, copy))
    names: dict[str, str] = {}
    seen: set[tuple[str, int]] = set()
    for id, node in graph.items():
        name, copy = place = _template_position(node)
        if name and place not in seen and (copy == first[name] or _is_linked_to_copy(node, name, graph)):
            names[id] = name
            seen.add(place)
    taken = set(names.values())
    for id in graph:
        if id not in names:
            names[id] = next(free for free in _candidate_names(id) if free not in taken)
            taken.add(names[id])
    return names


def _is_linked_to_copy(node: NodeJson, name: str, graph: Mapping[str, NodeJson]) -> bool:
    """Return whether a node is linked to another copy of the template node `name`."""
    return any(_template_position(graph[link.node])[0] == name for _, link in iter_links(node["inputs"]))


def _candidate_names(id: str) -> Iterator[str]:
    """Yield possible ids for a node; dots are replaced, as they mark the copies of a node."""
    plain = id.replace(".", "_")
    yield plain
    yield from (f"{plain}_{number}" for number in count(2))


def _restore_node(
    node: NodeJson,
    metadata: Mapping[str, Any],
    names: Mapping[str, str],
    defaults: Mapping[str, Any],
    changed_defaults: dict[str, Any],
) -> dict[str, Any]:
    noted = metadata.get("names")
    had = noted if isinstance(noted, list) else node["inputs"]
    inputs = {
        name: _rename_link(value, names)
        for name, value in node["inputs"].items()
        # The UI format contains every widget: ignore unchanged ones that the template does not set.
        if name in had or parse_link(value) or (name in defaults and value != defaults[name])
    }
    for name, template in as_mapping(metadata.get("inputs")).items():
        values = as_mapping(metadata.get("values"))
        now = inputs.get(name, values.get(name))
        if name in values and now != values[name]:
            parameter = _SINGLE_PARAMETER_PATTERN.fullmatch(template) if isinstance(template, str) else None
            if not isinstance(now, str | int | float) or not (parameter or _is_item_field(template)):
                continue
            if parameter:
                changed_defaults[parameter[1]] = now
        inputs[name] = template
    title = str(node["_meta"].get("title") or node["class_type"])
    return {
        "class_type": node["class_type"],
        "inputs": inputs,
        "_meta": {"title": title} | dict(as_mapping(metadata.get("meta"))),
    }


def _restore_list_default(
    nodes: list[NodeJson], metadata: Mapping[str, Any], manifest: str
) -> dict[str, Any]:
    """Return the new default of the list that a node is repeated over, if it has changed."""
    parameter = _SINGLE_PARAMETER_PATTERN.fullmatch(str(as_mapping(metadata.get("meta")).get("each")))
    items = [item for item in map(_restore_item, nodes) if item]
    if parameter is None or not items or items == read_default(manifest, parameter[1]):
        return {}
    return {parameter[1]: items}


def _restore_item(node: NodeJson) -> dict[str, Any]:
    """Return the list element that the inputs of a copy now represent."""
    item: dict[str, Any] = {}
    note = _node_metadata(node)
    values = as_mapping(note.get("values"))
    for name, template in as_mapping(note.get("inputs")).items():
        part = _ITEM_FIELD_PATTERN.fullmatch(template) if isinstance(template, str) else None
        if part is None or name not in values:
            continue
        now = node["inputs"].get(name)
        if not isinstance(now, type(values[name])) or (part[2] and not str(now).endswith(part[2])):
            now = values[name]
        if part[1] not in item or now != values[name]:
            item[part[1]] = now.removesuffix(part[2]) if isinstance(now, str) else now
    return item


def _is_item_field(template: Any) -> bool:
    return isinstance(template, str) and _ITEM_FIELD_PATTERN.fullmatch(template) is not None


def _rename_link(value: Any, names: Mapping[str, str]) -> Any:
    link = parse_link(value)
    return [names.get(link.node, link.node), link.slot] if link else value


def _template_position(node: NodeJson) -> tuple[str, int]:
    """Return the template's id of a node, or "", and the index of the copy."""
    name, copy = _node_metadata(node).get("id"), _node_metadata(node).get("copy")
    return name if isinstance(name, str) else "", copy if isinstance(copy, int) else 0


def _node_metadata(node: NodeJson) -> Mapping[str, Any]:
    return as_mapping(node["_meta"].get(EXPORT_METADATA_KEY))
