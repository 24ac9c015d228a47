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

from comfy_instances.gpus import discover
from comfy_instances.install import Outcome, Step, Wish, install_comfyui
from comfy_instances.lock import load_lock
from comfy_instances.node_facts import record
from comfy_instances.session import Session
from comfy_instances.status import Status, look_at
from orchestrator.cli.console import CommandFailed, Json, err, print_json, read_settings

app = typer.Typer(help="The ComfyUI that instances run.", no_args_is_help=True)

#: Our own node packs; each is a package.
NODE_PACKS = Path(__file__).resolve().parents[2] / "custom_nodes"
_PERCENT = re.compile(r"(\d{1,3})%")


class Bars:
    """Shows an installation as it goes: one bar per step, and what git or pip said last."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._bar: TaskID | None = None

    def step(self, step: Step) -> None:
        self.close()
        number = list(Step).index(step) + 1
        self._bar = self._progress.add_task(f"{number}/{len(Step)} {step}", total=None, doing="")

    def note(self, text: str) -> None:
        self._progress.console.print(f"[yellow]note:[/yellow] {escape(text)}", highlight=False)

    def output(self, line: str) -> None:
        if self._bar is None:
            return
        self._progress.update(self._bar, doing=escape(line.strip()[:60]))
        if found := _PERCENT.search(line):
            self._progress.update(self._bar, total=100, completed=int(found[1]))

    def close(self) -> None:
        """The last step is done."""
        if self._bar is not None:
            self._progress.update(self._bar, total=100, completed=100, doing="done")
            self._progress.stop_task(self._bar)


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
    gpus = tuple(discover())
    wish = Wish(
        directory=read_settings().comfyui_dir,
        ref=ref,
        origin=source,
        torch=torch or ("cuda" if gpus else "cpu"),
        node_packs=tuple(sorted(path.parent for path in NODE_PACKS.glob("*/__init__.py"))),
        gpus=gpus,
    )
    with _bars() as bars:
        outcome = asyncio.run(install_comfyui(wish, load_lock(), bars))
        bars.close()
    for line in _done(outcome):
        typer.echo(line)


@app.command()
def status(json: Json = False) -> None:
    """Show what is installed, and what differs from the pin."""
    directory = read_settings().comfyui_dir
    found = _view(directory, asyncio.run(look_at(directory, load_lock())))
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
    found = asyncio.run(_ask(url))
    if output is None:
        print_json(found)
        return
    data = json_.dumps(found, separators=(",", ":")).encode()
    # Without the time of compression, the same facts are the same bytes.
    output.write_bytes(gzip.compress(data, mtime=0) if output.suffix == ".gz" else data)
    err.print(f"{len(found['nodes'])} nodes of ComfyUI {found['comfyui_version']} in {output}")


@contextmanager
def _bars() -> Iterator[Bars]:
    columns = (
        SpinnerColumn(finished_text="[green]✓[/green]"),
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[doing]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=err) as progress:
        yield Bars(progress)


def _done(outcome: Outcome) -> Iterator[str]:
    found, trial = outcome.install, outcome.trial
    packs = ", ".join(pack.name for pack in found.node_packs) or "none"
    yield f"ComfyUI {found.version} at commit {found.record['commit']} in {found.directory}"
    yield f"PyTorch: {', '.join(found.record['torch'])}"
    yield f"Node packs: {packs}"
    yield f"Tried on {trial.device}: ready after {trial.seconds:.1f} s with {len(trial.object_info)} nodes"


def _view(directory: Path, status: Status) -> dict[str, Any]:
    found = status.install
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


async def _ask(url: str) -> dict[str, Any]:
    """Raises CommandFailed, InstanceError."""
    try:
        session = Session(url)
    except ValueError as error:
        raise CommandFailed(str(error)) from error
    async with session:
        stats, info = await asyncio.gather(session.stats(), session.object_info())
    return {"comfyui_version": stats.version, "nodes": record(info)}
