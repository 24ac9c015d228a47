"""Where a service keeps its data, and which of its files a backup needs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from orchestrator.files.secret_box import KEY_FILE_NAME

#: Files of the data directory that hold secrets which cannot be made anew.
SECRET_FILES = ("admin-token", "session-secret", KEY_FILE_NAME)


@dataclass(frozen=True, kw_only=True, slots=True)
class DataLocation:
    """The data directory and the database of a service."""

    data_dir: Path
    database: Path
    #: Directory of imported and published models; None if they are kept otherwise.
    models: Path | None = None

    @property
    def secrets(self) -> list[Path]:
        """The secret files that exist."""
        return [path for name in SECRET_FILES if (path := self.data_dir / name).is_file()]
