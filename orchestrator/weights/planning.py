"""Plan a download: the weight files that a set of models needs on a GPU profile, and which are missing."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from orchestrator.catalog import Model, SourceWeightFile, WeightFile
from orchestrator.weights.errors import InsufficientDiskSpace, WeightError
from orchestrator.weights.file_checks import find_size_problem
from orchestrator.weights.partial_file import PartialDownload

#: Space that a download leaves free on the disk.
MIN_FREE_BYTES = 2**30


class WeightFileState(StrEnum):
    """Whether a weight file is on the disk."""

    PRESENT = "present"  #: has the right size
    PARTIAL = "partial"  #: a download has started
    WRONG_SIZE = "wrong size"  #: has another size than in the manifest
    MISSING = "missing"


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedFile:
    """One file and the models that need it."""

    weight: WeightFile
    models: tuple[str, ...]
    state: WeightFileState
    #: Bytes of a partial download.
    downloaded_bytes: int = 0

    @property
    def path(self) -> str:
        return self.weight.path

    @property
    def is_made(self) -> bool:
        """Whether the file is made from another one on this machine, and not downloaded."""
        return bool(self.weight.made_by)

    @property
    def missing_bytes(self) -> int:
        """Bytes to download or to make, by the size in the manifest."""
        return (
            0 if self.state is WeightFileState.PRESENT else max(0, self.weight.bytes - self.downloaded_bytes)
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class DownloadPlan:
    """All needed files, sorted by path."""

    models_dir: Path
    files: tuple[PlannedFile, ...]

    @property
    def total_bytes(self) -> int:
        return sum(file.weight.bytes for file in self.files)

    @property
    def missing_files(self) -> tuple[PlannedFile, ...]:
        return tuple(file for file in self.files if file.state is not WeightFileState.PRESENT)

    @property
    def missing_downloads(self) -> tuple[PlannedFile, ...]:
        """The missing files that are downloaded, sources of those that are made included."""
        return tuple(file for file in self.missing_files if not file.is_made)

    @property
    def missing_made(self) -> tuple[PlannedFile, ...]:
        """The missing files that are made from others."""
        return tuple(file for file in self.missing_files if file.is_made)

    @property
    def missing_bytes(self) -> int:
        return sum(file.missing_bytes for file in self.files)

    def check_space(self) -> None:
        """Raise InsufficientDiskSpace unless all missing bytes fit on the disk."""
        free, wanted = free_disk_bytes(self.models_dir), self.missing_bytes
        if wanted + MIN_FREE_BYTES > free:
            raise InsufficientDiskSpace(
                f"{wanted / 1e9:.1f} GB are to be downloaded{' and made' * bool(self.missing_made)}, but"
                f" {self.models_dir} has {free / 1e9:.1f} GB free; make space or name fewer models"
            )


def plan_downloads(models: Iterable[Model], dtypes: Sequence[str], models_dir: Path) -> DownloadPlan:
    """Return the files that the models load on a GPU that prefers `dtypes`, best first.

    What a missing file is made from is one of them. Raises WeightError if two models declare different
    files for the same path.
    """
    users: dict[str, list[str]] = {}
    weights: dict[str, WeightFile] = {}
    for model in models:
        for weight in model.select_weights(dtypes):
            needed = [weight]
            if weight.source is not None and not (models_dir / weight.path).is_file():
                needed.append(source_as_weight(weight, weight.source))
                needed += [row for row in model.manifest.weights if row.path == weight.source.parts]
            for file in needed:
                users.setdefault(file.path, []).append(model.id)
                weights[file.path] = _merge_weights(weights.get(file.path), file)
    files = [_plan_file(weights[path], tuple(users[path]), models_dir) for path in sorted(weights)]
    return DownloadPlan(models_dir=models_dir, files=tuple(files))


def free_disk_bytes(directory: Path) -> int:
    """Return the free bytes of the disk that holds, or will hold, the directory."""
    while not directory.exists():
        directory = directory.parent
    return shutil.disk_usage(directory).free


def source_as_weight(weight: WeightFile, source: SourceWeightFile) -> WeightFile:
    """Return the row for what a file is made from."""
    fields = source.model_dump(exclude={"parts"})
    return WeightFile.model_validate({**fields, "slot": weight.slot, "license": weight.license})


def _merge_weights(one: WeightFile | None, other: WeightFile) -> WeightFile:
    if one is None or not one.sha256:
        return other
    if other.sha256 not in ("", one.sha256):
        raise WeightError(f"two models declare different files for {one.path}: {one.url} and {other.url}")
    return one


def _plan_file(weight: WeightFile, models: tuple[str, ...], models_dir: Path) -> PlannedFile:
    file = models_dir / weight.path
    part = PartialDownload(file)
    if file.is_file():
        # What was made here has the size that came out; the manifest's is an estimate.
        state = (
            WeightFileState.WRONG_SIZE
            if not weight.made_by and find_size_problem(weight, file.stat().st_size)
            else WeightFileState.PRESENT
        )
        return PlannedFile(weight=weight, models=models, state=state)
    if part.exists and part.size:
        return PlannedFile(
            weight=weight, models=models, state=WeightFileState.PARTIAL, downloaded_bytes=part.size
        )
    return PlannedFile(weight=weight, models=models, state=WeightFileState.MISSING)
