"""`pixelfactory instances`: what the running service's instances do, by way of its admin API."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import aiohttp
import typer

from orchestrator.build import admin_token
from orchestrator.cli.console import CommandFailed, DataDir, Json, print_json, print_rows, read_settings

app = typer.Typer(help="Instances of the running service.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(help="Id of an instance, such as gpu-0.")]
Url = Annotated[str, typer.Option(envvar="PIXELFACTORY_URL", help="Address of the service.")]
DEFAULT_URL = "http://127.0.0.1:8080"
COLUMNS = ("id", "state", "device", "version", "models_held", "restarts", "url", "detail")


@app.command("list")
def list_(url: Url = DEFAULT_URL, data_dir: DataDir = None, json: Json = False) -> None:
    """Show all instances."""
    rows = _ask("GET", "instances", url, data_dir)["instances"]
    print_rows(rows, COLUMNS, as_json=json)


@app.command()
def drain(id: Id, url: Url = DEFAULT_URL, data_dir: DataDir = None, json: Json = False) -> None:
    """Let an instance finish what it has and give it nothing new."""
    _change(id, "drain", url, data_dir, json)


@app.command()
def resume(id: Id, url: Url = DEFAULT_URL, data_dir: DataDir = None, json: Json = False) -> None:
    """End a drain."""
    _change(id, "resume", url, data_dir, json)


@app.command()
def restart(id: Id, url: Url = DEFAULT_URL, data_dir: DataDir = None, json: Json = False) -> None:
    """Stop an instance now and start it anew; what it ran is run again elsewhere."""
    _change(id, "restart", url, data_dir, json)


def _change(id: str, verb: str, url: str, data_dir: Any, json: bool) -> None:
    row = _ask("POST", f"instances/{id}/{verb}", url, data_dir)
    print_json(row) if json else typer.echo(f"{row['id']}: {row['state']}")


def _ask(method: str, path: str, url: str, data_dir: Any) -> dict[str, Any]:
    token = admin_token(read_settings(data_dir))
    return asyncio.run(_send(method, f"{url.rstrip('/')}/admin/v1/{path}", token))


async def _send(method: str, url: str, token: str) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {token}"}
    try:
        async with (
            aiohttp.ClientSession(headers=headers) as http,
            http.request(method, url) as response,
        ):
            body = await response.json(content_type=None)
    except aiohttp.ClientConnectionError as error:
        raise CommandFailed(f"no answer from the service: {error}") from error
    if response.status >= 400:
        raise CommandFailed(body["error"]["message"])
    return dict(body)
