"""`pixelfactory weights`: plan, download, verify and quantize the weight files of models."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import aiohttp
import typer
from rich.markup import escape
from rich.progress import Progress, TaskID

from comfy_instances.hardware.gpus import discover_gpus
from comfy_instances.hardware.profiles import GpuProfile, load_gpu_profiles, select_gpu_profile
from orchestrator.app.backup_storage import open_object_store
from orchestrator.app.shared_models import fetch_published_models
from orchestrator.catalog import Catalog, Model, WeightFile
from orchestrator.catalog.publishing.draft_catalog import DraftCatalog
from orchestrator.cli.authoring import quantizing
from orchestrator.cli.terminal.console import (
    GB,
    CliError,
    JsonOption,
    err,
    print_error,
    print_json,
    read_settings,
)
from orchestrator.cli.terminal.numbers import integer_between
from orchestrator.cli.terminal.progress_bars import file_progress
from orchestrator.net.egress import create_public_session
from orchestrator.settings import Settings
from orchestrator.weights import planning, pulling, verifying
from orchestrator.weights.download import HUGGING_FACE_URL, HuggingFaceHub, WeightDownloader
from orchestrator.weights.node_weights import mirror_weights
from orchestrator.weights.planning import DownloadPlan, PlannedFile, WeightFileState
from orchestrator.weights.pulling import DownloadFailure

app = typer.Typer(help="Plan, download, verify and quantize weight files.", no_args_is_help=True)
app.command()(quantizing.quantize)
app.command()(quantizing.recipes)

ModelsArgument = Annotated[
    list[str] | None, typer.Argument(help="Ids or aliases of models; by default all models.")
]
ProfileOption = Annotated[
    str | None, typer.Option("--profile", help="GPU profile; by default that of this machine.")
]


@app.command()
def plan(models: ModelsArgument = None, profile: ProfileOption = None, json: JsonOption = False) -> None:
    """Show the files that models need on a GPU profile, their sizes, licenses and missing checksums."""
    settings = read_settings()
    chosen = _select_profile(profile)
    needed = list(_select_models(settings, models))
    found = planning.plan_downloads(needed, chosen.weights, settings.models_dir)
    if json:
        print_json(_plan_to_json(found, chosen))
        return
    licenses = {model.id: model.manifest.license for model in needed}
    for line in (*map(_format_file, found.files), "", *_summary_lines(found, chosen, licenses)):
        typer.echo(line)


@app.command()
def pull(
    models: ModelsArgument = None,
    everything: Annotated[bool, typer.Option("--all", help="Download the files of all models.")] = False,
    profile: ProfileOption = None,
    parallel: Annotated[
        int, typer.Option(parser=integer_between(1, 32), help="Files to download at a time.")
    ] = 4,
    replace: Annotated[bool, typer.Option(help="Overwrite files of another size.")] = False,
    sources: Annotated[
        bool,
        typer.Option(
            "--keep-sources/--remove-sources", help="Keep what quantized files are made from, or delete it."
        ),
    ] = True,
    token: Annotated[
        str | None, typer.Option(envvar="HF_TOKEN", help="Hugging Face token.", show_default=False)
    ] = None,
    hub: Annotated[
        str, typer.Option(envvar="HF_ENDPOINT", help="URL of Hugging Face, or of a mirror.")
    ] = HUGGING_FACE_URL,
) -> None:
    """Download missing files, and make those that are quantized here. Run it again to resume."""
    if not models and not everything:
        raise typer.BadParameter("name one or more models, or use --all for all models")
    settings = read_settings()
    chosen = _select_profile(profile)
    found = planning.plan_downloads(_select_models(settings, models), chosen.weights, settings.models_dir)
    if not found.missing_files:
        err.print(f"all {len(found.files)} file(s) are present")
        _remove_sources(settings, found, chosen, keep=sources)
        return
    with file_progress() as progress:
        downloads = _download_missing(
            settings,
            found,
            DownloadProgressBars(progress),
            HuggingFaceHub(url=hub, token=token),
            parallel=parallel,
            replace=replace,
        )
        failures = [*asyncio.run(downloads)]
        if found.missing_made:
            quantize_file = quantizing.file_quantizer(settings)
            failures += pulling.make_missing(found, quantize_file, DownloadProgressBars(progress))
    _exit_on_failures(failures)
    err.print(f"downloaded {len(found.missing_downloads)} file(s) to {settings.models_dir}")
    if found.missing_made:
        err.print(f"made {len(found.missing_made)} file(s)")
    _remove_sources(settings, found, chosen, keep=sources)


@app.command()
def verify(
    models: ModelsArgument = None,
    profile: ProfileOption = None,
    quick: Annotated[bool, typer.Option(help="Check sizes and headers only, not checksums.")] = False,
    json: JsonOption = False,
) -> None:
    """Verify the files on the disk against the manifests.

    For models that are named, missing files are problems, too.
    """
    settings = read_settings()
    chosen = _select_models(settings, models)
    weights = verifying.find_weights_on_disk(chosen, settings.models_dir)
    needed = planning.plan_downloads(chosen, _select_profile(profile).weights, settings.models_dir)
    bad = {file.path: [str(file.state)] for file in needed.files if models and file.state in _NOT_COMPLETE}
    unproven = []
    with file_progress() as progress:
        size = sum((settings.models_dir / weight.path).stat().st_size for weight in weights)
        bar = progress.add_task("reading", total=None if quick else size)
        verdicts = verifying.verify_weights(
            weights,
            settings.models_dir,
            full=not quick,
            on_progress=lambda count: progress.advance(bar, count),
        )
        for verdict in verdicts:
            progress.update(bar, description=escape(Path(verdict.weight.path).name))
            if verdict.problems:
                bad[verdict.weight.path] = list(verdict.problems)
            elif verdict.checksum_unknown:
                unproven.append(verdict.weight.path)
    if json:
        print_json({"checked": [weight.path for weight in weights], "problems": bad, "unproven": unproven})
    for path in unproven:
        err.print(escape(f"{path}: its SHA-256 is unknown; only its size and header were checked"))
    for path, problems in bad.items():
        print_error(f"{path}: {'; '.join(problems)}")
    if bad:
        raise typer.Exit(1)
    err.print(f"{len(weights)} file(s) verified, {len(needed.missing_files)} missing")


@app.command()
def mirror(models: ModelsArgument = None) -> None:
    """Store the files on this disk in the bucket by their checksums, for nodes of a Ray cluster to pull."""
    settings = read_settings()
    weights = verifying.find_weights_on_disk(_select_models(settings, models), settings.models_dir)
    if not weights:
        raise CliError(
            f"none of the files is in {settings.models_dir}: run `pixelfactory weights pull` first"
        )
    asyncio.run(_mirror(settings, weights))
    err.print(f"{len(weights)} file(s) are in the bucket {settings.s3_bucket}")


class DownloadProgressBars:
    """One progress bar for each file that is being downloaded."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def on_start(self, file: PlannedFile) -> None:
        name = escape(Path(file.path).name)
        self._tasks[file.path] = self._progress.add_task(name, total=file.weight.bytes or None)

    def on_progress(self, file: PlannedFile, count: int) -> None:
        self._progress.update(self._tasks[file.path], completed=count)

    def on_finish(self, file: PlannedFile, reason: str | None) -> None:
        self._progress.stop_task(self._tasks[file.path])


_NOT_COMPLETE = (WeightFileState.MISSING, WeightFileState.PARTIAL)


async def _download_missing(
    settings: Settings,
    plan: DownloadPlan,
    bars: DownloadProgressBars,
    hub: HuggingFaceHub,
    *,
    parallel: int,
    replace: bool,
) -> list[pulling.DownloadFailure]:
    # No total limit, as downloads may take hours; DownloadRetryPolicy limits the time without data.
    unlimited = aiohttp.ClientTimeout(total=None)
    async with create_public_session(allow_private=settings.allow_private_urls, timeout=unlimited) as http:
        downloader = WeightDownloader(http, hub)
        return [*await pulling.download_missing(plan, downloader, bars, parallel=parallel, replace=replace)]


async def _mirror(settings: Settings, weights: list[WeightFile]) -> None:
    def report(weight: WeightFile, is_new: bool) -> None:
        err.print(escape(f"{weight.path}: {'stored' if is_new else 'present'}"))

    async with open_object_store(settings) as store:
        await store.ensure_bucket()
        await mirror_weights(weights, settings.models_dir, store, report)


def _exit_on_failures(failures: Sequence[DownloadFailure]) -> None:
    for failure in failures:
        print_error(f"{failure.file.path}: {failure.reason}")
    if failures:
        raise typer.Exit(1)


def _remove_sources(settings: Settings, plan: DownloadPlan, profile: GpuProfile, *, keep: bool) -> None:
    """Delete what the plan's quantized files were made from, unless a model of the catalogue loads it."""
    if keep:
        return
    used = {
        weight.path
        for model in _select_models(settings, None)
        for weight in model.select_weights(profile.weights)
    }
    for path in pulling.remove_sources(plan, used):
        err.print(escape(f"{path}: removed"))


def _select_models(settings: Settings, names: list[str] | None) -> list[Model]:
    fetch_published_models(settings)
    drafts = DraftCatalog(settings.published_path, lambda model: None)
    drafts.reload()
    catalog = drafts.add_all_to(Catalog.load(settings.workflows_dir, settings.published_path))
    return list(dict.fromkeys(catalog[name] for name in names)) if names else list(catalog)


def _select_profile(name: str | None) -> GpuProfile:
    """Return the profile of that name, or of this machine. Raises CliError."""
    profiles = load_gpu_profiles()
    if name is None:
        return select_gpu_profile(next(iter(discover_gpus()), None), profiles)
    for profile in profiles:
        if profile.name == name:
            return profile
    names = ", ".join(profile.name for profile in profiles)
    raise CliError(f"unknown GPU profile {name!r}; use one of {names}")


def _format_file(file: PlannedFile) -> str:
    weight = file.weight
    return f"{weight.bytes / GB:8.2f} GB  {weight.dtype:6} {file.state:11} {file.path}"


def _plan_to_json(plan: DownloadPlan, profile: GpuProfile) -> dict[str, Any]:
    files = [
        {
            **file.weight.model_dump(
                include={"path", "url", "sha256", "bytes", "dtype", "license", "gated", "made_by"}
            ),
            "source": file.weight.source.path if file.weight.source else "",
            "models": list(file.models),
            "state": file.state.value,
            "held_bytes": file.downloaded_bytes,
        }
        for file in plan.files
    ]
    return {
        "profile": profile.name,
        "models_dir": str(plan.models_dir),
        "bytes": plan.total_bytes,
        "missing_bytes": plan.missing_bytes,
        "free_bytes": planning.free_disk_bytes(plan.models_dir),
        "files": files,
    }


def _summary_lines(
    plan: DownloadPlan, profile: GpuProfile, model_licenses: Mapping[str, str]
) -> Iterator[str]:
    free = planning.free_disk_bytes(plan.models_dir)
    yield f"{len(plan.files)} file(s), {plan.total_bytes / GB:.1f} GB, for the profile {profile.name}"
    yield (
        f"{len(plan.missing_files)} missing, {plan.missing_bytes / GB:.1f} GB;"
        f" {free / GB:.1f} GB free at {plan.models_dir}"
    )
    licenses: dict[str, set[str]] = {}
    for file in plan.files:
        for model in file.models:
            # A file without a license of its own has that of the model.
            license = file.weight.license or model_licenses.get(model) or "unknown"
            licenses.setdefault(license, set()).add(model)
    for license, models in sorted(licenses.items()):
        yield f"license {license}: {', '.join(sorted(models))}"
    gates = {file.weight.url.partition("/resolve/")[0] for file in plan.missing_files if file.weight.gated}
    for gate in sorted(gates):
        yield f"accept the license at {gate} and set HF_TOKEN"
    for file in plan.files:
        if file.weight.source is not None:
            source = file.weight.source.path
            yield f"{file.path} is made from {source} by `weights pull`; its SHA-256 is pinned then"
        elif not file.weight.sha256:
            yield f"{file.path} has no known SHA-256; that of its first download is pinned"
    for file in plan.missing_downloads:
        if not file.weight.url:
            yield f"{file.path} has no known URL; put the file into {plan.models_dir} yourself"
