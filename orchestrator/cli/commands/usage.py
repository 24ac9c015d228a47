"""`pixelfactory usage`: report the usage and margins of finished jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import date, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NamedTuple

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
from orchestrator.cli.service_access.billing_context import open_billing_context
from orchestrator.cli.service_access.service_choice import read_service_settings
from orchestrator.cli.terminal.console import (
    CliError,
    DataDirOption,
    JsonOption,
    print_json,
    print_row,
    print_rows,
)
from orchestrator.files.private_files import write_output_file
from orchestrator.jobs import JobRecord
from orchestrator.settings import Settings
from orchestrator.store import UsageRow
from pricing.costs import MeteredUsage
from pricing.money import format_usd

app = typer.Typer(help="Report usage, revenue and margins.", no_args_is_help=True)


class ReportGrouping(StrEnum):
    """Groupings of both reports; margins cannot be grouped by key, usage not by device."""

    MODEL = "model"
    KEY = "key"
    DAY = "day"
    DEVICE = "device"


@app.callback()
def usage_callback() -> None:
    """Report usage, revenue and margins."""


@app.command()
def report(
    since: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="First day (UTC).")] = None,
    until: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Day after the last.")] = None,
    by: Annotated[ReportGrouping, typer.Option(help="How to group the rows.")] = ReportGrouping.MODEL,
    account: Annotated[
        str | None, typer.Option(help="Only the account with this id, or of the key with this id.")
    ] = None,
    with_margins: Annotated[bool, typer.Option("--margins", help="Show costs and margins.")] = False,
    csv_file: Annotated[Path | None, typer.Option("--csv", help="Write the rows to this file.")] = None,
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Show the jobs, outputs, revenue and GPU time of a period; with --margins also costs and margins."""
    days = DateRange(since.date() if since else None, until.date() if until else None)
    settings = read_service_settings(data_dir)
    if with_margins:
        found = _margin_report(settings, days, by, account)
    else:
        found = _usage_report(settings, days, by, account)
    if csv_file:
        write_output_file(csv_file, found.csv.encode())
    if json:
        print_json(found.rows)
    elif found.rows:
        print_rows(found.rows, tuple(found.rows[0]), as_json=False)
    else:
        typer.echo("no finished jobs in this period")


@app.command()
def job(
    id: Annotated[str, typer.Argument(help="Id of a job.")],
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Show what one job used, earned and cost."""
    settings = read_service_settings(data_dir)
    view = to_job_margin_response(asyncio.run(_read_job(settings, id)), load_costs(settings))
    if json:
        print_json(view)
        return
    shards = view.pop("shards")
    print_row(view, as_json=False)
    assert isinstance(shards, list)
    print_rows(shards, tuple(shards[0]), as_json=False)


class DateRange(NamedTuple):
    """Days from `since` up to but excluding `until`; None for no limit."""

    since: date | None
    until: date | None


class Report(NamedTuple):
    """The rows of a report, and the same as CSV."""

    rows: list[dict[str, Any]]
    csv: str


def _usage_report(
    settings: Settings, date_range: DateRange, by: ReportGrouping, account: str | None
) -> Report:
    if by.value not in set(UsageGroupBy):
        raise CliError(f"--by {by} needs --margins; without it use one of {', '.join(UsageGroupBy)}")
    totals = total_usage(asyncio.run(_read_usage(settings, date_range, account)), UsageGroupBy(by))
    return Report(_usage_rows(totals, UsageGroupBy(by)), format_usage_csv(totals, UsageGroupBy(by)))


def _margin_report(
    settings: Settings, date_range: DateRange, by: ReportGrouping, account: str | None
) -> Report:
    if account:
        raise CliError("--margins covers all accounts; use it without --account")
    if by.value not in set(MarginGroupBy):
        raise CliError(f"--by {by} is not available with --margins; use one of {', '.join(MarginGroupBy)}")
    rows = asyncio.run(_read_metered(settings, date_range))
    group_by = MarginGroupBy(by)
    totals = total_margins(rows, load_costs(settings), group_by)
    return Report(
        [to_margin_response(total, group_by) for total in totals], format_margins_csv(totals, group_by)
    )


def _usage_rows(totals: Sequence[UsageGroupTotal], by: UsageGroupBy) -> list[dict[str, Any]]:
    return [
        {
            by.value: total.group,
            "jobs": total.jobs,
            "outputs": total.outputs,
            "usd": format_usd(total.micros),
            "gpu_seconds": round(total.gpu_seconds, 3),
        }
        for total in totals
    ]


async def _read_usage(settings: Settings, date_range: DateRange, account: str | None) -> list[UsageRow]:
    async with open_billing_context(settings) as context:
        account_id = (await context.resolve_account(account)).id if account else None
        return await context.store.list_usage(*date_range, account_id)


async def _read_job(settings: Settings, job_id: str) -> JobRecord:
    async with open_billing_context(settings) as context:
        record = await context.store.find_job(job_id)
    if record is None:
        raise CliError(f"job {job_id!r} does not exist")
    return record


async def _read_metered(settings: Settings, date_range: DateRange) -> list[MeteredUsage]:
    async with open_billing_context(settings) as context:
        return await context.store.list_metered_usage(*date_range)
