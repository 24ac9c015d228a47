"""How commands speak: tables for people, one JSON document for programs, errors to stderr."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from orchestrator.settings import Settings

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
DataDirOption = Annotated[
    Path | None, typer.Option(help="Where the service keeps its data.", show_default=False)
]
ConfigOption = Annotated[Path | None, typer.Option(help="TOML file with settings.", show_default=False)]

out = Console()
err = Console(stderr=True, soft_wrap=True)


class CliError(Exception):
    """A command could not do what it was asked; the text is shown to the user."""


def print_error(message: str) -> None:
    """One clear line on stderr."""
    line = " ".join(message.split())
    err.print(f"[red]error:[/red] {line.replace('[', chr(92) + '[')}", highlight=False)


def read_settings(data_dir: Path | None = None, config: Path | None = None, **flags: Any) -> Settings:
    """Settings for a command. Raises SettingsError."""
    return Settings.load(config, data_dir=data_dir, **flags)


def print_json(document: object) -> None:
    typer.echo(json.dumps(document, indent=2, default=str))


def print_rows(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, as_json: bool) -> None:
    """The rows as JSON, or `columns` of them as a table."""
    if as_json:
        print_json(rows)
        return
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*(_format_cell(row.get(column)) for column in columns))
    out.print(table)


def _format_cell(value: object) -> str:
    if value is None:
        return "-"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
