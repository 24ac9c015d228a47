"""What a trial start records of a pack's nodes: their inputs and outputs, with folders and links."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from comfy_instances.install.packs.trial import TrialResult
from comfy_instances.install.packs.weight_folders import FILE_FOLDERS_KEY, INPUT_FOLDER, LINK_TYPES_KEY
from comfy_instances.process.installed_packs import InstalledPack, facts_file, version_facts_file
from comfy_instances.protocol.node_facts import extract_node_facts


def describe_pack(pack: InstalledPack, trial: TrialResult) -> dict[str, Any]:
    """Return the facts of a pack's nodes as a file keeps them."""
    return {
        "pack": pack.name,
        "url": pack.url,
        "ref": pack.ref,
        "commit": pack.commit,
        "comfyui_version": trial.version,
        "nodes": _with_link_types(
            _with_folders(
                _without_file_lists(extract_node_facts(trial.nodes[pack.name])), trial.file_folders
            ),
            trial.link_types,
        ),
    }


def write_pack_facts(file: Path, content: Mapping[str, Any]) -> None:
    """Write a file of facts atomically. Raises OSError."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps(content, separators=(",", ":")), "utf-8")
    partial.replace(file)


def keep_earlier_facts(directory: Path, pack: InstalledPack) -> None:
    """Keep the facts of a pack's installed version if another one takes its place: files are saved with it.

    Raises OSError.
    """
    file = facts_file(directory, pack.name)
    try:
        commit = str(json.loads(file.read_text("utf-8"))["commit"])
    except (OSError, ValueError, LookupError, TypeError):
        return
    if commit not in ("", pack.commit):
        kept = version_facts_file(directory, pack.name, commit)
        kept.parent.mkdir(exist_ok=True)
        file.replace(kept)


def _without_file_lists(nodes: Mapping[str, Any]) -> dict[str, Any]:
    """Return facts whose empty choices are open: they list files of folders that the trial leaves empty."""
    return {
        name: {
            **facts,
            "input": {
                section: {key: _open_choice(spec) for key, spec in inputs.items()}
                for section, inputs in facts["input"].items()
            },
        }
        for name, facts in nodes.items()
    }


def _with_link_types(nodes: dict[str, Any], found: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return facts with the types that links may have besides those of `/object_info`."""
    return {
        name: {**facts, LINK_TYPES_KEY: found[name]} if name in found else facts
        for name, facts in nodes.items()
    }


def _with_folders(
    nodes: Mapping[str, Any], folders: Mapping[str, Mapping[str, Sequence[str]]]
) -> dict[str, Any]:
    """Return facts with the folders of the inputs that name weights.

    The choices of all inputs that list files are open, also those with a fixed one such as `None`.
    """
    return {name: _describe_files(facts, folders.get(name, {})) for name, facts in nodes.items()}


def _describe_files(facts: Mapping[str, Any], folders: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    if not folders:
        return dict(facts)
    inputs = {
        section: {
            key: ["COMBO", *_file_options(spec)] if key in folders else spec for key, spec in specs.items()
        }
        for section, specs in facts["input"].items()
    }
    weights = {key: [*found] for key, found in folders.items() if INPUT_FOLDER not in found}
    return {**facts, "input": inputs} | ({FILE_FOLDERS_KEY: weights} if weights else {})


def _file_options(spec: list[Any]) -> list[Any]:
    """Return the options of an input without its choices."""
    options = spec[1] if len(spec) > 1 and isinstance(spec[1], dict) else {}
    kept = {key: value for key, value in options.items() if key not in ("options", "default")}
    return [kept] if kept else []


def _open_choice(spec: Any) -> Any:
    return ["COMBO", *spec[1:]] if isinstance(spec, list) and spec and spec[0] == [] else spec
