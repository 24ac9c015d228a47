"""Measures how fast the playground opens on a slow line.

    .venv/bin/python -m scripts.bench.page_speed [--quick]

Chromium runs with a quarter of the CPU, 1.6 Mbit/s and 150 ms of latency. The reference is the same page
without a slow-down. Requests, bytes and chains do not depend on other work on the machine.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from scripts.bench.report import save_results
from scripts.child_servers import create_api_key, run_bench_service

#: In Chromium's names: bytes per second, and milliseconds.
LINE = {"offline": False, "downloadThroughput": 200_000, "uploadThroughput": 93_750, "latency": 150}
CPU_SLOWDOWN = 4
RESULTS, LOOK_MS, SETTLE_MS, WAIT_MS = 24, 100, 1500, 60_000
#: When the form can be used, and when the first picture of the gallery is there, in ms since the navigation.
WATCH = """
    const marks = window.pageSpeed = {};
    const look = () => {
        if (marks.form || !document.querySelector("#main-fields textarea")) return;
        if (document.querySelector("#model")?.value) marks.form = performance.now();
    };
    new MutationObserver(look).observe(document, { childList: true, subtree: true });
    document.addEventListener("load", ({ target }) => {
        if (target.matches?.("#tiles img")) marks.picture ??= performance.now();
    }, true);
"""


@dataclass(frozen=True, slots=True)
class Opening:
    """What one opening of the page took."""

    form_ms: float
    picture_ms: float
    main_thread_ms: float
    requests: int
    kilobytes: float
    #: Requests to the service that followed each other, until the first picture.
    chain: int


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one opening of each kind instead of five")
    quick = parser.parse_args().quick
    program = shutil.which("chromium-headless-shell") or shutil.which("chromium")
    if program is None:
        sys.exit("page_speed: needs Chromium; on Debian: apt install chromium")
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        with run_bench_service(place, "--simulate", "2") as service, sync_playwright() as playwright:
            key = create_api_key(place)
            make_results(service.url, key)
            browser = playwright.chromium.launch(executable_path=program)
            found = measure(browser, service.url, key, 1 if quick else 5)
            browser.close()
    for name, row in found.items():
        print(f"{name:22} " + ", ".join(f"{label} {value:g}" for label, value in row.items()))
    if not quick:
        save_results("page_speed", found)


def make_results(url: str, key: str) -> None:
    """Fill the gallery."""
    body = {"model": "flux-1-schnell", "prompt": "a lighthouse", "n": 4, "size": "768x768"}
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=300) as http:
        for _ in range(RESULTS // 4):
            http.post("/v1/images/generations", json=body).raise_for_status()


def measure(browser: Browser, url: str, key: str, times: int) -> dict[str, dict[str, Any]]:
    """Return the medians of the first visit and of the next one, slow and not."""
    found: dict[str, dict[str, Any]] = {}
    for name, is_slow in (("slow line", True), ("reference", False)):
        visits: dict[str, list[Opening]] = {"first visit": [], "next visit": []}
        for _ in range(times):
            context = browser.new_context(viewport={"width": 1280, "height": 800})
            sign_in(context, url, key)
            for openings in visits.values():
                openings.append(open_page(context, url, is_slow=is_slow))
            context.close()
        found |= {f"{visit}, {name}": medians(openings) for visit, openings in visits.items()}
    return found


def sign_in(context: BrowserContext, url: str, key: str) -> None:
    """Get the session's cookie without opening a page, so that nothing of the playground is cached."""
    context.request.post(f"{url}/session", data={"credential": key}, headers={"Origin": url})


def open_page(context: BrowserContext, url: str, *, is_slow: bool) -> Opening:
    page = context.new_page()
    page.set_default_timeout(WAIT_MS)
    page.add_init_script(WATCH)
    session = context.new_cdp_session(page)
    session.send("Network.enable")
    session.send("Performance.enable")
    if is_slow:
        session.send("Network.emulateNetworkConditions", LINE)
        session.send("Emulation.setCPUThrottlingRate", {"rate": CPU_SLOWDOWN})
    received: list[float] = []
    session.on("Network.loadingFinished", lambda event: received.append(event["encodedDataLength"]))
    page.goto(url)
    # The policy of the page forbids wait_for_function.
    while not page.evaluate("Boolean(window.pageSpeed.form && window.pageSpeed.picture)"):
        page.wait_for_timeout(LOOK_MS)
    page.wait_for_timeout(SETTLE_MS)
    marks = page.evaluate("window.pageSpeed")
    figures = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
    opening = Opening(
        form_ms=round(marks["form"]),
        picture_ms=round(marks["picture"]),
        main_thread_ms=round(figures["TaskDuration"] * 1000),
        requests=sum(size > 0 for size in received),
        kilobytes=round(sum(received) / 1024, 1),
        chain=chain_length(page),
    )
    page.close()
    return opening


def chain_length(page: Page) -> int:
    """Return the number of requests that followed each other until the first picture was there.

    Going back from the last one, each follows the latest of those that had ended when it began.
    """
    rows = page.evaluate(
        """() => {
            const page = performance.getEntriesByType("navigation")[0];
            return [[page.startTime, page.responseEnd], ...performance.getEntriesByType("resource")
                .filter((entry) => entry.transferSize && entry.responseEnd <= window.pageSpeed.picture)
                .map((entry) => [entry.startTime, entry.responseEnd])];
        }"""
    )
    begin, length = max(rows, key=lambda row: row[1])[0], 1
    while earlier := [row for row in rows if row[1] <= begin]:
        begin, length = max(earlier, key=lambda row: row[1])[0], length + 1
    return length


def medians(openings: list[Opening]) -> dict[str, Any]:
    rows = [asdict(opening) for opening in openings]
    return {name: round(statistics.median(row[name] for row in rows), 1) for name in rows[0]}


if __name__ == "__main__":
    main()
