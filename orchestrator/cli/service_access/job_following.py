"""Follows a job of the running service, with progress bars; Ctrl-C cancels the job."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import aiohttp
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from comfy_instances.tasks import spawn
from orchestrator.cli.service_access.service_client import ServiceClient
from orchestrator.cli.terminal.console import CliError, describe_cents, err, print_note

Job = dict[str, Any]

PROGRESS_COLUMNS = (
    TextColumn("{task.description}"),
    BarColumn(),
    TextColumn("{task.fields[doing]}"),
    TimeElapsedColumn(),
)
FINAL_STATUSES = frozenset({"completed", "failed", "cancelled"})
#: Seconds between two attempts to follow a job again, and how often that is tried in a row.
RETRY_SECONDS, MAX_RETRIES = 1.0, 60


class JobInterrupted(Exception):
    """The user has interrupted the command; the message says what became of the job."""


def job_path(job_id: str) -> str:
    """Return the path of a job."""
    return f"/api/v1/jobs/{quote(job_id, safe='')}"


def catch_interrupts() -> asyncio.Event:
    """Return an event that the first Ctrl-C or SIGTERM sets; the second one ends the command at once."""
    interrupted, loop = asyncio.Event(), asyncio.get_running_loop()

    def handle() -> None:
        interrupted.set()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, handle)
    return interrupted


async def follow_or_cancel(
    client: ServiceClient, job: Job, interrupted: asyncio.Event, *, quiet: bool
) -> Job:
    """Return the job once it is finished. Raises JobInterrupted after Ctrl-C, which cancels the job."""
    if (finished := await follow_job(client, job, interrupted, quiet=quiet)) is not None:
        return finished
    print_note(f"cancelling {job['jobId']}; press Ctrl-C again to leave it to the service")
    try:
        job = await client.request_json("DELETE", job_path(job["jobId"]))
    except (CliError, aiohttp.ClientError, TimeoutError, KeyboardInterrupt) as error:
        raise CliError(
            f"job {job['jobId']} could not be cancelled ({error}); it goes on and may be charged. See"
            f" `pixelfactory jobs show {job['jobId']}`"
        ) from error
    raise JobInterrupted(_describe_cancelled(job))


async def follow_job(
    client: ServiceClient, job: Job, interrupted: asyncio.Event, *, quiet: bool
) -> Job | None:
    """Return the job once it is finished, or None if the user interrupts that."""
    following = spawn(_follow(client, job, quiet=quiet), "follow job", job["jobId"], awaited=True)
    waiting = spawn(interrupted.wait(), "interrupts", awaited=True)
    try:
        await asyncio.wait({following, waiting}, return_when=asyncio.FIRST_COMPLETED)
        return following.result() if following.done() else None
    finally:
        waiting.cancel()
        if not following.done():
            following.cancel()
            with suppress(asyncio.CancelledError):
                await following


def require_completed(job: Job) -> Job:
    """Return the job. Raises CliError with the reason if it has not completed."""
    if job["status"] != "completed":
        reason = job["error"]["message"] if job["error"] else "nothing was charged"
        raise CliError(f"job {job['jobId']} {job['status']}: {reason}")
    return job


def _describe_cancelled(job: Job) -> str:
    if job["status"] == "cancelled":
        return f"job {job['jobId']} was cancelled; nothing was charged"
    if job["status"] == "completed":
        return (
            f"job {job['jobId']} had completed before it could be cancelled, for"
            f" {describe_cents(job['costCents'])};"
            f" get its results with `pixelfactory jobs download {job['jobId']}`"
        )
    return f"job {job['jobId']} is {job['status']}"


async def _follow(client: ServiceClient, job: Job, *, quiet: bool) -> Job:
    """Follow the events of a job; after a lost connection, or a restart of the service, do so again."""
    names = [f"{job['model']} {index + 1}" for index in range(job["shards"]["total"])]
    retries, hidden = 0, quiet or not err.is_terminal
    with Progress(*PROGRESS_COLUMNS, console=err, disable=hidden, transient=True) as progress:
        bars = [progress.add_task(name, total=None, doing="waiting") for name in names]
        while job["status"] not in FINAL_STATUSES:
            before = job
            job = await _follow_once(client, job, lambda name, data: _show_event(progress, bars, name, data))
            retries = 0 if job is not before else retries + 1
            if retries > MAX_RETRIES:
                raise CliError(f"the connection to {client.url} is lost; the job goes on")
            if job["status"] not in FINAL_STATUSES:
                await asyncio.sleep(RETRY_SECONDS)
    return job


async def _follow_once(
    client: ServiceClient, job: Job, show: Callable[[str, dict[str, Any]], Job | None]
) -> Job:
    """Follow one stream of events to its end; return the job as the last event of it has shown it."""
    with suppress(aiohttp.ClientError, TimeoutError):
        async for name, data in _read_events(client, job["jobId"]):
            job = show(name, data) or job
    return job


def _show_event(progress: Progress, bars: list[TaskID], name: str, data: dict[str, Any]) -> Job | None:
    """Show an event; return the job that it brings. Raises CliError for the end of access."""
    if name == "error":
        raise CliError(str(data.get("error", {}).get("message", data)))
    if name == "started":
        progress.update(bars[data["shard"]], doing="started")
    elif name == "progress":
        doing = f"node {data['node']}: {data['value']:g}/{data['max']:g}"
        progress.update(bars[data["shard"]], completed=data["value"], total=data["max"], doing=doing)
    return data if name == "job" else None


async def _read_events(client: ServiceClient, job_id: str) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """Yield the name and data of each server-sent event of a job. Raises CliError, ClientError."""
    name = ""
    # Events are apart as long as the job takes.
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
    url = f"{client.url}{job_path(job_id)}/events"
    async with client.http.get(url, timeout=timeout) as response:
        if response.status >= 500:
            raise aiohttp.ServerDisconnectedError(f"status {response.status}")
        if response.status != 200:
            await client.request("GET", job_path(job_id))  # raises with the message
            raise CliError(f"the events of job {job_id} cannot be read: status {response.status}")
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
