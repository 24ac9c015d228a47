"""Records the nodes of one version of a pack, which names the values of graphs that it has saved.

ComfyUI starts once with exactly this version, in an environment of its own that is deleted afterwards. What
is installed, and what the lock file pins, stays as it is.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from comfy_instances.install.commands import SubprocessFailed
from comfy_instances.install.packs.adding import pin_pack
from comfy_instances.install.packs.errors import PackError, PacksRefused
from comfy_instances.install.packs.install import (
    PackInstallRequest,
    PackReporter,
    try_set,
)
from comfy_instances.install.packs.lock_file import PackLock
from comfy_instances.install.packs.pack_facts import describe_pack
from comfy_instances.install.packs.repository import PackAddress
from comfy_instances.process.installed_packs import ENVIRONMENTS_FOLDER, SOURCES_FOLDER


async def read_version_facts(
    request: PackInstallRequest,
    address: PackAddress,
    overrides: Mapping[str, str],
    reporter: PackReporter,
) -> Mapping[str, Any]:
    """Return the facts of a pack's version, as a file keeps them; the lock of `request` is not used.

    Other problems than a failed import, such as a node that ComfyUI has as well, are notes: the version is
    read and not used. Raises PackError.
    """
    directory = request.comfyui_dir
    before = _list_folders(directory)
    try:
        added = await pin_pack(
            PackLock(),
            address,
            comfyui_dir=directory,
            name=None,
            mirror=request.mirror,
            overrides=overrides,
            on_output=reporter.on_output,
        )
        tried = await try_set(replace(request, lock=PackLock((added.pin,))), reporter)
    except (SubprocessFailed, OSError) as error:
        raise PackError(f"the version is not read: {error}") from error
    finally:
        for folder in _list_folders(directory) - before:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
            with suppress(OSError):  # it holds other versions of the pack
                folder.parent.rmdir()
    [pack] = tried.record.packs
    if not tried.trial.nodes[pack.name]:
        raise PacksRefused(tried.trial.problems or [f"{pack.name} {pack.commit[:12]} has no node classes"])
    for problem in tried.trial.problems:
        reporter.on_note(problem)
    return describe_pack(pack, tried.trial)


def _list_folders(directory: Path) -> set[Path]:
    """Return the folders of sources and environments, some of which running instances may use."""
    return {*(directory / SOURCES_FOLDER).glob("*/*"), *(directory / ENVIRONMENTS_FOLDER).glob("*")}
