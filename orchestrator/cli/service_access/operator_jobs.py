"""`pixelfactory jobs --admin`: jobs of all accounts, with the admin token of the service."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import typer

from orchestrator.cli.service_access.service_client import connect_as_operator
from orchestrator.cli.terminal.console import print_json, print_json_or, print_rows
from orchestrator.logs import printable
from pricing.money import MICROS_PER_DOLLAR, format_usd

COLUMNS = (
    *("id", "status", "model", "account", "key", "done"),
    *("attempts", "instances", "usd", "accepted", "error"),
)


def list_jobs(
    filters: Mapping[str, str | None], limit: int, *, url: str | None, data_dir: Path | None, json: bool
) -> None:
    """List jobs of all accounts, newest first."""
    given = {name: value for name, value in filters.items() if value}
    jobs = asyncio.run(_list(given, limit, url, data_dir))
    print_rows(jobs if json else [_to_row(job) for job in jobs], COLUMNS, as_json=json)


def show_job(id: str, *, url: str | None, data_dir: Path | None, json: bool) -> None:
    """Show what happened to a job: its attempts, why they failed, and what it cost."""
    job = asyncio.run(_request("GET", _path(id), url, data_dir))
    if json:
        print_json(job)
        return
    for line in _to_lines(job):
        typer.echo(printable(line))


def act_on_job(id: str, action: str, *, url: str | None, data_dir: Path | None, json: bool) -> None:
    """Cancel a job, or repeat it as a new one."""
    job = asyncio.run(_request("POST", f"{_path(id)}/{action}", url, data_dir))
    said = f"{id} is repeated as {job['id']}" if action == "retry" else f"{job['id']} {job['status']}"
    print_json_or(said, job, as_json=json)


async def _list(
    filters: Mapping[str, str], limit: int, url: str | None, data_dir: Path | None
) -> list[dict[str, Any]]:
    async with connect_as_operator(url, data_dir) as client:
        return await client.list_jobs("/admin/v1/jobs", filters, limit, cursor_name="next_cursor")


async def _request(method: str, path: str, url: str | None, data_dir: Path | None) -> dict[str, Any]:
    async with connect_as_operator(url, data_dir) as client:
        return await client.request_json(method, path)


def _path(id: str) -> str:
    return f"/admin/v1/jobs/{quote(id, safe='')}"


def _to_row(job: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": job["id"],
        "status": job["status"],
        "model": job["model"],
        "account": job["account_name"] or job["account"],
        "key": job["key_name"] or job["key"],
        "done": f"{job['shards_done']}/{job['shards']}",
        "attempts": job["attempts"],
        "instances": " ".join(job["instances"]),
        "usd": format_usd_value(job["charged_usd"]),
        "accepted": job["created_at"][:19],
        "error": job["error_code"],
    }


def format_usd_value(usd: float) -> str:
    """Write dollars of a response as a decimal number."""
    return format_usd(round(usd * MICROS_PER_DOLLAR))


def _to_lines(job: Mapping[str, Any]) -> list[str]:
    margin = job["margin"]
    pairs: list[tuple[str, Any]] = [
        ("id", job["id"]),
        ("status", job["status"]),
        ("model", job["model"]),
        ("account", f"{job['account_name']} ({job['account']})"),
        ("key", f"{job['key_name']} ({job['key']})"),
        ("accepted", job["created_at"]),
        ("finished", job["finished_at"]),
        ("error", job["error_message"] and f"{job['error_message']} ({job['error_code']})"),
        (
            "charged",
            f"{format_usd_value(margin['revenue_usd'])} USD, cost {format_usd_value(margin['cost_usd'])},"
            f" margin {format_usd_value(margin['margin_usd'])}",
        ),
        ("webhook", job["webhook_host"]),
        *(("parameter", f"{name}={value}") for name, value in job["parameters"].items()),
    ]
    lines = [f"{name:10} {value}" for name, value in pairs if value not in (None, "")]
    return [*lines, *(line for part in job["parts"] for line in _attempt_lines(part))]


def _attempt_lines(part: Mapping[str, Any]) -> Sequence[str]:
    """Return a line for each attempt of a shard: where, how long, how it ended and why."""
    lines = []
    for attempt in part["attempts"]:
        times = [
            f"{name} {attempt[f'{name}_seconds']:g} s"
            for name in ("wait", "prepare", "load", "run", "store")
            if attempt[f"{name}_seconds"] is not None
        ]
        detail = f" {attempt['detail']}" if attempt["detail"] else ""
        place = f"{part['id'].rpartition('-')[2]}.{attempt['number']} {attempt['instance']}"
        lines.append(f"{'attempt':10} {place}: {', '.join(times)}; {attempt['reason']}{detail}")
    return lines
