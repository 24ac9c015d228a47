"""Price classes of the operator's own models."""

from __future__ import annotations

import os
from datetime import date
from fractions import Fraction
from pathlib import Path

import pytest

from orchestrator.billing.own_prices import write_own_price
from orchestrator.billing.price_files import (
    check_model_priced,
    load_tariffs,
    open_live_tariffs,
    own_prices_file,
)
from orchestrator.catalog import CatalogError
from orchestrator.settings import SHIPPED_WORKFLOWS_DIR, Settings
from pricing.rates import TariffError
from pricing.tariff import DEFAULT_TARIFF, Tariff
from tests.support.shipped import SHIPPED_CATALOG

TODAY = date(2026, 3, 1)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.load(data_dir=tmp_path)


def tariff(settings: Settings) -> Tariff:
    return load_tariffs(settings).in_force_on(DEFAULT_TARIFF, TODAY)


def test_models_are_written_over_the_shipped_ones_and_never_into_them(tmp_path: Path) -> None:
    shipped = Settings.load(data_dir=tmp_path / "data")
    assert shipped.published_path == tmp_path / "data" / "workflows"
    named = Settings.load(
        data_dir=tmp_path / "data", workflows_dir=SHIPPED_WORKFLOWS_DIR / ".." / "workflows"
    )
    assert named.published_path == tmp_path / "data" / "workflows"
    own = Settings.load(data_dir=tmp_path / "data", workflows_dir=tmp_path / "models")
    assert own.published_path == tmp_path / "models"
    shared = Settings.load(workflows_dir=tmp_path / "models", published_dir=tmp_path / "shared")
    assert shared.published_path == tmp_path / "shared"


def test_with_postgresql_the_directory_is_a_copy_unless_one_is_named(tmp_path: Path) -> None:
    place = {"data_dir": tmp_path / "data", "workflows_dir": tmp_path / "models"}
    url = "postgresql://x@127.0.0.1/x"
    copy = Settings.load(**place, database_url=url)
    assert (copy.published_path, copy.shares_models_in_database) == (tmp_path / "data" / "workflows", True)
    mounted = Settings.load(**place, database_url=url, published_dir=tmp_path / "nfs")
    assert (mounted.published_path, mounted.shares_models_in_database) == (tmp_path / "nfs", False)
    alone = Settings.load(**place)
    assert (alone.published_path, alone.shares_models_in_database) == (tmp_path / "models", False)


def test_adds_price_classes_to_the_default_tariff(settings: Settings) -> None:
    file = own_prices_file(settings)
    file.parent.mkdir()
    write_own_price(file, "gold", "0.5")
    write_own_price(file, "silver", {"price": "0.25", "scale": "flat"})
    write_own_price(file, "copper", {"like": "image"})
    found = tariff(settings)
    assert found.base_micros("gold") == 500_000
    assert found.base_micros("silver") == Fraction(250_000)
    assert found.base_micros("copper") == found.base_micros("image")
    assert "gold" not in load_tariffs(settings).in_force_on("pixelapi", TODAY)


def test_a_shipped_price_is_not_replaced(settings: Settings) -> None:
    file = own_prices_file(settings)
    file.parent.mkdir()
    before = tariff(settings).base_micros("image")
    write_own_price(file, "image", "99")
    assert tariff(settings).base_micros("image") == before


@pytest.mark.parametrize(
    "text", ["[models", "[other]\nx = 1\n", "models = 5\n", "[models]\nx = 5\n", '[models]\nx = "free"\n']
)
def test_names_the_file_of_an_invalid_price(settings: Settings, text: str) -> None:
    file = own_prices_file(settings)
    file.parent.mkdir()
    file.write_text(text)
    with pytest.raises(TariffError, match=r"prices\.toml"):
        load_tariffs(settings)


def test_a_running_service_reads_them_again_and_keeps_them_while_they_are_invalid(settings: Settings) -> None:
    live, file = open_live_tariffs(settings), own_prices_file(settings)
    assert "gold" not in live.current().in_force_on(DEFAULT_TARIFF, TODAY)
    file.parent.mkdir()
    write_own_price(file, "gold", "0.5")
    assert "gold" in live.current().in_force_on(DEFAULT_TARIFF, TODAY)
    file.write_text("[models")
    os.utime(file, (1, 1))
    assert "gold" in live.current().in_force_on(DEFAULT_TARIFF, TODAY)


def test_an_unknown_price_class_names_those_there_are(settings: Settings) -> None:
    known = load_tariffs(settings)
    lacking = type(known)(
        tuple(
            type(one)(
                id=one.id,
                effective=one.effective,
                unit=one.unit,
                minimum=one.minimum,
                scales=one.scales,
                prices={name: price for name, price in one.prices.items() if name != "sdxl-1.0"},
            )
            for one in known.tariffs
        )
    )
    with pytest.raises(CatalogError, match=r"there are .*flux-1-schnell.*pixelfactory prices new"):
        check_model_priced(SHIPPED_CATALOG["sdxl-1.0"], lacking, TODAY)
