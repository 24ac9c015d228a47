"""Output of commands: tables or lines for people, one JSON document for programs, errors on stderr."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from orchestrator.logs import printable
from orchestrator.settings import Settings

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
DataDirOption = Annotated[
    Path | None, typer.Option(help="Data directory of the service.", show_default=False)
]
ConfigOption = Annotated[Path | None, typer.Option(help="TOML file with settings.", show_default=False)]
UrlOption = Annotated[str, typer.Option(envvar="PIXELFACTORY_URL", help="URL of the running service.")]
DEFAULT_URL = "http://127.0.0.1:8080"
#: Bytes of the gigabyte in which sizes are shown.
GB = 1e9

out = Console()
err = Console(stderr=True, soft_wrap=True)


class CliError(Exception):
    """A command failed; the message is shown to the user."""


def print_error(message: str) -> None:
    """Print an error as one line on stderr."""
    line = printable(message)
    err.print(f"[red]error:[/red] {line.replace('[', chr(92) + '[')}", highlight=False)


def print_warning(message: str) -> None:
    """Print a warning as one line on stderr."""
    line = printable(message)
    err.print(f"[yellow]warning:[/yellow] {line.replace('[', chr(92) + '[')}", highlight=False)


def read_settings(data_dir: Path | None = None, config: Path | None = None, **flags: Any) -> Settings:
    """Load the settings for a command; `flags` override them unless None. Raises SettingsError."""
    return Settings.load(config, data_dir=data_dir, **flags)


def print_json(document: object) -> None:
    """Print a JSON document on stdout."""
    typer.echo(json.dumps(document, indent=2, default=str))


def print_json_or(line: str, document: object, *, as_json: bool) -> None:
    """Print `document` as JSON, or `line` for people."""
    if as_json:
        print_json(document)
    else:
        typer.echo(printable(line))


def print_row(row: Mapping[str, Any], *, as_json: bool) -> None:
    """Print one row as a JSON object, or as a table."""
    if as_json:
        print_json(row)
    else:
        print_rows([row], tuple(row), as_json=False)


def print_rows(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, as_json: bool) -> None:
    """Print rows as a JSON array, or their `columns` as a table."""
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
    # Names are chosen by callers, who could otherwise send control sequences to an operator's terminal.
    return escape(printable(", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)))
