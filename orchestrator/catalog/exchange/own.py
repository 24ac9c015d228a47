"""What our export writes beside a graph, so that it comes back as the model that it was.

Each node carries the parts of its template that the values in the file do not show; one place carries the
manifest. ComfyUI keeps both when it saves the file again: as `_meta` of a node in API format, as
`properties` of a node and `extra` of the workflow in UI format.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.catalog.exchange.from_ui import OWN_KEY
from orchestrator.catalog.facts import NodeFacts, declared_inputs
from orchestrator.catalog.graph import as_link

_NO_FACTS: Mapping[str, Any] = {"input": {}}


@dataclass(frozen=True, slots=True)
class Own:
    """A model's template, put together again."""

    graph: dict[str, dict[str, Any]]
    manifest_text: str

    def manifest(self, id: str) -> str:
        """The manifest under a new id; a copy of a model has no right to its aliases."""
        old = re.search(r'^id = "([^"]*)"$', self.manifest_text, re.MULTILINE)
        if old is None or old[1] == id:
            return self.manifest_text
        text = self.manifest_text.replace(old[0], f'id = "{id}"', 1)
        return re.sub(r"^aliases = \[.*?\]\n", "", text, count=1, flags=re.MULTILINE | re.DOTALL)


def note_of(node: Mapping[str, Any], rendered: Mapping[str, Any]) -> dict[str, Any]:
    """What `rendered` inputs do not show of a template's `node` (its JSON)."""
    hidden = {
        name: value
        for name, value in node["inputs"].items()
        if name not in rendered or rendered[name] != value
    }
    words = {key: value for key, value in node.get("_meta", {}).items() if key != "title"}
    return {"names": list(node["inputs"]), "inputs": hidden, **({"meta": words} if words else {})}


def restore(graph: Mapping[str, Mapping[str, Any]], own: Mapping[str, Any], facts: NodeFacts) -> Own | None:
    """The template in a graph that our export wrote; None for any other.

    Nodes and links that an author has added since are taken as they are.
    """
    text = own.get("manifest")
    if not isinstance(text, str):
        return None
    names = {id: _name(id, node) for id, node in graph.items()}
    template = {}
    for id, node in graph.items():
        defaults = {
            item.name: item.default for item in declared_inputs(facts.get(node["class_type"], _NO_FACTS))
        }
        template[names[id]] = _node(node, names, defaults)
    return Own(template, text)


def _name(id: str, node: Mapping[str, Any]) -> str:
    """The template's own name of a node; the UI format has numbers only."""
    name = _note(node).get("id")
    return name if isinstance(name, str) else id


def _node(node: Mapping[str, Any], names: Mapping[str, str], defaults: Mapping[str, Any]) -> dict[str, Any]:
    note = _note(node)
    had = note.get("names", node["inputs"])
    inputs = {
        name: _renamed(value, names)
        for name, value in node["inputs"].items()
        # A screen shows every widget; those at rest that the template does not name are no news.
        if name in had or value != defaults.get(name)
    }
    hidden = note.get("inputs")
    inputs |= hidden if isinstance(hidden, dict) else {}
    words = note.get("meta")
    title = str(node["_meta"].get("title") or node["class_type"])
    meta = {"title": title} | (words if isinstance(words, dict) else {})
    return {"class_type": node["class_type"], "inputs": inputs, "_meta": meta}


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    link = as_link(value)
    return [names.get(link.node, link.node), link.slot] if link else value


def _note(node: Mapping[str, Any]) -> Mapping[str, Any]:
    note = node["_meta"].get(OWN_KEY)
    return note if isinstance(note, dict) else {}
