"""Pinned checksums: the SHA-256 of the first download of files without one in their manifest."""

from __future__ import annotations

import json
from pathlib import Path

from orchestrator.files.atomic_files import write_atomically
from orchestrator.weights.errors import WeightError

PINS_FILE_NAME = ".pixelfactory-pins.json"


class PinnedChecksums:
    """The SHA-256 by path below the models directory, stored in a JSON file there."""

    def __init__(self, models_dir: Path) -> None:
        """Read the file. Raises WeightError if it is damaged, OSError."""
        self._file = models_dir / PINS_FILE_NAME
        self._sha256_by_path: dict[str, str] = {}
        if self._file.exists():
            try:
                self._sha256_by_path = {
                    str(path): str(sha) for path, sha in json.loads(self._file.read_text()).items()
                }
            except (ValueError, AttributeError) as error:
                raise WeightError(
                    f"{self._file} is damaged: restore it, or delete it to pin the files anew"
                ) from error

    def get(self, path: str) -> str | None:
        return self._sha256_by_path.get(path)

    def add(self, path: str, sha256: str) -> None:
        """Pin a checksum and write the file. Raises OSError."""
        self._sha256_by_path[path] = sha256
        text = json.dumps(self._sha256_by_path, indent=1, sort_keys=True) + "\n"
        with write_atomically(self._file) as file:
            file.write(text.encode())
