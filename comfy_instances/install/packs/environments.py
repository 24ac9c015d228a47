"""Makes Python environments for sets of packs: hard-linked copies of ComfyUI's, which stays as it is."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from comfy_instances.install.commands import (
    OutputCallback,
    SubprocessFailed,
    run_and_read_output,
    run_command,
)
from comfy_instances.install.environment import PIP_INSTALL
from comfy_instances.install.packs.errors import PacksRefused
from comfy_instances.install.packs.requirements import ONNXRUNTIME, OPENCV
from comfy_instances.install.packs.resolver import PackageSource, Resolution

#: Files that several distributions may own: no program imports them.
HARMLESS_FOLDERS = ("test", "tests", "testing", "doc", "docs", "example", "examples", "benchmarks", "scripts")
_LIST_DISTRIBUTIONS = """
import json, re
from importlib.metadata import distributions
found = {}
for one in distributions():
    name = one.metadata["Name"]
    if name:
        found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), one.version)
print(json.dumps(found))
"""
_LIST_SHARED_FILES = """
import json, re
from importlib.metadata import distributions
owners = {}
for one in distributions():
    name = re.sub(r"[-_.]+", "-", one.metadata["Name"] or "").lower()
    for file in one.files or ():
        if file.suffix in (".py", ".so", ".pyd", ".dll") or ".so." in file.name:
            owners.setdefault(str(file), set()).add(name)
print(json.dumps({file: sorted(names) for file, names in owners.items() if len(names) > 1}))
"""


async def list_distributions(python: Path) -> dict[str, str]:
    """Return the versions of the installed distributions by canonical name. Raises SubprocessFailed."""
    found: dict[str, str] = json.loads(
        await run_and_read_output([str(python), "-I", "-c", _LIST_DISTRIBUTIONS])
    )
    return found


async def list_shared_files(python: Path) -> dict[str, list[str]]:
    """Return the modules that several distributions own, with their owners. Raises SubprocessFailed."""
    output = await run_and_read_output([str(python), "-I", "-c", _LIST_SHARED_FILES])
    found: dict[str, list[str]] = json.loads(output)
    return {
        file: owners for file, owners in found.items() if not set(Path(file).parts) & set(HARMLESS_FOLDERS)
    }


async def copy_environment(source: Path, target: Path) -> None:
    """Copy a virtual environment by hard links; pip replaces files and never writes into them. Raises
    OSError."""
    await asyncio.to_thread(shutil.rmtree, target, ignore_errors=True)
    await asyncio.to_thread(shutil.copytree, source, target, symlinks=True, copy_function=_link_or_copy)
    # Edited in place by tools, unlike all other files.
    (target / "pyvenv.cfg").unlink()
    shutil.copy2(source / "pyvenv.cfg", target / "pyvenv.cfg")


async def install_packages(
    python: Path, resolution: Resolution, source: PackageSource, on_output: OutputCallback
) -> None:
    """Install what was resolved, and nothing else. Raises SubprocessFailed."""
    if not resolution.pins:
        return
    options = [*source.index_options, *source.format_options, "--no-deps", *resolution.pins]
    if (uv := shutil.which("uv")) is not None:
        command = [uv, "pip", "install", "--python", str(python), *options]
    else:
        command = [str(python), *PIP_INSTALL, *options]
    await run_command(command, on_output=on_output)


async def keep_one_of_each_family(
    python: Path, source: PackageSource, *, has_gpu: bool, on_output: OutputCallback
) -> list[str]:
    """Leave one OpenCV and one ONNX Runtime, whole: others own the same files. Returns notes.

    Raises SubprocessFailed.
    """
    notes = []
    for family in (OPENCV, ONNXRUNTIME if has_gpu else ONNXRUNTIME[::-1]):
        installed = await list_distributions(python)
        present = [name for name in family if name in installed]
        if len(present) < 2:
            continue
        kept = present[0]
        await run_command([str(python), "-m", "pip", "uninstall", "--yes", *present], on_output=on_output)
        pin = f"{kept}=={installed[kept]}"
        await install_packages(python, Resolution({kept: installed[kept]}, (pin,)), source, on_output)
        notes.append(f"{pin} is used for {', '.join(present[1:])} too: they own the same files")
    return notes


async def check_environment(python: Path, base: Path, held: Mapping[str, str]) -> None:
    """Raise PacksRefused if a copy changes a package of the environment it was made from, lacks a
    requirement, or has modules with two owners. Raises SubprocessFailed."""
    now = await list_distributions(python)
    problems = [
        f"{name} is {now.get(name, 'missing')} instead of {version}"
        for name, version in held.items()
        if now.get(name) != version and not (name in OPENCV or name in ONNXRUNTIME)
    ]
    before, after = await list_shared_files(base), await list_shared_files(python)
    pairs = {tuple(owners) for file, owners in after.items() if before.get(file) != owners}
    problems += [
        f"{' and '.join(owners)} install the same modules: only one of them can work"
        for owners in sorted(pairs)
    ]
    if complaints := await _pip_check(python):
        known = await _pip_check(base)
        problems += [line for line in complaints if line not in known]
    if problems:
        raise PacksRefused(problems)


async def _pip_check(python: Path) -> list[str]:
    """Return pip's complaints, but not that a distribution is missing which another one stands in for."""
    lines: list[str] = []
    try:
        await run_command([str(python), "-m", "pip", "check"], on_output=lines.append)
    except SubprocessFailed:
        return [line for line in lines if line.strip() and not _is_stood_in_for(line)]
    return []


def _is_stood_in_for(line: str) -> bool:
    missing = line.removesuffix(", which is not installed.").rpartition(" requires ")[2]
    return missing in (*OPENCV, *ONNXRUNTIME) and line.endswith("is not installed.")


def delete_all_but(folder: Path, kept: Sequence[str]) -> None:
    """Delete the subfolders that are not named in `kept`."""
    if not folder.is_dir():
        return
    for entry in folder.iterdir():
        if entry.name not in kept:
            shutil.rmtree(entry, ignore_errors=True)


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:  # another file system, or one without hard links
        shutil.copy2(source, target, follow_symlinks=False)
