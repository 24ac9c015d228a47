"""The `pixelfactory` command with all its subcommands."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib import import_module

import typer

from orchestrator.cli.console import print_error
from orchestrator.logs import configure_command_logging

#: The commands and command groups, each a module of this package, in the order of the help text.
COMMANDS = (
    "up",
    "api",
    "scheduler",
    "webhooks",
    "generate",
    "openapi",
    "keys",
    "wallet",
    "alerts",
    "models",
    "prices",
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
    app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)
    # Keeps the name of a command on the command line also where it is the only one.
    app.callback(help="A priced image and video API over ComfyUI graphs.")(lambda: None)
    for name in commands:
        module = import_module(f"orchestrator.cli.{name}")
        if hasattr(module, "app"):
            app.add_typer(module.app, name=name)
        else:
            app.command(name)(getattr(module, name))
    return app


def main() -> None:
    """Run the command. Exit codes: 0 success, 1 failure, 2 wrong usage, 130 interrupted."""
    configure_command_logging()
    chosen = [name for name in sys.argv[1:2] if name in COMMANDS]
    try:
        build_app(chosen or COMMANDS)(prog_name="pixelfactory")
    except Exception as error:
        # Imported only here: the modules of all errors take a second to import.
        from orchestrator.cli.user_errors import USER_ERRORS

        if not isinstance(error, USER_ERRORS):
            raise
        print_error(str(error) or type(error).__name__)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
