"""`pixelfactory wallet`: show, credit, grant, debit, refund, history, statement, audit."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.app.resources import utc_now
from orchestrator.cli.books import open_billing_context
from orchestrator.cli.console import (
    DataDirOption,
    JsonOption,
    print_error,
    print_json,
    print_rows,
    read_settings,
)
from orchestrator.settings import Settings
from pricing.money import format_usd, parse_usd, to_usd
from pricing.statement import Statement

app = typer.Typer(help="Money of an account, named by its id or by the id of one of its keys.")

AccountOrKeyId = Annotated[str, typer.Argument(help="Id of an account or of a key.")]
UsdArgument = Annotated[str, typer.Argument(help="Dollars, such as 5.00.")]
ReferenceOption = Annotated[
    str | None, typer.Option(help="Name of the booking; the same one is booked only once.")
]
DayOption = Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="A day (UTC).")]


class WalletOperation(StrEnum):
    """How money comes into a wallet or goes out of it."""

    CREDIT = "credit"
    GRANT = "grant"
    DEBIT = "debit"


@app.command()
def show(id: AccountOrKeyId, data_dir: DataDirOption = None, json: JsonOption = False) -> None:
    """Show what a wallet holds."""
    row = asyncio.run(_read_wallet(read_settings(data_dir), id))
    print_rows([row], tuple(row), as_json=False) if not json else print_json(row)


@app.command()
def credit(
    id: AccountOrKeyId,
    usd: UsdArgument,
    reference: ReferenceOption = None,
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Book a payment."""
    _book_and_print(WalletOperation.CREDIT, id, (usd, reference), data_dir, json)


@app.command()
def grant(
    id: AccountOrKeyId,
    usd: UsdArgument,
    reference: ReferenceOption = None,
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Give something away: it counts as promotion and not as paid in."""
    _book_and_print(WalletOperation.GRANT, id, (usd, reference), data_dir, json)


@app.command()
def debit(
    id: AccountOrKeyId,
    usd: UsdArgument,
    reference: ReferenceOption = None,
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Pay back, or correct a payment downwards."""
    _book_and_print(WalletOperation.DEBIT, id, (usd, reference), data_dir, json)


@app.command()
def refund(
    job: Annotated[str, typer.Argument(help="Id of a job that was charged.")],
    usd: Annotated[str | None, typer.Argument(help="Dollars; else all that is left of it.")] = None,
    reference: Annotated[
        str, typer.Option(help="Name of the refund; the same one is booked once.")
    ] = "operator",
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Give back what a job was charged, or some of it."""
    micros = parse_usd(usd) if usd else None
    row = asyncio.run(_refund_job(read_settings(data_dir), job, micros, reference))
    print_json(row) if json else typer.echo(f"{row['account']} has {row['balance_usd']} USD")


@app.command()
def history(
    id: AccountOrKeyId,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Number of entries.")] = 50,
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Show the ledger of a wallet, newest first."""
    rows = asyncio.run(_read_ledger(read_settings(data_dir), id, limit))
    print_rows(rows, ("at", "kind", "usd", "from", "to", "job", "reference"), as_json=json)


@app.command()
def statement(
    id: AccountOrKeyId,
    since: DayOption = None,
    until: DayOption = None,
    csv_file: Annotated[Path | None, typer.Option("--csv", help="Write every entry to this file.")] = None,
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Show what was there, what moved and what is left; by default of this month."""
    begin = (since or utc_now().replace(day=1, hour=0, minute=0, second=0, microsecond=0)).replace(tzinfo=UTC)
    end = until.replace(tzinfo=UTC) if until else utc_now()
    found = asyncio.run(_read_statement(read_settings(data_dir), id, begin, end))
    if csv_file:
        csv_file.write_text(found.to_csv(), encoding="utf-8", newline="")
    row = _statement_row(found)
    print_rows([row], tuple(row), as_json=False) if not json else print_json(row)


@app.command()
def audit(data_dir: DataDirOption = None, json: JsonOption = False) -> None:
    """Prove the books from the first entry on; fails where a rule does not hold."""
    rows = asyncio.run(_audit_ledger(read_settings(data_dir)))
    if json or rows:
        print_rows(rows, ("rule", "subject", "detail"), as_json=json)
    if rows:
        print_error(f"{len(rows)} rule(s) of the books do not hold")
        raise typer.Exit(1)
    if not json:
        typer.echo("all books are in order")


def _book_and_print(
    operation: WalletOperation, id: str, what: tuple[str, str | None], data_dir: Path | None, json: bool
) -> None:
    usd, reference = what
    named = reference or f"manual {uuid.uuid4()}"
    row = asyncio.run(_apply_operation(read_settings(data_dir), operation, id, (parse_usd(usd), named)))
    print_json(row) if json else typer.echo(f"{row['account']} has {row['balance_usd']} USD")


async def _read_wallet(settings: Settings, id: str) -> dict[str, Any]:
    async with open_billing_context(settings) as books:
        account = await books.resolve_account(id)
        balance = await books.store.get_balance(account.id)
        return {
            "account": account.id,
            "name": account.name,
            "plan": account.plan,
            "balance_usd": to_usd(balance.total),
            "held_usd": to_usd(balance.held),
            "available_usd": to_usd(balance.available),
        }


async def _apply_operation(
    settings: Settings, operation: WalletOperation, id: str, what: tuple[int, str]
) -> dict[str, Any]:
    """`what` is the amount in micro-dollars and the reference."""
    async with open_billing_context(settings) as books:
        account = await books.resolve_account(id)
        store = books.store
        moves = {
            WalletOperation.CREDIT: store.credit,
            WalletOperation.GRANT: store.grant,
            WalletOperation.DEBIT: store.debit,
        }
        await moves[operation](account.id, *what, utc_now())
    return await _read_wallet(settings, id)


async def _refund_job(settings: Settings, job_id: str, micros: int | None, reference: str) -> dict[str, Any]:
    async with open_billing_context(settings) as books:
        await books.store.refund(job_id, micros, reference, utc_now())
        record = await books.store.find_job(job_id)
        assert record is not None
    return await _read_wallet(settings, record.job.account_id)


async def _read_ledger(settings: Settings, id: str, limit: int) -> list[dict[str, Any]]:
    async with open_billing_context(settings) as books:
        account = await books.resolve_account(id)
        page = await books.store.list_ledger_entries(account.id, limit)
    return [
        {
            "at": entry.at.isoformat(timespec="seconds"),
            "kind": entry.kind.value,
            "usd": format_usd(entry.micros),
            "from": entry.source,
            "to": entry.target,
            "job": entry.job_id,
            "reference": entry.reference,
        }
        for entry in page.items
    ]


async def _read_statement(settings: Settings, id: str, since: datetime, until: datetime) -> Statement:
    async with open_billing_context(settings) as books:
        account = await books.resolve_account(id)
        return await books.store.get_statement(account.id, since, until)


def _statement_row(found: Statement) -> dict[str, Any]:
    return {
        "account": found.account_id,
        "since": found.since.isoformat(timespec="seconds"),
        "until": found.until.isoformat(timespec="seconds"),
        "opening_usd": format_usd(found.opening),
        "charged_usd": format_usd(found.net_charges),
        "closing_usd": format_usd(found.closing),
        "entries": len(found.entries),
    }


async def _audit_ledger(settings: Settings) -> list[dict[str, Any]]:
    async with open_billing_context(settings) as books:
        found = await books.store.audit_ledger()
    return [{"rule": one.rule, "subject": one.subject, "detail": one.detail} for one in found]
