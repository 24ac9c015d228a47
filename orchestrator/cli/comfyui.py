"""`pixelfactory comfyui`: install the pinned ComfyUI, see how far it is from the pin, record node facts."""

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
from comfy_instances.protocol.node_facts import extract_node_facts
from comfy_instances.session.session import InstanceSession
from orchestrator.cli.console import CliError, JsonOption, err, print_json, read_settings

app = typer.Typer(help="The ComfyUI that instances run.", no_args_is_help=True)

#: Our own node packs; each is a package.
NODE_PACKS_DIR = Path(__file__).resolve().parents[2] / "custom_nodes"
_PERCENT = re.compile(r"(\d{1,3})%")


class InstallProgressBars:
    """Shows an installation as it goes: one bar per step, and what git or pip said last."""

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
        """The last step is done."""
        if self._task is not None:
            self._progress.update(self._task, total=100, completed=100, doing="done")
            self._progress.stop_task(self._task)


@app.command()
def install(
    ref: Annotated[
        str | None, typer.Option(help="Commit, tag or branch; the pinned commit by default.")
    ] = None,
    source: Annotated[
        str | None, typer.Option(help="Git URL or path to fetch from instead of upstream.")
    ] = None,
    torch: Annotated[
        str | None,
        typer.Option(help="`cpu`, `cuda`, or packages and at most one index URL, in one argument."),
    ] = None,
) -> None:
    """Install ComfyUI in an environment of its own; again, it does only what is missing."""
    gpus = tuple(discover_gpus())
    wish = InstallRequest(
        directory=read_settings().comfyui_dir,
        ref=ref,
        origin=source,
        torch=torch or ("cuda" if gpus else "cpu"),
        node_packs=tuple(sorted(path.parent for path in NODE_PACKS_DIR.glob("*/__init__.py"))),
        gpus=gpus,
    )
    with _install_progress_bars() as bars:
        outcome = asyncio.run(install_comfyui(wish, load_comfyui_lock(), bars))
        bars.finish()
    for line in _install_summary(outcome):
        typer.echo(line)


@app.command()
def status(json: JsonOption = False) -> None:
    """Show what is installed, and what differs from the pin."""
    directory = read_settings().comfyui_dir
    found = _status_to_json(directory, asyncio.run(check_installation(directory, load_comfyui_lock())))
    if json:
        print_json(found)
        return
    for name, value in found.items():
        lines = value if isinstance(value, list) else [value]
        typer.echo(f"{name:13} {', '.join(map(str, lines)) if lines else 'none'}")


@app.command()
def facts(
    url: Annotated[str, typer.Option("--from", help="Address of a running ComfyUI.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="File to write; compressed if it ends in .gz.")
    ] = None,
) -> None:
    """Record what the nodes of a running server take and give, as JSON."""
    found = asyncio.run(_fetch_node_facts(url))
    if output is None:
        print_json(found)
        return
    data = json_.dumps(found, separators=(",", ":")).encode()
    # Without the time of compression, the same facts are the same bytes.
    output.write_bytes(gzip.compress(data, mtime=0) if output.suffix == ".gz" else data)
    err.print(f"{len(found['nodes'])} nodes of ComfyUI {found['comfyui_version']} in {output}")


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


def _install_summary(outcome: InstallResult) -> Iterator[str]:
    found, trial = outcome.installation, outcome.smoke_test
    packs = ", ".join(pack.name for pack in found.node_packs) or "none"
    yield f"ComfyUI {found.version} at commit {found.record['commit']} in {found.directory}"
    yield f"PyTorch: {', '.join(found.record['torch'])}"
    yield f"Node packs: {packs}"
    nodes = len(trial.object_info)
    yield f"Tried on {trial.device}: ready after {trial.startup_seconds:.1f} s with {nodes} nodes"


def _status_to_json(directory: Path, status: InstallationStatus) -> dict[str, Any]:
    found = status.installation
    return {
        "directory": str(directory),
        "installed": found is not None,
        "version": found.version if found else None,
        "commit": status.commit,
        "torch": list(found.record.get("torch", ())) if found else [],
        "node_packs": [pack.name for pack in found.node_packs] if found else [],
        "installed_at": found.record.get("installed_at") if found else None,
        "drift": list(status.drift),
    }


async def _fetch_node_facts(url: str) -> dict[str, Any]:
    """Raises CommandFailed, InstanceError."""
    try:
        session = InstanceSession(url)
    except ValueError as error:
        raise CliError(str(error)) from error
    async with session:
        stats, info = await asyncio.gather(session.get_system_stats(), session.get_object_info())
    return {"comfyui_version": stats.version, "nodes": extract_node_facts(info)}
