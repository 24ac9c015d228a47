"""Records which public node pack has which classes, and in which folders the files of inputs belong.

    .venv/bin/python -m scripts.record_packs DIR

DIR is an installation of ComfyUI with packs (`pixelfactory packs install`), which is started once. Updates
`known_packs.json` and `known_folders.json` in `orchestrator/catalog/`; rows of other packs are kept.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from comfy_instances.install.packs.install import PackInstallRequest, require_installation, try_installed
from comfy_instances.install.packs.lock_file import PackLock
from comfy_instances.install.packs.trial import OWN_CLASS_PREFIX, TrialResult
from comfy_instances.install.packs.weight_folders import INPUT_FOLDER
from comfy_instances.process.installed_packs import InstalledPack
from orchestrator.catalog.known_packs import GITHUB_URL

CATALOG = Path(__file__).resolve().parent.parent / "orchestrator" / "catalog"
PACKS_FILE, FOLDERS_FILE = CATALOG / "known_packs.json", CATALOG / "known_folders.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("directory", type=Path)
    directory = parser.parse_args().directory
    installation = require_installation(directory)
    request = PackInstallRequest(comfyui_dir=directory, lock=PackLock(), startup_seconds=600)
    trial = asyncio.run(try_installed(request, installation))
    packs = json.loads(PACKS_FILE.read_text("utf-8"))
    merged = merge_packs(packs, installation.packs.packs, trial)
    PACKS_FILE.write_text(json.dumps(merged, indent=1, ensure_ascii=False) + "\n", "utf-8")
    folders = json.loads(FOLDERS_FILE.read_text("utf-8")) if FOLDERS_FILE.exists() else {}
    FOLDERS_FILE.write_text(_one_row_a_line(merge_folders(folders, trial)), "utf-8")


def merge_packs(
    rows: Mapping[str, Any], packs: Sequence[InstalledPack], trial: TrialResult
) -> dict[str, Any]:
    """Return the table of packs with the classes of the started ones."""
    merged = dict(rows)
    for pack in packs:
        id = pack.url.removeprefix(GITHUB_URL)
        if pack.url.startswith(GITHUB_URL) and trial.nodes[pack.name]:
            merged[id] = {"commit": pack.commit, "classes": sorted(trial.nodes[pack.name])}
    return dict(sorted(merged.items(), key=lambda row: row[0].casefold()))


def merge_folders(rows: Mapping[str, Any], trial: TrialResult) -> dict[str, Any]:
    """Return the table of folders with the inputs of the started classes."""
    found = {
        name: {key: folders for key, folders in inputs.items() if INPUT_FOLDER not in folders}
        for name, inputs in trial.file_folders.items()
        if not name.startswith(OWN_CLASS_PREFIX)
    }
    return dict(sorted({**rows, **{name: row for name, row in found.items() if row}}.items()))


def _one_row_a_line(rows: Mapping[str, Any]) -> str:
    lines = (f"{json.dumps(key)}: {json.dumps(row, ensure_ascii=False)}" for key, row in rows.items())
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    main()
