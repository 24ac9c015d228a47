"""By which price list a request is charged."""

from __future__ import annotations

from datetime import date
from fractions import Fraction

import pytest

from orchestrator.billing.price_book import PriceBook, to_billable_work
from orchestrator.catalog import Model
from pricing.book import TariffRevisions
from pricing.rates import TariffError
from pricing.tariff import DEFAULT_TARIFF
from tests.support.shipped import SHIPPED_CATALOG as CATALOG

BOOK = TariffRevisions.load()
PRICES = PriceBook(BOOK, date(2026, 3, 1))


@pytest.mark.parametrize(
    ("tariff", "model", "asked", "units"),
    [
        ("pixelapi", "sdxl-1.0", None, "1"),  # by an alias
        ("pixelapi", "flux-1-schnell", "flux-schnell", "3"),
        ("pixeldojo", "z-image-turbo", "z-image-turbo", "0.5"),  # by its id
        ("pixeldojo", "flux-2-dev", "flux-2-lora", "1"),  # as it was asked for, not as it is called
        (DEFAULT_TARIFF, "sdxl-1.0", "sdxl", "0.01"),  # ours has a minimum
    ],
)
def test_a_list_knows_a_model_by_its_names(tariff: str, model: str, asked: str | None, units: str) -> None:
    found = CATALOG[model]
    quote = PRICES.quote(tariff, found, to_billable_work(found, found.example_params(), None), asked)
    assert (quote.tariff_id, quote.units) == (tariff, Fraction(units))


def test_our_list_knows_price_classes_alone() -> None:
    cheap = CATALOG["z-image-turbo"]
    assert PRICES.find_price(DEFAULT_TARIFF, cheap) == (
        "flux-1-schnell",
        PRICES.default_tariff.prices["flux-1-schnell"],
    )


def test_what_a_list_lacks_is_charged_by_ours() -> None:
    quote = PRICES.example_quote("pixelapi", CATALOG["wan2.2-t2v-14b"])
    assert (quote.tariff_id, quote.micros) == (DEFAULT_TARIFF, 20_000)


@pytest.mark.parametrize("model", list(CATALOG), ids=lambda model: model.id)
@pytest.mark.parametrize("tariff", ["pixelapi", "pixeldojo"])
def test_every_model_has_a_price_in_every_dialect(tariff: str, model: Model) -> None:
    assert PRICES.example_quote(tariff, model).micros > 0


def test_units_are_credits() -> None:
    assert (PRICES.micros_per_unit("pixelapi"), PRICES.micros_per_unit("pixeldojo")) == (
        Fraction(1_000),
        Fraction(10_000),
    )


def test_the_older_document_holds_until_the_newer_one() -> None:
    before = PriceBook(BOOK, date(2025, 6, 1))
    wan = CATALOG["wan2.2-t2v-14b"]
    assert before.find_price("pixeldojo", wan, "xai-video") != PRICES.find_price(
        "pixeldojo", wan, "xai-video"
    )


def test_there_is_no_list_of_that_name() -> None:
    with pytest.raises(TariffError):
        PRICES.micros_per_unit("nobody's")
