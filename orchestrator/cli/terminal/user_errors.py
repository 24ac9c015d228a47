"""Errors that a user can cause, shown as one line; anything else is a bug and shows its traceback."""

from __future__ import annotations

import sqlite3

from comfy_instances.fleet.protocol import FleetError
from comfy_instances.install.install import InstallError
from comfy_instances.install.packs.errors import PackError
from comfy_instances.log_text import error_text
from comfy_instances.protocol.errors import InstanceError
from orchestrator.backup.manifest import BackupError
from orchestrator.backup.unfinished import RestoreUnfinished
from orchestrator.catalog import CatalogError
from orchestrator.catalog.import_export import InvalidWorkflow
from orchestrator.cli.terminal.console import CliError
from orchestrator.errors import ServiceError
from orchestrator.files.data_directory import DataDirectoryInUse
from orchestrator.files.secret_box import SecretUnreadable
from orchestrator.media.errors import MediaError
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
#: What SQLite reports of files that it cannot use; other errors of it are bugs.
_DATABASE_FAILURES = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_READONLY,
    }
)


def describe_user_error(error: BaseException) -> str | None:
    """Return the line that shows an error to the user; None for a bug."""
    if isinstance(error, OSError) and error.strerror:
        return f"{_decoded(error.filename)}: {error.strerror}" if error.filename else error.strerror
    if (
        isinstance(error, sqlite3.Error)
        and getattr(error, "sqlite_errorcode", 0) & 0xFF in _DATABASE_FAILURES
    ):
        return f"the database cannot be used: {error}"
    if isinstance(error, UnicodeDecodeError):
        return f"a file is not UTF-8 text: {error.reason} at byte {error.start}"
    if isinstance(error, UnicodeEncodeError):
        return f"a name or text is not valid Unicode: {error.object[:100]!r}"
    if isinstance(error, USER_ERRORS):
        return error_text(error)
    return None


def _decoded(filename: object) -> str:
    return filename.decode("utf-8", "backslashreplace") if isinstance(filename, bytes) else str(filename)
