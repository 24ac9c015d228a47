"""`pixelfactory usage report`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import date, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.billing.price_files import load_costs
from orchestrator.billing.reports import (
    MarginGroupBy,
    UsageGroupBy,
    UsageGroupTotal,
    format_margins_csv,
    format_usage_csv,
    to_job_margin_response,
    to_margin_response,
    total_margins,
    total_usage,
)
from orchestrator.cli.books import open_billing_context
from orchestrator.cli.console import (
    CliError,
    DataDirOption,
    JsonOption,
    print_json,
    print_rows,
    read_settings,
)
from orchestrator.jobs import JobRecord
from orchestrator.settings import Settings
from orchestrator.store import UsageRow
from pricing.costs import MeteredUsage
from pricing.money import format_usd

app = typer.Typer(help="What was made, and what it earned.", no_args_is_help=True)


class ReportGrouping(StrEnum):
    """All that a report can be added up by: margins know no keys, usage no devices."""

    MODEL = "model"
    KEY = "key"
    DAY = "day"
    DEVICE = "device"


@app.callback()
def usage_callback() -> None:
    """What was made, and what it earned."""


@app.command()
def report(
    since: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="First day (UTC).")] = None,
    until: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Day after the last.")] = None,
    by: Annotated[ReportGrouping, typer.Option(help="What to add up by.")] = ReportGrouping.MODEL,
    account: Annotated[str | None, typer.Option(help="Only this account (or that of this key).")] = None,
    with_margins: Annotated[bool, typer.Option("--margins", help="Show costs and margins.")] = False,
    csv_file: Annotated[Path | None, typer.Option("--csv", help="Write the rows to this file.")] = None,
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Finished jobs, their outputs, money and GPU time; with --margins what they cost and left."""
    days = (since.date() if since else None, until.date() if until else None)
    settings = read_settings(data_dir)
    if with_margins:
        rows, text = _margin_report(settings, days, by, account)
    else:
        rows, text = _usage_report(settings, days, by, account)
    if csv_file:
        csv_file.write_text(text, encoding="utf-8", newline="")
    if json:
        print_json(rows)
    elif rows:
        print_rows(rows, tuple(rows[0]), as_json=False)
    else:
        typer.echo("nothing was made in this time")


@app.command()
def job(
    id: Annotated[str, typer.Argument(help="Id of a job.")],
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Show what one job used, earned and cost."""
    settings = read_settings(data_dir)
    view = to_job_margin_response(asyncio.run(_read_job(settings, id)), load_costs(settings))
    if json:
        print_json(view)
        return
    shards = view.pop("shards")
    print_rows([view], tuple(view), as_json=False)
    assert isinstance(shards, list)
    print_rows(shards, tuple(shards[0]), as_json=False)


DateRange = tuple[date | None, date | None]
ReportRowsAndCsv = tuple[list[dict[str, Any]], str]


def _usage_report(
    settings: Settings, date_range: DateRange, by: ReportGrouping, account: str | None
) -> ReportRowsAndCsv:
    if by.value not in set(UsageGroupBy):
        raise CliError(f"usage is added up by {', '.join(UsageGroupBy)}; by {by} there are --margins")
    found = total_usage(asyncio.run(_read_usage(settings, date_range, account)), UsageGroupBy(by))
    return _usage_rows(found, UsageGroupBy(by)), format_usage_csv(found, UsageGroupBy(by))


def _margin_report(
    settings: Settings, date_range: DateRange, by: ReportGrouping, account: str | None
) -> ReportRowsAndCsv:
    if by.value not in set(MarginGroupBy) or account:
        raise CliError(f"margins are of all accounts together, by {', '.join(MarginGroupBy)}")
    rows = asyncio.run(_read_metered(settings, date_range))
    found = total_margins(rows, load_costs(settings), MarginGroupBy(by))
    return [to_margin_response(one, MarginGroupBy(by)) for one in found], format_margins_csv(
        found, MarginGroupBy(by)
    )


def _usage_rows(found: Sequence[UsageGroupTotal], by: UsageGroupBy) -> list[dict[str, Any]]:
    return [
        {
            by.value: one.group,
            "jobs": one.jobs,
            "outputs": one.outputs,
            "usd": format_usd(one.micros),
            "gpu_seconds": round(one.gpu_seconds, 3),
        }
        for one in found
    ]


async def _read_usage(settings: Settings, date_range: DateRange, account: str | None) -> list[UsageRow]:
    async with open_billing_context(settings) as books:
        account_id = (await books.resolve_account(account)).id if account else None
        return await books.store.list_usage(*date_range, account_id)


async def _read_job(settings: Settings, job_id: str) -> JobRecord:
    async with open_billing_context(settings) as books:
        record = await books.store.find_job(job_id)
    if record is None:
        raise CliError(f"there is no job {job_id!r}")
    return record


async def _read_metered(settings: Settings, date_range: DateRange) -> list[MeteredUsage]:
    async with open_billing_context(settings) as books:
        return await books.store.list_metered_usage(*date_range)
