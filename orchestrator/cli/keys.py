"""`pixelfactory keys`: make, limit, list, rotate, revoke."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from orchestrator.build import load_catalog, now
from orchestrator.cli.books import Books, opened_books
from orchestrator.cli.console import (
    CommandFailed,
    DataDir,
    Json,
    print_json,
    print_rows,
    read_settings,
)
from orchestrator.keys import masked
from orchestrator.settings import Settings
from orchestrator.store import Account, Key, KeyLimits, Scope
from pricing.money import format_usd, parse_usd

app = typer.Typer(help="API keys.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(help="Id of the key.")]
COLUMNS = ("id", "key", "name", "account", "plan", "scopes", "expires", "revoked")
_AGE = re.compile(r"(?P<number>[0-9]{1,5})(?P<unit>[hd])", re.ASCII)


@app.command()
def create(
    name: Annotated[str, typer.Option(help="What the key is for.")] = "default",
    plan: Annotated[str | None, typer.Option(help="Plan of the new account.")] = None,
    credit: Annotated[str | None, typer.Option(help="Dollars to put into its wallet.")] = None,
    account: Annotated[str | None, typer.Option(help="A further key of this account.")] = None,
    scope: Annotated[list[Scope] | None, typer.Option(help="What it may do; else everything.")] = None,
    model: Annotated[list[str] | None, typer.Option(help="A model it may use; else all.")] = None,
    expires: Annotated[str | None, typer.Option(help="12h, 30d, or a day such as 2030-01-31.")] = None,
    daily_cap: Annotated[str | None, typer.Option(help="Most dollars it may spend in a day.")] = None,
    monthly_cap: Annotated[str | None, typer.Option(help="Most dollars in a calendar month.")] = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Make a key, of a new account unless one is named. It is shown this once, alone on the last line."""
    if account and (plan or credit):
        raise CommandFailed("--plan and --credit are for new accounts; see `keys plan` and `wallet credit`")
    settings = read_settings(data_dir)
    limits = KeyLimits(
        scopes=frozenset(scope or Scope),
        models=_models(settings, model),
        expires_at=parse_expiry(expires, now()) if expires else None,
        day_cap=parse_usd(daily_cap) if daily_cap else None,
        month_cap=parse_usd(monthly_cap) if monthly_cap else None,
    )
    opening = Opening(account, plan, parse_usd(credit) if credit else 0)
    key, secret = asyncio.run(_create(settings, opening, name, limits))
    _show_once(key, secret, json)


class Opening(tuple[str | None, str | None, int]):
    """An existing account, or the plan and the first credit (micro-dollars) of a new one."""


def parse_expiry(text: str, at: datetime) -> datetime:
    """`12h` or `30d` from `at` on, or the beginning of a day (UTC). Raises CommandFailed."""
    age = _AGE.fullmatch(text)
    if age:
        return at + timedelta(**{{"h": "hours", "d": "days"}[age["unit"]]: int(age["number"])})
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise CommandFailed(f"{text!r} is not a time such as 12h, 30d or 2030-01-31") from error
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
