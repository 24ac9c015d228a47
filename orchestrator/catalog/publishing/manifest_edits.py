"""Changes that an author makes to the drafted manifest and graph of a model before it is published."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from orchestrator.catalog.example_files import MEDIA_BY_TYPE
from orchestrator.catalog.fixed_files import describe_fixed_file
from orchestrator.catalog.import_export.json_values import find_broken_text
from orchestrator.catalog.import_export.template_nodes import escape_expressions
from orchestrator.catalog.known_folders import UNKNOWN_FOLDER, list_folders
from orchestrator.catalog.manifest import FIXED_FILES, ModelManifest
from orchestrator.catalog.model import Model
from orchestrator.catalog.rendering.expressions import ExpressionError, is_template, replace_name
from orchestrator.errors import invalid_field
from orchestrator.similar_names import find_similar

#: Fields of the manifest that authors may set as they are.
PLAIN_FIELDS = ("name", "description", "kind", "license", "owner", "architecture", "price_class")
ESTIMATES = ("vram_bytes", "load_seconds", "step_seconds", "fixed_seconds")
_NUMBERS_AND_SIZES = ("batch", "max_resolution")
_ALLOWED = frozenset({*PLAIN_FIELDS, *_NUMBERS_AND_SIZES, "parameters", "estimates", "weight_folders"})
_FOLDER_PATTERN = re.compile(r"[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*")
#: What the importer writes where it knows nothing.
PLACEHOLDERS = frozenset({"", "unknown", "imported"})
#: What a model of an image is if requests set none.
_KINDS_WITHOUT_IMAGE = {"i2v": "video", "upscale": "image"}
#: Folders whose files say what a model is.
_MAIN_FOLDERS = ("diffusion_models", "unet", "checkpoints", "upscale_models")


def apply_edits(
    manifest: dict[str, Any],
    graph: dict[str, Any],
    edits: Mapping[str, Any],
    folders: frozenset[str] | None = None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the fields of a manifest, and its graph, with an author's changes.

    `parameters` maps names to changed fields, among them `name`, or to null, which fixes the parameter at its
    default, or a prompt at its text; `weight_folders` maps weight files to their folders below `models/`,
    which must be one of `folders` (by default those that are known without a service). Raises InvalidRequest.
    """
    if broken := find_broken_text(edits):
        raise invalid_field("manifest", f"{broken.lstrip(', ')}; send the whole character")
    unknown = sorted(edits.keys() - _ALLOWED)
    if unknown:
        raise invalid_field(
            "manifest", f"has no field {unknown[0]!r}; there are {', '.join(sorted(_ALLOWED))}"
        )
    empty = [name for name in (*PLAIN_FIELDS, *_NUMBERS_AND_SIZES) if name in edits and edits[name] is None]
    if empty:
        raise invalid_field("manifest", f"{empty[0]}: must not be null; omit it to leave it as it is")
    changed = manifest | {name: edits[name] for name in (*PLAIN_FIELDS, *_NUMBERS_AND_SIZES) if name in edits}
    estimates = _require_table(edits.get("estimates", {}), "estimates")
    if unknown := sorted(estimates.keys() - set(ESTIMATES)):
        raise invalid_field("manifest", f"estimates: {unknown[0]!r} is none of {', '.join(ESTIMATES)}")
    changed["resources"] = manifest["resources"] | estimates
    moves = _require_table(edits.get("weight_folders", {}), "weight_folders")
    if moves:
        places = list_folders({}) if folders is None else folders
        changed["weights"] = _move_weights(manifest.get("weights", []), moves, places)
    for name, change in _require_table(edits.get("parameters", {}), "parameters").items():
        if name not in changed["parameters"]:
            known = ", ".join(changed["parameters"]) or "none"
            raise invalid_field("manifest", f"parameters: there is no {name!r}; there are {known}")
        if change is None:
            changed, graph = fix_parameter(changed, graph, name)
            continue
        change = _require_table(change, f"parameters.{name}")
        new_name = change.pop("name", name)
        combined = changed["parameters"][name] | change
        spec = {key: value for key, value in combined.items() if value is not None}
        if "type" not in spec:
            raise invalid_field(
                "manifest", f"parameters.{name}: type must not be null; omit it to leave it as it is"
            )
        if new_name != name:
            changed, graph = rename_parameter(changed, graph, name, new_name)
        changed["parameters"] = changed["parameters"] | {new_name: spec}
    return changed if "kind" in edits else _with_task(changed), graph


def _with_task(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return the manifest with the kind of a model of no image, if its image is fixed."""
    takes_file = any(spec["type"] in ("image", "images", "video") for spec in manifest["parameters"].values())
    kind = _KINDS_WITHOUT_IMAGE.get(str(manifest.get("kind")))
    return manifest if takes_file or kind is None else manifest | {"kind": kind}


def rename_parameter(
    manifest: dict[str, Any], graph: dict[str, Any], name: str, new_name: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return manifest and graph with another name of a parameter, also in the example.

    Raises InvalidRequest.
    """
    if not isinstance(new_name, str) or new_name in manifest["parameters"]:
        raise invalid_field("manifest", f"parameters.{name}: name is taken already or no text")
    renamed = {
        field: {new_name if key == name else key: value for key, value in manifest[field].items()}
        for field in ("parameters", "example")
        if field in manifest
    }
    for other, spec in renamed["parameters"].items():
        links = {key: new_name for key in ("needs", "replaced_by") if spec.get(key) == name}
        renamed["parameters"][other] = spec | links
    return manifest | renamed, _map_expressions(graph, partial(_rename, name, new_name))


def fix_parameter(
    manifest: dict[str, Any], graph: dict[str, Any], name: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return manifest and graph with the default of a parameter, or else its example, in its place.

    The file of an image, video or audio becomes one of `fixed_files`, whose content is kept with the model.
    Raises InvalidRequest for a parameter without a value.
    """
    spec = manifest["parameters"][name]
    example = manifest.get("example", {})
    value = spec.get("default", example.get(name))
    if spec["type"] in MEDIA_BY_TYPE:
        if not isinstance(value, str):
            raise invalid_field(
                "manifest",
                f"parameters.{name}: the graph names no file at which the {spec['type']} could be fixed",
            )
        rest = _without_parameter(manifest, name)
        row = describe_fixed_file(value, spec["type"])
        files = {**manifest.get(FIXED_FILES, {}), name: row}
        return rest | {FIXED_FILES: files}, _map_expressions(
            graph, partial(_rename, name, f"{FIXED_FILES}.{name}")
        )
    if value is None and spec["type"] != "string":
        raise invalid_field("manifest", f"parameters.{name}: it has no default at which it could be fixed")
    return _without_parameter(manifest, name), _fix_expressions(graph, name, "" if value is None else value)


def _without_parameter(manifest: dict[str, Any], name: str) -> dict[str, Any]:
    rest = {
        field: {key: row for key, row in manifest[field].items() if key != name}
        for field in ("parameters", "example")
        if field in manifest
    }
    for other, row in rest["parameters"].items():
        links = {key for key in ("needs", "replaced_by") if row.get(key) == name}
        rest["parameters"][other] = {key: value for key, value in row.items() if key not in links}
    return manifest | rest


def add_origins(
    manifest: dict[str, Any], packs: list[Mapping[str, Any]], weights: list[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return the manifest with where its node packs are from, and the digests of its weight files."""
    named = {pack["name"]: pack for pack in manifest["requires"].get("packs", [])}
    for pack in packs:
        named[pack["id"]] = {
            "name": pack["id"],
            "url": pack.get("url") or "",
            "ref": pack.get("commit") or "",
        }
    known = {weight["path"]: weight for weight in weights}
    rows = []
    for row in manifest.get("weights", []):
        found = known.get(row["path"], {})
        added = {key: found[key] for key in ("sha256", "bytes") if found.get(key)}
        rows.append(row | added)
    requires = manifest["requires"] | {"packs": list(named.values())}
    return manifest | {"requires": requires, "weights": rows}


def inherit_from(manifest: dict[str, Any], offered: list[Model]) -> tuple[dict[str, Any], str]:
    """Return the manifest with what is known from an offered model with the same main weights, and its id.

    Only what the importer could not know is taken: license, architecture, estimates and weight sources.
    """
    paths = [row["path"] for row in manifest.get("weights", [])]
    main = [path for path in paths if path.startswith(tuple(f"{folder}/" for folder in _MAIN_FOLDERS))]
    for model in offered:
        rows = {weight.path: weight for weight in model.manifest.weights}
        if not main or not set(main) <= rows.keys():
            continue
        known = json.loads(model.manifest.model_dump_json(include={"license", "architecture", "resources"}))
        taken = {
            name: known[name]
            for name in ("license", "architecture")
            if manifest.get(name) in PLACEHOLDERS and known[name] not in PLACEHOLDERS
        }
        if not manifest["resources"]["vram_bytes"]:
            taken["resources"] = {name: known["resources"][name] for name in ESTIMATES}
        weights = [_with_source(row, rows) for row in manifest["weights"]]
        return manifest | taken | {"weights": weights}, model.id
    return manifest, ""


def find_missing(manifest: ModelManifest) -> dict[str, str]:
    """Return what has to be known before a model is live, by field of the author's changes."""
    missing = {}
    if manifest.license.strip().lower() in PLACEHOLDERS:
        missing["license"] = "the license of the weights and the graph, such as apache-2.0"
    if manifest.owner.strip().lower() in PLACEHOLDERS:
        missing["owner"] = "who made the model, as lists of models show it"
    if manifest.weights and not manifest.resources.vram_bytes:
        missing["estimates"] = "vram_bytes, the GPU memory of a run, and step_seconds, the seconds per step"
    lost = [weight.file for weight in manifest.weights if weight.folder == UNKNOWN_FOLDER]
    if lost:
        missing["weight_folders"] = f"the folders below models/ of {', '.join(lost)}"
    absent = [file.name for file in manifest.fixed_files.values() if not file.sha256]
    if absent:
        missing[FIXED_FILES] = (
            f"the content of {', '.join(absent)}, which every run loads: send it in `example_files`, or"
            " import the graph with the file beside it"
        )
    return missing


def _suggest(folder: str, known: frozenset[str]) -> str:
    close = find_similar(folder, sorted(known), 3)
    return f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(sorted(known))}"


def _move_weights(
    rows: list[dict[str, Any]], folders: Mapping[str, Any], known: frozenset[str]
) -> list[dict[str, Any]]:
    """Return the weight files with the folders that the author names. Raises InvalidRequest."""
    files = {row["path"].partition("/")[2]: row for row in rows}
    for file, folder in folders.items():
        if file not in files:
            raise invalid_field(
                "manifest",
                f"weight_folders: there is no file {file!r}; there are {', '.join(files) or 'none'}",
            )
        if not isinstance(folder, str) or not _FOLDER_PATTERN.fullmatch(folder) or folder == UNKNOWN_FOLDER:
            raise invalid_field(
                "manifest",
                f"weight_folders: {file} needs a folder below models/, such as checkpoints (got {folder!r})",
            )
        if folder not in known:
            raise invalid_field(
                "manifest",
                f"weight_folders: ComfyUI and the known node packs have no folder {folder!r} for {file}; "
                f"{_suggest(folder, known)}. For that of another pack, install the pack, or edit model.toml",
            )
    return [
        row | {"path": f"{folders[file]}/{file}"}
        if (file := row["path"].partition("/")[2]) in folders
        else row
        for row in rows
    ]


def _with_source(row: dict[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    weight = known.get(row["path"])
    if weight is None:
        return row
    source = {"url": weight.url, "sha256": weight.sha256, "bytes": weight.bytes, "dtype": weight.dtype}
    return row | {name: value for name, value in source.items() if value and not row.get(name)}


def _require_table(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise invalid_field("manifest", f"{where}: must be an object")
    return dict(value)


def _fix_expressions(graph: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    """Return the graph with a value in place of a parameter: as it is where an input is the parameter, and as
    a literal in other expressions."""
    # Jinja's literals are those of JSON here.
    literal = json.dumps(value, ensure_ascii=False)
    whole = re.compile(rf"\{{\{{\s*{re.escape(name)}\s*\}}\}}")

    replace = partial(_rename, name, literal)

    def replace_input(text: str) -> Any:
        return escape_expressions(value) if whole.fullmatch(text) else replace(text)

    return {
        id: _map_expressions(node, replace)
        | {"inputs": _map_expressions(node.get("inputs", {}), replace_input)}
        for id, node in graph.items()
    }


def _rename(old: str, new: str, text: str) -> str:
    """Return a string with another expression in place of a parameter. Raises InvalidRequest."""
    try:
        return replace_name(text, old, new)
    except ExpressionError as error:
        raise invalid_field("manifest", f"parameters.{old}: it is part of {text[:100]!r}: {error}") from error


def _map_expressions(graph: dict[str, Any], change: Callable[[str], Any]) -> dict[str, Any]:
    def visit(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: visit(item) for key, item in value.items()}
        if isinstance(value, list):
            return [visit(item) for item in value]
        return change(value) if isinstance(value, str) and is_template(value) else value

    changed: dict[str, Any] = visit(graph)
    return changed
