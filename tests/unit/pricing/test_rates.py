from __future__ import annotations

from fractions import Fraction

import pytest

from pricing.rates import ModelPrice, Scale, TariffError
from pricing.usage import BillableWork, ModelKind


def image(width: int, height: int) -> BillableWork:
    return BillableWork(model="m", kind=ModelKind.IMAGE, width=width, height=height)


def video(height: int, seconds: int) -> BillableWork:
    return BillableWork(
        model="m", kind=ModelKind.VIDEO, width=height * 16 // 9, height=height, frames=24 * seconds, fps=24
    )


AREA = ModelPrice.parse({"price": "1.5", "tiers": {"4 MP": "5", "0.5 MP": "1", "1 MP": "1.5", "2 MP": "3"}})
SQUARE = ModelPrice.parse({"price": "3", "tiers": {"1K": "2", "2K": "3", "4K": "4"}})
EXACT = ModelPrice.parse({"price": "2", "tiers": {"512x512": "1", "1024x1024": "2"}})
LINES = ModelPrice.parse({"price": "1", "tiers": {"720p": "1", "1080p": "1.5"}})
CLIPS = ModelPrice.parse({"price": "8", "tiers": {"768p": {"6s": "8", "10s": "12"}, "1080p": {"6s": "12"}}})


@pytest.mark.parametrize(
    ("price", "work", "rate"),
    [
        (AREA, image(512, 512), "1"),
        (AREA, image(512, 1024), "1"),
        (AREA, image(1024, 1024), "1.5"),
        (AREA, image(1032, 1024), "3"),
        (AREA, image(2048, 2048), "5"),
        (AREA, image(4096, 4096), "5"),
        (SQUARE, image(1376, 760), "2"),
        (SQUARE, image(2048, 2048), "3"),
        (SQUARE, image(2056, 2048), "4"),
        (EXACT, image(1024, 256), "1"),
        (EXACT, image(520, 512), "2"),
        (LINES, video(480, 5), "1"),
        (LINES, video(720, 5), "1"),
        (LINES, video(1080, 5), "1.5"),
        (CLIPS, video(768, 6), "8"),
        (CLIPS, video(768, 7), "12"),
        (CLIPS, video(1080, 6), "12"),
    ],
)
def test_the_first_tier_that_fits_sets_the_rate(price: ModelPrice, work: BillableWork, rate: str) -> None:
    assert price.rate_for(work) == Fraction(rate)


def test_without_tiers_the_base_price_is_the_rate() -> None:
    assert ModelPrice.parse("0.1").rate_for(image(8192, 8192)) == Fraction(1, 10)


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ({"price": "1", "tiers": {"big": "2"}}, "'big' is not written like"),
        ({"price": "1", "tiers": {"xMP": "2"}}, "'xMP' is not written like"),
        ({"price": "1", "tiers": {"1.2.3 MP": "2"}}, "'1.2.3' is not a decimal number"),
        ({"price": "1", "tiers": {"1 MP": "2", "720p": "3"}}, "must all measure one thing"),
        ({"price": "1", "tiers": "2"}, "must be a table"),
        ({"price": "1", "tiers": {"1 MP": {}}}, "must all measure one thing"),
        ({"price": "1", "per": "image"}, "a price has"),
        ({"price": "-1"}, "is not a decimal number"),
    ],
)
def test_a_broken_price_says_what_is_wrong(entry: object, text: str) -> None:
    with pytest.raises(TariffError, match=text):
        ModelPrice.parse(entry)


@pytest.mark.parametrize(("steps", "factor"), [(1, "0.001"), (1000, "1"), (2500, "2.5")])
def test_training_costs_by_the_step(steps: int, factor: str) -> None:
    work = BillableWork(model="m", kind=ModelKind.TRAINER, steps=steps)
    assert Scale.STEPS.factor_for(work) == Fraction(factor)
