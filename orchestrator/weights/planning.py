"""What a set of models needs on one kind of GPU, and what of it is there."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from orchestrator.catalog import Model, Weight
from orchestrator.weights.checking import wrong_size
from orchestrator.weights.errors import NoSpace, WeightError
from orchestrator.weights.part import Part

#: Bytes that stay free on the disk.
RESERVE = 2**30


class State(StrEnum):
    PRESENT = "present"  #: there, and of the right size
    PARTIAL = "partial"  #: a download was begun
    WRONG = "wrong size"  #: there, but of another size
    MISSING = "missing"


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedFile:
    """One file, whoever needs it."""

    weight: Weight
    models: tuple[str, ...]
    state: State
    #: Bytes that need not be fetched any more.
    held: int = 0

    @property
    def path(self) -> str:
        return self.weight.path

    @property
    def lacking(self) -> int:
        """Bytes to fetch, as far as the manifest knows."""
        return 0 if self.state is State.PRESENT else max(0, self.weight.bytes - self.held)


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """All files, by folder and name."""

    models_dir: Path
    files: tuple[PlannedFile, ...]

    @property
    def bytes(self) -> int:
        return sum(file.weight.bytes for file in self.files)

    @property
    def lacking(self) -> tuple[PlannedFile, ...]:
        return tuple(file for file in self.files if file.state is not State.PRESENT)

    @property
    def lacking_bytes(self) -> int:
        return sum(file.lacking for file in self.files)

    def check_space(self) -> None:
        """Raises NoSpace unless all that is lacking fits on the disk."""
        free, wanted = free_bytes(self.models_dir), self.lacking_bytes
        if wanted + RESERVE > free:
            raise NoSpace(
                f"{wanted / 1e9:.1f} GB are to be fetched, but {self.models_dir} has {free / 1e9:.1f} GB free"
            )


def plan(models: Iterable[Model], dtypes: Sequence[str], models_dir: Path) -> Plan:
    """What the models load where a GPU prefers `dtypes`, best first.

    Raises WeightError where two models say different things of one file.
    """
    users: dict[str, list[str]] = {}
    weights: dict[str, Weight] = {}
    for model in models:
        for weight in model.weights(dtypes):
            users.setdefault(weight.path, []).append(model.id)
            weights[weight.path] = _agreed(weights.get(weight.path), weight)
    files = [_looked_at(weights[path], tuple(users[path]), models_dir) for path in sorted(weights)]
    return Plan(models_dir=models_dir, files=tuple(files))


def free_bytes(directory: Path) -> int:
    """Free bytes where the directory is, or will be."""
    while not directory.exists():
        directory = directory.parent
    return shutil.disk_usage(directory).free


def _agreed(one: Weight | None, other: Weight) -> Weight:
    if one is None or not one.sha256:
        return other
    if other.sha256 not in ("", one.sha256):
        raise WeightError(f"two models name different files {one.path}: {one.url} and {other.url}")
    return one


def _looked_at(weight: Weight, models: tuple[str, ...], models_dir: Path) -> PlannedFile:
    file = models_dir / weight.path
    part = Part(file)
    if file.is_file():
        state = State.WRONG if wrong_size(weight, file.stat().st_size) else State.PRESENT
        return PlannedFile(weight=weight, models=models, state=state)
    if part.exists and part.size:
        return PlannedFile(weight=weight, models=models, state=State.PARTIAL, held=part.size)
    return PlannedFile(weight=weight, models=models, state=State.MISSING)
