"""The directories of this user; a user without a home directory has none, and names others."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_data_path, user_state_path

NAME = "pixelfactory"


def _find_data_directory() -> Path:
    try:
        return user_data_path(NAME)
    except RuntimeError:  # no home directory: no path, which commands report
        return Path("~/.local/share") / NAME


def find_state_directory() -> Path | None:
    """Return the directory of what this user's processes tell each other; None without a home directory."""
    try:
        directory = user_state_path(NAME)
    except RuntimeError:
        return None
    return directory if directory.is_absolute() else None


def expand_home(value: object) -> object:
    """Return a path with the home directory in place of `~`, which only shells replace."""
    return Path(os.path.expanduser(value)) if isinstance(value, str | Path) else value  # noqa: PTH111


USER_DATA_DIR = _find_data_directory()
#: The data directory of a service that is started without another one.
DEFAULT_DATA_DIR = USER_DATA_DIR / "data"
