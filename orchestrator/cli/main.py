"""The `pixelfactory` command with all its subcommands."""

from __future__ import annotations

import sys

import typer

from comfy_instances.fleet.protocol import FleetError
from comfy_instances.install.install import InstallError
from comfy_instances.protocol.errors import InstanceError
from orchestrator.catalog import CatalogError
from orchestrator.catalog.import_export import InvalidWorkflow
from orchestrator.cli import (
    alerts,
    comfyui,
    generate,
    instances,
    keys,
    models,
    openapi,
    up,
    usage,
    wallet,
    weights,
)
from orchestrator.cli.console import CliError, print_error
from orchestrator.errors import ServiceError
from orchestrator.media.errors import MediaError
from orchestrator.settings import SettingsError
from orchestrator.weights.errors import WeightError
from pricing.costs import CostsError
from pricing.money import MoneyError
from pricing.plans import PlanError
from pricing.rates import TariffError

app = typer.Typer(
    name="pixelfactory",
    help="A priced image and video API over ComfyUI graphs.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command()(up.up)
app.command()(generate.generate)
app.command()(openapi.openapi)
app.add_typer(keys.app, name="keys")
app.add_typer(wallet.app, name="wallet")
app.add_typer(alerts.app, name="alerts")
app.add_typer(models.app, name="models")
app.add_typer(instances.app, name="instances")
app.add_typer(weights.app, name="weights")
app.add_typer(comfyui.app, name="comfyui")
app.add_typer(usage.app, name="usage")

#: Errors that a user can cause, shown as one line; anything else is a bug and shows its traceback.
USER_ERRORS = (
    InvalidWorkflow,
    CatalogError,
    CliError,
    CostsError,
    FleetError,
    InstallError,
    InstanceError,
    MediaError,
    MoneyError,
    OSError,
    PlanError,
    ServiceError,
    SettingsError,
    TariffError,
    WeightError,
)


def main() -> None:
    """Run the command. Exit codes: 0 success, 1 failure, 2 wrong usage, 130 interrupted."""
    try:
        app()
    except USER_ERRORS as error:
        print_error(str(error) or type(error).__name__)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
