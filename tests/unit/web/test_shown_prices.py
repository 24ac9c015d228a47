"""The price that a model's page shows for a name is the price that requests for this name are charged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date
from fractions import Fraction
from typing import Any

import pytest

from orchestrator.billing.price_book import PriceBook, to_billable_work
from orchestrator.catalog import Catalog, Model, load_stand_ins
from orchestrator.errors import InvalidRequest
from orchestrator.intake.name_defaults import default_params
from orchestrator.settings import SHIPPED_WORKFLOWS_DIR
from orchestrator.web.dashboard.schemas import to_playground_model
from orchestrator.web.dialects.pixel_factory.translation import to_model_list
from orchestrator.web.dialects.pixeldojo import translation as pixeldojo
from orchestrator.web.dialects.pixeldojo.models import model_credit_cost
from orchestrator.web.dialects.pixeldojo.run_schema import RESOLUTION_NAMES
from orchestrator.web.dialects.pixeldojo.translation import TARIFF
from orchestrator.web.dialects.request_body import parse_body
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
        defaults = default_params(catalog.defaults_of(name), model)
        work = to_billable_work(model, model.example_params(**defaults), None)
        charged = PRICES.quote(TARIFF, model, work, name)
        shown = model_credit_cost(model, PRICES, name, catalog)
        row = PRICES.find_price(TARIFF, model, name)
        if row is None:
            credits = Fraction(charged.micros) / PRICES.micros_per_unit(TARIFF)
            assert Fraction(shown.amount) == pytest.approx(credits), name
        else:
            assert Fraction(str(shown.amount)) == row[1].rate_for(work), name
            assert PRICES.find_price(TARIFF, model, name) == (row[0], row[1])


def test_every_list_shows_the_price_of_a_request_that_sets_nothing(catalog: Catalog) -> None:
    tariff = PRICES.default_tariff
    free = replace(tariff, minimum=Fraction(0))
    for entry in to_model_list(catalog, tariff).data:
        model = catalog[entry.id]
        defaults = default_params(catalog.defaults_of(entry.id), model)
        work = to_billable_work(model, model.example_params(**defaults), None)
        assert entry.price_per_image_cents == free.quote(work).cents, entry.id
        # The selector of the playground names what is charged, the minimum included.
        assert to_playground_model(entry.id, model, tariff, defaults).price_usd == tariff.quote(work).usd
        for task, served in (entry.served_by or {}).items():
            model = catalog[served.model]
            row = default_params(catalog.defaults_of(entry.id), model)
            work = to_billable_work(model, model.example_params(**row), None)
            assert served.price_per_image_cents == free.quote(work).cents, (entry.id, task)


#: Models of small and large results, as stand-ins for every name that has prices by size or length.
SERVING = ("sd-1.5", "qwen-image", "wan2.1-t2v-fast", "wan2.2-i2v-14b", "ltx2.3-t2v", "4x-ultrasharp")


def leaves(table: Mapping[str, Any], *labels: str) -> Iterator[tuple[tuple[str, ...], float]]:
    """Yield the labels and the price of every row of a table."""
    for label, price in table.items():
        if isinstance(price, dict):
            yield from leaves(price, *labels, label)
        else:
            yield (*labels, label), price


def run_params(model: Model, name: str, catalog: Catalog, labels: Sequence[str]) -> dict[str, Any]:
    """Return the validated parameters of a run that asks for what the labels say. Raises InvalidRequest."""
    resolution, *length = labels
    fields = {
        "resolution": resolution,
        **({"duration": float(length[0].removesuffix("s"))} if length else {}),
    }
    needed = [key for key, spec in model.parameters.items() if spec.required]
    fields |= {"image": "a"} if "image" in needed else {}
    request = pixeldojo.to_request(name, parse_body(pixeldojo.RunBody, fields), catalog, idempotency_key=None)
    return model.example_params(**{**dict.fromkeys(needed, "a"), **request.params})


def rate_of_run(model: Model, name: str, params: dict[str, Any]) -> Fraction:
    row = PRICES.find_price(TARIFF, model, name)
    assert row is not None
    return row[1].rate_for(to_billable_work(model, params, None))


def wrong_rows(name: str, model: Model, catalog: Catalog) -> Iterator[str]:
    """Yield what is shown and refused, shown and not charged, or made and not shown."""
    shown = model_credit_cost(model, PRICES, name, catalog).byResolution
    if shown is None or model.output_sizes is None:
        return
    table = dict(leaves(shown))
    for labels, price in table.items():
        try:
            charged = rate_of_run(model, name, run_params(model, name, catalog, labels))
        except InvalidRequest as error:
            yield f"{name} by {model.id}: {labels} is shown and refused: {error.message}"
            continue
        if charged != Fraction(str(price)):
            yield f"{name} by {model.id}: {labels} shows {price} and costs {float(charged)}"
    for resolution in (*RESOLUTION_NAMES, model.manifest.max_resolution):
        try:
            charged = rate_of_run(model, name, run_params(model, name, catalog, [resolution]))
        except InvalidRequest:
            continue
        if charged not in {Fraction(str(price)) for price in table.values()}:
            yield f"{name} by {model.id}: {resolution} costs {float(charged)}, which {table} does not show"


def test_every_row_that_is_shown_is_accepted_at_that_price(catalog: Catalog) -> None:
    names = [*(name for model in PLAIN for name in (model.id, *model.aliases)), *catalog.stand_ins]
    wrong = [text for name in names for text in wrong_rows(name, catalog[name], catalog)]
    assert not wrong, "\n".join(wrong)
    tables = {name: model_credit_cost(catalog[name], PRICES, name, catalog).byResolution for name in names}
    assert tables["nano-banana-pro"] == {"1K": 3, "2K": 3}
    assert tables["wan-2.6-flash"] == {"720p": 1}
    assert tables["sora-2"] == tables["ltx-2-fast-t2v"] == {"1080p": 2}


@pytest.mark.parametrize("served_by", SERVING)
def test_every_row_of_the_price_list_is_right_for_any_model_that_serves_it(served_by: str) -> None:
    prices = PRICES.revisions.in_force_on(TARIFF, PRICES.day).prices
    tiered = [name for name, price in prices.items() if price.tiers and name not in PLAIN]
    assert len(tiered) > 15
    catalog = PLAIN.with_stand_ins(dict.fromkeys(tiered, served_by))
    model = PLAIN[served_by]
    wrong = [text for name in tiered for text in wrong_rows(name, model, catalog)]
    assert not wrong, "\n".join(wrong)
