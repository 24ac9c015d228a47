"""`pixelfactory packs`: pin, install and check node packs of ComfyUI."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from comfy_instances.hardware.gpus import discover_gpus
from comfy_instances.install.packs.adding import AddedPack, parse_overrides, pin_pack, update_pin
from comfy_instances.install.packs.drift import compare_with_lock, find_installed_drift, find_moved_refs
from comfy_instances.install.packs.errors import PackError, PacksRefused
from comfy_instances.install.packs.input_history import read_input_history
from comfy_instances.install.packs.install import (
    PackInstallRequest,
    install_packs,
    plan_packs,
    require_installation,
    try_installed,
)
from comfy_instances.install.packs.lock_file import (
    LOCK_FILE_NAME,
    PackLock,
    PackPin,
    exclusive_access,
    load_pack_lock,
    save_pack_lock,
)
from comfy_instances.install.packs.pack_facts import write_pack_facts
from comfy_instances.install.packs.repository import parse_pack_address
from comfy_instances.install.packs.resolver import PackageSource
from comfy_instances.install.packs.version_facts import read_version_facts
from comfy_instances.process.installed_packs import (
    drop_pack,
    history_file,
    read_pack_record,
    version_facts_file,
)
from orchestrator.app.pack_choice import find_unmet_packs, models_needing_pack
from orchestrator.app.resources import load_catalog_and_tariff
from orchestrator.app.shared_models import fetch_published_models
from orchestrator.catalog import Catalog
from orchestrator.cli.authoring import our_pack
from orchestrator.cli.terminal.console import (
    CliError,
    JsonOption,
    print_error,
    print_json,
    print_row,
    print_rows,
    print_warning,
    read_settings,
)
from orchestrator.cli.terminal.pack_output import (
    pack_rows,
    print_added,
    print_plan,
    result_lines,
    result_to_json,
    show_progress,
)
from orchestrator.settings import Settings

app = typer.Typer(help="Pin, install and check node packs of ComfyUI.", no_args_is_help=True)
app.command("export-ours")(our_pack.export_ours)

NameArgument = Annotated[str, typer.Argument(help="Name of the pack.")]
MirrorOption = Annotated[
    str | None,
    typer.Option(
        help="Folder or base URL with copies of the repositories (OWNER/NAME.git), instead of their URLs."
    ),
]
WheelsOption = Annotated[
    Path | None,
    typer.Option(
        exists=True, file_okay=False, help="Folder with wheels of Python packages, instead of an index."
    ),
]
OverrideOption = Annotated[
    list[str] | None,
    typer.Option(
        help="NAME=REQUIREMENT to install instead of what the pack asks for, or NAME= for nothing."
        " Repeatable."
    ),
]
SdistOption = Annotated[
    list[str] | None,
    typer.Option("--allow-sdist", help="Python package that may be built from source. Repeatable."),
]
UrlsOption = Annotated[
    list[str] | None,
    typer.Option("--allow-url", help="Python package that may be installed from a URL. Repeatable."),
]
#: Columns of `packs list`.
COLUMNS = ("name", "ref", "commit", "installed", "nodes", "models", "drift")


@app.command()
def add(
    url: Annotated[
        str, typer.Argument(metavar="URL[@REF]", help="Git URL or folder, and a branch, tag or commit.")
    ],
    name: Annotated[
        str | None, typer.Option(help="Name of its folder; by default that of the repository.")
    ] = None,
    override: OverrideOption = None,
    mirror: MirrorOption = None,
    json: JsonOption = False,
) -> None:
    """Pin a node pack to the commit that its version names now. Nothing of it is executed."""
    settings = read_settings()
    address, overrides = parse_pack_address(url), parse_overrides(override or [])
    with exclusive_access(settings.comfyui_dir):
        lock = load_pack_lock(_lock_file(settings))
        added = asyncio.run(
            pin_pack(
                lock,
                address,
                comfyui_dir=settings.comfyui_dir,
                name=name,
                mirror=mirror,
                overrides=overrides,
                on_output=lambda line: None,
            )
        )
        save_pack_lock(_lock_file(settings), lock.with_pin(added.pin))
    print_added([added], as_json=json)


@app.command("list")
def list_(json: JsonOption = False) -> None:
    """List the pinned and installed packs, which models need them, and what differs."""
    settings = read_settings()
    lock, record = load_pack_lock(_lock_file(settings)), read_pack_record(settings.comfyui_dir)
    print_rows(list(pack_rows(lock, record, _load_catalog(settings))), COLUMNS, as_json=json)


@app.command()
def plan(
    mirror: MirrorOption = None,
    wheels: WheelsOption = None,
    allow_sdist: SdistOption = None,
    allow_url: UrlsOption = None,
    json: JsonOption = False,
) -> None:
    """Show what `install` would do: findings in the sources, and Python packages to add."""
    settings = read_settings()
    request = _build_request(settings, mirror, wheels, allow_sdist, allow_url)
    with exclusive_access(settings.comfyui_dir), show_progress() as progress:
        found = _run_or_list_problems(plan_packs(request, progress))
        progress.finish()
    print_plan(found, as_json=json)


@app.command()
def install(
    mirror: MirrorOption = None,
    wheels: WheelsOption = None,
    allow_sdist: SdistOption = None,
    allow_url: UrlsOption = None,
    json: JsonOption = False,
) -> None:
    """Install exactly the pinned packs, after a trial start. The earlier set stays if anything fails."""
    settings = read_settings()
    request = _build_request(settings, mirror, wheels, allow_sdist, allow_url)
    with exclusive_access(settings.comfyui_dir), show_progress() as progress:
        result = _run_or_list_problems(install_packs(request, progress))
        progress.finish()
    if json:
        print_json(result_to_json(result))
        return
    for line in result_lines(result):
        typer.echo(line)


@app.command()
def facts(
    url: Annotated[
        str,
        typer.Argument(
            metavar="URL[@REF]",
            help="Git URL or folder, and a branch, tag, commit or release (`version` in pyproject.toml).",
        ),
    ],
    history: Annotated[
        bool,
        typer.Option(
            "--history", help="Read the inputs that its nodes have had in all versions; runs nothing."
        ),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="File to write instead, for `models import --nodes`."),
    ] = None,
    override: OverrideOption = None,
    mirror: MirrorOption = None,
    wheels: WheelsOption = None,
    allow_sdist: SdistOption = None,
    allow_url: UrlsOption = None,
    json: JsonOption = False,
) -> None:
    """Record the nodes of one version of a pack, which names the widget values of files that it saved.

    ComfyUI starts once with this version only, in a copy of its environment that is deleted afterwards.
    Imports find the record; nothing is installed or pinned.
    """
    settings = read_settings()
    address, overrides = parse_pack_address(url), parse_overrides(override or [])
    request = _build_request(settings, mirror, wheels, allow_sdist, allow_url)
    if history:
        found: Any = asyncio.run(read_input_history(address, mirror))
        file = output or history_file(settings.comfyui_dir, found["pack"])
    else:
        with exclusive_access(settings.comfyui_dir), show_progress() as progress:
            found = _run_or_list_problems(read_version_facts(request, address, overrides, progress))
            progress.finish()
        file = output or version_facts_file(settings.comfyui_dir, found["pack"], found["commit"])
    write_pack_facts(file, found)
    row = {key: found[key] for key in ("pack", "ref", "commit")}
    nodes = found["layouts" if history else "nodes"]
    print_row({**row, "nodes": len(nodes), "file": str(file)}, as_json=json)


@app.command()
def update(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME[@REF]", help="Packs to move; by default all.")
    ] = None,
    mirror: MirrorOption = None,
    json: JsonOption = False,
) -> None:
    """Move pins to the commits that their versions, or new ones, name now. `install` then installs them."""
    settings = read_settings()
    with exclusive_access(settings.comfyui_dir):
        lock = load_pack_lock(_lock_file(settings))
        wanted = [_split_name(lock, name) for name in names or [pin.name for pin in lock.pins]]
        added = asyncio.run(_update_all(lock, wanted, settings.comfyui_dir, mirror))
        for one in added:
            lock = lock.with_pin(one.pin)
        save_pack_lock(_lock_file(settings), lock)
    print_added(added, as_json=json)


@app.command()
def remove(
    name: NameArgument,
    force: Annotated[bool, typer.Option("--force", help="Also if models need the pack.")] = False,
    json: JsonOption = False,
) -> None:
    """Remove a pack. Running instances are restarted without it, one after the other, once they are idle."""
    settings = read_settings()
    with exclusive_access(settings.comfyui_dir):
        lock, record = load_pack_lock(_lock_file(settings)), read_pack_record(settings.comfyui_dir)
        pin, installed = lock.find(name), record.find(name)
        source = installed or pin
        if source is None:
            raise CliError(f"there is no pack {name!r}: `pixelfactory packs list` shows those there are")
        known = source.name
        models = models_needing_pack(_load_catalog(settings), known, installed)
        if models and not force:
            raise CliError(f"{known} is needed by {', '.join(models)}: remove these models, or use --force")
        if pin is not None:
            save_pack_lock(_lock_file(settings), lock.without(pin))
        drop_pack(settings.comfyui_dir, known)
    print_row({"name": known, "removed": True, "models": models}, as_json=json)


@app.command()
def check(
    start: Annotated[bool, typer.Option(help="Start ComfyUI once with the installed packs.")] = True,
    remote: Annotated[bool, typer.Option(help="Ask the repositories whether versions have moved.")] = False,
    mirror: MirrorOption = None,
    json: JsonOption = False,
) -> None:
    """Check the installed packs: against the lock file, their files, the models, and by a trial start."""
    settings = read_settings()
    problems = asyncio.run(_find_problems(settings, start=start, remote=remote, mirror=mirror))
    installed = read_pack_record(settings.comfyui_dir).packs
    notes = list(find_unmet_packs(_load_catalog(settings), installed))
    if json:
        print_json({"ok": not problems, "problems": problems, "notes": notes})
    else:
        for line in notes:
            print_warning(line)
        for line in problems:
            print_error(line)
    if problems:
        raise typer.Exit(1)
    if not json:
        typer.echo("no problems")


def _lock_file(settings: Settings) -> Path:
    return settings.data_dir / LOCK_FILE_NAME


def _load_catalog(settings: Settings) -> Catalog:
    fetch_published_models(settings)
    return load_catalog_and_tariff(settings)[0]


def _build_request(
    settings: Settings,
    mirror: str | None,
    wheels: Path | None = None,
    allow_sdist: Sequence[str] | None = None,
    allow_url: Sequence[str] | None = None,
) -> PackInstallRequest:
    packages = PackageSource(
        wheels=wheels, allow_sdist=tuple(allow_sdist or ()), allow_url=tuple(allow_url or ())
    )
    return PackInstallRequest(
        comfyui_dir=settings.comfyui_dir,
        lock=load_pack_lock(_lock_file(settings)),
        mirror=mirror,
        packages=packages,
        gpus=tuple(discover_gpus()),
        startup_seconds=settings.startup_seconds,
    )


def _run_or_list_problems(work: Any) -> Any:
    """Run a coroutine; the problems of a refused set are printed one a line. Raises PackError."""
    try:
        return asyncio.run(work)
    except PacksRefused as error:
        for problem in error.problems:
            print_error(problem)
        raise PackError("the packs are refused; what was installed before is still in use") from error


def _split_name(lock: PackLock, text: str) -> tuple[PackPin, str | None]:
    name, _, ref = text.partition("@")
    pin = lock.find(name)
    if pin is None:
        raise CliError(f"there is no pack {name!r}: `pixelfactory packs list` shows those there are")
    return pin, ref or None


async def _update_all(
    lock: PackLock, wanted: Iterable[tuple[PackPin, str | None]], comfyui_dir: Path, mirror: str | None
) -> list[AddedPack]:
    return [
        await update_pin(
            lock, pin, ref=ref, comfyui_dir=comfyui_dir, mirror=mirror, on_output=lambda line: None
        )
        for pin, ref in wanted
    ]


async def _find_problems(settings: Settings, *, start: bool, remote: bool, mirror: str | None) -> list[str]:
    lock, installation = load_pack_lock(_lock_file(settings)), require_installation(settings.comfyui_dir)
    record = installation.packs
    problems = [f"{name} {text}" for name, text in compare_with_lock(lock, record).items()]
    drift = await find_installed_drift(installation)
    problems += drift
    if remote:
        problems += await find_moved_refs(lock, mirror)
    if start and record.packs and not any("environment of the packs is missing" in line for line in drift):
        request = _build_request(settings, mirror)
        trial = await try_installed(request, installation)
        problems += trial.problems
        for pack in record.packs:
            lost = sorted(set(pack.classes) - set(trial.nodes[pack.name]))
            if lost:
                problems.append(f"{pack.name}: {len(lost)} of its nodes are gone: {', '.join(lost[:5])}")
    return problems
