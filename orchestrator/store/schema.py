"""Versions of schemas, whichever database has them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from importlib import resources

log = logging.getLogger(__name__)


class UnknownSchema(Exception):
    """The database was written by a newer version, whose migrations this version does not know."""


def read_scripts(package: str) -> dict[str, str]:
    """Return the SQL scripts of a package of migrations by name, in the order in which they are applied."""
    files = (file for file in resources.files(package).iterdir() if file.name.endswith(".sql"))
    scripts = {file.name.removesuffix(".sql"): file.read_text(encoding="utf-8") for file in files}
    return dict(sorted(scripts.items()))


def check_schema_known(applied: Iterable[str], known: Sequence[str]) -> None:
    """Raise UnknownSchema if one of these applied migrations is unknown to this version."""
    if newer := sorted(set(applied) - set(known)):
        raise UnknownSchema(
            f"The database has schema {newer[-1]}, which this version does not know (it ends with"
            f" {known[-1]});"
            " install the version that wrote it, or restore a backup that was made before the upgrade"
        )


def log_upgrade(applied: Sequence[str], known: Sequence[str]) -> None:
    """Say that a database was brought up to date, which had these migrations before. A new one had none."""
    if applied and applied[-1] != known[-1]:
        log.info("the database was brought up to date: schema %s instead of %s", known[-1], applied[-1])
