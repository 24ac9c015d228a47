"""The gallery: search, filters, deletion, thousands of results, comparison, videos and trouble with files."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.conftest import WAIT_MS
from tests.support.browser import admin, new_key, sign_in
from tests.support.gallery_jobs import fill_gallery
from tests.support.service import ServiceProcess

SMALL = {"size": "256x256", "steps": 1}


def make(service: ServiceProcess, key: str, **fields: Any) -> dict[str, Any]:
    """Submit a job by the API and return it once it has ended."""
    headers = {"Authorization": f"Bearer {key}"}
    body = {"response_format": "url", **SMALL, **fields}
    made = httpx.post(f"{service.url}/api/v1/images/generations", json=body, headers=headers, timeout=60)
    assert "X-PixelFactory-Job" in made.headers, made.text
    job_id = made.headers["X-PixelFactory-Job"]
    shown = httpx.get(f"{service.url}/api/v1/jobs/{job_id}", headers=headers).raise_for_status()
    return dict(shown.json())


def results(page: Page) -> Locator:
    return page.get_by_role("button", name="Open ")


def prompts(page: Page) -> Locator:
    return page.locator("#tiles .tile-media + .caption")


@pytest.fixture(scope="module")
def shared_key(service: ServiceProcess) -> str:
    """The key of an account with one image of two models each, and a failed job."""
    key = str(new_key(service, "5.00")["key"])
    make(service, key, prompt="a red fox")
    make(service, key, prompt="a blue whale", model="sdxl-1.0")
    make(service, key, prompt="a fox [fault:node_error]")
    return key


@pytest.fixture
def gallery(page: Page, shared_key: str) -> Page:
    sign_in(page, shared_key)
    expect(results(page)).to_have_count(2)
    return page


def test_finds_results_by_prompt_model_kind_day_and_status(gallery: Page) -> None:
    page = gallery
    page.get_by_label("Search prompts").fill("FOX red")
    expect(prompts(page)).to_have_text(["a red fox"])
    page.get_by_label("Search prompts").fill("zebra")
    expect(page.get_by_text("No result matches these filters.")).to_be_visible()
    page.get_by_role("button", name="Clear filters").click()
    expect(results(page)).to_have_count(2)
    page.get_by_label("Filter by model").select_option("sdxl-1.0")
    expect(prompts(page)).to_have_text(["a blue whale"])
    page.get_by_label("Filter by model").select_option("")
    page.get_by_label("Filter by kind").select_option("Text to video")
    expect(results(page)).to_have_count(0)
    page.get_by_label("Filter by kind").select_option("Images")
    page.get_by_label("Filter by status").select_option("Failed")
    expect(page.get_by_text("Failed, not charged")).to_have_count(1)
    expect(results(page)).to_have_count(0)
    page.get_by_label("Filter by status").select_option("Finished")
    page.get_by_label("Filter by day").fill("2020-01-01")
    expect(page.get_by_text("No result matches these filters.")).to_be_visible()
    page.get_by_label("Filter by day").fill(page.evaluate("new Date().toLocaleDateString('sv')"))
    expect(results(page)).to_have_count(2)


@pytest.mark.slow
def test_shows_small_images_that_never_expire(gallery: Page) -> None:
    image = results(gallery).first.get_by_role("img")
    expect(image).to_have_js_property("complete", True)
    expect(image).to_have_js_property("naturalWidth", 256)
    assert str(image.get_attribute("src")).endswith("/thumbnail")


@pytest.mark.slow
def test_asks_for_a_fresh_url_when_one_has_expired(gallery: Page) -> None:
    page = gallery
    lost: list[str] = []

    def expire_once(route: Any) -> None:
        lost.append(route.request.url)
        route.fulfill(status=404) if len(lost) == 1 else route.continue_()

    page.route("**/results/**", expire_once)
    # The URL of a later look differs: that of the first has the second in which it was made.
    page.wait_for_timeout(1100)
    results(page).first.click()
    expect(page.get_by_role("dialog").get_by_role("img")).to_have_js_property("naturalWidth", 256)
    assert len(set(lost)) == 2


@pytest.mark.slow
def test_says_whether_a_file_is_gone_or_the_browser_offline(
    page: Page, service: ServiceProcess, shared_key: str
) -> None:
    made = new_key(service, "1.00")
    job = make(service, made["key"], prompt="a short life")
    sign_in(page, made["key"])
    expect(results(page)).to_have_count(1)
    page.route("**/results/**", lambda route: route.fulfill(status=404))
    page.context.set_offline(True)
    expect(page.get_by_text("You are offline.")).to_be_visible()
    results(page).click()
    expect(page.get_by_text("You are offline: the file cannot be loaded.")).to_be_visible()
    page.keyboard.press("Escape")
    page.context.set_offline(False)
    expect(page.get_by_text("What is shown may be old.")).to_be_hidden()
    page.route("**/dashboard/api/jobs?*", lambda route: route.abort())  # this tab does not look by itself
    key = {"Authorization": f"Bearer {made['key']}"}
    httpx.delete(f"{service.url}/api/v2/jobs/{job['jobId']}", headers=key)
    page.route(
        f"**/dashboard/api/jobs/{job['jobId']}",
        lambda route: route.fulfill(
            status=410, json={"error": {"code": "expired", "message": "The job has expired"}}
        ),
    )
    results(page).click()
    expect(page.get_by_text("This file is no longer kept.")).to_be_visible()


@pytest.mark.slow
def test_deletes_a_result_in_all_tabs(page: Page, service: ServiceProcess) -> None:
    made = new_key(service, "1.00")
    make(service, made["key"], prompt="to be deleted")
    make(service, made["key"], prompt="to be kept")
    sign_in(page, made["key"])
    expect(results(page)).to_have_count(2)
    other = page.context.new_page()
    other.goto("/")
    expect(results(other)).to_have_count(2)
    results(page).last.click()
    page.once("dialog", lambda dialog: dialog.dismiss())
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(results(page)).to_have_count(2)
    results(page).last.click()
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete", exact=True).click()
    for tab in (page, other):
        expect(prompts(tab)).to_have_text(["to be kept"])
    page.reload()
    expect(prompts(page)).to_have_text(["to be kept"])


@pytest.mark.slow
def test_shows_jobs_that_other_programs_make(page: Page, service: ServiceProcess) -> None:
    made = new_key(service, "1.00")
    sign_in(page, made["key"])
    expect(page.get_by_text("No results yet.")).to_be_visible()
    make(service, made["key"], prompt="from elsewhere")
    expect(prompts(page)).to_have_text(["from elsewhere"])


@pytest.mark.slow
def test_compares_two_images_with_a_slider(gallery: Page) -> None:
    page = gallery
    results(page).first.click()
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_text("Select an image to compare with.")).to_be_visible()
    results(page).last.click()
    comparison = page.get_by_role("dialog", name="Comparison")
    expect(comparison.get_by_role("img")).to_have_count(2)
    slider = comparison.get_by_label("Share of the first image")
    expect(slider).to_be_focused()
    page.keyboard.press("End")
    first = comparison.get_by_role("img").first
    expect(first).to_have_css("clip-path", re.compile(r"^inset\(0px 0%"))
    page.keyboard.press("Home")
    expect(first).to_have_css("clip-path", re.compile(r"^inset\(0px 100%"))
    page.keyboard.press("Escape")
    results(page).first.click()
    expect(page.get_by_role("dialog", name="Preview")).to_be_visible()


@pytest.mark.slow
def test_steps_through_the_frames_of_a_video(page: Page, service: ServiceProcess) -> None:
    made = new_key(service, "1.00")
    make(service, made["key"], model="wan2.1-t2v-fast", prompt="waves", size="832x480", num_frames=17)
    sign_in(page, made["key"])
    results(page).click()
    video = page.get_by_role("dialog").locator("video")
    expect(video).to_have_js_property("readyState", 4)
    frame = page.get_by_role("slider", name="Frame")
    frame.fill("5")
    expect(video).to_have_js_property("paused", True)
    fps = 17 / float(video.evaluate("video => video.duration"))
    assert abs(float(video.evaluate("video => video.currentTime")) * fps - 5.5) < 0.1
    page.get_by_role("button", name="Next frame").click()
    expect(page.get_by_text("7 / 17")).to_be_visible()
    frame.press("ArrowLeft")
    expect(page.get_by_text("6 / 17")).to_be_visible()
    expect(page.get_by_text("Length")).to_be_visible()


@pytest.mark.slow
def test_scrolls_through_five_thousand_results(page: Page, service: ServiceProcess) -> None:
    made = new_key(service, "1.00")
    fill_gallery(service, made["account"], made["id"], 5000)
    sign_in(page, made["key"])
    expect(prompts(page).first).to_have_text("number 499")
    seen = 0
    for _ in range(200):
        page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
        page.wait_for_timeout(50)
        seen = max(seen, page.locator("#tiles > li").count())
        if prompts(page).last.inner_text() == "number 0":
            break
    expect(prompts(page).last).to_have_text("number 0")
    assert 0 < seen < 120
    last = page.locator("#tiles > li").last
    assert (last.get_attribute("aria-posinset"), last.get_attribute("aria-setsize")) == ("5000", "5000")
    page.get_by_label("Search prompts").fill("number 250")
    expect(results(page)).to_have_count(10)


@pytest.mark.slow
def test_a_slow_line_and_a_slow_machine_suffice(
    browser: Browser, service: ServiceProcess, shared_key: str
) -> None:
    """1.6 Mbit/s bring the form and the first images within a second of transfer.

    The seconds themselves are those of the machine that runs the tests, so only the bytes are compared.
    """
    context = browser.new_context(base_url=service.url, viewport={"width": 1440, "height": 900})
    context.set_default_timeout(60_000)
    page = context.new_page()
    sign_in(page, shared_key)
    expect(results(page)).to_have_count(2)
    devtools = context.new_cdp_session(page)
    sent: list[int] = []
    devtools.on("Network.loadingFinished", lambda event: sent.append(event["encodedDataLength"]))
    devtools.send("Network.enable")
    devtools.send("Network.setCacheDisabled", {"cacheDisabled": True})
    devtools.send("Emulation.setCPUThrottlingRate", {"rate": 4})
    line = {"offline": False, "latency": 60, "downloadThroughput": 200_000, "uploadThroughput": 100_000}
    devtools.send("Network.emulateNetworkConditions", line)
    page.goto("/")
    expect(page.get_by_label("Model", exact=True)).not_to_have_value("", timeout=60_000)
    page.get_by_label("Prompt", exact=True).fill("a cat")
    expect(page.locator("#cost")).to_have_text("$0.01", timeout=60_000)
    image = results(page).first.get_by_role("img")
    expect(image).to_have_js_property("complete", True, timeout=60_000)
    expect(image).not_to_have_js_property("naturalWidth", 0, timeout=60_000)
    assert len(sent) > 10
    assert sum(sent) < 200_000
    context.close()


@pytest.mark.slow
def test_a_keyboard_reaches_tiles_and_dialog(gallery: Page) -> None:
    page = gallery
    page.get_by_label("Filter by day").focus()
    for _ in range(8):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.ariaLabel?.startsWith('Open a')"):
            break
    page.keyboard.press("Enter")
    lightbox = page.get_by_role("dialog")
    expect(lightbox.get_by_role("button", name="Close")).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(lightbox.get_by_text("a red fox", exact=True)).to_be_visible()
    page.keyboard.press("Escape")
    expect(lightbox).to_be_hidden()
    assert page.evaluate("document.activeElement.className") == "tile-button"


@pytest.mark.parametrize(
    ("width", "scheme"),
    [
        pytest.param(1440, "light", marks=pytest.mark.slow),
        (390, "dark"),
        pytest.param(1440, "dark", marks=pytest.mark.slow),
        pytest.param(390, "light", marks=pytest.mark.slow),
    ],
)
def test_pages_have_no_accessibility_violations(
    browser: Browser, service: ServiceProcess, shared_key: str, axe_script: str, width: int, scheme: Any
) -> None:
    """The playground, each of its dialogs, and the billing page, as axe-core sees them."""
    context = browser.new_context(
        base_url=service.url, viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True
    )
    context.set_default_timeout(WAIT_MS)
    page = context.new_page()
    sign_in(page, shared_key)
    # On a phone, tiles below the visible part have no elements.
    expect(results(page).first.get_by_role("img")).to_have_js_property("complete", True)
    found = {"playground": violations(page, axe_script)}
    page.get_by_role("button", name="Browse all models").click()
    expect(page.get_by_role("dialog", name="Models")).to_be_visible()
    found["models"] = violations(page, axe_script)
    page.keyboard.press("Escape")
    page.locator("#show-code").click()
    found["code"] = violations(page, axe_script)
    page.keyboard.press("Escape")
    results(page).first.click()
    found["lightbox"] = violations(page, axe_script)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.goto("/billing")
    expect(page.get_by_text("Payment", exact=True)).to_be_visible()
    found["billing"] = violations(page, axe_script)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    context.close()
    assert {name: rows for name, rows in found.items() if rows} == {}


def violations(page: Page, axe_script: str) -> list[str]:
    page.evaluate(axe_script)
    result = page.evaluate("axe.run()")
    return [f"{one['id']}: {[node['html'] for node in one['nodes']][:3]}" for one in result["violations"]]


def test_explains_an_unknown_job_of_a_link(page: Page, service: ServiceProcess) -> None:
    made = admin(service, "keys", name="tester", credit_usd="1.00")
    sign_in(page, made["key"])
    expect(page.get_by_text("No results yet.")).to_be_visible()
    page.goto("/?job=job_unknown")
    expect(page.get_by_role("alert").filter(has_text="This job cannot be shown")).to_be_visible()
