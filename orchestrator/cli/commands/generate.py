"""`pixelfactory generate`: run a job on the running service, show its progress and save its outputs."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from orchestrator.cli.authoring.model_completion import complete_model
from orchestrator.cli.service_access.job_following import (
    Job,
    JobInterrupted,
    catch_interrupts,
    follow_or_cancel,
    require_completed,
)
from orchestrator.cli.service_access.result_files import check_target, choose_target, save_results
from orchestrator.cli.service_access.service_client import KeyOption, connect_as_caller
from orchestrator.cli.terminal.console import (
    CliError,
    JsonOption,
    UrlOption,
    describe_cents,
    err,
    print_json,
    print_note,
    print_warning,
)
from orchestrator.cli.terminal.numbers import integer_between
from orchestrator.number_text import is_number_to_python, parse_decimal

#: Parameters that this command sets by itself, and how else to set them.
OWN_PARAMS = {
    "model": "name the model as the first argument",
    "prompt": "give the prompt as the second argument",
    "n": "use -n",
    "stream": "the command shows the progress by itself",
    "partial_images": "the command shows the progress by itself",
    "response_format": "the command writes files",
}


def generate(
    model: Annotated[
        str,
        typer.Argument(help="Id of a model; see `pixelfactory models list`.", autocompletion=complete_model),
    ],
    prompt: Annotated[str, typer.Argument(help="The prompt; empty for an upscaler.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="File or directory to write to; the name of a file decides the format of images. Several"
            " outputs are numbered: FILE-1, FILE-2.",
        ),
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option("-p", "--param", help="Parameter as name=value, or name=@FILE for a file; repeatable."),
    ] = None,
    n: Annotated[int, typer.Option("-n", parser=integer_between(1), help="Number of results.")] = 1,
    url: UrlOption = None,
    key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """Generate images or a video, and save them.

    Reads the key from PIXELFACTORY_API_KEY and the URL of the service from PIXELFACTORY_URL. Ctrl-C cancels
    the job. Nothing is charged unless the job completes.
    """
    params = parse_params(param or ())
    check_target(output)
    body = {"model": model, "prompt": prompt, "n": n, **params}
    try:
        job, files = asyncio.run(_generate(url, key, body, output, quiet=json))
    except JobInterrupted as interrupted:
        print_note(str(interrupted))
        raise typer.Exit(130) from interrupted
    for warning in job["warnings"]:
        print_warning(warning)
    if json:
        print_json({**job, "files": [str(file) for file in files]})
        return
    for file in files:
        typer.echo(file)
    simulated = ", simulated" if job["simulated"] else ""
    print_note(f"{job['jobId']}: {describe_cents(job['costCents'])}{simulated}")


def parse_params(assignments: Sequence[str]) -> dict[str, Any]:
    """Parse `name=value` assignments: a JSON value, else text; `@FILE` becomes the file in base64.

    Raises CliError, OSError.
    """
    params: dict[str, Any] = {}
    for text in assignments:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise CliError(f"--param must be name=value or name=@FILE (got {text!r})")
        if name in OWN_PARAMS:
            raise CliError(f"`{name}` cannot be set by --param: {OWN_PARAMS[name]}")
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
    url: str | None, key: str, body: dict[str, Any], output: Path | None, *, quiet: bool
) -> tuple[Job, list[Path]]:
    """Run a job to its end and save its results. Raises CliError, JobInterrupted."""
    interrupted = catch_interrupts()
    async with connect_as_caller(url, key) as client:
        model = await client.request_json("GET", f"/api/v1/models/{quote(body['model'], safe='')}")
        target = choose_target(output, body["model"], model["type"], body)
        if target.image_format is not None:
            # The service refuses a format that cannot hold what the model makes.
            body = {**body, "output_format": target.image_format}
        job = await client.request_json(
            "POST", "/api/v1/images/generations", json=body, headers={"Prefer": "respond-async"}
        )
        err.print(f"job {job['jobId']}", style="dim", highlight=False, markup=False)
        job = require_completed(await follow_or_cancel(client, job, interrupted, quiet=quiet))
        return job, await save_results(job, target)
