"""API keys come, are replaced and go, in the hands of who may do that."""

from __future__ import annotations

import httpx
import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect

from tests.browser.test_pages import NAMELESS
from tests.support.browser import admin, new_key, sign_in
from tests.support.service import ServiceProcess


def card(page: Page, name: str) -> Locator:
    heading = page.get_by_role("heading", name=name, exact=True)
    return page.get_by_role("listitem").filter(has=heading)


def look_at_keys(page: Page, key: str) -> None:
    sign_in(page, key)
    page.get_by_role("link", name="Keys").click()
    expect(page.get_by_role("heading", name="API keys")).to_be_visible()


def status(service: ServiceProcess, key: str) -> int:
    """What the API answers to who comes with this key."""
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.get(f"{service.url}/api/v1/jobs", headers=headers).status_code


def secret(page: Page) -> str:
    """Read off the box that shows it this once, which is closed."""
    box = page.get_by_role("dialog", name="Secret of ")
    expect(box).to_be_visible()
    shown = box.locator("code").inner_text()
    box.get_by_role("button", name="Done").click()
    expect(box).to_be_hidden()
    return shown


@pytest.fixture
def mine(page: Page, service: ServiceProcess) -> str:
    """The key that the page is signed in with, at the keys page."""
    key = str(new_key(service, "5.00")["key"])
    look_at_keys(page, key)
    return key


def test_a_key_is_made_used_and_revoked(page: Page, service: ServiceProcess, mine: str) -> None:
    expect(card(page, "tester").get_by_text("You are signed in with this key.")).to_be_visible()
    page.get_by_role("button", name="New key").click()
    form = page.get_by_role("dialog", name="New key")
    form.get_by_label("Name").fill("night shift")
    form.get_by_label("billing").uncheck()
    form.get_by_text("Models", exact=True).click()
    form.get_by_label("Stable Diffusion XL 1.0", exact=True).check()
    form.get_by_label("Dollars a day").fill("$2")
    form.get_by_label("Expires").fill("2099-12-31T12:00")
    assert page.evaluate(NAMELESS) == []
    form.get_by_role("button", name="Create key").click()
    made = secret(page)
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


def test_a_refusal_is_shown_at_its_field(page: Page, mine: str) -> None:
    page.get_by_role("button", name="New key").click()
    form = page.get_by_role("dialog", name="New key")
    create = form.get_by_role("button", name="Create key")
    create.click()
    expect(form.get_by_label("Name")).to_be_focused()
    form.get_by_label("Name").fill("x")
    form.get_by_label("Dollars a month").fill("-1")
    create.click()
    expect(form.get_by_role("alert")).to_have_text("Input should be greater than or equal to 0")
    expect(form.get_by_label("Dollars a month")).to_be_focused()
    form.get_by_label("Dollars a month").fill("1")
    form.get_by_label("Expires").fill("2020-01-01T00:00")
    create.click()
    expect(form.get_by_role("alert")).to_have_text("Has passed")
    form.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("listitem")).to_have_count(1)


def test_rotating_the_own_key_keeps_its_holder_inside(page: Page, service: ServiceProcess, mine: str) -> None:
    page.once("dialog", lambda dialog: dialog.accept())
    card(page, "tester").get_by_role("button", name="Rotate").click()
    fresh = secret(page)
    assert (status(service, mine), status(service, fresh)) == (401, 200)
    expect(page.get_by_text("You are signed in with this key.")).to_have_count(1)
    expect(page.get_by_text("Revoked and expired keys (1)")).to_be_visible()


def test_revoking_the_own_key_signs_out(page: Page, service: ServiceProcess, mine: str) -> None:
    page.once("dialog", lambda dialog: dialog.accept())
    card(page, "tester").get_by_role("button", name="Revoke").click()
    expect(page).to_have_url("/sign-in")
    assert status(service, mine) == 401


def test_a_secret_is_copied(page: Page, context: BrowserContext, mine: str) -> None:
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="New key").click()
    page.get_by_label("Name").fill("copied")
    page.get_by_role("button", name="Create key").click()
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == secret(page)


def test_a_limited_key_only_looks(page: Page, service: ServiceProcess) -> None:
    owner = new_key(service, "1.00")
    guest = admin(service, "keys", name="guest", account=owner["account"], daily_cap_usd=1)
    look_at_keys(page, guest["key"])
    expect(page.get_by_text("a key that has limits of its own")).to_be_visible()
    expect(card(page, "tester")).to_be_visible()
    for name in ("New key", "Rotate", "Revoke"):
        expect(page.get_by_role("button", name=name)).to_have_count(0)
