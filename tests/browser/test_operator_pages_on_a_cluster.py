"""The pages for operators where the process that answers them is not the one that runs jobs."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.test_operator_pages import PAGES, confirm, run_job
from tests.support.browser import new_key, sign_in
from tests.support.installation import installed
from tests.support.s3_server import S3Server
from tests.support.service import ServiceProcess

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, s3: S3Server) -> Iterator[ServiceProcess]:
    """An API process, with a scheduler beside it."""
    with installed(tmp_path_factory.mktemp("cluster"), s3) as installation:
        installation.scheduler("scheduler")
        yield installation.api("api")


def test_every_page_shows_what_the_scheduler_runs(page: Page, service: ServiceProcess) -> None:
    made = new_key(service, "5.00")
    job = run_job(service, made["key"])
    sign_in(page, service.admin_token)
    cards = page.locator("#instances > li")
    expect(cards.filter(has_text="ready for")).to_have_count(2)
    for path in (*PAGES, f"/job?id={job}"):
        page.goto(f"/operations{path}")
        expect(page.locator("#main")).to_contain_text(re.compile(r"\d|No attempt has failed"))
        expect(page.get_by_role("alert").filter(has_text=re.compile(r"\w"))).to_have_count(0)
    expect(page.locator("#facts")).to_contain_text("succeeded")
    page.get_by_role("button", name="Log around it").first.click()
    expect(page.locator("#log-text")).to_contain_text("got prompt")
    page.get_by_role("button", name="Refund").click()
    with page.expect_response("**/refund") as response:
        confirm(page, "Refund")
    assert response.value.ok
    page.goto("/operations/events?action=jobs")
    expect(page.get_by_role("row").filter(has_text=job)).to_contain_text("jobs.refund")


def test_instances_of_the_scheduler_are_drained_and_resumed(page: Page, service: ServiceProcess) -> None:
    sign_in(page, service.admin_token)
    cards = page.locator("#instances > li")
    expect(cards.filter(has_text="ready for")).to_have_count(2)
    page.get_by_role("button", name="Drain all").click()
    confirm(page, "Drain all")
    expect(cards.filter(has_text="drained for")).to_have_count(2)
    page.get_by_role("button", name="Resume all").click()
    confirm(page, "Resume all")
    expect(cards.filter(has_text="ready for")).to_have_count(2)
