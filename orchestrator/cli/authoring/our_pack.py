"""`pixelfactory packs export-ours`: the node pack as a zip, for an author whose ComfyUI is elsewhere."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.commands.comfyui import NODE_PACKS_DIR
from orchestrator.cli.terminal.console import CliError, JsonOption, err, print_row

PACK_NAME = "pixel_factory"
#: Files of the pack; ComfyUI writes others into its folder.
_SUFFIXES = frozenset({".py", ".js", ".css", ".md", ".txt"})
#: The same date in every zip, so that equal packs are equal files.
_DATE = (2026, 1, 1, 0, 0, 0)


def export_ours(
    output: Annotated[Path, typer.Option("-o", "--output", help="File to write.")] = Path(f"{PACK_NAME}.zip"),
    json: JsonOption = False,
) -> None:
    """Write our node pack as a zip, to unpack into the `custom_nodes` folder of any ComfyUI."""
    files = write_pack_zip(NODE_PACKS_DIR / PACK_NAME, output)
    print_row({"file": str(output), "files": files}, as_json=json)
    if not json:
        err.print(
            f"unpack it into ComfyUI's custom_nodes folder and restart ComfyUI; the zip contains no key:"
            f" {PACK_NAME}/README.md says where to put one",
            highlight=False,
        )


def write_pack_zip(pack: Path, output: Path) -> int:
    """Write the files of a pack below its name, and return their number. Raises CliError, OSError."""
    found = sorted(
        path for path in pack.rglob("*") if path.suffix in _SUFFIXES and "__pycache__" not in path.parts
    )
    if not (pack / "__init__.py").is_file():
        raise CliError(f"{pack} has no node pack; install Pixel Factory again")
    output.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED) as file:
        for path in found:
            entry = zipfile.ZipInfo(f"{pack.name}/{path.relative_to(pack).as_posix()}", _DATE)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            file.writestr(entry, path.read_bytes())
    return len(found)
