"""`pixelfactory usage report`."""

from __future__ import annotations

import asyncio
import csv
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.build import opened_store
from orchestrator.cli.console import DataDir, Json, print_rows, read_settings
from orchestrator.settings import Settings
from orchestrator.store import UsageRow
from pricing.money import format_usd

app = typer.Typer(help="What was made, and what it earned.", no_args_is_help=True)

COLUMNS = ("jobs", "outputs", "usd", "gpu_seconds")


class By(StrEnum):
    MODEL = "model"
    KEY = "key"
    DAY = "day"


GROUPS: Mapping[By, Callable[[UsageRow], str]] = {
    By.MODEL: lambda row: row.model,
    By.KEY: lambda row: row.key_id,
    By.DAY: lambda row: row.day.isoformat(),
}


@app.callback()
def about() -> None:
    """What was made, and what it earned."""


@app.command()
def report(
    since: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="First day (UTC).")] = None,
    until: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Day after the last.")] = None,
    by: Annotated[By, typer.Option(help="What to add up by.")] = By.MODEL,
    csv_file: Annotated[Path | None, typer.Option("--csv", help="Write the rows to this file.")] = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Finished jobs, their outputs, money and GPU time."""
    days = (since.date() if since else None, until.date() if until else None)
    rows = summed(asyncio.run(_usage(read_settings(data_dir), *days)), by)
    columns = (by.value, *COLUMNS)
    if csv_file:
        with csv_file.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)
    print_rows(rows, columns, as_json=json)


def summed(rows: Iterable[UsageRow], by: By) -> list[dict[str, Any]]:
    """The rows added up by model, key or day, in the order of their names."""
    totals: dict[str, list[float]] = {}
    for row in rows:
        total = totals.setdefault(GROUPS[by](row), [0, 0, 0, 0.0])
        for index, value in enumerate((row.jobs, row.outputs, row.micros, row.gpu_seconds)):
            total[index] += value
    return [
        {
            by.value: name,
            "jobs": total[0],
            "outputs": total[1],
            "usd": format_usd(int(total[2])),
            "gpu_seconds": round(total[3], 3),
        }
        for name, total in sorted(totals.items())
    ]


async def _usage(settings: Settings, since: date | None, until: date | None) -> list[UsageRow]:
    async with opened_store(settings) as store:
        return await store.usage(since, until)
