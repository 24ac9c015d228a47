"""The pages for operators: the wall, jobs and what is done with them, queue, models, money and changes."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from itertools import cycle
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.support.browser import admin, new_key, sign_in
from tests.support.polling import wait_until_sync
from tests.support.service import ServiceProcess

PAGES = ("", "/queue", "/jobs", "/models", "/money", "/errors", "/events")
#: Rules of WCAG 2.1 A and AA, and good practice.
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]


def run_job(service: ServiceProcess, key: str, **more: Any) -> str:
    """The id of a job that has finished, however it ended."""
    body = {"model": "flux-1-schnell", "prompt": "a fox", "size": "256x256", **more}
    headers = {"Authorization": f"Bearer {key}", "Prefer": "respond-async"}
    made = httpx.post(f"{service.url}/api/v1/images/generations", json=body, headers=headers, timeout=60)
    job = str(made.raise_for_status().json()["jobId"])

    def is_finished() -> bool:
        found = httpx.get(f"{service.url}/api/v1/jobs/{job}", headers=headers, timeout=60).json()
        return found["status"] not in ("pending", "processing")

    wait_until_sync(is_finished)
    return job


@pytest.fixture
def operator(page: Page, service: ServiceProcess) -> Page:
    sign_in(page, service.admin_token)
    expect(page).to_have_url("/operations")
    return page


def confirm(page: Page, verb: str) -> None:
    """Answer the question that a page asks."""
    page.get_by_role("dialog").get_by_role("button", name=verb, exact=True).click()


def test_a_failed_job_says_why_and_is_retried(operator: Page, service: ServiceProcess) -> None:
    made = new_key(service, "5.00")
    job = run_job(service, made["key"], prompt="a dog [fault:out_of_memory]")
    operator.goto(f"/operations/jobs?account={made['account']}")
    row = operator.get_by_role("row").filter(has_text="out_of_memory")
    expect(row.get_by_text("failed")).to_be_visible()
    assert "a dog" not in operator.content()
    row.get_by_role("link").first.click()
    expect(operator.get_by_role("heading", name=job)).to_be_visible()
    expect(operator.get_by_text("needs more GPU memory").first).to_be_visible()
    expect(operator.get_by_role("img", name="attempts within")).to_be_visible()
    expect(operator.get_by_text("a dog [fault:out_of_memory]")).to_be_visible()
    operator.get_by_role("button", name="Log around it").first.click()
    expect(operator.locator("#log-text")).to_contain_text("got prompt")
    with operator.expect_download() as download:
        operator.get_by_role("link", name="Download graph").first.click()
    graph = json.loads(Path(download.value.path()).read_text())
    assert all("class_type" in node for node in graph.values())
    operator.get_by_role("button", name="Retry").click()
    confirm(operator, "Retry")
    expect(operator.get_by_text("The new job is")).to_be_visible()
    operator.goto("/operations/events?action=jobs")
    expect(operator.get_by_role("row").filter(has_text=job)).to_contain_text("jobs.retry")


@pytest.mark.slow
def test_the_list_of_jobs_names_instances_where_it_has_room(operator: Page, service: ServiceProcess) -> None:
    made = new_key(service, "5.00")
    job = run_job(service, made["key"])
    operator.goto(f"/operations/jobs?account={made['account']}")
    row = operator.get_by_role("row").filter(has_text=job[:12])
    link = row.get_by_role("link", name=re.compile(r"^sim-\d$"))
    instance = link.inner_text()
    operator.set_viewport_size({"width": 390, "height": 844})
    expect(link).to_be_hidden()
    expect(operator.get_by_role("columnheader", name="Instances")).to_be_hidden()
    operator.set_viewport_size({"width": 1440, "height": 900})
    link.click()
    expect(operator.get_by_label("Instance")).to_have_value(instance)
    expect(row).to_be_visible()


@pytest.mark.slow
def test_a_charged_job_is_refunded_from_its_page(operator: Page, service: ServiceProcess) -> None:
    made = new_key(service, "5.00")
    operator.goto(f"/operations/job?id={run_job(service, made['key'])}")
    expect(operator.locator("#facts")).to_contain_text("succeeded")
    operator.get_by_role("button", name="Refund").click()
    confirm(operator, "Refund")

    def is_refunded() -> bool:
        headers = {"Authorization": f"Bearer {service.admin_token}"}
        wallet = httpx.get(f"{service.url}/admin/v1/wallets/{made['account']}", headers=headers).json()
        return bool(wallet["balance_usd"] == 5)

    wait_until_sync(is_refunded)


@pytest.mark.slow
def test_the_wall_is_worked_by_keyboard(operator: Page, service: ServiceProcess) -> None:
    cards = operator.locator("#instances > li")
    expect(cards.filter(has_text="ready for")).to_have_count(2)
    cards.first.focus()
    operator.keyboard.press("ArrowRight")
    chosen = operator.evaluate("document.activeElement.dataset.id")
    assert chosen == "sim-1"
    operator.keyboard.press("d")
    expect(operator.get_by_role("dialog")).to_contain_text("Drain sim-1?")
    operator.keyboard.press("Escape")
    expect(operator.get_by_role("dialog")).to_have_count(0)
    operator.keyboard.press("d")
    expect(operator.get_by_role("dialog")).to_be_visible()
    operator.keyboard.press("Enter")
    drained = operator.locator("#instances > li[data-id='sim-1']")
    expect(drained).to_contain_text("drained for")
    # What needs attention comes first, and the focus has moved with it.
    expect(cards.first).to_have_attribute("data-id", "sim-1")
    assert operator.evaluate("document.activeElement.dataset.id") == "sim-1"
    expect(operator.locator("#summary")).to_contain_text("1 drained, 1 ready")
    operator.keyboard.press("r")
    expect(operator.get_by_role("dialog")).to_be_visible()
    operator.keyboard.press("Enter")
    expect(drained).to_contain_text("ready for")
    operator.keyboard.press("l")
    expect(operator.get_by_role("dialog", name="Log of sim-1")).to_be_visible()


@pytest.mark.slow
def test_all_instances_are_drained_and_resumed(operator: Page, service: ServiceProcess) -> None:
    cards = operator.locator("#instances > li")
    expect(cards.filter(has_text="ready for")).to_have_count(2)
    operator.get_by_role("button", name="Drain all").click()
    expect(operator.get_by_role("dialog")).to_contain_text("Drain all instances?")
    confirm(operator, "Drain all")
    expect(cards.filter(has_text="drained for")).to_have_count(2)
    operator.get_by_role("button", name="Resume all").click()
    confirm(operator, "Resume all")
    expect(cards.filter(has_text="ready for")).to_have_count(2)


@pytest.mark.slow
def test_shows_how_models_do_and_what_they_earn(operator: Page, service: ServiceProcess) -> None:
    run_job(service, new_key(service, "5.00")["key"])
    operator.goto("/operations/models")
    operator.get_by_label("Search").fill("flux-1-schnell")
    operator.get_by_role("button", name="flux-1-schnell", exact=True).click()
    details = operator.get_by_role("dialog")
    expect(details.get_by_role("row").filter(has_text="sim-0")).to_contain_text("yes")
    operator.goto("/operations/money")
    expect(operator.get_by_role("row").filter(has_text="flux-1-schnell")).to_contain_text("$")
    expect(operator.get_by_role("img", name=re.compile("Revenue and cost"))).to_be_visible()
    operator.goto("/operations/queue")
    expect(operator.get_by_text("0 shards wait")).to_be_visible()


def a_wall_of(count: int) -> str:
    """A stream of events about many instances in all states, as the service sends it."""
    states = ["ready", "ready", "ready", "drained", "failed", "down"]
    template = {
        "detail": None,
        "since": "2026-01-01T00:00:00+00:00",
        "history": "." * 20 + "0123456789" * 3 + "llrrddd0",
        "device": "NVIDIA H100 80GB HBM3",
        "simulated": False,
        "adopted": False,
        "version": "0.33.0",
        "delivery": "direct",
        "delivery_detail": None,
        "warming": None,
        "busy": 0.5,
        "utilisation": 0.9,
        "temperature": 60,
        "power": 400,
        "vram_total": 85899345920,
        "vram_used": 34359738368,
        "restarts": 0,
        "models_held": ["flux-1-dev"],
        "shards": [],
    }
    retry_at = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    instances = [
        {
            **template,
            "id": f"gpu-{index}",
            "state": state,
            "retry_at": retry_at if state == "failed" else None,
        }
        for index, state in zip(range(count), cycle(states), strict=False)
    ]
    summary = {
        "instances": count,
        "by_state": {"ready": count},
        "busy": 0.5,
        "waiting": 0,
        "waiting_seconds": 0,
        "oldest_wait_seconds": 0,
        "failures_last_hour": 1,
        "usd_per_gpu_hour": 2.5,
        "simulated": False,
    }
    fleet = {"summary": summary, "instances": instances, "account_names": {}}
    return f"retry: 600000\nevent: fleet\ndata: {json.dumps(fleet)}\n\n"


@pytest.mark.parametrize("width", [1440, pytest.param(390, marks=pytest.mark.slow)])
def test_a_wall_of_64_instances_shows_failed_ones_first(operator: Page, width: int) -> None:
    def answer(route: Route) -> None:
        route.fulfill(content_type="text/event-stream", body=a_wall_of(64))

    operator.set_viewport_size({"width": width, "height": 900})
    operator.route("**/fleet/live", answer)
    operator.reload()
    cards = operator.locator("#instances > li")
    expect(cards).to_have_count(64)
    states = cards.evaluate_all("nodes => nodes.map((node) => node.dataset.state)")
    assert states == sorted(states, key=["failed", "down", "drained", "ready"].index)
    assert operator.evaluate("document.documentElement.scrollWidth <= innerWidth")
    expect(cards.first.get_by_role("img")).to_have_attribute("aria-label", re.compile("loading in 2"))
    # Of its first 20 minutes nothing is known, which must not look like idle ones.
    expect(cards.first.locator(".slot")).to_have_attribute("x", "20")
    expect(cards.first.locator(".slot")).to_have_attribute("width", "38")
    expect(cards.first).to_contain_text("tried again in")


@pytest.mark.slow
def test_the_log_of_changes_says_which_prices_the_first_start_has_set(operator: Page) -> None:
    operator.goto("/operations/events?action=prices")
    row = operator.get_by_role("row").filter(has_text="prices.change").last
    row.get_by_text(re.compile(r"^\d+ prices set$")).click()
    expect(row.get_by_role("listitem").filter(has_text=re.compile(r"^image: \$0\.\d+$"))).to_be_visible()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_are_accessible_and_fit_their_screens(
    browser: Browser, service: ServiceProcess, scheme: Literal["light", "dark"]
) -> None:
    axe = pytest.importorskip("axe_playwright_python", reason="needs pip install axe-playwright-python")
    script = Path(axe.__file__).with_name("axe.min.js").read_text()
    made = new_key(service, "5.00")
    job = run_job(service, made["key"], prompt="a dog [fault:out_of_memory]")
    # The policy of the pages keeps the checker's script out.
    context = browser.new_context(base_url=service.url, color_scheme=scheme, bypass_csp=True)
    page = context.new_page()
    sign_in(page, service.admin_token)
    expect(page).to_have_url("/operations")
    for path in (*PAGES, f"/job?id={job}"):
        page.goto(f"/operations{path}")
        page.wait_for_load_state("load")
        expect(page.locator("#main")).to_contain_text(re.compile(r"\d"))
        page.evaluate(script)
        options = {"runOnly": RULES}
        found = page.evaluate("options => axe.run(document, options)", options)
        assert [(one["id"], one["nodes"][0]["html"]) for one in found["violations"]] == [], path
        for width in (1440, 390):
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (path, width)
    context.close()


def test_callers_are_kept_away(page: Page, service: ServiceProcess) -> None:
    sign_in(page, new_key(service, "1.00")["key"])
    expect(page.get_by_role("heading", name="Gallery")).to_be_visible()
    for path in (*PAGES, "/job?id=job_x"):
        page.goto(f"/operations{path}")
        expect(page).to_have_url("/")
    assert admin(service, "keys", name="x")["id"]
