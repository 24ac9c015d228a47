"""Describe an import to its author: what requests set, what stays fixed, and what is missing or wrong."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.catalog.import_export.importer import ImportedModel, find_known_pack

_RANGE_KEYS = ("minimum", "maximum", "step", "grid", "grid_offset", "choices", "max_items", "required")


def import_report(imported: ImportedModel) -> dict[str, Any]:
    """Return the report as JSON."""
    graph = json.loads(imported.graph)
    manifest = tomllib.loads(imported.manifest)
    return {
        "usable": imported.usable,
        "kind": manifest["kind"],
        "price_class": manifest["price_class"],
        "parameters": list(_parameters(manifest["parameters"], imported.bound_inputs)),
        "fixed": dict(imported.fixed_inputs),
        "unknown_classes": [
            {
                "class": class_type,
                "pack": pack,
                **_known_pack(class_type, pack),
                "nodes": [id for id, node in graph.items() if node["class_type"] == class_type],
            }
            for class_type, pack in imported.unknown_classes.items()
        ],
        "problems": [
            {
                "node": problem.node,
                "class": graph.get(problem.node, {}).get("class_type", ""),
                "input": problem.input,
                "code": problem.code,
                "text": str(problem),
                "warning": problem.is_warning,
            }
            for problem in imported.problems
        ],
        "changes": list(imported.changes),
        "unknown": list(imported.open_questions),
    }


def _known_pack(class_type: str, pack: str) -> dict[str, str]:
    """Return the known pack that has a class, and the command that adds it; empty texts if none is known."""
    known = find_known_pack(class_type, pack)
    return {"known_pack": known.url if known else "", "add": known.add_command if known else ""}


def _parameters(
    declared: Mapping[str, Mapping[str, Any]], bound_inputs: Mapping[str, str]
) -> Iterator[dict[str, Any]]:
    for name, spec in declared.items():
        places = [place for place, text in bound_inputs.items() if re.search(rf"\b{re.escape(name)}\b", text)]
        limits = {key: spec[key] for key in _RANGE_KEYS if key in spec}
        yield {"name": name, "kind": spec["type"], "default": spec.get("default"), **limits, "where": places}
