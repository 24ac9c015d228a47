"""The operator's word that a model may be sold: an audit log in the directory of published models.

DIRECTORY/.licenses.jsonl has one JSON object per line; the last one of a model counts.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from orchestrator.catalog.licenses import forbidding_licenses
from orchestrator.catalog.manifest import ModelManifest
from orchestrator.catalog.publishing.directory_lock import exclusive_lock
from orchestrator.files.atomic_files import write_atomically

ACCEPTED_NAME = ".licenses.jsonl"


@dataclass(frozen=True, kw_only=True, slots=True)
class LicenseRecord:
    """An entry of the log."""

    model: str
    #: The licenses that the entry is about; empty to take the acceptance back.
    licenses: Sequence[str]
    note: str
    #: Who has written it, and when (ISO 8601).
    by: str
    at: str


class AcceptedLicenses:
    """Reads and extends the log. A license that changes has to be accepted again."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._mark: tuple[int, int] | None = None
        self._records: list[LicenseRecord] = []

    @property
    def file(self) -> Path:
        return self._directory / ACCEPTED_NAME

    def records(self) -> list[LicenseRecord]:
        """Return the log, oldest entry first. Raises OSError."""
        try:
            stat = self.file.stat()
        except FileNotFoundError:
            return []
        mark = (stat.st_mtime_ns, stat.st_size)
        if mark != self._mark:
            lines = self.file.read_text("utf-8").splitlines()
            self._records, self._mark = [LicenseRecord(**json.loads(line)) for line in lines if line], mark
        return self._records

    def find(self, model_id: str) -> LicenseRecord | None:
        """Return the entry that counts for a model; None if there is none."""
        found = [record for record in self.records() if record.model == model_id]
        return found[-1] if found and found[-1].licenses else None

    def missing(self, manifest: ModelManifest) -> list[str]:
        """Return the licenses of a model that do not allow to sell its results and are not accepted."""
        accepted = self.find(manifest.id)
        names = accepted.licenses if accepted is not None else ()
        return [name for name in forbidding_licenses(manifest) if name not in names]

    def add(self, record: LicenseRecord) -> None:
        """Append an entry. Raises OSError."""
        line = json.dumps(asdict(record)).encode()
        with exclusive_lock(self._directory):
            before = self.file.read_bytes() if self.file.exists() else b""
            with write_atomically(self.file) as file:
                file.write(before + line + b"\n")
