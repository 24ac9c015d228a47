"""The `pixelfactory` command with all its subcommands."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterable, Mapping
from importlib import import_module
from types import ModuleType
from typing import Annotated

import typer

from orchestrator.cli.terminal.console import CliError, print_error
from orchestrator.cli.terminal.streams import (
    BROKEN_PIPE_EXIT_CODE,
    discard_output,
    flush_output,
    prepare_streams,
)
from orchestrator.logs import configure_command_logging, log_fatal_error, logs_json
from orchestrator.setting_errors import SettingsError
from orchestrator.version import installed_version

#: The commands and command groups, each a module of `commands`, with their lines in the help text. These
#: stand here too so that the help and the completion of names import none of the modules.
COMMANDS: Mapping[str, str] = {
    "up": "Run the whole service: orchestrator, instances and, unless one is configured, an S3 server.",
    "api": "Accept and answer requests of an installation on several machines; any number may run.",
    "scheduler": "Run the jobs that API processes accept. One scheduler leads; the others stand by and"
    " succeed it.",
    "webhooks": "Deliver webhooks of an installation on several machines; any number may run.",
    "generate": "Generate images or a video, and save them.",
    "jobs": "List, follow, cancel and download your jobs.",
    "openapi": "Print the OpenAPI 3.1 document of the HTTP API.",
    "keys": "Create, list, rotate and revoke API keys.",
    "wallet": "Show and change the wallet of an account, named by its id or the id of a key.",
    "alerts": "Budget alerts of an account.",
    "models": "List, show, check, import, export and publish models.",
    "prices": "List price classes, and add one.",
    "licenses": "What the licenses of models allow.",
    "provenance": "Marks and signed manifests of generated media.",
    "instances": "List and control the instances of the running service.",
    "ray": "List and end the agents on a Ray cluster.",
    "weights": "Plan, download, verify and quantize weight files.",
    "comfyui": "Install and inspect the ComfyUI that instances run.",
    "packs": "Pin, install and check node packs of ComfyUI.",
    "usage": "Report usage, revenue and margins.",
    "backup": "Back up the data directory, also while the service runs: database, secrets, list of objects.",
    "restore": "Restore a backup, after checking all of it; changes nothing while a service uses the data"
    " directory.",
    "db": "Move the database.",
}


def build_app(commands: Iterable[str] = COMMANDS) -> typer.Typer:
    """Return the application with these commands, of which only the modules are imported.

    All commands together take four times as long to import as one that asks the store or the service.
    """
    app = _build_empty_app()
    for name, module in _import_commands(commands).items():
        if hasattr(module, "app"):
            app.add_typer(module.app, name=name)
        else:
            app.command(name)(getattr(module, name))
    return app


def _import_commands(names: Iterable[str]) -> dict[str, ModuleType]:
    """Import the modules of commands without the garbage collector.

    It would visit all modules again whenever their number has grown by a quarter, although they stay.
    """
    gc.disable()
    try:
        return {name: import_module(f"orchestrator.cli.commands.{name}") for name in names}
    finally:
        gc.freeze()
        gc.enable()


def build_overview() -> typer.Typer:
    """Return the application without any module of a command: for its help, names and version."""
    app = _build_empty_app()
    for name, text in COMMANDS.items():
        app.command(name, help=text)(_do_nothing)
    return app


def _build_empty_app() -> typer.Typer:
    app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
    # Keeps the name of a command on the command line also where it is the only one.
    app.callback(help="A priced image and video API over ComfyUI graphs.")(_accept_version)
    return app


def _do_nothing() -> None:
    """Stand for a command whose module is not imported; never called."""


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"pixelfactory {installed_version()}")
        raise typer.Exit


def _accept_version(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Accept the options before the command."""


def main() -> None:
    """Run the command. Exit codes: 0 success, 1 failure, 2 wrong usage, 130 interrupted."""
    prepare_streams()
    configure_command_logging()
    code = _run_command()
    sys.exit(flush_output() or code)


def _run_command() -> int:
    """Run the command and return its exit status; show what a user can cause as one line."""
    try:
        named = _named_commands()
        app = build_app(named) if named else build_overview()
        return _exit_code(app(prog_name="pixelfactory", standalone_mode=True))
    except SystemExit as end:
        return _exit_code(end.code)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        discard_output()
        return BROKEN_PIPE_EXIT_CODE
    except (CliError, SettingsError) as error:
        return _report(str(error))
    except Exception as error:
        # Imported only here: the modules of all errors take a second to import.
        from orchestrator.cli.terminal.user_errors import describe_user_error

        if (message := describe_user_error(error)) is None:
            raise
        return _report(message)


def _report(message: str) -> int:
    if logs_json():
        log_fatal_error(message)
    else:
        print_error(message)
    return 1


def _named_commands() -> list[str]:
    """Return the command of the command line, or of the line that a shell completes; none without one."""
    # bash; zsh, fish and PowerShell.
    completed = os.environ.get("COMP_WORDS") or os.environ.get("_TYPER_COMPLETE_ARGS") or ""
    words = completed.split()[1:] if "_PIXELFACTORY_COMPLETE" in os.environ else sys.argv[1:]
    first = next((word for word in words if not word.startswith("-")), "")
    return [first] if first in COMMANDS else []


def _exit_code(value: object) -> int:
    return value if isinstance(value, int) else int(value is not None)
