"""Errors that a user can cause, shown as one line; anything else is a bug and shows its traceback."""

from __future__ import annotations

from comfy_instances.fleet.protocol import FleetError
from comfy_instances.install.install import InstallError
from comfy_instances.install.packs.errors import PackError
from comfy_instances.protocol.errors import InstanceError
from orchestrator.backup.manifest import BackupError
from orchestrator.backup.unfinished import RestoreUnfinished
from orchestrator.catalog import CatalogError
from orchestrator.catalog.import_export import InvalidWorkflow
from orchestrator.cli.console import CliError
from orchestrator.data_directory import DataDirectoryInUse
from orchestrator.errors import ServiceError
from orchestrator.media.errors import MediaError
from orchestrator.secret_box import SecretUnreadable
from orchestrator.settings import SettingsError
from orchestrator.store.schema import UnknownSchema
from orchestrator.store.sqlite.snapshot import SnapshotError
from orchestrator.weights.errors import WeightError
from pricing.costs import CostsError
from pricing.money import MoneyError
from pricing.plans import PlanError
from pricing.rates import TariffError

USER_ERRORS = (
    BackupError,
    CatalogError,
    CliError,
    CostsError,
    DataDirectoryInUse,
    FleetError,
    InstallError,
    InstanceError,
    InvalidWorkflow,
    MediaError,
    MoneyError,
    OSError,
    PackError,
    PlanError,
    RestoreUnfinished,
    SecretUnreadable,
    ServiceError,
    SettingsError,
    SnapshotError,
    TariffError,
    UnknownSchema,
    WeightError,
)
