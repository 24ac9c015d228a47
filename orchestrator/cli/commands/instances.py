"""`pixelfactory instances`: list and control the running service's instances through its admin API."""

from __future__ import annotations

import asyncio
import json as json_
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from orchestrator.cli.service_access.service_client import connect_as_operator
from orchestrator.cli.terminal.console import (
    GB,
    CliError,
    DataDirOption,
    JsonOption,
    UrlOption,
    print_json,
    print_json_or,
    print_rows,
)
from orchestrator.cli.terminal.numbers import integer_between
from orchestrator.logs import printable

app = typer.Typer(help="List and control the instances of the running service.", no_args_is_help=True)

InstanceId = Annotated[str, typer.Argument(help="Id of an instance, such as gpu-0.")]
OptionalInstanceId = Annotated[
    str, typer.Argument(help="Id of an instance, such as gpu-0.", show_default=False)
]
AllOption = Annotated[bool, typer.Option("--all", help="All instances, for example before an upgrade.")]


@app.command("list")
def list_(url: UrlOption = None, data_dir: DataDirOption = None, json: JsonOption = False) -> None:
    """List all instances with their state, work, GPU load and failures."""
    rows = json_.loads(_request_admin_api("GET", "instances", url, data_dir))["instances"]
    if json:
        print_json(rows)
        return
    shown = [to_table_row(row) for row in rows]
    print_rows(shown, tuple(shown[0]) if shown else ("id",), as_json=False)
    for row in rows:
        if row["detail"]:
            typer.echo(printable(f"{row['id']}: {row['detail']}"))


@app.command()
def drain(
    id: OptionalInstanceId = "",
    all_: AllOption = False,
    url: UrlOption = None,
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Let an instance, or all of them, finish its current work and give it no new work."""
    _post_action_to_one_or_all(id, "drain", url, data_dir, json, is_all=all_)


@app.command()
def resume(
    id: OptionalInstanceId = "",
    all_: AllOption = False,
    url: UrlOption = None,
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Give a drained instance, or all of them, new work again."""
    _post_action_to_one_or_all(id, "resume", url, data_dir, json, is_all=all_)


@app.command()
def restart(
    id: InstanceId, url: UrlOption = None, data_dir: DataDirOption = None, json: JsonOption = False
) -> None:
    """Restart an instance now; the work that it was running is retried."""
    _post_action(id, "restart", url, data_dir, json)


@app.command()
def log(
    id: InstanceId,
    lines: Annotated[
        int, typer.Option("-n", "--lines", parser=integer_between(1, 500), help="Number of lines.")
    ] = 50,
    url: UrlOption = None,
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Show the last lines of an instance's log."""
    text = _request_admin_api("GET", f"instances/{quote(id, safe='')}/log?limit={lines}", url, data_dir)
    print_json({"id": id, "lines": text.splitlines()}) if json else typer.echo(text, nl=False)


def to_table_row(row: Mapping[str, Any]) -> dict[str, str]:
    """Return the table columns of an instance in the admin API's JSON."""
    return {
        "id": row["id"],
        "state": row["state"],
        "device": row["device"],
        "profile": row["profile"] or "-",
        "models": _format_models(row["models_held"]),
        "runs": _format_shards(row, "running"),
        "next": _format_shards(row, "waiting"),
        "busy": f"{row['busy']:.0%}",
        "GPU": _format_gpu(row),
        "VRAM GB": _format_vram(row),
        "failures": str(row["failures"]),
        "restarts": str(row["restarts"]),
    }


def _format_models(loaded: Sequence[str]) -> str:
    """Return the model used last, and the number of others in memory."""
    return f"{loaded[-1]} +{len(loaded) - 1}" if len(loaded) > 1 else ", ".join(loaded) or "-"


def _format_shards(row: Mapping[str, Any], state: str) -> str:
    shards = [shard for shard in row["shards"] if shard["state"] == state]
    return ", ".join(f"{shard['model']} {shard['age_seconds']:.0f} s" for shard in shards) or "-"


def _format_gpu(row: Mapping[str, Any]) -> str:
    """Return utilisation, temperature and power as `97% 64°C 412W`, omitting unknown ones."""
    share, degrees, watts = row["utilisation"], row["temperature"], row["power"]
    known = (
        None if share is None else f"{share:.0%}",
        None if degrees is None else f"{degrees}°C",
        None if watts is None else f"{watts:.0f}W",
    )
    return " ".join(text for text in known if text) or "-"


def _format_vram(row: Mapping[str, Any]) -> str:
    used, total = row["vram_used"], row["vram_total"]
    return "-" if used is None or total is None else f"{used / GB:.1f}/{total / GB:.1f}"


def _post_action_to_one_or_all(
    id: str, action: str, url: str | None, data_dir: Path | None, json: bool, *, is_all: bool
) -> None:
    if bool(id) == is_all:
        raise CliError(f"name an instance, or use --all: pixelfactory instances {action} ID")
    if not is_all:
        _post_action(id, action, url, data_dir, json)
        return
    result = json_.loads(_request_admin_api("POST", f"fleet/{action}", url, data_dir))
    done = f"{action}: {', '.join(result['instances']) or 'no instance had to change'}"
    refused = [f"{name}: {reason}" for name, reason in result["refused"].items()]
    print_json_or("; ".join([done, *refused]), result, as_json=json)


def _post_action(id: str, action: str, url: str | None, data_dir: Path | None, json: bool) -> None:
    row = json_.loads(_request_admin_api("POST", f"instances/{quote(id, safe='')}/{action}", url, data_dir))
    print_json_or(f"{row['id']}: {row['state']}", row, as_json=json)


def _request_admin_api(method: str, path: str, url: str | None, data_dir: Path | None) -> str:
    """Send a request to the admin API and return the response body. Raises CliError."""
    return asyncio.run(_send_request(method, path, url, data_dir))


async def _send_request(method: str, path: str, url: str | None, data_dir: Path | None) -> str:
    async with connect_as_operator(url, data_dir) as client:
        return await client.request(method, f"/admin/v1/{path}")
