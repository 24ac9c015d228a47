"""Completes ids of models in shells, from the names of their directories: nothing else is read."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


def complete_model(incomplete: str) -> list[str]:
    """Return the ids of models that begin with `incomplete`."""
    # Imported only here: commands that complete nothing do without its library.
    from orchestrator.setting_groups.directory_settings import DirectorySettings

    try:
        settings = DirectorySettings(_env_prefix="PIXELFACTORY_")
        directories = {settings.workflows_dir, settings.published_path}
    except (ValueError, OSError):
        return []
    found = {name for directory in directories for name in _list_models(directory)}
    return sorted(name for name in found if name.startswith(incomplete))


def _list_models(directory: Path) -> list[str]:
    with suppress(OSError):
        return [file.parent.name for file in directory.glob("*/model.toml")]
    return []
