"""`pixelfactory comfyui`: install the pinned ComfyUI, compare it with the pin, record node facts."""

from __future__ import annotations

import asyncio
import gzip
import json as json_
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from comfy_instances.hardware.gpus import discover_gpus
from comfy_instances.install.install import InstallRequest, InstallResult, InstallStep, install_comfyui
from comfy_instances.install.lock import load_comfyui_lock
from comfy_instances.install.status import InstallationStatus, check_installation
from orchestrator.cli.authoring.node_facts import fetch_node_facts
from orchestrator.cli.terminal.console import JsonOption, err, print_json, read_settings

app = typer.Typer(help="Install and inspect the ComfyUI that instances run.", no_args_is_help=True)

#: The node packs of this repository, each a Python package.
NODE_PACKS_DIR = Path(__file__).resolve().parents[3] / "custom_nodes"
_PERCENT = re.compile(r"(\d{1,3})%")


class InstallProgressBars:
    """Shows one progress bar per installation step, with the last output line of git or pip."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task: TaskID | None = None

    def on_step(self, step: InstallStep) -> None:
        self.finish()
        number = list(InstallStep).index(step) + 1
        self._task = self._progress.add_task(f"{number}/{len(InstallStep)} {step}", total=None, doing="")

    def on_note(self, text: str) -> None:
        self._progress.console.print(f"[yellow]note:[/yellow] {escape(text)}", highlight=False)

    def on_output(self, line: str) -> None:
        if self._task is None:
            return
        self._progress.update(self._task, doing=escape(line.strip()[:60]))
        if found := _PERCENT.search(line):
            self._progress.update(self._task, total=100, completed=int(found[1]))

    def finish(self) -> None:
        """Mark the current step as done."""
        if self._task is not None:
            self._progress.update(self._task, total=100, completed=100, doing="done")
            self._progress.stop_task(self._task)


@app.command()
def install(
    ref: Annotated[
        str | None, typer.Option(help="Commit, tag or branch to install; by default the pinned commit.")
    ] = None,
    source: Annotated[
        str | None, typer.Option(help="Git URL or path to fetch from instead of the upstream repository.")
    ] = None,
    torch: Annotated[
        str | None,
        typer.Option(
            help="`cpu`, `cuda`, or pip packages and at most one index URL, in one argument; by default"
            " `cuda` if this machine has a GPU."
        ),
    ] = None,
) -> None:
    """Install ComfyUI in its own environment. Run again, it does only what is missing."""
    gpus = tuple(discover_gpus())
    request = InstallRequest(
        directory=read_settings().comfyui_dir,
        ref=ref,
        origin=source,
        torch=torch or ("cuda" if gpus else "cpu"),
        node_packs=tuple(sorted(path.parent for path in NODE_PACKS_DIR.glob("*/__init__.py"))),
        gpus=gpus,
    )
    with _install_progress_bars() as bars:
        result = asyncio.run(install_comfyui(request, load_comfyui_lock(), bars))
        bars.finish()
    for line in _install_summary(result):
        typer.echo(line)


@app.command()
def status(json: JsonOption = False) -> None:
    """Show the installed version, and its differences from the pin."""
    directory = read_settings().comfyui_dir
    status = _status_to_json(directory, asyncio.run(check_installation(directory, load_comfyui_lock())))
    if json:
        print_json(status)
        return
    for name, value in status.items():
        lines = value if isinstance(value, list) else [value]
        typer.echo(f"{name:13} {', '.join(map(str, lines)) if lines else 'none'}")


@app.command()
def facts(
    url: Annotated[str, typer.Option("--from", help="URL of a running ComfyUI server.")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="File to write, gzipped if it ends in .gz; by default stdout."),
    ] = None,
) -> None:
    """Record the inputs and outputs of all node classes of a running server as JSON."""
    facts = asyncio.run(fetch_node_facts(url))
    if output is None:
        print_json(facts)
        return
    data = json_.dumps(facts, separators=(",", ":")).encode()
    # mtime=0 keeps the file the same for the same facts.
    output.write_bytes(gzip.compress(data, mtime=0) if output.suffix == ".gz" else data)
    err.print(f"wrote {len(facts['nodes'])} nodes of ComfyUI {facts['comfyui_version']} to {output}")


@contextmanager
def _install_progress_bars() -> Iterator[InstallProgressBars]:
    columns = (
        SpinnerColumn(finished_text="[green]✓[/green]"),
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[doing]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=err) as progress:
        yield InstallProgressBars(progress)


def _install_summary(result: InstallResult) -> Iterator[str]:
    installation, test = result.installation, result.smoke_test
    packs = ", ".join(pack.name for pack in installation.node_packs) or "none"
    commit = installation.record["commit"]
    yield f"ComfyUI {installation.version} at commit {commit} in {installation.directory}"
    yield f"PyTorch: {', '.join(installation.record['torch'])}"
    yield f"Node packs: {packs}"
    nodes = len(test.object_info)
    yield f"Tested on {test.device}: ready after {test.startup_seconds:.1f} s with {nodes} nodes"


def _status_to_json(directory: Path, status: InstallationStatus) -> dict[str, Any]:
    installation = status.installation
    return {
        "directory": str(directory),
        "installed": installation is not None,
        "version": installation.version if installation else None,
        "commit": status.commit,
        "torch": list(installation.record.get("torch", ())) if installation else [],
        "node_packs": [pack.name for pack in installation.node_packs] if installation else [],
        "installed_at": installation.record.get("installed_at") if installation else None,
        "drift": list(status.drift),
    }
