"""The ComfyUI that is installed in a folder, with our node pack, as the instance of a measurement."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from scripts.child_servers import ServerProcess, run_server

PACK = Path(__file__).resolve().parents[2] / "custom_nodes" / "pixel_factory"
START_SECONDS = 240.0


@contextmanager
def run_comfyui(
    folder: Path, directory: Path, options: Sequence[str] = (), nodes: Mapping[str, str] | None = None
) -> Iterator[ServerProcess]:
    """Run what `pixelfactory comfyui install` has put into `folder`, with its files in `directory`.

    `nodes` are further custom nodes, sources by file name.
    """
    packs = directory / "custom_nodes"
    packs.mkdir(parents=True)
    (packs / "pixel_factory").symlink_to(PACK)
    for name, source in (nodes or {}).items():
        (packs / name).write_text(source)
    command = [str(folder / "venv" / "bin" / "python"), str(folder / "source" / "main.py")]
    command += ["--disable-auto-launch", "--disable-api-nodes", "--database-url", "sqlite:///:memory:"]
    command += ["--base-directory", str(directory), *options]
    with run_server(command, "/system_stats", log=directory / "log", ready_seconds=START_SECONDS) as server:
        yield server
