"""Prices, plans and costs of the operator's own."""

from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path

import pytest

from orchestrator.billing.price_files import (
    check_model_priced,
    load_costs,
    load_plans,
    load_tariffs,
    load_tariffs_for_catalog,
)
from orchestrator.catalog import CatalogError
from orchestrator.settings import Settings, SettingsError
from pricing.plans import SHIPPED_PLANS as PLANS
from pricing.tariff import DEFAULT_TARIFF, SHIPPED_TARIFFS
from tests.support.shipped import SHIPPED_CATALOG as CATALOG

TODAY = date(2026, 3, 1)


@pytest.fixture
def tariffs(tmp_path: Path) -> Path:
    """The price lists that ship, and from 2099 on one of ours without SDXL."""
    shutil.copytree(str(SHIPPED_TARIFFS), tmp_path / "tariffs")
    now = (tmp_path / "tariffs" / f"{DEFAULT_TARIFF}.toml").read_text()
    later = now.replace("effective = 2025-01-01", "effective = 2099-01-01").replace(
        '"sdxl-1.0" =', '"sdxl" ='
    )
    (tmp_path / "tariffs" / "later.toml").write_text(later)
    return tmp_path / "tariffs"


def test_what_ships_prices_every_model_that_ships() -> None:
    settings = Settings.load()
    assert load_tariffs_for_catalog(settings, CATALOG, TODAY).in_force_on(
        DEFAULT_TARIFF, TODAY
    ).effective == date(2025, 1, 1)
    assert load_plans(settings).default.id == "standard"
    assert load_costs(settings).byte_sent > 0


def test_a_model_that_a_coming_list_lacks_is_found_today(tariffs: Path) -> None:
    """And not on the day on which that list takes over."""
    settings = Settings.load(tariffs_dir=tariffs)
    book = load_tariffs(settings)
    with pytest.raises(CatalogError, match="2099-01-01"):
        check_model_priced(CATALOG["sdxl-1.0"], book, TODAY)
    check_model_priced(CATALOG["flux-1-schnell"], book, TODAY)
    with pytest.raises(SettingsError, match=r"sdxl-1\.0.* 2099-01-01"):
        load_tariffs_for_catalog(settings, CATALOG, TODAY)


def test_a_list_that_is_over_may_lack_a_model(tariffs: Path) -> None:
    old = tariffs / "later.toml"
    old.write_text(old.read_text().replace("2099-01-01", "2020-01-01"))
    load_tariffs_for_catalog(Settings.load(tariffs_dir=tariffs), CATALOG, TODAY)


def test_the_operators_own_files_are_read(tmp_path: Path) -> None:
    plans = PLANS.read_text()
    (tmp_path / "plans.toml").write_text(plans.replace('default = "standard"', 'default = "free"'))
    (tmp_path / "costs.toml").write_text(
        'per_gb_stored = "0"\nper_gb_sent = "1"\n[per_gpu_hour]\n"" = "3.6"\n'
    )
    settings = Settings.load(plans_file=tmp_path / "plans.toml", costs_file=tmp_path / "costs.toml")
    assert load_plans(settings).default.id == "free"
    assert load_costs(settings).gpu_second == {"": 1000}
