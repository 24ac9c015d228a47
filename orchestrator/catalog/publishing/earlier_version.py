"""Keeps what an author has decided about a model when its graph is replaced.

Inputs of the graph are recognized by node, class and input, so that a parameter keeps its name and range, and
an input that was fixed stays fixed. Defaults are those of the new graph.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.catalog.import_export.infer.batches import BATCH_INPUTS
from orchestrator.catalog.known_folders import UNKNOWN_FOLDER
from orchestrator.catalog.manifest import FIXED_FILES
from orchestrator.catalog.publishing.manifest_edits import (
    ESTIMATES,
    PLACEHOLDERS,
    fix_parameter,
    rename_parameter,
)
from orchestrator.catalog.publishing.version_files import GRAPH_NAME, MANIFEST_NAME
from orchestrator.catalog.rendering.expressions import is_template
from orchestrator.errors import InvalidRequest

_TEXTS = ("name", "description", "license", "owner", "architecture", "lora_base", "aliases", "featured")
_LIMITS = ("minimum", "maximum", "step", "choices", "max_length", "max_items", "description")
_FIXED_FILE = re.compile(rf"\{{\{{\s*{FIXED_FILES}\.\w+\s*\}}\}}")
_SOLE_NAME = re.compile(r"\{\{\s*([A-Za-z_]\w*)\s*\}\}")

#: Node, class and input.
_Place = tuple[str, str, str]


@dataclass(slots=True)
class KeptDecisions:
    """A new manifest and graph with what was decided about the version before."""

    manifest: dict[str, Any]
    graph: dict[str, Any]
    #: The author's changes, with the names that parameters have now.
    edits: dict[str, Any]
    #: What the author should know.
    notes: tuple[str, ...] = ()


def keep_decisions(
    manifest: dict[str, Any],
    graph: dict[str, Any],
    edits: Mapping[str, Any],
    earlier: Mapping[str, str],
) -> KeptDecisions:
    """Return an imported model with what is kept of an earlier version; the author's changes stay to be made.

    A version whose files cannot be read has nothing to keep.
    """
    result = KeptDecisions(manifest, graph, dict(edits))
    try:
        old, old_graph = tomllib.loads(earlier[MANIFEST_NAME]), json.loads(earlier[GRAPH_NAME])
        old_inputs = dict(_list_inputs(old_graph))
        kept, moved = _keep_fields(result, old)
        parameters = old.get("parameters", {})
        notes = _keep_names(result, parameters, old_inputs)
        notes += _keep_ranges(result, parameters)
        moved += _keep_resolution(result, old)
        _keep_files(result, old)
        moved += _keep_batch(result, old, old_inputs)
    except (LookupError, TypeError, ValueError, AttributeError):
        return KeptDecisions(manifest, graph, dict(edits))
    said = [f"as in the version before: {', '.join(kept)}"] if kept else []
    result.notes = (*said, *moved, *notes)
    return result


def _keep_fields(result: KeptDecisions, old: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Keep texts, price, estimates and sources. Return the fields that are kept, and notes."""
    new = result.manifest
    names = [name for name in _TEXTS if name in old and old[name] not in PLACEHOLDERS]
    notes = []
    if _task(old) == _task(new):
        names += ["kind", "price_class"]
    elif old["price_class"] != new["price_class"] and "price_class" not in result.edits:
        notes.append(
            f"its price class: {new['price_class']}; the version before, which makes something else,"
            f" has {old['price_class']}"
        )
    changed = {name: old[name] for name in names if old[name] != new.get(name)}
    said = [name for name in changed if name not in result.edits]
    resources = old.get("resources", {})
    if resources.get("vram_bytes"):
        known = {name: resources[name] for name in ESTIMATES if name in resources}
        changed["resources"] = new["resources"] | known
        said.append("estimates")
    changed["weights"] = list(_with_known_files(new.get("weights", []), old.get("weights", [])))
    packs = {pack["name"]: pack for pack in old.get("requires", {}).get("packs", [])}
    requires = new["requires"]
    rows = [packs.get(pack["name"], {}) | pack for pack in requires.get("packs", [])]
    changed["requires"] = requires | ({"packs": rows} if rows else {})
    result.manifest = new | changed
    return said, notes


def _task(manifest: Mapping[str, Any]) -> tuple[frozenset[str], bool]:
    """Return what a model makes, and whether of an image."""
    media = frozenset(str(row.get("media", "image")) for row in manifest["outputs"])
    return media, any(spec["type"] in ("image", "images") for spec in manifest["parameters"].values())


def _with_known_files(rows: list[dict[str, Any]], old: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    by_path = {row["path"]: row for row in old}
    by_file = {row["path"].partition("/")[2]: row for row in old}
    for row in rows:
        folder, _, file = row["path"].partition("/")
        known = by_path.get(row["path"])
        if known is None and folder == UNKNOWN_FOLDER:
            known = by_file.get(file)
        if known is None:
            yield row
            continue
        added = {name: value for name, value in known.items() if name not in row and name != "slot"}
        yield row | added | {"path": known["path"]}


def _keep_names(result: KeptDecisions, old: Mapping[str, Any], old_inputs: Mapping[_Place, Any]) -> list[str]:
    """Rename and fix the parameters whose inputs had another name, or were fixed. Return notes."""
    notes = []
    edited = result.edits.get("parameters")
    edited = dict(edited) if isinstance(edited, Mapping) else {}
    for name in list(result.manifest["parameters"]):
        places = [place for place, text in _list_inputs(result.graph) if _sole_name(text) == name]
        before = [old_inputs.get(place) for place in places]
        if name in old or not places:
            continue
        names = {_sole_name(value) for value in before} - {None}
        new_name = next(iter(names)) if len(names) == 1 else None
        if new_name in old and new_name not in result.manifest["parameters"]:
            result.manifest, result.graph = rename_parameter(result.manifest, result.graph, name, new_name)
            if name in edited and new_name not in edited:
                edited[new_name] = edited.pop(name)
            notes.append(f"parameter {name} is named {new_name}, as in the version before")
        elif name not in edited and all(_is_fixed(value) for value in before):
            notes += _keep_fixed(result, name)
    if edited:
        result.edits["parameters"] = edited
    return notes


def _keep_fixed(result: KeptDecisions, name: str) -> list[str]:
    try:
        result.manifest, result.graph = fix_parameter(result.manifest, result.graph, name)
    except InvalidRequest:
        return []
    return [f"{name} stays fixed, as in the version before; name it in `parameters` to let requests set it"]


def _keep_ranges(result: KeptDecisions, old: Mapping[str, Any]) -> list[str]:
    """Give parameters the ranges and descriptions that they had. Return notes."""
    parameters, notes = {}, []
    for name, spec in result.manifest["parameters"].items():
        parameters[name] = spec
        before = old.get(name)
        if before is None or before["type"] != spec["type"]:
            continue
        kept = spec | {key: before[key] for key in _LIMITS if key in before}
        if _fits(kept):
            parameters[name] = kept
        else:
            texts = {"description": before["description"]} if "description" in before else {}
            parameters[name] = spec | texts
            notes.append(
                f"parameter {name}: its default {spec['default']!r} is outside of the range of the version"
                " before, which is not kept"
            )
    result.manifest = result.manifest | {"parameters": parameters}
    return notes


def _keep_resolution(result: KeptDecisions, old: Mapping[str, Any]) -> list[str]:
    """Keep the largest size if width and height have the ranges that they had."""
    sides = [
        [manifest["parameters"].get(side, {}).get("maximum") for side in ("width", "height")]
        for manifest in (old, result.manifest)
    ]
    if sides[0] == sides[1]:
        result.manifest = result.manifest | {"max_resolution": old["max_resolution"]}
    return []


def _keep_batch(result: KeptDecisions, old: Mapping[str, Any], old_inputs: Mapping[_Place, Any]) -> list[str]:
    """Keep the number of results if the graph makes as many as before. Return notes."""
    before, now = old.get("batch", 1), result.manifest.get("batch", 1)
    counts = [(place, value) for place, value in _list_inputs(result.graph) if place[2] in BATCH_INPUTS]
    is_same = all(isinstance(value, int) and old_inputs.get(place) == value for place, value in counts)
    if is_same and "batch" in old:
        result.manifest = result.manifest | {"batch": before}
        return []
    if before == now or "batch" in result.edits:
        return []
    return [f"its results for each request: {now}, which callers pay for; the version before makes {before}"]


def _keep_files(result: KeptDecisions, old: Mapping[str, Any]) -> None:
    """Name the content of fixed files that have the name of one of the version before."""
    before = {(row["name"], row["media"]): row for row in old.get(FIXED_FILES, {}).values()}
    rows = {
        slot: before.get((row["name"], row["media"]), row)
        for slot, row in result.manifest.get(FIXED_FILES, {}).items()
    }
    result.manifest = result.manifest | ({FIXED_FILES: rows} if rows else {})


def _fits(spec: Mapping[str, Any]) -> bool:
    """Return whether a parameter's default is in its range."""
    default = spec.get("default")
    if "choices" in spec and default is not None and default not in spec["choices"]:
        return False
    if isinstance(default, bool) or not isinstance(default, int | float):
        return True
    return bool(spec.get("minimum", default) <= default <= spec.get("maximum", default))


def _list_inputs(graph: Mapping[str, Any]) -> Iterator[tuple[_Place, Any]]:
    for id, node in graph.items():
        for name, value in node["inputs"].items():
            yield (id, node["class_type"], name), value


def _sole_name(value: Any) -> str | None:
    """Return the parameter that an input is, alone."""
    found = _SOLE_NAME.fullmatch(value.strip()) if isinstance(value, str) else None
    return found[1] if found else None


def _is_fixed(value: Any) -> bool:
    """Return whether the same value is in every request."""
    if isinstance(value, str) and is_template(value):
        return _FIXED_FILE.fullmatch(value.strip()) is not None
    return isinstance(value, int | float | str)
