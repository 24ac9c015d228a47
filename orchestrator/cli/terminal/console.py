"""Output of commands: tables or lines for people, one JSON document for programs, errors on stderr."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.cells import cell_len, set_cell_size
from rich.console import Console

from comfy_instances.log_text import escape_controls
from orchestrator.logs import printable
from orchestrator.setting_errors import SettingsError

if TYPE_CHECKING:
    # Imported where a command reads settings: they take as long to import as all else of a client command.
    from orchestrator.settings import Settings

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
DataDirOption = Annotated[
    Path | None, typer.Option(help="Data directory of the service.", show_default=False)
]
ConfigOption = Annotated[Path | None, typer.Option(help="TOML file with settings.", show_default=False)]
UrlOption = Annotated[
    str | None,
    typer.Option(
        envvar="PIXELFACTORY_URL",
        help="URL of the running service; by default that of the service that this user runs.",
        show_default=False,
    ),
]
#: Where a service listens unless a setting says otherwise.
DEFAULT_URL = "http://127.0.0.1:8080"
#: Between two columns of a table.
COLUMN_GAP = "  "
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


def format_cents(cents: float) -> str:
    """Write cents as a decimal number, to a micro-dollar: `1`, `1.0092`, `0.0003`."""
    return f"{cents:.4f}".rstrip("0").rstrip(".")


def describe_cents(cents: float) -> str:
    """Write an amount with its unit: `1 cent`, `1.5 cents`."""
    number = format_cents(cents)
    return f"{number} cent" if number == "1" else f"{number} cents"


def print_note(message: str) -> None:
    """Print what a command has chosen by itself as one line on stderr."""
    err.print(printable(message), style="dim", highlight=False, markup=False)


def read_settings(data_dir: Path | None = None, config: Path | None = None, **flags: Any) -> Settings:
    """Load the settings for a command; `flags` override them unless None. Raises SettingsError."""
    from orchestrator.settings import Settings

    settings = Settings.load(config, data_dir=data_dir, **flags)
    check_data_directory(settings.data_dir)
    return settings


def check_data_directory(directory: Path) -> None:
    """Raise SettingsError if no data directory can be there."""
    choose = "choose another directory with --data-dir or PIXELFACTORY_DATA_DIR"
    if str(directory).startswith("~"):
        raise SettingsError(f"the home directory of this user is unknown: set HOME, or {choose}")
    for path in (directory, *directory.parents):
        if path.is_dir():
            return
        if path.exists() or path.is_symlink():
            kind = "a broken link" if path.is_symlink() else "a file"
            raise SettingsError(f"the data directory {directory} cannot be used: {path} is {kind}; {choose}")


def print_json(document: object) -> None:
    """Print a JSON document on stdout."""
    typer.echo(json.dumps(document, indent=2, default=str))


def print_json_or(line: str, document: object, *, as_json: bool) -> None:
    """Print `document` as JSON, or `line` for people."""
    if as_json:
        print_json(document)
    else:
        typer.echo(printable(line))


def print_lines(text: str) -> None:
    """Print a text of several lines, without control sequences."""
    for line in text.splitlines():
        typer.echo(escape_controls(line))


def print_row(row: Mapping[str, Any], *, as_json: bool) -> None:
    """Print one row as a JSON object, or as a table."""
    if as_json:
        print_json(row)
    else:
        print_rows([row], tuple(row), as_json=False)


def print_rows(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, as_json: bool) -> None:
    """Print rows as a JSON array, or their `columns` as a table.

    Nothing is cut: a table that is wider than the terminal becomes one block of lines per row. Elsewhere,
    such as in a pipe, tables have their full width.
    """
    if as_json:
        print_json(rows)
        return
    cells = [tuple(_format_cell(row.get(column)) for column in columns) for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(columns, *cells, strict=True)]
    if out.is_terminal and sum(widths) + len(COLUMN_GAP) * (len(widths) - 1) > out.width:
        _print_blocks(columns, cells)
    else:
        for line in (columns, *cells):
            typer.echo(COLUMN_GAP.join(map(set_cell_size, line, widths)).rstrip())


def _print_blocks(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print each row as lines of a column's name and its value, with an empty line between two rows."""
    width = max(map(cell_len, columns))
    for number, row in enumerate(rows):
        if number:
            typer.echo("")
        for column, cell in zip(columns, row, strict=True):
            typer.echo(f"{set_cell_size(column, width)}{COLUMN_GAP}{cell}")


def _format_cell(value: object) -> str:
    if value is None:
        return "-"
    # Names are chosen by callers, who could otherwise send control sequences to an operator's terminal.
    return printable(", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value))
