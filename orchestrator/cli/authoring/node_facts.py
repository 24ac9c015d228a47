"""Node facts for commands: recorded ones, those of a running ComfyUI, and those in a file."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from comfy_instances.protocol.node_facts import (
    extract_node_facts,
    load_core_node_facts,
    load_pack_node_facts,
)
from comfy_instances.session.session import InstanceSession
from orchestrator.catalog.checks.link_types import LINK_TYPES_KEY
from orchestrator.catalog.checks.node_facts import declared_inputs
from orchestrator.catalog.import_export.pack_versions import PackVersion
from orchestrator.catalog.known_folders import FILE_FOLDERS_KEY, find_folders
from orchestrator.cli.terminal.console import CliError

#: Maximum size of a file with node facts; that of a ComfyUI with 30 node packs has 20 MB.
MAX_FACTS_BYTES = 256 * 2**20
#: What the trial start of a pack adds to the facts of a class.
_TRIAL_KEYS = (FILE_FOLDERS_KEY, LINK_TYPES_KEY)
_GZIP_MAGIC = b"\x1f\x8b"


def load_node_facts() -> Mapping[str, Any]:
    """Return the facts of the pinned ComfyUI's nodes and of the supported node packs."""
    return {**load_pack_node_facts(), **load_core_node_facts()}


async def fetch_node_facts(url: str) -> dict[str, Any]:
    """Return version and facts of a running server. Raises CliError, InstanceError."""
    try:
        session = InstanceSession(url)
    except ValueError as error:
        raise CliError(str(error)) from error
    async with session:
        stats, info, files = await asyncio.gather(
            session.get_system_stats(), session.get_object_info(), session.list_model_files()
        )
    nodes = extract_node_facts(info)
    return {"comfyui_version": stats.version, "nodes": add_file_folders(nodes, files)}


def add_file_folders(nodes: Mapping[str, Any], files: Mapping[str, list[str]]) -> dict[str, Any]:
    """Return facts with the folders of the inputs that list exactly the files of some folder of a server.

    Empty folders, and those that list the same files as another one, say nothing.
    """
    by_files: dict[frozenset[str], list[str]] = {}
    for folder, names in files.items():
        by_files.setdefault(frozenset(names), []).append(folder)
    folders = {names: found for names, found in by_files.items() if names and len(found) == 1}
    return {name: _with_folders(name, entry, folders) for name, entry in nodes.items()}


def _with_folders(
    name: str, entry: Mapping[str, Any], folders: Mapping[frozenset[str], list[str]]
) -> dict[str, Any]:
    found = {
        item.name: folders[frozenset(item.choices)]
        for item in declared_inputs(entry)
        if item.choices and all(isinstance(choice, str) for choice in item.choices)
        if frozenset(item.choices) in folders and not find_folders(name, item.name, {})
    }
    return {**entry, FILE_FOLDERS_KEY: found} if found else dict(entry)


def read_node_facts(file: Path) -> PackVersion:
    """Return the facts in a file: an answer of `/object_info`, or of `comfyui facts` or `packs facts`.

    Raises CliError, OSError.
    """
    if file.stat().st_size > MAX_FACTS_BYTES:
        raise CliError(f"{file}: the file is larger than {MAX_FACTS_BYTES} bytes")
    try:
        data = file.read_bytes()
        if data.startswith(_GZIP_MAGIC):
            data = _decompress(data, file)
        found = json.loads(data)
        nodes = found.get("nodes", found)
        known = extract_node_facts({name: entry for name, entry in nodes.items() if "output" in entry})
        for name, entry in known.items():
            entry |= {key: nodes[name][key] for key in _TRIAL_KEYS if key in nodes[name]}
        return PackVersion.parse({**found, "nodes": known})
    except (ValueError, RecursionError, AttributeError, KeyError, TypeError) as error:
        raise CliError(
            f"--nodes {file}: must be the JSON of ComfyUI's /object_info, or a file that `pixelfactory"
            f" comfyui facts` or `pixelfactory packs facts` wrote ({type(error).__name__}: {error})"
        ) from error


def _decompress(data: bytes, file: Path) -> bytes:
    try:
        unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        text = unpacker.decompress(data, MAX_FACTS_BYTES)
    except zlib.error as error:
        raise CliError(f"--nodes {file}: the compressed data is broken: {error}") from error
    if unpacker.unconsumed_tail:
        raise CliError(f"--nodes {file}: the JSON is larger than {MAX_FACTS_BYTES} bytes")
    return text
