"""What the first download of a file was, where no manifest says what it should be."""

from __future__ import annotations

import json
from pathlib import Path

from orchestrator.weights.errors import WeightError

PINS_FILE_NAME = ".pixelfactory-pins.json"


class PinnedChecksums:
    """SHA-256 by path below the models' folder, kept in a file there."""

    def __init__(self, models_dir: Path) -> None:
        """Raises WeightError where the file is damaged, OSError."""
        self._file = models_dir / PINS_FILE_NAME
        self._sha256_by_path: dict[str, str] = {}
        if self._file.exists():
            try:
                self._sha256_by_path = {
                    str(path): str(sha) for path, sha in json.loads(self._file.read_text()).items()
                }
            except (ValueError, AttributeError) as error:
                raise WeightError(f"{self._file} is damaged; without it every file counts as new") from error

    def get(self, path: str) -> str | None:
        return self._sha256_by_path.get(path)

    def add(self, path: str, sha256: str) -> None:
        """Kept at once. Raises OSError."""
        self._sha256_by_path[path] = sha256
        draft = self._file.with_suffix(".new")
        draft.write_text(json.dumps(self._sha256_by_path, indent=1, sort_keys=True) + "\n")
        draft.replace(self._file)
