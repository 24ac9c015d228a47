"""`pixelfactory db`: the database itself."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.app.resources import require_postgres_driver
from orchestrator.cli.terminal.console import CliError, JsonOption, print_json, print_rows, print_warning
from orchestrator.database_url import URL_FORMS, describe_database, is_postgres_url, sqlite_path
from orchestrator.logs import printable

app = typer.Typer(no_args_is_help=True, help="Move the database.")


@app.callback()
def db() -> None:
    """Move the database."""


@app.command("migrate")
def migrate(
    source: Annotated[str, typer.Option("--from", help="URL of the SQLite database: sqlite:///PATH.")],
    target: Annotated[
        str,
        typer.Option(
            "--to",
            envvar="PIXELFACTORY_DATABASE_URL",
            help="URL of an empty PostgreSQL database: postgresql://USER:PASSWORD@HOST:PORT/NAME.",
        ),
    ],
    json: JsonOption = False,
) -> None:
    """Copy an installation from SQLite to PostgreSQL, and prove that the copy is the same.

    Stop the service first. The SQLite database stays as it is. Keep the data directory: its key file opens
    the secrets of either database.
    """
    path = sqlite_path(source)
    if path is None or not is_postgres_url(target):
        wrong = "--from" if path is None else "--to"
        raise CliError(f"{wrong} has to be a URL of the other kind; URLs are {URL_FORMS}")
    require_postgres_driver()
    from orchestrator.store.postgres.transfer import TransferError, move_to_postgres

    try:
        moved = move_to_postgres(path, target)
    except TransferError as error:
        raise CliError(f"nothing was moved: {error}") from error
    rows = [{"table": one.name, "rows": one.rows, "sha256": one.digest} for one in moved.tables]
    if json:
        print_json({"tables": rows, "replaced_texts": moved.replaced_texts, "violations": []})
        return
    print_rows(rows, ("table", "rows", "sha256"), as_json=False)
    if moved.replaced_texts:
        print_warning(
            f"{moved.replaced_texts} texts had NUL, which PostgreSQL cannot store: it is U+FFFD now"
        )
    typer.echo(
        printable(
            f"moved {sum(one.rows for one in moved.tables)} rows to {describe_database(target)}; the ledger"
            " holds. Set PIXELFACTORY_DATABASE_URL to it, and keep the data directory."
        )
    )
