"""The keys page: create, rotate and revoke API keys."""

from __future__ import annotations

import re

import httpx
import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect

from tests.browser.test_pages import UNNAMED_CONTROLS
from tests.support.browser import admin, new_key, sign_in
from tests.support.service import ServiceProcess


def card(page: Page, name: str) -> Locator:
    heading = page.get_by_role("heading", name=name, exact=True)
    return page.get_by_role("listitem").filter(has=heading)


def open_keys_page(page: Page, key: str) -> None:
    sign_in(page, key)
    page.get_by_role("link", name="Keys").click()
    expect(page.get_by_role("heading", name="API keys")).to_be_visible()


def status(service: ServiceProcess, key: str) -> int:
    """Return the status of an API request with this key."""
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.get(f"{service.url}/api/v1/jobs", headers=headers).status_code


def read_secret(page: Page) -> str:
    """Return the secret that the dialog shows, and close the dialog."""
    dialog = page.get_by_role("dialog", name="Secret of ")
    expect(dialog).to_be_visible()
    shown = dialog.locator("code").inner_text()
    dialog.get_by_role("button", name="Done").click()
    expect(dialog).to_be_hidden()
    return shown


@pytest.fixture
def mine(page: Page, service: ServiceProcess) -> str:
    """Open the keys page, and return the API key of its session."""
    key = str(new_key(service, "5.00")["key"])
    open_keys_page(page, key)
    return key


def test_creates_and_revokes_a_key(page: Page, service: ServiceProcess, mine: str) -> None:
    expect(card(page, "tester").get_by_text("You are signed in with this key.")).to_be_visible()
    page.get_by_role("button", name="New key").click()
    form = page.get_by_role("dialog", name="New key")
    form.get_by_label("Name").fill("night shift")
    form.get_by_label("billing").uncheck()
    form.get_by_text("Models", exact=True).click()
    form.get_by_label("Stable Diffusion XL 1.0", exact=True).check()
    form.get_by_label("Daily cap ($)").fill("$2")
    form.get_by_label("Expires").fill("2099-12-31T12:00")
    assert page.evaluate(UNNAMED_CONTROLS) == []
    form.get_by_role("button", name="Create key").click()
    made = read_secret(page)
    shown = card(page, "night shift")
    for fact in ("generate, read", "sdxl-1.0", "$2.00 a day", "Dec 31, 2099, 12:00 PM"):
        expect(shown.get_by_text(fact, exact=True)).to_be_visible()
    assert status(service, made) == 200
    page.reload()
    expect(shown).to_be_visible()
    assert made not in page.content()
    page.once("dialog", lambda dialog: dialog.dismiss())
    shown.get_by_role("button", name="Revoke").click()
    assert status(service, made) == 200
    page.once("dialog", lambda dialog: dialog.accept())
    shown.get_by_role("button", name="Revoke").click()
    expect(page.get_by_text("Revoked and expired keys (1)")).to_be_visible()
    assert status(service, made) == 401
    page.get_by_text("Revoked and expired keys (1)").click()
    expect(shown.get_by_text("revoked", exact=True)).to_be_visible()
    expect(shown.get_by_role("button")).to_have_count(0)


@pytest.mark.slow
def test_shows_errors_at_the_field_at_fault(page: Page, mine: str) -> None:
    page.get_by_role("button", name="New key").click()
    form = page.get_by_role("dialog", name="New key")
    create = form.get_by_role("button", name="Create key")
    create.click()
    expect(form.get_by_label("Name")).to_be_focused()
    form.get_by_label("Name").fill("x")
    form.get_by_label("Monthly cap ($)").fill("-1")
    create.click()
    expect(form.get_by_role("alert")).to_contain_text("Monthly cap ($) must be greater than or equal to 0")
    expect(form.get_by_label("Monthly cap ($)")).to_be_focused()
    form.get_by_label("Monthly cap ($)").fill("1")
    form.get_by_label("Expires").fill("2020-01-01T00:00")
    create.click()
    expect(form.get_by_role("alert")).to_have_text(re.compile("^Expires must be in the future"))
    form.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("listitem")).to_have_count(1)


@pytest.mark.slow
def test_rotating_the_own_key_keeps_the_session(page: Page, service: ServiceProcess, mine: str) -> None:
    page.once("dialog", lambda dialog: dialog.accept())
    card(page, "tester").get_by_role("button", name="Rotate").click()
    fresh = read_secret(page)
    assert (status(service, mine), status(service, fresh)) == (401, 200)
    expect(page.get_by_text("You are signed in with this key.")).to_have_count(1)
    expect(page.get_by_text("Revoked and expired keys (1)")).to_be_visible()


@pytest.mark.slow
def test_revoking_the_own_key_ends_the_session(page: Page, service: ServiceProcess, mine: str) -> None:
    page.once("dialog", lambda dialog: dialog.accept())
    card(page, "tester").get_by_role("button", name="Revoke").click()
    expect(page).to_have_url("/sign-in")
    assert status(service, mine) == 401


@pytest.mark.slow
def test_copies_the_secret_to_the_clipboard(page: Page, context: BrowserContext, mine: str) -> None:
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="New key").click()
    page.get_by_label("Name").fill("copied")
    page.get_by_role("button", name="Create key").click()
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == read_secret(page)


def test_a_limited_key_can_only_list_keys(page: Page, service: ServiceProcess) -> None:
    owner = new_key(service, "1.00")
    guest = admin(service, "keys", name="guest", account=owner["account"], daily_cap_usd=1)
    open_keys_page(page, guest["key"])
    expect(page.get_by_text("Your API key has limits")).to_be_visible()
    expect(card(page, "tester")).to_be_visible()
    for name in ("New key", "Rotate", "Revoke"):
        expect(page.get_by_role("button", name=name)).to_have_count(0)
