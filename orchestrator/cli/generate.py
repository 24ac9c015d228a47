"""`pixelfactory generate`: run a job on the running service, show its progress and save its outputs."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import aiohttp
import typer
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from orchestrator.cli.console import DEFAULT_URL, CliError, JsonOption, UrlOption, err, print_json
from orchestrator.cli.numbers import integer_between
from orchestrator.number_text import is_number_to_python, parse_decimal
from orchestrator.private_files import write_output_file

PROGRESS_COLUMNS = (
    TextColumn("{task.description}"),
    BarColumn(),
    TextColumn("{task.fields[doing]}"),
    TimeElapsedColumn(),
)
EXTENSIONS = {"image/jpeg": "jpg", "text/plain": "txt"}


@dataclass(frozen=True, kw_only=True, slots=True)
class ServiceConnection:
    """The URL of the service, and the key to use it with."""

    url: str
    api_key: str


def generate(
    model: Annotated[str, typer.Argument(help="Id of a model; see `pixelfactory models list`.")],
    prompt: Annotated[str, typer.Argument(help="The prompt; empty for an upscaler.")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="File to write; several outputs are numbered: FILE-1, FILE-2."),
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option("-p", "--param", help="Parameter as name=value, or name=@FILE for a file; repeatable."),
    ] = None,
    n: Annotated[int, typer.Option("-n", parser=integer_between(1), help="Number of results.")] = 1,
    url: UrlOption = DEFAULT_URL,
    key: Annotated[str, typer.Option(envvar="PIXELFACTORY_API_KEY", hidden=True)] = "",
    json: JsonOption = False,
) -> None:
    """Generate images or a video, and save them.

    Reads the key from PIXELFACTORY_API_KEY and the URL of the service from PIXELFACTORY_URL.
    """
    if not key:
        raise CliError("PIXELFACTORY_API_KEY is not set; create a key with `pixelfactory keys create`")
    client = ServiceConnection(url=url.rstrip("/"), api_key=key)
    body = {"model": model, "prompt": prompt, "n": n, **parse_params(param or ())}
    try:
        job, files = asyncio.run(_generate(client, body, output, quiet=json))
    except aiohttp.ClientConnectionError as error:
        raise CliError(f"the service at {client.url} is unreachable: {error}") from error
    if json:
        print_json({**job, "files": [str(file) for file in files]})
        return
    for file in files:
        typer.echo(file)
    simulated = ", simulated" if job["simulated"] else ""
    err.print(f"{job['jobId']}: {job['costCents']:g} cents{simulated}")


def parse_params(assignments: Sequence[str]) -> dict[str, Any]:
    """Parse `name=value` assignments: a JSON value, else text; `@FILE` becomes the file in base64.

    Raises CliError, OSError.
    """
    params: dict[str, Any] = {}
    for text in assignments:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise CliError(f"--param must be name=value or name=@FILE (got {text!r})")
        params[name] = _parse_value(value)
    return params


def _parse_value(text: str) -> Any:
    if text.startswith("@"):
        return base64.b64encode(Path(text[1:]).read_bytes()).decode("ascii")
    try:
        if is_number_to_python(text):
            number = parse_decimal(text)
            return int(number) if "." not in text else float(number)
        return json.loads(text)
    except ValueError:
        return text


async def _generate(
    connection: ServiceConnection, body: dict[str, Any], output: Path | None, *, quiet: bool
) -> tuple[dict[str, Any], list[Path]]:
    headers = {"Authorization": f"Bearer {connection.api_key}"}
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
    async with aiohttp.ClientSession(connection.url, headers=headers, timeout=timeout) as http:
        async with http.post(
            "/api/v1/images/generations", json=body, headers={"Prefer": "respond-async"}
        ) as response:
            job = await _read_response(response)
        job = await _follow_progress(http, job, quiet=quiet)
    if job["status"] != "completed":
        reason = job["error"]["message"] if job["error"] else job["status"]
        raise CliError(f"job {job['jobId']} {job['status']}: {reason}")
    return job, await _download_outputs(
        [url for urls in job["output"].values() for url in urls], output, job["jobId"]
    )


async def _read_response(response: aiohttp.ClientResponse) -> dict[str, Any]:
    body = await response.json(content_type=None)
    if response.status >= 400:
        raise CliError(f"{response.status}: {body['error']['message']}")
    return dict(body)


async def _follow_progress(
    http: aiohttp.ClientSession, job: dict[str, Any], *, quiet: bool
) -> dict[str, Any]:
    """Follow the job until it is finished, with one progress bar per shard, and return it."""
    names = [f"{job['model']} {index + 1}" for index in range(job["shards"]["total"])]
    with Progress(*PROGRESS_COLUMNS, console=err, disable=quiet, transient=True) as progress:
        bars = [progress.add_task(name, total=None, doing="waiting") for name in names]
        async for name, data in _read_sse_events(http, job["jobId"]):
            if name == "job":
                job = data
            elif name in ("started", "progress"):
                _update_progress_bar(progress, bars[data["shard"]], data)
    return job


def _update_progress_bar(progress: Progress, bar: TaskID, data: dict[str, Any]) -> None:
    if "max" in data:
        doing = f"node {data['node']}: {data['value']:g}/{data['max']:g}"
        progress.update(bar, completed=data["value"], total=data["max"], doing=doing)
    else:
        progress.update(bar, doing="started")


async def _read_sse_events(
    http: aiohttp.ClientSession, job_id: str
) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """Yield the name and data of each server-sent event of a job."""
    name = ""
    async with http.get(f"/api/v1/jobs/{job_id}/events") as response:
        async for line in _read_lines(response):
            field, _, value = line.partition(": ")
            if field == "event":
                name = value
            elif field == "data":
                yield name, json.loads(value)


async def _read_lines(response: aiohttp.ClientResponse) -> AsyncIterator[str]:
    """Yield lines of any length: previews exceed the line limit of aiohttp's reader."""
    rest = b""
    async for chunk in response.content.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line.decode()


async def _download_outputs(urls: Sequence[str], output: Path | None, job_id: str) -> list[Path]:
    files = []
    async with aiohttp.ClientSession() as http:  # without the key: the URLs are presigned
        for index, url in enumerate(urls):
            async with http.get(url) as response:
                response.raise_for_status()
                file = _output_path(output, job_id, index if len(urls) > 1 else None, response.content_type)
                write_output_file(file, await response.read())
                files.append(file)
    return files


def _output_path(output: Path | None, job_id: str, index: int | None, content_type: str) -> Path:
    extension = EXTENSIONS.get(content_type, content_type.partition("/")[2])
    file = output or Path(f"{job_id}.{extension}")
    return file if index is None else file.with_stem(f"{file.stem}-{index + 1}")
