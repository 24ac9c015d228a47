"""The billing page: wallet, spending, ledger, budget alerts and webhook messages."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.test_pages import UNNAMED_CONTROLS
from tests.support.browser import admin, new_key, sign_in
from tests.support.service import ServiceProcess

PRICE = "$0.01"


def section(page: Page, name: str) -> Locator:
    return page.get_by_role("region", name=name)


def post(service: ServiceProcess, key: str, path: str, **body: Any) -> httpx.Response:
    """Send a POST request to the public API."""
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.post(f"{service.url}{path}", json=body, headers=headers, timeout=60).raise_for_status()


def spend(service: ServiceProcess, key: str, times: int = 1) -> None:
    """Run jobs that cost one cent each."""
    for _ in range(times):
        small = {"prompt": "a cat", "size": "256x256", "steps": 1, "response_format": "url"}
        post(service, key, "/api/v1/images/generations", **small)


def add_alert(service: ServiceProcess, key: str, **terms: Any) -> None:
    post(service, key, "/api/v1/billing/alerts", **terms)


@pytest.fixture
def key(service: ServiceProcess) -> str:
    """The key of an account with five dollars."""
    return str(new_key(service, "5.00")["key"])


def open_billing_page(page: Page, key: str) -> None:
    sign_in(page, key)
    page.get_by_role("link", name="Billing", exact=True).click()
    expect(page.get_by_role("heading", name="Wallet")).to_be_visible()


def test_shows_spending_in_wallet_chart_tables_and_ledger(
    page: Page, service: ServiceProcess, key: str
) -> None:
    spend(service, key, 2)
    open_billing_page(page, key)
    expect(page.get_by_role("link", name="Billing", exact=True)).to_have_attribute("aria-current", "page")
    expect(section(page, "Wallet")).to_contain_text("Available$4.98")
    expect(page.locator("#balance")).to_have_text("Balance $4.98")
    spending = section(page, "Spending")
    expect(spending.get_by_text("$0.02 for 2 jobs")).to_be_visible()
    chart = spending.get_by_role("img", name="Spending by day: This month")
    heights = chart.locator(".chart-bar").evaluate_all("bars => bars.map(bar => +bar.getAttribute('height'))")
    assert 28 <= len(heights) <= 31
    assert sorted(heights)[-2:] == [0, 100]
    for row in ("flux-1-schnell 2 $0.02", "tester (pk-"):
        expect(spending.get_by_role("row", name=row)).to_be_visible()
    ledger = section(page, "Ledger")
    kinds = ledger.locator("tbody td:nth-child(2) span:first-child")
    expect(kinds).to_have_text(["Charged", "Charged", "Payment"])
    expect(ledger.locator("tbody td:nth-child(3)")).to_have_text([f"-{PRICE}", f"-{PRICE}", "+$5.00"])
    expect(ledger.locator("tbody td:last-child")).to_have_text(["$4.98", "$4.99", "$5.00"])
    ledger.get_by_label("Show held amounts").check()
    expect(kinds).to_have_text([*["Charged", "Held"] * 2, "Payment"])
    expect(ledger.locator("tbody td:last-child")).to_have_text(["$4.98", "$4.99", "$4.99", "$5.00", "$5.00"])
    assert page.evaluate(UNNAMED_CONTROLS) == []


@pytest.mark.slow
def test_an_entry_of_the_ledger_leads_to_its_result(page: Page, service: ServiceProcess, key: str) -> None:
    spend(service, key)
    open_billing_page(page, key)
    section(page, "Ledger").get_by_role("link", name="flux-1-schnell").click()
    expect(page.get_by_role("dialog").get_by_text("a cat", exact=True)).to_be_visible()
    expect(page).to_have_url(f"{service.url}/")


@pytest.mark.slow
def test_changes_the_period_and_downloads_csv(page: Page, service: ServiceProcess, key: str) -> None:
    spend(service, key)
    open_billing_page(page, key)
    spending = section(page, "Spending")
    for link, begin in (("Ledger", "at,kind"), ("Usage by model", "model,jobs")):
        with page.expect_download() as download:
            spending.get_by_role("link", name=link).click()
        assert download.value.path().read_text().replace('"', "").startswith(begin)
    spending.get_by_label("Period").select_option(index=4)
    expect(spending.get_by_text("$0.00 for 0 jobs")).to_be_visible()
    expect(spending.get_by_text("No spending in this period.")).to_be_visible()
    expect(spending.get_by_role("img")).to_have_count(0)


@pytest.mark.slow
def test_loads_older_ledger_entries_by_page(page: Page, service: ServiceProcess) -> None:
    made = new_key(service, "5.00")
    for number in range(20):
        admin(service, f"wallets/{made['account']}/credit", usd="1.00", reference=f"payment {number}")
    open_billing_page(page, made["key"])
    rows = section(page, "Ledger").locator("tbody tr")
    expect(rows).to_have_count(20)
    page.get_by_role("button", name="Load older").click()
    expect(rows).to_have_count(21)
    expect(page.get_by_role("button", name="Load older")).to_be_hidden()


@pytest.mark.slow
def test_empty_states_explain_what_will_appear(page: Page, service: ServiceProcess) -> None:
    made = admin(service, "keys", name="newcomer", plan="starter")
    open_billing_page(page, made["key"])
    expect(section(page, "Wallet")).to_contain_text("starter, $9.00 a month")
    expect(section(page, "Wallet")).to_contain_text("$1.50 of $1.50 left; renews on ")
    for text in ("No budget alerts yet.", "No spending in this period.", "No webhook messages yet."):
        expect(page.get_by_text(text)).to_be_visible()


@pytest.mark.slow
def test_adds_changes_and_removes_an_alert_that_fires(page: Page, service: ServiceProcess, key: str) -> None:
    open_billing_page(page, key)
    alerts = section(page, "Budget alerts")
    alerts.get_by_text("New alert").click()
    alerts.get_by_label("Condition").select_option("Daily spending reaches")
    alerts.get_by_label("Threshold ($)").fill("$0.01")
    alerts.get_by_role("button", name="Add alert").click()
    item = alerts.get_by_role("listitem")
    expect(item).to_contain_text("Daily spending reaches $0.01")
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
    item.get_by_label("Threshold ($)").fill("3")
    item.get_by_role("button", name="Save").click()
    expect(item).to_contain_text("$3.00")
    expect(item.get_by_text("Fired")).to_be_hidden()
    expect(notice).to_be_hidden()
    item.get_by_role("button", name="Remove").click()
    expect(page.get_by_text("No budget alerts yet.")).to_be_visible()


@pytest.mark.slow
def test_shows_errors_of_an_alert_at_the_field_at_fault(page: Page, key: str) -> None:
    open_billing_page(page, key)
    form = page.get_by_role("form", name="Add alert")
    page.get_by_text("New alert").click()
    form.get_by_role("button", name="Add alert").click()
    threshold = form.get_by_label("Threshold ($)")
    expect(form.get_by_role("alert")).to_have_text("Threshold ($) is required")
    expect(threshold).to_be_focused()
    threshold.fill("1")
    expect(form.get_by_role("alert")).to_be_hidden()
    form.get_by_label("Webhook URL").fill("ftp://files.example")
    form.get_by_role("button", name="Add alert").click()
    expect(form.get_by_role("alert")).to_contain_text("Webhook URL must be an http(s) URL of a public host")
    expect(form.get_by_label("Webhook URL")).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_text("No budget alerts yet.")).to_be_visible()


@pytest.mark.slow
def test_lists_delivery_attempts_and_sends_a_message_again(
    page: Page, service: ServiceProcess, key: str
) -> None:
    """The webhook URL is a page of the service that accepts no POST requests."""
    url = f"{service.url}/healthz"
    add_alert(service, key, watch="balance", threshold_usd=9, url=url)
    open_billing_page(page, key)
    message = section(page, "Webhook messages").get_by_role("listitem").filter(has_text="budget.alert")
    expect(message).to_be_visible()

    def is_retrying() -> bool:
        page.reload()
        expect(message).to_be_visible()
        return "Retrying" in message.inner_text()

    assert any(is_retrying() for _ in range(20))
    message.get_by_text("budget.alert").click()
    # The next attempt may follow before the page is read.
    expect(message.get_by_text("HTTP 405 after").first).to_be_visible()
    expect(message.get_by_text(f"To {url}")).to_be_visible()
    message.get_by_role("button", name="Send again").click()
    expect(
        page.get_by_role("status").filter(has_text="The message is queued to be sent again.")
    ).to_have_count(1)


@pytest.mark.slow
def test_shows_rotates_and_hides_the_signing_secret(page: Page, key: str) -> None:
    open_billing_page(page, key)
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


@pytest.mark.slow
def test_explains_a_missing_scope(page: Page, service: ServiceProcess) -> None:
    made = admin(service, "keys", name="guest", credit_usd="1.00", scopes=["read"])
    sign_in(page, made["key"])
    page.get_by_role("link", name="Billing", exact=True).click()
    expect(page.get_by_text("lacks the scope billing")).to_be_visible()
    expect(page.get_by_role("heading", name="Wallet")).to_be_hidden()


@pytest.mark.slow
def test_a_section_that_fails_can_be_loaded_again(page: Page, key: str) -> None:
    page.route("**/billing/ledger?*", lambda route: route.abort(), times=1)
    open_billing_page(page, key)
    ledger = section(page, "Ledger")
    expect(ledger.get_by_role("alert")).to_have_text(
        "The service cannot be reached. Check your connection and try again."
    )
    ledger.get_by_role("button", name="Try again").click()
    expect(ledger.get_by_text("Payment", exact=True)).to_be_visible()
    expect(ledger.get_by_role("alert")).to_have_count(0)


def test_billing_and_keys_pages_fit_a_phone(page: Page, service: ServiceProcess, key: str) -> None:
    spend(service, key)
    add_alert(service, key, watch="balance", threshold_usd=9, url=f"{service.url}/{'long/' * 40}")
    page.set_viewport_size({"width": 360, "height": 740})
    open_billing_page(page, key)
    expect(section(page, "Ledger").get_by_text("Payment", exact=True)).to_be_visible()
    for name, heading in (("Billing", "Wallet"), ("Keys", "API keys")):
        page.get_by_role("link", name=name, exact=True).click()
        expect(page.get_by_role("heading", name=heading)).to_be_visible()
        sizes = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert sizes[0] <= sizes[1]
