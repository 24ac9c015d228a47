"""Price classes that operators add for their own models, in `prices.toml` beside these.

[models]
"my-class" = "0.004"                              # scaled as its kind says
"my-video" = { price = "0.02", scale = "seconds" }
"""

from __future__ import annotations

import logging
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path

import tomli_w

from orchestrator.catalog.publishing.directory_lock import exclusive_lock
from orchestrator.files.atomic_files import write_atomically
from pricing.book import TariffRevisions
from pricing.rates import TariffError
from pricing.tariff import DEFAULT_TARIFF

log = logging.getLogger(__name__)

OWN_PRICES_NAME = "prices.toml"


def read_own_prices(file: Path) -> dict[str, object]:
    """Return the price classes of a file, written as in a tariff; none if it does not exist.

    Raises TariffError.
    """
    try:
        data = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise TariffError(f"{file}: {error}") from error
    models = data.pop("models", {})
    if data or not isinstance(models, dict):
        raise TariffError(f"{file}: must have one table, `models` (got {', '.join(data) or 'another value'})")
    return models


def add_own_prices(revisions: TariffRevisions, prices: Mapping[str, object], file: Path) -> TariffRevisions:
    """Return the tariffs with these price classes in every revision of the default one that lacks them.

    Raises TariffError.
    """
    changed = []
    for tariff in revisions.tariffs:
        for name, price in prices.items() if tariff.id == DEFAULT_TARIFF else ():
            try:
                tariff = tariff if name in tariff else tariff.with_price(name, price)
            except TariffError as error:
                raise TariffError(f"{file}: {error}") from error
        changed.append(tariff)
    return TariffRevisions(tuple(changed))


def write_own_price(file: Path, name: str, price: object) -> None:
    """Add a price class to the file, or replace it. Raises TariffError, OSError."""
    with exclusive_lock(file.parent):
        prices = read_own_prices(file) | {name: price}
        with write_atomically(file) as written:
            written.write(tomli_w.dumps({"models": prices}).encode())


class LiveTariffs:
    """The tariffs of an installation; reads `prices.toml` again when it has changed."""

    def __init__(self, load: Callable[[], TariffRevisions], file: Path) -> None:
        """`load` returns the tariffs with the classes of `file`. Raises TariffError."""
        self._load = load
        self._file = file
        self._mark = self._read_mark()
        self._revisions = load()

    def current(self) -> TariffRevisions:
        """Return the tariffs; the earlier ones if the file has become invalid."""
        mark = self._read_mark()
        if mark != self._mark:
            self._mark = mark
            try:
                self._revisions = self._load()
            except TariffError as error:
                log.error("cannot read the price classes, keeping the earlier ones: %s", error)
        return self._revisions

    def _read_mark(self) -> tuple[int, int] | None:
        try:
            stat = self._file.stat()
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_size
