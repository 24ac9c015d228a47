"""`pixelfactory keys`: make, list, revoke."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer

from orchestrator.build import now, opened_store
from orchestrator.cli.console import DataDir, Json, print_json, print_rows, read_settings
from orchestrator.keys import digest, masked, new_key, shown
from orchestrator.settings import Settings
from orchestrator.store import Key
from pricing.money import parse_usd

app = typer.Typer(help="API keys.", no_args_is_help=True)


@app.command()
def create(
    name: Annotated[str, typer.Option(help="What the key is for.")] = "default",
    plan: Annotated[str, typer.Option(help="Plan of the new account.")] = "free",
    credit: Annotated[str | None, typer.Option(help="Dollars to put into its wallet.")] = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Make an account with a key. The key is shown this once, alone on the last line."""
    micros = parse_usd(credit) if credit else 0
    key, secret = asyncio.run(_create(read_settings(data_dir), name, plan, micros))
    if json:
        print_json({"id": key.id, "key": secret, "name": key.name, "plan": key.account.plan})
        return
    typer.echo(f"key {key.id} of account {key.account.id} ({key.account.plan})")
    typer.echo(secret)


@app.command("list")
def list_(data_dir: DataDir = None, json: Json = False) -> None:
    """Show all keys, without their secrets."""
    rows = asyncio.run(_list(read_settings(data_dir)))
    print_rows(rows, ("id", "key", "name", "account", "plan", "created", "revoked"), as_json=json)


@app.command()
def revoke(
    id: Annotated[str, typer.Argument(help="Id of the key.")], data_dir: DataDir = None, json: Json = False
) -> None:
    """Make a key useless at once."""
    key = asyncio.run(_revoke(read_settings(data_dir), id))
    print_json(_row(key)) if json else typer.echo(f"revoked {key.id}")


async def _create(settings: Settings, name: str, plan: str, micros: int) -> tuple[Key, str]:
    async with opened_store(settings) as store:
        account = await store.add_account(name, plan, now())
        secret = new_key()
        key = await store.add_key(account.id, digest(secret), shown(secret), name, now())
        if micros:
            await store.credit(account.id, micros, f"first credit of {key.id}", now())
        return key, secret


async def _list(settings: Settings) -> list[dict[str, Any]]:
    async with opened_store(settings) as store:
        return [_row(key) for key in await store.list_keys()]


async def _revoke(settings: Settings, key_id: str) -> Key:
    async with opened_store(settings) as store:
        return await store.revoke_key(key_id, now())


def _row(key: Key) -> dict[str, Any]:
    return {
        "id": key.id,
        "key": masked(key.prefix),
        "name": key.name,
        "account": key.account.id,
        "plan": key.account.plan,
        "created": key.created_at.isoformat(timespec="seconds"),
        "revoked": key.revoked_at.isoformat(timespec="seconds") if key.revoked_at else None,
    }
