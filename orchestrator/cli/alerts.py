"""`pixelfactory alerts`: budget alerts of an account."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer

from orchestrator.app.resources import utc_now
from orchestrator.cli.books import open_billing_context
from orchestrator.cli.console import (
    CliError,
    DataDirOption,
    JsonOption,
    print_json,
    print_rows,
    read_settings,
)
from orchestrator.net.egress import is_http_url
from orchestrator.settings import Settings
from pricing.alerts import Alert, AlertMetric
from pricing.money import format_usd, parse_usd

app = typer.Typer(help="Budget alerts of an account.", no_args_is_help=True)

AccountOrKeyId = Annotated[str, typer.Argument(help="Id of an account or of a key.")]
COLUMNS = ("id", "watch", "threshold_usd", "url", "fired")


@app.command()
def add(
    id: AccountOrKeyId,
    watch: Annotated[AlertMetric, typer.Argument(help="The balance, or what a day or month costs.")],
    usd: Annotated[str, typer.Argument(help="Dollars: fires below them, or from them on.")],
    url: Annotated[str | None, typer.Option(help="Where to send word; else it is only listed.")] = None,
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Have word sent when a threshold is crossed, once per crossing."""
    if url is not None and not is_http_url(url):
        raise CliError(f"{url!r} is not an http(s) address")
    alert = asyncio.run(_add_alert(read_settings(data_dir), id, (watch, parse_usd(usd), url)))
    print_json(_alert_row(alert)) if json else typer.echo(f"alert {alert.id}")


@app.command("list")
def list_(id: AccountOrKeyId, data_dir: DataDirOption = None, json: JsonOption = False) -> None:
    """Show the alerts of an account."""
    rows = [_alert_row(alert) for alert in asyncio.run(_list_alerts(read_settings(data_dir), id))]
    print_rows(rows, COLUMNS, as_json=json)


@app.command()
def remove(
    id: AccountOrKeyId,
    alert: Annotated[str, typer.Argument(help="Id of the alert.")],
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Remove an alert."""
    asyncio.run(_remove_alert(read_settings(data_dir), id, alert))
    print_json({"removed": alert}) if json else typer.echo(f"removed {alert}")


async def _add_alert(settings: Settings, id: str, terms: tuple[AlertMetric, int, str | None]) -> Alert:
    watched, threshold, url = terms
    async with open_billing_context(settings) as books:
        account = await books.resolve_account(id)
        return await books.store.add_alert(account.id, watched, threshold, url, utc_now())


async def _list_alerts(settings: Settings, id: str) -> list[Alert]:
    async with open_billing_context(settings) as books:
        return await books.store.list_alerts((await books.resolve_account(id)).id)


async def _remove_alert(settings: Settings, id: str, alert_id: str) -> None:
    async with open_billing_context(settings) as books:
        await books.store.delete_alert((await books.resolve_account(id)).id, alert_id)


def _alert_row(alert: Alert) -> dict[str, Any]:
    return {
        "id": alert.id,
        "watch": alert.watched.value,
        "threshold_usd": format_usd(alert.threshold),
        "url": alert.url,
        "fired": alert.has_fired(utc_now()),
    }
