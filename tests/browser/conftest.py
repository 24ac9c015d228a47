"""Fixtures: Chromium, and a running service with simulated instances."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.support.browser import new_key, sign_in
from tests.support.node_project import install_packages
from tests.support.service import ServiceProcess, running

#: The shell without a window, where it is installed, takes a third less of the CPU.
CHROMIUM = shutil.which("chromium-headless-shell") or shutil.which("chromium")
#: Long enough for a machine that runs other tests, too.
WAIT_MS = 40_000

expect.set_options(timeout=WAIT_MS)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)
            if CHROMIUM is None:
                item.add_marker(pytest.mark.skip(reason="no chromium: apt-get install chromium"))


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """Simulated instances at ten times the real speed, so that progress is visible.

    Webhook URLs may be at private addresses.
    """
    environment = {
        "PIXELFACTORY_SIMULATOR_TIME_SCALE": "0.1",
        "PIXELFACTORY_DRAIN_SECONDS": "1",
        "PIXELFACTORY_ALLOW_PRIVATE_URLS": "true",
        "SIMULATOR_MARKED_FAULTS": "1",
    }
    with running(
        ServiceProcess(tmp_path_factory.mktemp("service"), ("--simulate", "2"), environment)
    ) as started:
        yield started


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Close Chromium after each module: Playwright's event loop must end before asynchronous tests start."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()


@pytest.fixture
def context(browser: Browser, service: ServiceProcess) -> Iterator[BrowserContext]:
    context = browser.new_context(base_url=service.url, viewport={"width": 1280, "height": 900})
    context.set_default_timeout(WAIT_MS)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """A page whose scripts must raise no error and must not violate the content security policy."""
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    yield page
    # The browser logs error responses too; tests that expect one check what the page shows.
    assert [text for text in errors if not text.startswith("Failed to load resource")] == []


@pytest.fixture
def playground(page: Page, service: ServiceProcess) -> Page:
    """The playground of an account with five dollars and an empty gallery."""
    sign_in(page, new_key(service, "5.00")["key"])
    expect(page.get_by_text("No results yet.")).to_be_visible()
    return page


@pytest.fixture(scope="session")
def axe_script(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The script of axe-core, which finds problems of accessibility."""
    if not shutil.which("npm"):
        pytest.skip("needs Node.js with npm (Debian: apt install nodejs npm)")
    folder = tmp_path_factory.mktemp("axe")
    install_packages(folder, "axe-core@4")
    return (folder / "node_modules/axe-core/axe.min.js").read_text()
