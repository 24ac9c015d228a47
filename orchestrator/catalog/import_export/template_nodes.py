"""Makes a template of a graph whose parameters are known: expressions in place of their values."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Mapping
from typing import Any

from orchestrator.catalog.import_export.infer.bindings import ParameterBindings
from orchestrator.catalog.import_export.ui.ui_to_api import POSITIONAL_VALUES_KEY
from orchestrator.catalog.rendering.expressions import is_template
from orchestrator.catalog.rendering.graph import parse_link

#: Keys of a node's `_meta` that a model keeps: the node pack, and values without names.
_KEPT_META_KEYS = ("cnr_id", "aux_id", "ver", POSITIONAL_VALUES_KEY)


def to_template(
    bindings: ParameterBindings, needed: Container[str], outputs: list[str]
) -> dict[str, dict[str, Any]]:
    """Return the needed nodes with expressions for bound inputs, and literals for all others."""
    bound: dict[str, dict[str, str]] = defaultdict(dict)
    for place, text in bindings.expressions.items():
        bound[place.node][place.input] = text
    return {id: _template_node(bindings, id, bound[id], outputs) for id in bindings.graph if id in needed}


def _template_node(
    bindings: ParameterBindings, id: str, bound: Mapping[str, str], outputs: list[str]
) -> dict[str, Any]:
    node = bindings.graph[id]
    inputs = {name: bound.get(name, escape_expressions(value)) for name, value in node["inputs"].items()}
    if id in outputs and bindings.has_input(id, "filename_prefix"):
        inputs["filename_prefix"] = "{{ filename_prefix }}"
    meta: dict[str, Any] = {"title": str(node["_meta"].get("title") or node["class_type"])}
    meta |= {key: node["_meta"][key] for key in _KEPT_META_KEYS if node["_meta"].get(key)}
    meta |= bindings.node_meta.get(id, {})
    return {"class_type": node["class_type"], "inputs": inputs, "_meta": meta}


def escape_expressions(value: Any) -> Any:
    """Replace text that contains template syntax by an expression that evaluates to the text."""
    if isinstance(value, dict):
        return {key: escape_expressions(item) for key, item in value.items()}
    if isinstance(value, list) and parse_link(value) is None:
        return [escape_expressions(item) for item in value]
    if not isinstance(value, str) or not is_template(value):
        return value
    quoted = value.replace("\\", "\\\\").replace("'", "\\'").replace("\r", "\\r").replace("\n", "\\n")
    return f"{{{{ '{quoted}' }}}}"
