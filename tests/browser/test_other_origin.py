"""A page of another origin calls the API with a key, as the Pixel Factory document's browser sample does."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.support.browser import new_key
from tests.support.service import ServiceProcess

SAMPLE = Path(__file__).parent.parent / "documents" / "pixel_factory" / "browser.mjs.txt"
#: Calls with everything that official SDKs send, and reads what they read of the response.
CALL = """
    async ([url, key, body]) => {
        const response = await fetch(url, {
            method: body ? "POST" : "GET",
            headers: {
                "Authorization": `Bearer ${key}`,
                "Content-Type": "application/json",
                "Idempotency-Key": crypto.randomUUID(),
                "X-Stainless-Lang": "js",
                "X-Stainless-Retry-Count": "0",
            },
            body: body ? JSON.stringify(body) : undefined,
        });
        return [response.status, await response.json(), Object.fromEntries(response.headers)];
    }
"""


class EmptyPage(BaseHTTPRequestHandler):
    """Answers every request with a page without content."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>elsewhere</title><body></body>")

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def elsewhere(browser: Browser) -> Iterator[Page]:
    """A page of an origin of its own."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), EmptyPage)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    page = browser.new_page()
    page.goto(f"http://localhost:{server.server_address[1]}/")
    yield page
    page.close()
    server.shutdown()
    server.server_close()
    thread.join()


def test_the_documents_sample_shows_an_image_on_a_page_of_another_origin(
    elsewhere: Page, service: ServiceProcess
) -> None:
    sample = SAMPLE.read_text().replace("https://YOUR_DASHBOARD_URL", service.url)
    sample = sample.replace("pk-your-api-key", new_key(service, "5.00")["key"])
    elsewhere.add_script_tag(content=sample, type="module")
    image = elsewhere.locator("img")
    image.wait_for()
    assert image.evaluate("img => img.decode().then(() => [img.naturalWidth, img.naturalHeight])") == [
        1024,
        1024,
    ]


def test_pages_of_other_origins_read_results_errors_and_headers(
    elsewhere: Page, service: ServiceProcess
) -> None:
    key, url = new_key(service, "5.00")["key"], f"{service.url}/v1/images/generations"
    body = {"model": "flux-1-schnell", "prompt": "a fox", "size": "256x256", "response_format": "url"}
    status, made, headers = elsewhere.evaluate(CALL, [url, key, body])
    assert status == 200
    assert headers["x-pixelfactory-job"].startswith("job_")
    assert {"x-request-id", "x-ratelimit-remaining"} <= headers.keys()
    size = elsewhere.evaluate(
        "url => fetch(url).then(r => r.blob()).then(b => b.size)", made["data"][0]["url"]
    )
    assert size > 0
    status, error, headers = elsewhere.evaluate(CALL, [url, "pk-wrong", body])
    assert (status, error["error"]["code"], headers["x-should-retry"]) == (401, "invalid_api_key", "false")
    status, error, _ = elsewhere.evaluate(CALL, [f"{service.url}/v1/nothing", key, body])
    assert (status, error["error"]["code"]) == (404, "unknown_url")


def test_pages_of_other_origins_can_not_use_a_session_of_the_dashboard(
    elsewhere: Page, service: ServiceProcess
) -> None:
    for path in ("/dashboard/api/account", "/admin/v1/keys"):
        outcome = elsewhere.evaluate(
            "url => fetch(url, {credentials: 'include'}).then(r => 'read', e => e.name)", service.url + path
        )
        assert outcome == "TypeError", json.dumps([path, outcome])
