"""`pixelfactory wallet`: show, credit, history, audit."""

from __future__ import annotations

import asyncio
import uuid
from typing import Annotated, Any

import typer

from orchestrator.build import now, opened_store
from orchestrator.cli.console import DataDir, Json, fail, print_json, print_rows, read_settings
from orchestrator.settings import Settings
from pricing.money import format_usd, parse_usd, to_usd

app = typer.Typer(help="Money of an account, named by its id or by the id of one of its keys.")

Id = Annotated[str, typer.Argument(help="Id of an account or of a key.")]


@app.command()
def show(id: Id, data_dir: DataDir = None, json: Json = False) -> None:
    """Show what a wallet holds."""
    row = asyncio.run(_show(read_settings(data_dir), id))
    print_rows([row], tuple(row), as_json=False) if not json else print_json(row)


@app.command()
def credit(
    id: Id,
    usd: Annotated[str, typer.Argument(help="Dollars, such as 5.00.")],
    reference: Annotated[
        str | None, typer.Option(help="Name of the payment; the same one is booked only once.")
    ] = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Book a payment."""
    named = reference or f"manual {uuid.uuid4()}"
    row = asyncio.run(_credit(read_settings(data_dir), id, parse_usd(usd), named))
    print_json(row) if json else typer.echo(f"{row['account']} has {row['balance_usd']} USD")


@app.command()
def history(
    id: Id,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Number of entries.")] = 50,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Show the ledger of a wallet, newest first."""
    rows = asyncio.run(_history(read_settings(data_dir), id, limit))
    print_rows(rows, ("at", "kind", "usd", "from", "to", "job", "reference"), as_json=json)


@app.command()
def audit(data_dir: DataDir = None, json: Json = False) -> None:
    """Prove the books from the first entry on; fails where a rule does not hold."""
    rows = asyncio.run(_audit(read_settings(data_dir)))
    if json or rows:
        print_rows(rows, ("rule", "subject", "detail"), as_json=json)
    if rows:
        fail(f"{len(rows)} rule(s) of the books do not hold")
        raise typer.Exit(1)
    if not json:
        typer.echo("all books are in order")


async def _show(settings: Settings, id: str) -> dict[str, Any]:
    async with opened_store(settings) as store:
        account = await store.resolve_account(id)
        balance = await store.balance(account.id)
        return {
            "account": account.id,
            "name": account.name,
            "balance_usd": to_usd(balance.total),
            "held_usd": to_usd(balance.held),
            "available_usd": to_usd(balance.available),
        }


async def _credit(settings: Settings, id: str, micros: int, reference: str) -> dict[str, Any]:
    async with opened_store(settings) as store:
        account = await store.resolve_account(id)
        await store.credit(account.id, micros, reference, now())
    return await _show(settings, id)


async def _history(settings: Settings, id: str, limit: int) -> list[dict[str, Any]]:
    async with opened_store(settings) as store:
        account = await store.resolve_account(id)
        page = await store.ledger(account.id, limit)
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


async def _audit(settings: Settings) -> list[dict[str, Any]]:
    async with opened_store(settings) as store:
        found = await store.audit()
    return [{"rule": one.rule, "subject": one.subject, "detail": one.detail} for one in found]
