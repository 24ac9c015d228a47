"""`pixelfactory alerts`: add, list and remove the budget alerts of an account."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer

from orchestrator.app.resources import utc_now
from orchestrator.cli.service_access.billing_context import open_billing_context
from orchestrator.cli.service_access.service_choice import read_service_settings
from orchestrator.cli.terminal.console import (
    CliError,
    DataDirOption,
    JsonOption,
    print_json_or,
    print_rows,
)
from orchestrator.net.egress import is_public_address
from orchestrator.net.http_urls import InvalidHttpUrl, parse_http_url
from orchestrator.settings import Settings
from pricing.alerts import Alert, AlertMetric
from pricing.money import format_usd, parse_usd

app = typer.Typer(help="Budget alerts of an account.", no_args_is_help=True)

AccountOrKeyId = Annotated[str, typer.Argument(help="Id of an account or of a key.")]
COLUMNS = ("id", "watch", "threshold_usd", "url", "fired")


@app.command()
def add(
    id: AccountOrKeyId,
    watch: Annotated[
        AlertMetric, typer.Argument(help="What to watch: the balance, or the spend of a day or month.")
    ],
    usd: Annotated[
        str, typer.Argument(help="Threshold in USD: the balance falls below it, or the spend reaches it.")
    ],
    url: Annotated[
        str | None, typer.Option(help="Webhook URL to notify; without it the alert is only listed.")
    ] = None,
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Add a budget alert, which notifies once each time its threshold is crossed."""
    settings = read_service_settings(data_dir)
    if url is not None:
        _check_url(url, allow_private=settings.allow_private_urls)
    added = _add_alert(settings, id, metric=watch, threshold=parse_usd(usd), url=url)
    alert = asyncio.run(added)
    print_json_or(f"added alert {alert.id}", _alert_row(alert), as_json=json)


@app.command("list")
def list_(id: AccountOrKeyId, data_dir: DataDirOption = None, json: JsonOption = False) -> None:
    """List the alerts of an account."""
    rows = [_alert_row(alert) for alert in asyncio.run(_list_alerts(read_service_settings(data_dir), id))]
    print_rows(rows, COLUMNS, as_json=json)


@app.command()
def remove(
    id: AccountOrKeyId,
    alert: Annotated[str, typer.Argument(help="Id of the alert.")],
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Remove an alert."""
    asyncio.run(_remove_alert(read_service_settings(data_dir), id, alert))
    print_json_or(f"removed alert {alert}", {"removed": alert}, as_json=json)


def _check_url(url: str, *, allow_private: bool) -> None:
    """Raise CliError for a URL to which no webhook is delivered."""
    try:
        parse_http_url(url, None if allow_private else is_public_address)
    except InvalidHttpUrl as error:
        raise CliError(f"--url cannot receive webhooks: {error} (got {url!r})") from error


async def _add_alert(
    settings: Settings, id: str, *, metric: AlertMetric, threshold: int, url: str | None
) -> Alert:
    async with open_billing_context(settings) as context:
        account = await context.resolve_account(id)
        return await context.store.add_alert(account.id, metric, threshold, url, utc_now())


async def _list_alerts(settings: Settings, id: str) -> list[Alert]:
    async with open_billing_context(settings) as context:
        return await context.store.list_alerts((await context.resolve_account(id)).id)


async def _remove_alert(settings: Settings, id: str, alert_id: str) -> None:
    async with open_billing_context(settings) as context:
        await context.store.delete_alert((await context.resolve_account(id)).id, alert_id)


def _alert_row(alert: Alert) -> dict[str, Any]:
    return {
        "id": alert.id,
        "watch": alert.watched.value,
        "threshold_usd": format_usd(alert.threshold),
        "url": alert.url,
        "fired": alert.has_fired(utc_now()),
    }
