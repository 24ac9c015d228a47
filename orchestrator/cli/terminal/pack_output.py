"""What `pixelfactory packs` shows: progress, tables and JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import typer
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from comfy_instances.install.packs.adding import AddedPack
from comfy_instances.install.packs.drift import compare_with_lock
from comfy_instances.install.packs.install import PackInstallResult, PackPlan, PackStep
from comfy_instances.install.packs.lock_file import PackLock
from comfy_instances.process.installed_packs import PackRecord
from orchestrator.app.pack_choice import models_needing_pack
from orchestrator.catalog import Catalog
from orchestrator.cli.terminal.console import err, print_json


class PackProgress:
    """Shows the steps of an installation and the last output line of git, pip or uv."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task: TaskID | None = None

    def on_step(self, step: PackStep) -> None:
        self.finish()
        self._task = self._progress.add_task(str(step), total=None, doing="")

    def on_note(self, text: str) -> None:
        self._progress.console.print(f"[yellow]note:[/yellow] {escape(text)}", highlight=False)

    def on_output(self, line: str) -> None:
        if self._task is not None:
            self._progress.update(self._task, doing=escape(line.strip()[:60]))

    def finish(self) -> None:
        """Mark the current step as done."""
        if self._task is not None:
            self._progress.update(self._task, total=1, completed=1, doing="done")
            self._progress.stop_task(self._task)


def pack_rows(lock: PackLock, record: PackRecord, catalog: Catalog) -> Iterator[dict[str, Any]]:
    """Yield a row per pinned or installed pack."""
    drift = compare_with_lock(lock, record)
    names = {
        name.casefold(): name for name in (*(p.name for p in lock.pins), *(p.name for p in record.packs))
    }
    for name in sorted(names.values(), key=str.casefold):
        pin, installed = lock.find(name), record.find(name)
        source = pin or installed
        assert source is not None
        yield {
            "name": name,
            "url": source.url,
            "ref": source.ref,
            "commit": source.commit,
            "installed": installed.commit if installed else None,
            "nodes": len(installed.classes) if installed else None,
            "models": models_needing_pack(catalog, name, installed),
            "drift": drift.get(name),
        }


def print_added(added: Iterable[AddedPack], *, as_json: bool) -> None:
    """Print pins and what reading the sources has shown."""
    rows = [_added_to_json(one) for one in added]
    if as_json:
        print_json(rows if len(rows) != 1 else rows[0])
        return
    for row in rows:
        is_same = row["before"] == row["commit"]
        before = f" (before: {row['before'][:12]})" if row["before"] and not is_same else ""
        verb = "stays" if is_same else "is"
        typer.echo(f"{row['name']} {row['ref']} {verb} pinned to {row['commit']}{before}")
        for line in (*row["findings"], *row["notes"]):
            err.print(f"[yellow]note:[/yellow] {escape(line)}", highlight=False)
    err.print("`pixelfactory packs install` installs what is pinned")


def _added_to_json(added: AddedPack) -> dict[str, Any]:
    pin = added.pin
    return {
        "name": pin.name,
        "url": pin.url,
        "ref": pin.ref,
        "commit": pin.commit,
        "before": added.before.commit if added.before else None,
        "requirements_sha256": pin.requirements_sha256,
        "overrides": dict(pin.overrides),
        "findings": [str(finding) for finding in added.findings],
        "notes": list(added.notes),
    }


def print_plan(plan: PackPlan, *, as_json: bool) -> None:
    """Print what an installation would do."""
    packages: Mapping[str, str] = plan.resolution.packages
    if as_json:
        print_json(
            {
                "packs": {name: pack.commit for name, pack in plan.fetched.items()},
                "findings": {name: [str(one) for one in found] for name, found in plan.findings.items()},
                "packages": dict(packages),
            }
        )
        return
    for name, pack in plan.fetched.items():
        typer.echo(f"pack {name} {pack.commit}")
    for name, version in sorted(packages.items()):
        typer.echo(f"add {name} {version}")


def result_to_json(result: PackInstallResult) -> dict[str, Any]:
    """Return an installed set as JSON."""
    record = result.record
    return {
        "packs": {pack.name: {"commit": pack.commit, "nodes": len(pack.classes)} for pack in record.packs},
        "packages": list(record.packages),
        "comfyui": record.comfyui_version,
        "startup_seconds": round(result.trial.startup_seconds, 1) if result.trial else None,
        "notes": list(result.trial.notes) if result.trial else [],
    }


def result_lines(result: PackInstallResult) -> Iterator[str]:
    """Yield lines that describe an installed set."""
    for pack in result.record.packs:
        yield f"{pack.name} {pack.commit[:12]}: {len(pack.classes)} nodes"
    if result.trial is None:
        yield "no packs are installed"
        return
    yield f"{len(result.record.packages)} Python packages were added"
    yield f"Tested on {result.trial.device}: ready after {result.trial.startup_seconds:.1f} s"
    yield "Running instances take them one by one, each once it is idle: `pixelfactory instances list`"


@contextmanager
def show_progress() -> Iterator[PackProgress]:
    """Show the steps on stderr."""
    columns = (
        SpinnerColumn(finished_text="[green]✓[/green]"),
        TextColumn("{task.description}"),
        TextColumn("{task.fields[doing]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=err) as progress:
        yield PackProgress(progress)
