"""`pixelfactory jobs`: list, show, wait for, cancel and download jobs of an API key's account.

With `--admin`, jobs of all accounts are listed, shown, cancelled and repeated.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.cli.service_access import operator_jobs
from orchestrator.cli.service_access.job_following import (
    FINAL_STATUSES,
    Job,
    catch_interrupts,
    follow_job,
    job_path,
    require_completed,
)
from orchestrator.cli.service_access.result_files import check_target, choose_target, save_results
from orchestrator.cli.service_access.service_client import KeyOption, ServiceClient, connect_as_caller
from orchestrator.cli.terminal.console import (
    CliError,
    DataDirOption,
    JsonOption,
    UrlOption,
    describe_cents,
    format_cents,
    print_json,
    print_json_or,
    print_rows,
)
from orchestrator.cli.terminal.numbers import integer_between
from orchestrator.logs import printable

app = typer.Typer(help="List, follow, cancel and download your jobs.", no_args_is_help=True)

AdminOption = Annotated[
    bool, typer.Option("--admin", help="As an operator: jobs of all accounts, with the admin token.")
]
JobId = Annotated[str, typer.Argument(help="Id of a job: job_...")]
COLUMNS = ("id", "status", "model", "done", "cents", "created", "prompt")
#: Characters of a prompt in a table.
SHOWN_PROMPT = 40


class StatusFilter(StrEnum):
    """Statuses of jobs as callers see them; `unfinished` is for operators."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    UNFINISHED = "unfinished"


#: The statuses under which operators see jobs.
ADMIN_STATUSES = {
    StatusFilter.PENDING: "queued",
    StatusFilter.PROCESSING: "running",
    StatusFilter.COMPLETED: "succeeded",
}


@app.command("list")
def list_(
    status: Annotated[StatusFilter | None, typer.Option(help="Only jobs with this status.")] = None,
    model: Annotated[str | None, typer.Option(help="Only jobs of this model.")] = None,
    limit: Annotated[
        int, typer.Option("-n", "--limit", parser=integer_between(1, 10_000), help="Number of jobs.")
    ] = 20,
    admin: AdminOption = False,
    account: Annotated[str | None, typer.Option(help="With --admin: only jobs of this account.")] = None,
    api_key: Annotated[str | None, typer.Option(help="With --admin: only jobs of this key's id.")] = None,
    instance: Annotated[
        str | None, typer.Option(help="With --admin: only jobs of which this instance ran an attempt.")
    ] = None,
    error: Annotated[str | None, typer.Option(help="With --admin: only jobs that failed so.")] = None,
    url: UrlOption = None,
    data_dir: DataDirOption = None,
    key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """List your jobs, or with --admin those of all accounts, newest first."""
    more = {"account": account, "key": api_key, "instance": instance, "error": error}
    if admin:
        wanted = None if status is None else ADMIN_STATUSES.get(status, status.value)
        asked = {"status": wanted, "model": model, **more}
        operator_jobs.list_jobs(asked, limit, url=url, data_dir=data_dir, json=json)
        return
    if any(more.values()) or status is StatusFilter.UNFINISHED:
        raise CliError("--account, --api-key, --instance, --error and --status unfinished need --admin")
    filters = {"status": status and str(status), "model": model}
    jobs = asyncio.run(_list(url, key, {name: value for name, value in filters.items() if value}, limit))
    print_rows(jobs if json else [_to_row(job) for job in jobs], COLUMNS, as_json=json)


@app.command()
def show(
    id: JobId,
    admin: AdminOption = False,
    url: UrlOption = None,
    data_dir: DataDirOption = None,
    key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """Show a job: its status, cost, results, parameters and, if it failed, why; --admin adds attempts."""
    if admin:
        operator_jobs.show_job(id, url=url, data_dir=data_dir, json=json)
        return
    job = asyncio.run(_get(url, key, id))
    if json:
        print_json(job)
        return
    for name, value in _to_lines(job):
        typer.echo(printable(f"{name:10} {value}"))


@app.command()
def wait(id: JobId, url: UrlOption = None, key: KeyOption = "", json: JsonOption = False) -> None:
    """Wait until a job is finished, with its progress. Fails if the job does.

    Ctrl-C ends the waiting, not the job.
    """
    job = asyncio.run(_wait(url, key, id, quiet=json))
    if job is None:
        raise typer.Exit(130)
    if json:
        print_json(job)
    require_completed(job)
    if not json:
        typer.echo(f"{job['jobId']} completed: {describe_cents(job['costCents'])}")


@app.command()
def retry(id: JobId, url: UrlOption = None, data_dir: DataDirOption = None, json: JsonOption = False) -> None:
    """Repeat a failed or cancelled job of any account as a new one, as an operator."""
    operator_jobs.act_on_job(id, "retry", url=url, data_dir=data_dir, json=json)


@app.command()
def cancel(
    id: JobId,
    admin: AdminOption = False,
    url: UrlOption = None,
    data_dir: DataDirOption = None,
    key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """Cancel a job, which is not charged then. A finished one stays as it is."""
    if admin:
        operator_jobs.act_on_job(id, "cancel", url=url, data_dir=data_dir, json=json)
        return
    before, job = asyncio.run(_cancel(url, key, id))
    cost = f", {describe_cents(job['costCents'])}" if job["status"] == "completed" else ""
    was = (
        f"was {job['status']} already{cost}"
        if before["status"] in FINAL_STATUSES
        else f"{job['status']}{cost}"
    )
    print_json_or(f"{job['jobId']} {was}", job, as_json=json)


@app.command()
def download(
    id: JobId,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="File or directory to write to; the name of a file decides the format."
        ),
    ] = None,
    url: UrlOption = None,
    key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """Write the results of a completed job to files."""
    check_target(output)
    job, files = asyncio.run(_download(url, key, id, output))
    if json:
        print_json({"jobId": job["jobId"], "files": [str(file) for file in files]})
        return
    for file in files:
        typer.echo(file)


async def _list(url: str | None, key: str, filters: dict[str, str], limit: int) -> list[Job]:
    async with connect_as_caller(url, key) as client:
        return await client.list_jobs("/api/v1/jobs", filters, limit, cursor_name="nextCursor")


@asynccontextmanager
async def _open_job(url: str | None, key: str, id: str) -> AsyncIterator[tuple[ServiceClient, Job]]:
    """Connect and read a job. Raises CliError."""
    async with connect_as_caller(url, key) as client:
        yield client, await client.request_json("GET", job_path(id))


async def _get(url: str | None, key: str, id: str) -> Job:
    async with _open_job(url, key, id) as (_, job):
        return job


async def _wait(url: str | None, key: str, id: str, *, quiet: bool) -> Job | None:
    interrupted = catch_interrupts()
    async with _open_job(url, key, id) as (client, job):
        return await follow_job(client, job, interrupted, quiet=quiet)


async def _cancel(url: str | None, key: str, id: str) -> tuple[Job, Job]:
    async with _open_job(url, key, id) as (client, job):
        return job, await client.request_json("DELETE", job_path(id))


async def _download(url: str | None, key: str, id: str, output: Path | None) -> tuple[Job, list[Path]]:
    async with _open_job(url, key, id) as (_, job):
        if job["status"] not in FINAL_STATUSES:
            raise CliError(f"job {id} is {job['status']}; wait for it with `pixelfactory jobs wait {id}`")
        require_completed(job)
        target = choose_target(output, job["model"], _type_of_results(job), {})
        return job, await save_results(job, target)


def _type_of_results(job: Job) -> str:
    """Return the type of a model that makes such results; empty if it is not known."""
    kinds = {asset["contentType"].partition("/")[0] for asset in job["assets"]}
    return kinds.pop() if len(kinds) == 1 and kinds <= {"image", "video", "audio", "text"} else ""


def _to_row(job: Job) -> dict[str, Any]:
    prompt = " ".join(str(job["params"].get("prompt", "")).split())
    return {
        "id": job["jobId"],
        "status": job["status"],
        "model": job["model"],
        "done": f"{job['shards']['done']}/{job['shards']['total']}",
        "cents": format_cents(job["costCents"]),
        "created": job["createdAt"][:19],
        "prompt": prompt if len(prompt) <= SHOWN_PROMPT else f"{prompt[: SHOWN_PROMPT - 3]}...",
    }


def _to_lines(job: Job) -> list[tuple[str, Any]]:
    """Return the lines of a job; those without a value are left out."""
    lines: list[tuple[str, Any]] = [
        ("id", job["jobId"]),
        ("status", job["status"]),
        ("model", job["model"]),
        ("done", f"{job['shards']['done']} of {job['shards']['total']}"),
        ("cost", describe_cents(job["costCents"]) + (", simulated" if job["simulated"] else "")),
        ("created", job["createdAt"]),
        ("started", job["startedAt"]),
        ("finished", job["finishedAt"]),
        ("kept until", job["expiresAt"]),
        ("error", job["error"] and job["error"]["message"]),
    ]
    lines += [("warning", warning) for warning in job["warnings"]]
    lines += [("result", asset["url"]) for asset in job["assets"]]
    lines += [("parameter", f"{name}={value}") for name, value in job["params"].items()]
    return [(name, value) for name, value in lines if value not in (None, "")]
