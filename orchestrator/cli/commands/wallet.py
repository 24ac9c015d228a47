"""`pixelfactory wallet`: show and change balances, refund jobs, print ledgers and statements, audit."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.app.resources import utc_now
from orchestrator.cli.service_access.billing_context import open_billing_context
from orchestrator.cli.service_access.recording import record_in
from orchestrator.cli.service_access.service_choice import read_service_settings
from orchestrator.cli.terminal.console import (
    DataDirOption,
    JsonOption,
    print_error,
    print_json_or,
    print_row,
    print_rows,
)
from orchestrator.cli.terminal.numbers import integer_between
from orchestrator.files.private_files import write_output_file
from orchestrator.settings import Settings
from pricing.money import format_usd, parse_usd, to_usd
from pricing.statement import Statement

app = typer.Typer(help="Show and change the wallet of an account, named by its id or the id of a key.")

AccountOrKeyId = Annotated[str, typer.Argument(help="Id of an account or of a key.")]
UsdArgument = Annotated[str, typer.Argument(help="Amount in USD, such as 5.00.")]
ReferenceOption = Annotated[
    str | None, typer.Option(help="Reference of the entry; the same reference is booked only once.")
]
DayOption = Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="A day (UTC).")]


class WalletOperation(StrEnum):
    """An operator's entry in a wallet."""

    CREDIT = "credit"
    GRANT = "grant"
    DEBIT = "debit"


@app.command()
def show(id: AccountOrKeyId, data_dir: DataDirOption = None, json: JsonOption = False) -> None:
    """Show the balance of a wallet."""
    print_row(asyncio.run(_read_wallet(read_service_settings(data_dir), id)), as_json=json)


@app.command()
def credit(
    id: AccountOrKeyId,
    usd: UsdArgument,
    reference: ReferenceOption = None,
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Book a payment of the customer."""
    row = _book(WalletOperation.CREDIT, id, usd, reference, read_service_settings(data_dir))
    _print_balance(row, as_json=json)


@app.command()
def grant(
    id: AccountOrKeyId,
    usd: UsdArgument,
    reference: ReferenceOption = None,
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Grant promotional credit, which does not count as a payment."""
    row = _book(WalletOperation.GRANT, id, usd, reference, read_service_settings(data_dir))
    _print_balance(row, as_json=json)


@app.command()
def debit(
    id: AccountOrKeyId,
    usd: UsdArgument,
    reference: ReferenceOption = None,
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Book a payout to the customer, or correct a payment downwards."""
    row = _book(WalletOperation.DEBIT, id, usd, reference, read_service_settings(data_dir))
    _print_balance(row, as_json=json)


@app.command()
def refund(
    job: Annotated[str, typer.Argument(help="Id of a job that was charged.")],
    usd: Annotated[
        str | None, typer.Argument(help="Amount in USD; by default all that is not refunded yet.")
    ] = None,
    reference: Annotated[
        str, typer.Option(help="Reference of the refund; the same reference is booked only once.")
    ] = "operator",
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Refund what a job was charged, or a part of it."""
    micros = parse_usd(usd) if usd else None
    row = asyncio.run(_refund_job(read_service_settings(data_dir), job, micros, reference))
    _print_balance(row, as_json=json)


@app.command()
def history(
    id: AccountOrKeyId,
    limit: Annotated[
        int, typer.Option(parser=integer_between(1, 1000), help="Maximum number of entries.")
    ] = 50,
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """List the ledger entries of a wallet, newest first."""
    rows = asyncio.run(_read_ledger(read_service_settings(data_dir), id, limit))
    print_rows(rows, ("at", "kind", "usd", "from", "to", "job", "reference"), as_json=json)


@app.command()
def statement(
    id: AccountOrKeyId,
    since: DayOption = None,
    until: DayOption = None,
    csv_file: Annotated[Path | None, typer.Option("--csv", help="Write all entries to this file.")] = None,
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Show the opening balance, charges and closing balance of a period, by default this month."""
    begin = (since or utc_now().replace(day=1, hour=0, minute=0, second=0, microsecond=0)).replace(tzinfo=UTC)
    end = until.replace(tzinfo=UTC) if until else utc_now()
    found = asyncio.run(_read_statement(read_service_settings(data_dir), id, begin, end))
    if csv_file:
        write_output_file(csv_file, found.to_csv().encode())
    print_row(_statement_row(found), as_json=json)


@app.command()
def audit(data_dir: DataDirOption = None, json: JsonOption = False) -> None:
    """Check the whole ledger against the accounting rules; fails if one is violated."""
    rows = asyncio.run(_audit_ledger(read_service_settings(data_dir)))
    if json or rows:
        print_rows(rows, ("rule", "subject", "detail"), as_json=json)
    if rows:
        print_error(f"{len(rows)} violation(s) of the accounting rules")
        raise typer.Exit(1)
    if not json:
        typer.echo("the ledger is consistent")


def _book(
    operation: WalletOperation, id: str, usd: str, reference: str | None, settings: Settings
) -> dict[str, Any]:
    """Book an entry, and return the wallet."""
    reference = reference or f"manual {uuid.uuid4()}"
    return asyncio.run(_apply_operation(settings, operation, id, micros=parse_usd(usd), reference=reference))


def _print_balance(wallet: dict[str, Any], *, as_json: bool) -> None:
    print_json_or(f"{wallet['account']} has {wallet['balance_usd']} USD", wallet, as_json=as_json)


async def _read_wallet(settings: Settings, id: str) -> dict[str, Any]:
    async with open_billing_context(settings) as context:
        account = await context.resolve_account(id)
        balance = await context.store.get_balance(account.id)
        return {
            "account": account.id,
            "name": account.name,
            "plan": account.plan,
            "balance_usd": to_usd(balance.total),
            "held_usd": to_usd(balance.held),
            "available_usd": to_usd(balance.available),
        }


async def _apply_operation(
    settings: Settings, operation: WalletOperation, id: str, *, micros: int, reference: str
) -> dict[str, Any]:
    async with open_billing_context(settings) as context:
        account = await context.resolve_account(id)
        store = context.store
        book_entry = {
            WalletOperation.CREDIT: store.credit,
            WalletOperation.GRANT: store.grant,
            WalletOperation.DEBIT: store.debit,
        }[operation]
        await book_entry(account.id, micros, reference, utc_now())
        usd = format_usd(micros)
        await record_in(store, f"wallets.{operation.value}", account.id, usd=usd, reference=reference)
    return await _read_wallet(settings, id)


async def _refund_job(settings: Settings, job_id: str, micros: int | None, reference: str) -> dict[str, Any]:
    async with open_billing_context(settings) as context:
        await context.store.refund(job_id, micros, reference, utc_now())
        usd = None if micros is None else format_usd(micros)
        await record_in(context.store, "jobs.refund", job_id, usd=usd, reference=reference)
        record = await context.store.find_job(job_id)
        assert record is not None
    return await _read_wallet(settings, record.job.account_id)


async def _read_ledger(settings: Settings, id: str, limit: int) -> list[dict[str, Any]]:
    async with open_billing_context(settings) as context:
        account = await context.resolve_account(id)
        page = await context.store.list_ledger_entries(account.id, limit)
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
    async with open_billing_context(settings) as context:
        account = await context.resolve_account(id)
        return await context.store.get_statement(account.id, since, until)


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
    async with open_billing_context(settings) as context:
        found = await context.store.audit_ledger()
    return [{"rule": one.rule, "subject": one.subject, "detail": one.detail} for one in found]
