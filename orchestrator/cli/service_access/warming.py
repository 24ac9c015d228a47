"""`pixelfactory models warm`: load a model on instances ahead of requests."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any
from urllib.parse import quote

import typer

from orchestrator.cli.service_access.service_client import connect_as_operator
from orchestrator.cli.terminal.console import DataDirOption, JsonOption, UrlOption, print_json_or


def warm(
    id: Annotated[str, typer.Argument(help="Id or alias of a model.")],
    instance: Annotated[
        str | None, typer.Option(help="Id of the instance; by default all idle ones.", show_default=False)
    ] = None,
    url: UrlOption = None,
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Load a model on idle instances of the running service, ahead of requests."""

    async def send() -> dict[str, Any]:
        async with connect_as_operator(url, data_dir) as client:
            path = f"/admin/v1/models/{quote(id, safe='')}/warm"
            return await client.request_json("POST", path, json={"instance": instance})

    row = asyncio.run(send())
    print_json_or(f"{row['model']} is being loaded on {', '.join(row['instances'])}", row, as_json=json)
