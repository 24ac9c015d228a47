"""Every price that the other documents print. PixelDojo's lines are kept as printed, in
`documents/`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from fractions import Fraction
from pathlib import Path

import pytest

from pricing.book import TariffRevisions
from pricing.rates import TariffError
from pricing.tariff import Tariff
from pricing.usage import BillableWork, ModelKind

BOOK = TariffRevisions.load()
DOCUMENTS = Path(__file__).parent / "documents"
#: Outputs that a printed resolution stands for.
SIZES = {
    "0.5 MP": (512, 1024),
    "1 MP": (1024, 1024),
    "2 MP": (1024, 2048),
    "4 MP": (2048, 2048),
    "1K": (1024, 1024),
    "2K": (2048, 2048),
    "4K": (4096, 4096),
}


def on(size: str, work: BillableWork) -> BillableWork:
    if size.endswith("p"):
        lines = int(size[:-1])
        return replace(work, width=lines * 16 // 9, height=lines)
    width, height = SIZES[size]
    return replace(work, width=width, height=height)


def printed(line: str) -> Iterator[tuple[BillableWork, Fraction]]:
    """What a line such as `p-video: 0.5 credits/sec (by resolution: 720p=0.5, 1080p=1 /sec)` promises."""
    match = re.fullmatch(r"(\S+): ([\d.]+) (credit\(s\)|credits/sec)(?: \((.+)\))?", line)
    assert match is not None, line
    model, price, per, table = match.groups()
    seconds = 7 if per == "credits/sec" else 1
    work = BillableWork(model=model, kind=ModelKind.VIDEO, frames=24 * seconds, fps=24)
    if table is None:
        yield work, Fraction(price) * seconds
    elif table.startswith("by resolution: "):
        for row in table.removeprefix("by resolution: ").removesuffix(" /sec").split(", "):
            size, amount = row.split("=")
            yield on(size, work), Fraction(amount) * seconds
    else:
        for row in table.split("; "):
            size, clips = row.split(": ")
            for clip in clips.split("/"):
                length, amount = clip.split("s=")
                yield on(size, replace(work, frames=24 * int(length))), Fraction(amount)


def lines(year: int) -> list[str]:
    return (DOCUMENTS / f"pixeldojo-{year}.txt").read_text().splitlines()


@pytest.mark.parametrize(("year", "count"), [(2025, 36), (2026, 132)])
def test_pixeldojo_has_exactly_the_documented_models(year: int, count: int) -> None:
    models = {line.split(":")[0] for line in lines(year)}
    assert len(models) == count
    assert set(BOOK.in_force_on("pixeldojo", date(year, 1, 1)).prices) == models


@pytest.mark.parametrize(("year", "line"), [(year, line) for year in (2025, 2026) for line in lines(year)])
def test_pixeldojo_generates_an_image(year: int, line: str) -> None:
    tariff = BOOK.in_force_on("pixeldojo", date(year, 6, 1))
    for work, credits in printed(line):
        quote = tariff.quote(work)
        assert quote.units == credits
        assert quote.micros == credits * 10_000


@pytest.mark.parametrize(
    ("model", "kind", "credits"),
    [
        ("sdxl", ModelKind.IMAGE, 1),
        ("flux-schnell", ModelKind.IMAGE, 3),
        ("cogvideo-2b", ModelKind.VIDEO, 25),
        ("upscale-4x", ModelKind.UPSCALE, 2),
    ],
)
def test_pixelapi_generates_an_image(model: str, kind: ModelKind, credits: int) -> None:
    work = BillableWork(model=model, kind=kind, width=1536, height=1536, frames=49)
    quote = BOOK.in_force_on("pixelapi", date(2026, 1, 1)).quote(work)
    assert quote.micros == quote.units * 1_000 == credits * 1_000


@pytest.mark.parametrize(
    ("model", "size", "micros"),
    [
        ("flux-2-pro-text-to-image-799", 2048, 60_000),
        ("flux-2-pro-text-to-image-trainer-712", 1024, 8_000_000),
        ("flux-kontext-restore-image", 1024, 40_000),
        ("flux-2-klein-4b", 512, 300),
        ("flux-2-klein-4b", 1024, 700),
        ("flux-2-klein-4b", 1448, 1_400),
        ("flux-2-klein-4b", 2048, 2_800),
        ("pro1.1", 1024, 80_000),
        ("flux-1-schnell", 1024, 0),
        ("flux-pro", 1024, 30_000),
        ("flux-dev", 512, 25_000),
        ("flux-fill-dev", 1024, 40_000),
    ],
)
def test_pixazo(model: str, size: int, micros: int) -> None:
    work = BillableWork(model=model, kind=ModelKind.IMAGE, width=size, height=size)
    assert BOOK.in_force_on("pixazo", date(2026, 1, 1)).quote(work).micros == micros


def test_all_four_documents_have_a_tariff() -> None:
    assert list(BOOK) == ["pixazo", "pixel-factory", "pixelapi", "pixeldojo"]


def test_a_revision_takes_over_on_its_day() -> None:
    before, after = (
        BOOK.in_force_on("pixeldojo", date(2025, 12, 31)),
        BOOK.in_force_on("pixeldojo", date(2026, 1, 1)),
    )
    assert (before.effective, after.effective) == (date(2025, 1, 1), date(2026, 1, 1))
    assert (before.base_cents("p-image"), after.base_cents("p-image")) == (1.0, 0.1)


@pytest.mark.parametrize(("id", "day"), [("unknown", date(2026, 1, 1)), ("pixazo", date(2024, 12, 31))])
def test_no_tariff_is_made_up(id: str, day: date) -> None:
    with pytest.raises(TariffError, match="no tariff"):
        BOOK.in_force_on(id, day)


def test_two_revisions_of_one_day_are_refused() -> None:
    with pytest.raises(TariffError, match="two tariffs 'pixel-factory'"):
        TariffRevisions((Tariff.load(), Tariff.load()))
