"""What our export writes beside a graph, so that it comes back as the model that it was.

Each node carries the parts of its template that the values in the file do not show; one place carries the
manifest. ComfyUI keeps both when it saves the file again: as `_meta` of a node in API format, as
`properties` of a node and `extra` of the workflow in UI format.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import tomli_w

from orchestrator.catalog.exchange.from_ui import OWN_KEY
from orchestrator.catalog.facts import NodeFacts, inputs_of
from orchestrator.catalog.graph import as_link

_NO_FACTS: Mapping[str, Any] = {"input": {}}
_ONE_NAME = re.compile(r"\{\{ ([a-z][a-z0-9_]*) \}\}")


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
            text = _with_default(text, name, value)
        old = re.search(r'^id = "([^"]*)"$', text, re.MULTILINE)
        if old is None or old[1] == id:
            return text
        text = text.replace(old[0], f'id = "{id}"', 1)
        return re.sub(r"^aliases = \[.*?\]\n", "", text, count=1, flags=re.MULTILINE | re.DOTALL)


def note_of(node: Mapping[str, Any], rendered: Mapping[str, Any]) -> dict[str, Any]:
    """What `rendered` inputs do not show of a template's `node` (its JSON)."""
    hidden = {
        name: value
        for name, value in node["inputs"].items()
        if name not in rendered or rendered[name] != value
    }
    values = {name: rendered[name] for name in hidden if name in rendered and not as_link(rendered[name])}
    words = {key: value for key, value in node.get("_meta", {}).items() if key != "title"}
    return {"names": list(node["inputs"]), "inputs": hidden, "values": values, "meta": words}


def restore(graph: Mapping[str, Mapping[str, Any]], own: Mapping[str, Any], facts: NodeFacts) -> Own | None:
    """The template in a graph that our export wrote; None for any other.

    Nodes, links and values that an author has added or changed since are taken as they are now; a
    changed value that a parameter sets becomes the parameter's default.
    """
    text = own.get("manifest")
    if not isinstance(text, str):
        return None
    names = {id: _name(id, node) for id, node in graph.items()}
    result = Own({}, text)
    for id, node in graph.items():
        entry = facts.get(node["class_type"], _NO_FACTS)
        defaults = {name: item.default for name, item in inputs_of(entry, node["inputs"]).items()}
        result.graph[names[id]] = _node(node, names, defaults, result.defaults)
    return result


def _name(id: str, node: Mapping[str, Any]) -> str:
    """The template's own name of a node; the UI format has numbers only."""
    name = _note(node).get("id")
    return name if isinstance(name, str) else id


def _node(
    node: Mapping[str, Any],
    names: Mapping[str, str],
    defaults: Mapping[str, Any],
    changed: dict[str, Any],
) -> dict[str, Any]:
    note = _note(node)
    had = note.get("names", node["inputs"])
    inputs = {
        name: _renamed(value, names)
        for name, value in node["inputs"].items()
        # A screen shows every widget; those at rest that the template does not name are no news.
        if name in had or as_link(value) or (name in defaults and value != defaults[name])
    }
    for name, template in _mapping(note.get("inputs")).items():
        values = _mapping(note.get("values"))
        if name in values and inputs.get(name, values[name]) != values[name]:
            parameter = _ONE_NAME.fullmatch(template) if isinstance(template, str) else None
            if parameter is None:
                continue
            changed[parameter[1]] = inputs[name]
        inputs[name] = template
    title = str(node["_meta"].get("title") or node["class_type"])
    return {
        "class_type": node["class_type"],
        "inputs": inputs,
        "_meta": {"title": title} | dict(_mapping(note.get("meta"))),
    }


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    link = as_link(value)
    return [names.get(link.node, link.node), link.slot] if link else value


def _note(node: Mapping[str, Any]) -> Mapping[str, Any]:
    return _mapping(node["_meta"].get(OWN_KEY))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _with_default(text: str, name: str, value: Any) -> str:
    """The manifest with another default, where the parameter has one."""
    line = tomli_w.dumps({"default": value}).rstrip("\n")
    section = rf"(^\[parameters\.{re.escape(name)}\]\n(?:[^\[\n].*\n)*?)default = .*$"
    return re.sub(section, lambda found: found[1] + line, text, count=1, flags=re.MULTILINE)
