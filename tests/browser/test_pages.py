"""Sign-in, operations, and the accessibility of all pages."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from playwright.sync_api import BrowserContext, Page, expect
from playwright.sync_api import Error as PlaywrightError

from tests.support.browser import admin, new_key, sign_in
from tests.support.polling import wait_until_sync
from tests.support.service import ServiceProcess


def test_rejects_an_invalid_key(page: Page) -> None:
    sign_in(page, "pk-wrong")
    expect(page.get_by_role("alert")).to_contain_text("This is neither a valid API key nor the admin token")
    page.goto("/")
    expect(page).to_have_url("/sign-in")


def test_browser_stores_no_key_and_sign_out_ends_the_session(
    page: Page, context: BrowserContext, service: ServiceProcess
) -> None:
    key = new_key(service, "1.00")["key"]
    sign_in(page, key)
    expect(page.get_by_role("heading", name="Gallery")).to_be_visible()
    stored = page.evaluate("JSON.stringify([localStorage, sessionStorage, document.cookie])")
    assert stored == '[{},{},""]'
    assert key not in str(context.storage_state())
    page.goto("/sign-in")
    expect(page).to_have_url("/")
    expect(page.locator("#balance")).to_have_text("Balance $1.00")
    page.get_by_role("button", name="Sign out").click()
    expect(page).to_have_url("/sign-in")
    assert context.cookies() == []
    page.goto("/")
    expect(page).to_have_url("/sign-in")


def test_a_revoked_key_leads_to_the_sign_in_page(page: Page, service: ServiceProcess) -> None:
    made = new_key(service, "1.00")
    sign_in(page, made["key"])
    prompt = page.get_by_label("Prompt", exact=True)
    prompt.fill("a cat")
    admin(service, f"keys/{made['id']}/revoke")
    # The change requests a quote, which fails. The page may already be gone when the text is filled in.
    with suppress(PlaywrightError):
        prompt.fill("a dog", timeout=3000)
    expect(page).to_have_url("/sign-in")


@pytest.mark.slow
def test_an_operator_drains_and_resumes_an_instance(page: Page, service: ServiceProcess) -> None:
    sign_in(page, service.admin_token)
    expect(page).to_have_url("/operations")
    expect(page.get_by_text("Simulated instances.")).to_be_visible()
    expect(page.locator("#summary")).to_contain_text("0 shards")
    card = page.get_by_role("listitem").filter(has_text="sim-1")
    expect(card.get_by_text("of 96.0 GiB")).to_be_visible()
    card.get_by_role("button", name="Drain").click()
    page.get_by_role("dialog").get_by_role("button", name="Drain").click()
    expect(card.get_by_text("drained for")).to_be_visible()
    expect(card.get_by_role("button", name="Drain")).to_be_disabled()
    card.get_by_role("button", name="Resume").click()
    page.get_by_role("dialog").get_by_role("button", name="Resume").click()
    expect(card.get_by_text("ready for")).to_be_visible()
    card.get_by_role("button", name="Log").click()
    expect(page.get_by_role("dialog", name="Log of sim-1")).to_be_visible()


@pytest.mark.slow
def test_an_operator_restarts_an_instance(page: Page, service: ServiceProcess) -> None:
    sign_in(page, service.admin_token)
    card = page.get_by_role("listitem").filter(has_text="sim-0")
    expect(card.get_by_text("ready for")).to_be_visible()
    started = find_start(service, "sim-0")
    card.get_by_role("button", name="Restart").click()
    page.get_by_role("dialog").get_by_role("button", name="Restart").click()
    wait_until_sync(lambda: find_start(service, "sim-0") not in (None, started))
    expect(card.get_by_text("ready for")).to_be_visible()


def find_start(service: ServiceProcess, instance_id: str) -> str | None:
    """When the process of an instance was started."""
    request = Request(
        f"{service.url}/admin/v1/instances/{instance_id}",
        headers={"Authorization": f"Bearer {service.admin_token}"},
    )
    with urlopen(request, timeout=60) as response:
        started: str | None = json.load(response)["started_at"]
    return started


@pytest.mark.slow
def test_an_operator_sees_a_quarantined_request_and_downloads_its_graph(
    page: Page, service: ServiceProcess
) -> None:
    key = new_key(service, "1.00")["key"]
    body = json.dumps({"model": "flux-1-schnell", "prompt": "a dog [fault:crash]", "size": "256x256"})
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    request = Request(f"{service.url}/api/v1/images/generations", body.encode(), headers)
    with pytest.raises(HTTPError) as failed:
        urlopen(request, timeout=60)
    assert json.load(failed.value)["error"]["code"] == "quarantined"
    sign_in(page, service.admin_token)
    card = page.get_by_role("listitem").filter(has_text="flux-1-schnell").filter(has_text="instance_gone")
    with page.expect_download() as download:
        card.get_by_role("link", name="Download graph").click()
    graph = json.loads(Path(download.value.path()).read_text())
    assert "[fault:crash]" in json.dumps(graph)
    card.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_role("heading", name="Quarantined requests")).to_be_hidden()
    expect(page.get_by_text("ready for")).to_have_count(2)


#: Return the controls that have no name for screen readers.
UNNAMED_CONTROLS = """() => [...document.querySelectorAll("input, select, textarea, button, a, video")]
    .filter((node) => !node.labels?.length && !node.ariaLabel && !node.getAttribute("aria-labelledby")
        && !node.textContent.trim())
    .map((node) => node.outerHTML)"""


@pytest.mark.slow
def test_every_control_has_a_name(playground: Page) -> None:
    for mode, model in (
        ("Image", "flux-2-dev"),
        ("Image", "flux-1-outpaint"),
        ("Video", "wan2.1-i2v-480p"),
        ("Training", "sd-1.5-lora-trainer"),
    ):
        playground.get_by_role("radio", name=mode, exact=True).check()
        playground.get_by_label("Model", exact=True).select_option(model)
        assert playground.evaluate(UNNAMED_CONTROLS) == []


@pytest.mark.slow
def test_playground_fits_a_phone(playground: Page) -> None:
    playground.set_viewport_size({"width": 360, "height": 740})
    for mode in ("Video", "Image"):
        playground.get_by_role("radio", name=mode, exact=True).check()
        sizes = playground.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert sizes[0] <= sizes[1]


COLOURS = """() => {
    const style = getComputedStyle(document.body);
    const names = "background surface text muted accent on-accent danger notice on-notice".split(" ");
    return Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}"""
#: Pairs of text colour and background colour.
PAIRS = [
    *((text, back) for text in ("text", "muted", "danger", "accent") for back in ("background", "surface")),
    ("on-accent", "accent"),
    ("on-notice", "notice"),
]


def test_text_has_enough_contrast(page: Page) -> None:
    """WCAG AA requires a contrast of at least 4.5. Checked in both colour schemes."""
    page.goto("/sign-in")
    seen = set()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        colours = page.evaluate(COLOURS)
        seen.add(colours["background"])
        too_low = [pair for pair in PAIRS if contrast(colours[pair[0]], colours[pair[1]]) < 4.5]
        assert too_low == []
    assert len(seen) == 2


def contrast(one: str, other: str) -> float:
    brighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    """Return the relative luminance of `#rgb` or `#rrggbb`, as WCAG defines it."""
    digits = colour.removeprefix("#")
    digits = "".join(digit * 2 for digit in digits) if len(digits) == 3 else digits
    channels = [int(digits[index : index + 2], 16) / 255 for index in (0, 2, 4)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
