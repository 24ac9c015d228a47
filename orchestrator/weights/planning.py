"""What a set of models needs on one kind of GPU, and what of it is there."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from orchestrator.catalog import Model, WeightFile
from orchestrator.weights.errors import InsufficientDiskSpace, WeightError
from orchestrator.weights.file_checks import find_size_problem
from orchestrator.weights.partial_file import PartialDownload

#: Bytes that stay free on the disk.
MIN_FREE_BYTES = 2**30


class WeightFileState(StrEnum):
    PRESENT = "present"  #: there, and of the right size
    PARTIAL = "partial"  #: a download was begun
    WRONG_SIZE = "wrong size"  #: there, but of another size
    MISSING = "missing"


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedFile:
    """One file, whoever needs it."""

    weight: WeightFile
    models: tuple[str, ...]
    state: WeightFileState
    #: Bytes that need not be fetched any more.
    downloaded_bytes: int = 0

    @property
    def path(self) -> str:
        return self.weight.path

    @property
    def missing_bytes(self) -> int:
        """Bytes to fetch, as far as the manifest knows."""
        return (
            0 if self.state is WeightFileState.PRESENT else max(0, self.weight.bytes - self.downloaded_bytes)
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class DownloadPlan:
    """All files, by folder and name."""

    models_dir: Path
    files: tuple[PlannedFile, ...]

    @property
    def total_bytes(self) -> int:
        return sum(file.weight.bytes for file in self.files)

    @property
    def missing_files(self) -> tuple[PlannedFile, ...]:
        return tuple(file for file in self.files if file.state is not WeightFileState.PRESENT)

    @property
    def missing_bytes(self) -> int:
        return sum(file.missing_bytes for file in self.files)

    def check_space(self) -> None:
        """Raises InsufficientDiskSpace unless all that is lacking fits on the disk."""
        free, wanted = free_disk_bytes(self.models_dir), self.missing_bytes
        if wanted + MIN_FREE_BYTES > free:
            raise InsufficientDiskSpace(
                f"{wanted / 1e9:.1f} GB are to be fetched, but {self.models_dir} has {free / 1e9:.1f} GB free"
            )


def plan_downloads(models: Iterable[Model], dtypes: Sequence[str], models_dir: Path) -> DownloadPlan:
    """What the models load where a GPU prefers `dtypes`, best first.

    Raises WeightError where two models say different things of one file.
    """
    users: dict[str, list[str]] = {}
    weights: dict[str, WeightFile] = {}
    for model in models:
        for weight in model.select_weights(dtypes):
            users.setdefault(weight.path, []).append(model.id)
            weights[weight.path] = _merge_weights(weights.get(weight.path), weight)
    files = [_plan_file(weights[path], tuple(users[path]), models_dir) for path in sorted(weights)]
    return DownloadPlan(models_dir=models_dir, files=tuple(files))


def free_disk_bytes(directory: Path) -> int:
    """Free bytes where the directory is, or will be."""
    while not directory.exists():
        directory = directory.parent
    return shutil.disk_usage(directory).free


def _merge_weights(one: WeightFile | None, other: WeightFile) -> WeightFile:
    if one is None or not one.sha256:
        return other
    if other.sha256 not in ("", one.sha256):
        raise WeightError(f"two models name different files {one.path}: {one.url} and {other.url}")
    return one


def _plan_file(weight: WeightFile, models: tuple[str, ...], models_dir: Path) -> PlannedFile:
    file = models_dir / weight.path
    part = PartialDownload(file)
    if file.is_file():
        state = (
            WeightFileState.WRONG_SIZE
            if find_size_problem(weight, file.stat().st_size)
            else WeightFileState.PRESENT
        )
        return PlannedFile(weight=weight, models=models, state=state)
    if part.exists and part.size:
        return PlannedFile(
            weight=weight, models=models, state=WeightFileState.PARTIAL, downloaded_bytes=part.size
        )
    return PlannedFile(weight=weight, models=models, state=WeightFileState.MISSING)
