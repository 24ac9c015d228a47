"""Verify the weight files on the disk against the manifests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator.catalog import Model, WeightFile
from orchestrator.weights.file_checks import (
    ProgressCallback,
    compute_sha256,
    inspect_numbers,
    inspect_weight_file,
)
from orchestrator.weights.pins import PinnedChecksums


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightVerification:
    """The result for one file; it has no problems if the file is right."""

    weight: WeightFile
    problems: tuple[str, ...]
    #: Whether neither the manifest nor a pin has a checksum for the file.
    checksum_unknown: bool = False


def find_weights_on_disk(models: Iterable[Model], models_dir: Path) -> list[WeightFile]:
    """Return every variant of every weight that is on the disk, one per path."""
    rows: dict[str, WeightFile] = {}
    for weight in (weight for model in models for weight in model.manifest.weights):
        known = rows.get(weight.path)
        if known is None or (weight.sha256 and not known.sha256):
            rows[weight.path] = weight
    return [rows[path] for path in sorted(rows) if (models_dir / path).is_file()]


def verify_weights(
    weights: Iterable[WeightFile], models_dir: Path, *, full: bool, on_progress: ProgressCallback
) -> Iterator[WeightVerification]:
    """Yield the result for each file. If `full`, verify checksums; `on_progress` receives the bytes read.

    Raises WeightError if the file of pins is damaged.
    """
    pins = PinnedChecksums(models_dir)
    for weight in weights:
        wanted = weight.sha256 or pins.get(weight.path)
        problems = _find_problems(weight, models_dir, wanted, on_progress if full else None)
        yield WeightVerification(weight=weight, problems=tuple(problems), checksum_unknown=wanted is None)


def _find_problems(
    weight: WeightFile, models_dir: Path, expected_sha256: str | None, on_progress: ProgressCallback | None
) -> Iterator[str]:
    file = models_dir / weight.path
    try:
        found = inspect_weight_file(weight, file)
        yield from found
        if found or on_progress is None:
            return
        problems = inspect_numbers(file)
        yield from problems
        if problems or expected_sha256 is None:
            return
        sha = compute_sha256(file, on_progress)
    except OSError as error:
        yield f"it cannot be read: {error}"
        return
    if sha != expected_sha256:
        yield f"it is damaged or another file: its SHA-256 is {sha}, not {expected_sha256}"
