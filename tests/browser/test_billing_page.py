"""What people see of their money: left, spent, warned of, told."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.test_pages import NAMELESS
from tests.support.browser import admin, new_key, sign_in
from tests.support.service import ServiceProcess

PRICE = "$0.01"


def section(page: Page, name: str) -> Locator:
    return page.get_by_role("region", name=name)


def ask(service: ServiceProcess, key: str, path: str, **body: Any) -> httpx.Response:
    """A POST to the public API."""
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.post(f"{service.url}{path}", json=body, headers=headers, timeout=60).raise_for_status()


def spend(service: ServiceProcess, key: str, times: int = 1) -> None:
    """A cent each time."""
    for _ in range(times):
        small = {"prompt": "a cat", "size": "256x256", "steps": 1, "response_format": "url"}
        ask(service, key, "/api/v1/images/generations", **small)


def add_alert(service: ServiceProcess, key: str, **terms: Any) -> None:
    ask(service, key, "/api/v1/billing/alerts", **terms)


@pytest.fixture
def key(service: ServiceProcess) -> str:
    """Of an account with five dollars."""
    return str(new_key(service, "5.00")["key"])


def look_at_billing(page: Page, key: str) -> None:
    sign_in(page, key)
    page.get_by_role("link", name="Billing", exact=True).click()
    expect(page.get_by_role("heading", name="Wallet")).to_be_visible()


def test_what_is_spent_shows_everywhere(page: Page, service: ServiceProcess, key: str) -> None:
    spend(service, key, 2)
    look_at_billing(page, key)
    expect(page.get_by_role("link", name="Billing", exact=True)).to_have_attribute("aria-current", "page")
    expect(section(page, "Wallet")).to_contain_text("Available$4.98")
    expect(page.locator("#balance")).to_have_text("Balance $4.98")
    spending = section(page, "Spending")
    expect(spending.get_by_text("$0.02 for 2 jobs")).to_be_visible()
    chart = spending.get_by_role("img", name="Spending by day: This month")
    heights = chart.locator(".bar-of-day").evaluate_all(
        "bars => bars.map(bar => +bar.getAttribute('height'))"
    )
    assert 28 <= len(heights) <= 31
    assert sorted(heights)[-2:] == [0, 100]
    for row in ("flux-1-schnell 2 $0.02", "tester (pk-"):
        expect(spending.get_by_role("row", name=row)).to_be_visible()
    ledger = section(page, "Ledger")
    kinds = ledger.locator("tbody td:nth-child(2) span:first-child")
    expect(kinds).to_have_text([*["Charged", "Held"] * 2, "Payment"])
    expect(ledger.locator("tbody td:last-child")).to_have_text([*[PRICE, f"-{PRICE}"] * 2, "+$5.00"])
    assert page.evaluate(NAMELESS) == []


def test_another_time_has_its_own_figures_and_tables(page: Page, service: ServiceProcess, key: str) -> None:
    spend(service, key)
    look_at_billing(page, key)
    spending = section(page, "Spending")
    for link, begin in (("Ledger", "at,kind"), ("Usage by model", "model,jobs")):
        with page.expect_download() as download:
            spending.get_by_role("link", name=link).click()
        assert download.value.path().read_text().replace('"', "").startswith(begin)
    spending.get_by_label("Time").select_option(index=4)
    expect(spending.get_by_text("$0.00 for 0 jobs")).to_be_visible()
    expect(spending.get_by_text("Nothing was spent in this time.")).to_be_visible()
    expect(spending.get_by_role("img")).to_have_count(0)


def test_older_entries_come_page_by_page(page: Page, service: ServiceProcess) -> None:
    made = new_key(service, "5.00")
    for number in range(20):
        admin(service, f"wallets/{made['account']}/credit", usd="1.00", reference=f"payment {number}")
    look_at_billing(page, made["key"])
    rows = section(page, "Ledger").locator("tbody tr")
    expect(rows).to_have_count(20)
    page.get_by_role("button", name="Older").click()
    expect(rows).to_have_count(21)
    expect(page.get_by_role("button", name="Older")).to_be_hidden()


def test_a_new_account_is_told_what_will_be_here(page: Page, service: ServiceProcess) -> None:
    made = admin(service, "keys", name="newcomer", plan="starter")
    look_at_billing(page, made["key"])
    expect(section(page, "Wallet")).to_contain_text("starter, $9.00 a month")
    expect(section(page, "Wallet")).to_contain_text("$1.50 of $1.50 left; anew on ")
    for words in ("No alerts yet.", "Nothing was spent in this time.", "Nothing was told yet."):
        expect(page.get_by_text(words)).to_be_visible()


def test_an_alert_is_made_fires_and_is_removed(page: Page, service: ServiceProcess, key: str) -> None:
    look_at_billing(page, key)
    alerts = section(page, "Budget alerts")
    alerts.get_by_text("New alert").click()
    alerts.get_by_label("When").select_option("Spending of a day reaches")
    alerts.get_by_label("Dollars").fill("$0.01")
    alerts.get_by_role("button", name="Add alert").click()
    item = alerts.get_by_role("listitem")
    expect(item).to_contain_text("Spending of a day reaches $0.01")
    expect(item.get_by_text("Fired")).to_be_hidden()
    page.get_by_role("link", name="Playground").click()
    page.get_by_label("Prompt", exact=True).fill("a cat")
    notice = page.get_by_role("status").filter(has_text="spending has reached $0.01")
    expect(notice).to_be_hidden()
    page.get_by_role("button", name="Generate").click()
    expect(notice).to_be_visible()
    notice.get_by_role("link").click()
    expect(item.get_by_text("Fired")).to_be_visible()
    item.get_by_role("button", name="Change").click()
    item.get_by_label("Dollars").fill("3")
    item.get_by_role("button", name="Save").click()
    expect(item).to_contain_text("$3.00")
    expect(item.get_by_text("Fired")).to_be_hidden()
    expect(notice).to_be_hidden()
    item.get_by_role("button", name="Remove").click()
    expect(page.get_by_text("No alerts yet.")).to_be_visible()


def test_a_refused_alert_says_why_where_it_is_wrong(page: Page, key: str) -> None:
    look_at_billing(page, key)
    form = page.get_by_role("form", name="Add alert")
    page.get_by_text("New alert").click()
    form.get_by_role("button", name="Add alert").click()
    dollars = form.get_by_label("Dollars")
    expect(form.get_by_role("alert")).to_have_text("Field required")
    expect(dollars).to_be_focused()
    dollars.fill("1")
    expect(form.get_by_role("alert")).to_be_hidden()
    form.get_by_label("Webhook").fill("ftp://files.example")
    form.get_by_role("button", name="Add alert").click()
    expect(form.get_by_role("alert")).to_contain_text("Must be a public http(s) address")
    expect(form.get_by_label("Webhook")).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_text("No alerts yet.")).to_be_visible()


def test_each_try_to_tell_is_shown(page: Page, service: ServiceProcess, key: str) -> None:
    """The receiver is the service itself, at an address that takes no messages."""
    url = f"{service.url}/healthz"
    add_alert(service, key, watch="balance", threshold_usd=9, url=url)
    look_at_billing(page, key)
    message = section(page, "Messages").get_by_role("listitem").filter(has_text="budget.alert")
    expect(message).to_be_visible()

    def tried() -> bool:
        page.reload()
        expect(message).to_be_visible()
        return "To be tried again" in message.inner_text()

    assert any(tried() for _ in range(20))
    message.get_by_text("budget.alert").click()
    expect(message.get_by_text("HTTP 405 after")).to_be_visible()
    expect(message.get_by_text(f"To {url}")).to_be_visible()
    message.get_by_role("button", name="Send again").click()
    expect(page.get_by_role("status").filter(has_text="The message is sent again.")).to_have_count(1)


def test_the_signing_secret_is_shown_when_asked_for(page: Page, key: str) -> None:
    look_at_billing(page, key)
    signing = section(page, "Signing secret")
    secret = signing.locator("code")
    expect(secret).to_have_text("•" * 16)
    signing.get_by_role("button", name="Show").click()
    expect(secret).to_contain_text("whsec_")
    first = secret.inner_text()
    page.once("dialog", lambda dialog: dialog.accept())
    signing.get_by_role("button", name="Rotate").click()
    expect(secret).not_to_have_text(first)
    expect(secret).to_contain_text("whsec_")
    signing.get_by_role("button", name="Hide").click()
    expect(secret).to_have_text("•" * 16)


def test_a_key_without_the_scope_is_told_so(page: Page, service: ServiceProcess) -> None:
    made = admin(service, "keys", name="guest", credit_usd="1.00", scopes=["read"])
    sign_in(page, made["key"])
    page.get_by_role("link", name="Billing", exact=True).click()
    expect(page.get_by_text("lacks the scope billing")).to_be_visible()
    expect(page.get_by_role("heading", name="Wallet")).to_be_hidden()


def test_a_failing_part_can_be_tried_again(page: Page, key: str) -> None:
    page.route("**/billing/ledger?*", lambda route: route.abort(), times=1)
    look_at_billing(page, key)
    ledger = section(page, "Ledger")
    expect(ledger.get_by_role("alert")).to_have_text("The service can not be reached.")
    ledger.get_by_role("button", name="Try again").click()
    expect(ledger.get_by_text("Payment")).to_be_visible()
    expect(ledger.get_by_role("alert")).to_have_count(0)


def test_billing_and_keys_fit_a_phone(page: Page, service: ServiceProcess, key: str) -> None:
    spend(service, key)
    add_alert(service, key, watch="balance", threshold_usd=9, url=f"{service.url}/{'long/' * 40}")
    page.set_viewport_size({"width": 360, "height": 740})
    look_at_billing(page, key)
    expect(section(page, "Ledger").get_by_text("Payment")).to_be_visible()
    for name, heading in (("Billing", "Wallet"), ("Keys", "API keys")):
        page.get_by_role("link", name=name, exact=True).click()
        expect(page.get_by_role("heading", name=heading)).to_be_visible()
        sizes = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert sizes[0] <= sizes[1]
