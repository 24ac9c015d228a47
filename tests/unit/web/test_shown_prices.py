"""The price that a model's page shows for a name is the price that requests for this name are charged."""

from __future__ import annotations

from datetime import date
from fractions import Fraction

import pytest

from orchestrator.billing.price_book import PriceBook, to_billable_work
from orchestrator.catalog import Catalog, load_stand_ins
from orchestrator.settings import SHIPPED_WORKFLOWS_DIR
from orchestrator.web.dialects.pixeldojo.models import model_credit_cost
from orchestrator.web.dialects.pixeldojo.translation import TARIFF
from pricing.book import TariffRevisions
from tests.support.shipped import SHIPPED_CATALOG

PLAIN = SHIPPED_CATALOG
PRICES = PriceBook(TariffRevisions.load(), date(2026, 3, 1))


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    table = tmp_path_factory.mktemp("table") / "stand-ins.toml"
    shipped = (SHIPPED_WORKFLOWS_DIR / "stand-ins.toml").read_text()
    table.write_text(shipped.replace("enabled = false", "enabled = true"))
    return PLAIN.with_stand_ins(load_stand_ins(table, PLAIN))


def test_every_name_shows_the_price_that_it_is_charged(catalog: Catalog) -> None:
    names = [*(name for model in PLAIN for name in (model.id, *model.aliases)), *catalog.stand_ins]
    assert len(names) > 60
    for name in names:
        model = catalog[name]
        work = to_billable_work(model, model.example_params(), None)
        charged = PRICES.quote(TARIFF, model, work, name)
        shown = model_credit_cost(model, PRICES, name)
        row = PRICES.find_price(TARIFF, model, name)
        if row is None:
            credits = Fraction(charged.micros) / PRICES.micros_per_unit(TARIFF)
            assert Fraction(shown.amount) == pytest.approx(credits), name
        else:
            assert Fraction(str(shown.amount)) == row[1].base, name
            assert PRICES.find_price(TARIFF, model, name) == (row[0], row[1])
