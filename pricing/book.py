"""Tariffs with their revisions by date, from the shipped or the operator's folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Self

from pricing.rates import TariffError
from pricing.tariff import SHIPPED_TARIFFS, Tariff


@dataclass(frozen=True, slots=True)
class TariffRevisions:
    """Tariffs by id and start date. Jobs keep the price that they were quoted."""

    #: Oldest revision first.
    tariffs: tuple[Tariff, ...]

    def __post_init__(self) -> None:
        seen = [(tariff.id, tariff.effective) for tariff in self.tariffs]
        for id, effective in seen:
            if seen.count((id, effective)) > 1:
                raise TariffError(f"there are two tariffs {id!r} from {effective} on")

    def __iter__(self) -> Iterator[str]:
        """Return the ids of all tariffs, sorted."""
        return iter(sorted({tariff.id for tariff in self.tariffs}))

    def in_force_on(self, id: str, day: date) -> Tariff:
        """Return the revision in force on a day (UTC). Raises TariffError."""
        in_force = [tariff for tariff in self.tariffs if tariff.id == id and tariff.effective <= day]
        if not in_force:
            raise TariffError(f"there is no tariff {id!r} in force on {day}")
        return in_force[-1]

    @classmethod
    def load(cls, directory: Path | Traversable = SHIPPED_TARIFFS) -> Self:
        """Load all `*.toml` files of a folder. Raises TariffError."""
        files = (file for file in directory.iterdir() if file.name.endswith(".toml"))
        tariffs = (Tariff.load(file) for file in files)
        return cls(tuple(sorted(tariffs, key=lambda tariff: (tariff.effective, tariff.id))))
