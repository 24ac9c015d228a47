"""All weight files that are there, held against what the manifests say of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator.catalog import Model, Weight
from orchestrator.weights.checking import Hear, digest, look
from orchestrator.weights.pins import Pins


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What is to be said of one file; nothing where it is right."""

    weight: Weight
    problems: tuple[str, ...]
    #: Whether neither the manifest nor the file's first download says what its bytes should be.
    unproven: bool = False


def on_disk(models: Iterable[Model], models_dir: Path) -> list[Weight]:
    """Every variant of every weight that is there, one row for each path."""
    rows: dict[str, Weight] = {}
    for weight in (weight for model in models for weight in model.manifest.weights):
        known = rows.get(weight.path)
        if known is None or (weight.sha256 and not known.sha256):
            rows[weight.path] = weight
    return [rows[path] for path in sorted(rows) if (models_dir / path).is_file()]


def verify(weights: Iterable[Weight], models_dir: Path, *, whole: bool, hear: Hear) -> Iterator[Verdict]:
    """A verdict on each file; where `whole`, every byte of it counts, and `hear` is told how many were read.

    Raises WeightError where the pins are damaged.
    """
    pins = Pins(models_dir)
    for weight in weights:
        wanted = weight.sha256 or pins.get(weight.path)
        problems = _problems(weight, models_dir, wanted, hear if whole else None)
        yield Verdict(weight=weight, problems=tuple(problems), unproven=wanted is None)


def _problems(weight: Weight, models_dir: Path, wanted: str | None, hear: Hear | None) -> Iterator[str]:
    file = models_dir / weight.path
    try:
        found = look(weight, file)
        yield from found
        if found or hear is None or wanted is None:
            return
        sha = digest(file, hear)
    except OSError as error:
        yield f"it can not be read: {error}"
        return
    if sha != wanted:
        yield f"its bytes are damaged, or another file's: it has SHA-256 {sha}, not {wanted}"
