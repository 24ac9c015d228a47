"""The documentation at `/docs/`: navigation, search, both colour schemes, narrow windows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.docs_site import build_site, served_site

Scheme = Literal["light", "dark"]
WIDE, NARROW = 1440, 390
WAIT_MS = 15_000


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_site(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def docs_url(site: Path) -> Iterator[str]:
    with served_site(site) as url:
        yield url


@pytest.fixture(params=["light", pytest.param("dark", marks=pytest.mark.slow)])
def scheme(request: pytest.FixtureRequest) -> Scheme:
    scheme: Scheme = request.param
    return scheme


@pytest.fixture
def reader(browser: Browser, docs_url: str, scheme: Scheme) -> Iterator[Page]:
    """The first page. Scripts must raise no error and must not violate the policy of the pages."""
    context = browser.new_context(base_url=docs_url, color_scheme=scheme)
    context.set_default_timeout(WAIT_MS)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.goto("index.html")
    yield page
    context.close()
    assert errors == []


def brightness(page: Page) -> float:
    """How bright the page's background is, from 0 to 255."""
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    numbers = [float(number) for number in re.findall(r"[\d.]+", colour)[:3]]
    # Chromium writes some colours as lightness and others as red, green and blue.
    return sum(numbers) / 3 if colour.startswith("rgb") else numbers[0] * 255


@pytest.mark.slow
def test_a_reader_finds_pages_by_navigation_and_search(reader: Page, scheme: Scheme) -> None:
    reader.set_viewport_size({"width": WIDE, "height": 900})
    assert (brightness(reader) > 127) is (scheme == "light")
    reader.get_by_role("navigation").get_by_role("link", name="Command line").click()
    expect(reader).to_have_url(re.compile(r"/docs/reference/cli\.html$"))
    expect(reader.get_by_role("heading", level=1)).to_contain_text("Command line")
    reader.get_by_role("button", name="Search").click()
    reader.keyboard.type("idempotency")
    found = reader.get_by_text("Retry safely").first
    expect(found).to_be_visible()
    found.click()
    expect(reader).to_have_url(re.compile(r"/docs/how-to/callers\.html#retry-safely$"))
    expect(reader.get_by_role("heading", name="Retry safely")).to_be_in_viewport()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light"], indirect=True)
def test_pages_fit_narrow_windows(reader: Page, docs_url: str, site: Path) -> None:
    reader.set_viewport_size({"width": NARROW, "height": 844})
    reader.locator(".md-header label[for=__drawer]").click()
    expect(reader.get_by_role("navigation").get_by_text("How-tos").first).to_be_in_viewport()
    pages = [file.relative_to(site).as_posix() for file in site.rglob("*.html") if file.name != "404.html"]
    wide = []
    for page in pages:
        reader.goto(page)
        if reader.evaluate("document.documentElement.scrollWidth > innerWidth"):
            wide.append(page)
    assert wide == []
