"""What pages load, and in which order."""

from __future__ import annotations

from collections import Counter
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect

from orchestrator.web.dashboard.pages import CUSTOMER_PAGES, DashboardPage
from tests.support.repeats import first_always


@pytest.mark.parametrize("shown", first_always(CUSTOMER_PAGES), ids=lambda page: page.name)
def test_a_page_asks_for_its_data_once_and_before_its_scripts_have_arrived(
    playground: Page, shown: DashboardPage
) -> None:
    page = playground
    warnings: list[str] = []
    page.on("console", lambda message: warnings.append(message.text) if message.type == "warning" else None)
    requested: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    page.goto(shown.path)
    expect(page.locator("#balance")).to_have_text("Balance $5.00")
    page.wait_for_load_state("networkidle")
    paths = [f"{url.path}{f'?{url.query}' if url.query else ''}" for url in map(urlsplit, requested)]
    counts = Counter(paths)
    data = [f"/dashboard/api/{path}" for path in shown.data]
    assert {path: counts[path] for path in data} == dict.fromkeys(data, 1)
    last_script = max(index for index, path in enumerate(paths) if path.endswith(".js"))
    assert max(map(paths.index, data)) < last_script
    assert [text for text in warnings if "preload" in text] == []


@pytest.mark.slow
def test_the_next_visit_loads_no_script_and_no_style_again(playground: Page) -> None:
    page = playground
    page.goto("/")
    expect(page.locator("#balance")).to_have_text("Balance $5.00")
    entries = page.evaluate(
        """performance.getEntriesByType("resource")
            .filter((entry) => entry.name.includes("/dashboard/static/"))
            .map((entry) => [entry.name, entry.transferSize])"""
    )
    assert len(entries) > 20
    assert [name for name, transferred in entries if transferred] == []


def test_dialogs_are_loaded_when_they_are_first_opened(playground: Page) -> None:
    page = playground
    loaded: list[str] = []
    page.on("request", lambda request: loaded.append(request.url.rpartition("/")[2]))
    page.reload()
    expect(page.locator("#cost")).to_contain_text("$")
    assert {"code-dialog.js", "mask-painter.js"}.isdisjoint(loaded)
    page.route("**/code-samples.js", lambda route: route.abort())
    page.get_by_role("button", name="Copy as code").click()
    expect(page.get_by_role("alert").filter(has_text="cannot be loaded now")).to_be_visible()
    page.unroute("**/code-samples.js")
    page.reload()
    page.get_by_role("button", name="Copy as code").click()
    expect(page.get_by_role("dialog", name="This request as code")).to_be_visible()
