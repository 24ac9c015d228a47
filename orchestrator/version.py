"""The version of the installed package; pyproject.toml is the one place that states it."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

PACKAGE = "pixel-factory"


def installed_version() -> str:
    """Return the version, or `unknown` for a copy of the sources that is not installed."""
    try:
        return version(PACKAGE)
    except PackageNotFoundError:
        return "unknown"
