from __future__ import annotations

from fractions import Fraction

import pytest

from pricing.rates import Price, Scale, TariffError
from pricing.usage import Kind, Work


def image(width: int, height: int) -> Work:
    return Work(model="m", kind=Kind.IMAGE, width=width, height=height)


def video(height: int, seconds: int) -> Work:
    return Work(
        model="m", kind=Kind.VIDEO, width=height * 16 // 9, height=height, frames=24 * seconds, fps=24
    )


AREA = Price.parse({"price": "1.5", "tiers": {"4 MP": "5", "0.5 MP": "1", "1 MP": "1.5", "2 MP": "3"}})
SQUARE = Price.parse({"price": "3", "tiers": {"1K": "2", "2K": "3", "4K": "4"}})
EXACT = Price.parse({"price": "2", "tiers": {"512x512": "1", "1024x1024": "2"}})
LINES = Price.parse({"price": "1", "tiers": {"720p": "1", "1080p": "1.5"}})
CLIPS = Price.parse({"price": "8", "tiers": {"768p": {"6s": "8", "10s": "12"}, "1080p": {"6s": "12"}}})


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
def test_the_first_tier_that_fits_sets_the_rate(price: Price, work: Work, rate: str) -> None:
    assert price.rate(work) == Fraction(rate)


def test_without_tiers_the_base_price_is_the_rate() -> None:
    assert Price.parse("0.1").rate(image(8192, 8192)) == Fraction(1, 10)


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
        Price.parse(entry)


@pytest.mark.parametrize(("steps", "factor"), [(1, "0.001"), (1000, "1"), (2500, "2.5")])
def test_training_costs_by_the_step(steps: int, factor: str) -> None:
    work = Work(model="m", kind=Kind.TRAINER, steps=steps)
    assert Scale.STEPS.factor(work) == Fraction(factor)
