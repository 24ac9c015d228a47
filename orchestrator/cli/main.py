"""The `pixelfactory` command with all its subcommands."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from importlib import import_module
from typing import Annotated

import typer

from orchestrator.cli.console import print_error
from orchestrator.cli.streams import BROKEN_PIPE_EXIT_CODE, discard_output, flush_output, prepare_streams
from orchestrator.logs import configure_command_logging, log_fatal_error, logs_json
from orchestrator.version import installed_version

#: The commands and command groups, each a module of this package, in the order of the help text.
COMMANDS = (
    "up",
    "api",
    "scheduler",
    "webhooks",
    "generate",
    "jobs",
    "openapi",
    "keys",
    "wallet",
    "alerts",
    "models",
    "prices",
    "licenses",
    "provenance",
    "instances",
    "ray",
    "weights",
    "comfyui",
    "packs",
    "usage",
    "backup",
    "restore",
    "db",
)


def build_app(commands: Iterable[str] = COMMANDS) -> typer.Typer:
    """Return the application with these commands, of which only the modules are imported.

    All commands together take four times as long to import as one that asks the store or the service.
    """
    app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
    # Keeps the name of a command on the command line also where it is the only one.
    app.callback(help="A priced image and video API over ComfyUI graphs.")(_accept_version)
    for name in commands:
        module = import_module(f"orchestrator.cli.{name}")
        if hasattr(module, "app"):
            app.add_typer(module.app, name=name)
        else:
            app.command(name)(getattr(module, name))
    return app


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
        return _exit_code(build_app(_commands_to_import())(prog_name="pixelfactory", standalone_mode=True))
    except SystemExit as end:
        return _exit_code(end.code)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        discard_output()
        return BROKEN_PIPE_EXIT_CODE
    except Exception as error:
        # Imported only here: the modules of all errors take a second to import.
        from orchestrator.cli.user_errors import describe_user_error

        if (message := describe_user_error(error)) is None:
            raise
        if logs_json():
            log_fatal_error(message)
        else:
            print_error(message)
        return 1


def _commands_to_import() -> Iterable[str]:
    """Return the command of the command line, or of the line that a shell completes; else all."""
    # bash; zsh, fish and PowerShell.
    completed = os.environ.get("COMP_WORDS") or os.environ.get("_TYPER_COMPLETE_ARGS") or ""
    words = completed.split()[1:2] if "_PIXELFACTORY_COMPLETE" in os.environ else sys.argv[1:2]
    return [name for name in words if name in COMMANDS] or COMMANDS


def _exit_code(value: object) -> int:
    return value if isinstance(value, int) else int(value is not None)
