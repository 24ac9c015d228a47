from __future__ import annotations

import tomllib
from datetime import date
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pricing.rates import TariffError
from pricing.tariff import SHIPPED_TARIFFS, ModelNotPriced, Tariff
from pricing.usage import BillableWork, ModelKind

PIXEL_FACTORY = Tariff.load()

#: The document's model tables: id, kind, dollars.
DOCUMENTED = [
    ("flux-1-schnell", ModelKind.IMAGE, "0.0005"),
    ("flux-1-dev", ModelKind.IMAGE, "0.0032"),
    ("flux-2-dev", ModelKind.IMAGE, "0.0060"),
    ("sdxl-1.0", ModelKind.IMAGE, "0.0022"),
    ("4x-ultrasharp", ModelKind.UPSCALE, "0.0010"),
    ("wan2.1-t2v-fast", ModelKind.VIDEO, "0.0050"),
    ("wan2.1-t2v-pro", ModelKind.VIDEO, "0.0150"),
    ("wan2.2-t2v-14b", ModelKind.VIDEO, "0.0200"),
    ("ltx2-t2v", ModelKind.VIDEO, "0.0080"),
    ("cogvideox-1.5-5b", ModelKind.VIDEO, "0.0100"),
    ("hunyuan-video-720p", ModelKind.VIDEO, "0.0200"),
    ("wan2.1-i2v-480p", ModelKind.I2V, "0.0200"),
    ("wan2.1-i2v-720p", ModelKind.I2V, "0.0300"),
    ("wan2.2-i2v-14b", ModelKind.I2V, "0.0300"),
]

#: The document's table "Example Cost Calculations".
EXAMPLES = [
    (BillableWork(model="flux-1-schnell", kind=ModelKind.IMAGE), 10_000, True),
    (BillableWork(model="flux-1-schnell", kind=ModelKind.IMAGE, n=4), 10_000, True),
    (BillableWork(model="flux-1-dev", kind=ModelKind.IMAGE, width=2048, height=2048), 12_800, False),
    (BillableWork(model="wan2.1-t2v-pro", kind=ModelKind.VIDEO, frames=81), 15_000, False),
    (BillableWork(model="wan2.1-t2v-pro", kind=ModelKind.VIDEO, frames=162), 30_000, False),
    (BillableWork(model="hunyuan-video-720p", kind=ModelKind.VIDEO, frames=81), 20_000, False),
]


@pytest.mark.parametrize(("model", "kind", "dollars"), DOCUMENTED)
def test_every_documented_price(model: str, kind: ModelKind, dollars: str) -> None:
    assert PIXEL_FACTORY.base_micros(model) == Fraction(dollars) * 1_000_000
    assert PIXEL_FACTORY.base_cents(model) == float(Fraction(dollars) * 100)
    hundred = PIXEL_FACTORY.quote(BillableWork(model=model, kind=kind, n=100, frames=81))
    assert hundred.micros == Fraction(dollars) * 100_000_000


@pytest.mark.parametrize(("work", "micros", "minimum"), EXAMPLES)
def test_every_row_of_the_example_table(work: BillableWork, micros: int, minimum: bool) -> None:
    quote = PIXEL_FACTORY.quote(work)
    assert (quote.micros, quote.minimum_applied) == (micros, minimum)
    assert (quote.tariff_id, quote.effective) == ("pixel-factory", date(2025, 1, 1))


def test_a_quote_in_dollars_and_cents() -> None:
    quote = PIXEL_FACTORY.quote(
        BillableWork(model="flux-1-dev", kind=ModelKind.IMAGE, width=2048, height=2048)
    )
    assert (quote.usd, quote.cents, quote.units) == (0.0128, 1.28, Fraction(128, 10_000))


def test_an_upscale_is_priced_by_its_output() -> None:
    quote = PIXEL_FACTORY.quote(
        BillableWork(model="4x-ultrasharp", kind=ModelKind.UPSCALE, width=8192, height=8192)
    )
    assert quote.micros == 64_000


def test_the_size_of_a_video_does_not_matter_and_its_frames_do() -> None:
    small = PIXEL_FACTORY.quote(
        BillableWork(model="ltx2-t2v", kind=ModelKind.VIDEO, width=256, height=256, frames=243)
    )
    large = PIXEL_FACTORY.quote(
        BillableWork(model="ltx2-t2v", kind=ModelKind.VIDEO, width=1280, height=720, frames=243)
    )
    assert small == large
    assert small.micros == 24_000


def test_a_fraction_of_a_micro_dollar_is_rounded_up_once() -> None:
    tariff = PIXEL_FACTORY.with_price("tiny", {"price": "0.0100000001", "scale": "flat"})
    assert tariff.quote(BillableWork(model="tiny", kind=ModelKind.IMAGE)).micros == 10_001
    assert tariff.quote(BillableWork(model="tiny", kind=ModelKind.IMAGE, n=10_000)).micros == 100_000_001


def test_the_exact_minimum_is_not_called_the_minimum() -> None:
    quote = PIXEL_FACTORY.quote(BillableWork(model="wan2.1-t2v-fast", kind=ModelKind.VIDEO, frames=162))
    assert (quote.micros, quote.minimum_applied) == (10_000, False)


@given(st.integers(1, 4), st.integers(32, 1024), st.integers(32, 1024))
def test_more_never_costs_less(n: int, eighths: int, other: int) -> None:
    work = BillableWork(model="flux-2-dev", kind=ModelKind.IMAGE, n=n, width=8 * eighths, height=8 * other)
    more = BillableWork(
        model="flux-2-dev", kind=ModelKind.IMAGE, n=n + 1, width=work.width + 8, height=work.height
    )
    assert 10_000 <= PIXEL_FACTORY.quote(work).micros <= PIXEL_FACTORY.quote(more).micros


def test_huge_work_is_priced_exactly() -> None:
    side = 2**20
    quote = PIXEL_FACTORY.quote(
        BillableWork(model="flux-1-dev", kind=ModelKind.IMAGE, n=4, width=side, height=side)
    )
    assert quote.micros == 3_200 * 2**20 * 4


@pytest.mark.parametrize("change", [{"n": 0}, {"width": 0}, {"height": -8}, {"frames": 0}, {"fps": 0.0}])
def test_work_is_positive(change: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="positive"):
        BillableWork(model="sdxl-1.0", kind=ModelKind.IMAGE, **change)


def test_an_unknown_model_has_no_price() -> None:
    assert "unknown" not in PIXEL_FACTORY
    with pytest.raises(ModelNotPriced, match="pixel-factory has no price for 'unknown'"):
        PIXEL_FACTORY.quote(BillableWork(model="unknown", kind=ModelKind.IMAGE))


def test_a_model_may_be_added_with_a_price_of_its_own_or_of_another() -> None:
    tariff = PIXEL_FACTORY.with_price("mine", "0.02").with_price("twin", {"like": "sdxl-1.0"})
    assert tariff.base_cents("mine") == 2.0
    assert tariff.base_cents("twin") == PIXEL_FACTORY.base_cents("sdxl-1.0")
    assert "mine" not in PIXEL_FACTORY


@pytest.mark.parametrize("price", [{"like": "unknown"}, "free", 0.02, {}, {"price": "1", "scale": "weight"}])
def test_an_invalid_price_names_the_model(price: object) -> None:
    with pytest.raises(TariffError, match="mine"):
        PIXEL_FACTORY.with_price("mine", price)


def shipped() -> dict[str, object]:
    return tomllib.loads((SHIPPED_TARIFFS / "pixel-factory.toml").read_text())


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"currency": "EUR"}, "currency"),
        ({"effective": "soon"}, "must be a date"),
        ({"minimum": 0.01}, "in quotes"),
        ({"scale": {"image": "weight"}}, "weight"),
        ({"scale": {"image": "flat"}}, "nothing said about 3d, i2v, trainer, upscale, video"),
        ({"models": {"m": {"price": "1", "tiers": {}}}}, "m: "),
    ],
)
def test_a_broken_tariff_says_what_is_wrong(change: dict[str, object], text: str) -> None:
    with pytest.raises(TariffError, match=text):
        Tariff.parse({**shipped(), **change})


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("id = ")
    with pytest.raises(TariffError, match=r"mine\.toml"):
        Tariff.load(path)
    with pytest.raises(TariffError, match=r"absent\.toml"):
        Tariff.load(tmp_path / "absent.toml")
