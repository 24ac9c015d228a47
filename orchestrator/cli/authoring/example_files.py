"""Find the input files that an imported graph names: beside the graph, or in the author's ComfyUI."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import aiohttp

from orchestrator.catalog.example_files import MAX_FILE_BYTES
from orchestrator.catalog.model import Model
from orchestrator.catalog.publishing.own_files import list_own_files
from orchestrator.cli.terminal.console import CliError

_TIMEOUT = aiohttp.ClientTimeout(total=60)


def find_example_files(graph: Path, names: Iterable[str], comfyui: str | None) -> list[tuple[str, bytes]]:
    """Return the files that exist, by name in ComfyUI's input folder; others are left out."""
    wanted = list(dict.fromkeys(names))
    found = {name: data for name in wanted if (data := _read_beside(graph, name)) is not None}
    missing = [name for name in wanted if name not in found]
    if comfyui is not None and missing:
        found |= asyncio.run(_fetch_all(comfyui, missing))
    return list(found.items())


def _read_beside(graph: Path, name: str) -> bytes | None:
    """Read a file from the folder of the graph, or from `input/` in it."""
    root = graph.resolve().parent
    for part in (name, f"input/{name}", PurePosixPath(name).name):
        file = (root / part).resolve()
        if file.is_relative_to(root) and file.is_file() and file.stat().st_size <= MAX_FILE_BYTES:
            return file.read_bytes()
    return None


def write_own_files(model: Model, folder: Path) -> list[Path]:
    """Write the author's input files below a folder, by the names that the exported graph has; return them.

    Raises CliError if one is there with another content, OSError.
    """
    written = []
    for name, data in list_own_files(model).items():
        target = folder / name
        if data is None:
            continue
        if target.exists() and target.read_bytes() != data:
            raise CliError(
                f"{target} is another file than {name} of {model.id}; choose another folder for -o"
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        written.append(target)
    return written


async def _fetch_all(url: str, names: Iterable[str]) -> dict[str, bytes]:
    async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
        fetched = [(name, await _fetch(session, url, name)) for name in names]
    return {name: data for name, data in fetched if data is not None}


async def _fetch(session: aiohttp.ClientSession, url: str, name: str) -> bytes | None:
    path = PurePosixPath(name)
    folder = "" if str(path.parent) == "." else str(path.parent)
    params = {"filename": path.name, "subfolder": folder, "type": "input"}
    try:
        async with session.get(f"{url.rstrip('/')}/view", params=params) as response:
            if response.status != 200:
                return None
            data = await response.content.read(MAX_FILE_BYTES + 1)
            while len(data) <= MAX_FILE_BYTES and (more := await response.content.read(2**20)):
                data += more
            return data if len(data) <= MAX_FILE_BYTES else None
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return None
