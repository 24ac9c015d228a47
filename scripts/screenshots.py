"""Draw the screenshots of docs/how-to/dashboard.md: `python -m scripts.screenshots [DIRECTORY]`.

Starts a simulated service and Chromium, makes some images and a video, and writes one small WebP per page.
"""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
from pathlib import Path

import httpx
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from scripts.child_servers import create_api_key, run_bench_service

IMAGES = Path(__file__).parents[1] / "docs" / "images"
WIDTH, HEIGHT = 1280, 800
QUALITY = 75
WAIT_MS = 60_000
PROMPTS = {
    "flux-1-schnell": "A lighthouse at dusk, oil painting",
    "sdxl-1.0": "A red fox in the snow",
    "z-image-turbo": "A tram in the rain, film still",
    "qwen-image": "A poster that says: open until midnight",
}


def main() -> None:
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else IMAGES
    target.mkdir(parents=True, exist_ok=True)
    expect.set_options(timeout=WAIT_MS)
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        with run_bench_service(place, "--simulate", "4") as service, sync_playwright() as playwright:
            key, token = create_api_key(place), (place / "admin-token").read_text().strip()
            make_results(service.url, key)
            program = shutil.which("chromium-headless-shell") or shutil.which("chromium")
            browser = playwright.chromium.launch(executable_path=program)
            draw(browser, service.url, key, token, target)
            browser.close()


def make_results(url: str, key: str) -> None:
    """Fill the gallery and the lists of operators."""
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=300) as http:
        for model, prompt in PROMPTS.items():
            body = {"model": model, "prompt": prompt, "n": 2, "size": "768x768", "response_format": "url"}
            http.post("/v1/images/generations", json=body).raise_for_status()
        video = {"model": "wan2.1-t2v-fast", "prompt": "Waves on a rocky shore", "num_frames": 33}
        http.post("/api/v1/images/generations", json=video).raise_for_status()


def draw(browser: Browser, url: str, key: str, token: str, target: Path) -> None:
    """Write all images."""
    page = open_page(browser, "light")
    sign_in(page, url, key)
    page.goto(url)
    expect(page.locator("#tiles img").first).to_be_visible()
    save(page, target / "dashboard-playground.webp")
    page.goto(f"{url}/billing")
    save(page, target / "dashboard-billing.webp")
    page.goto(f"{url}/docs/api")
    operation = page.locator("summary", has=page.get_by_text("/v1/images/generations", exact=True)).first
    operation.click()
    operation.evaluate("summary => summary.scrollIntoView()")
    save(page, target / "docs-api.webp")
    page.context.close()
    page = open_page(browser, "dark")
    sign_in(page, url, token)
    page.goto(f"{url}/operations")
    expect(page.get_by_text("sim-0").first).to_be_visible()
    save(page, target / "dashboard-operations.webp")


def open_page(browser: Browser, scheme: str) -> Page:
    size = {"width": WIDTH, "height": HEIGHT}
    context = browser.new_context(
        viewport=size,  # type: ignore[arg-type]
        color_scheme=scheme,  # type: ignore[arg-type]
        reduced_motion="reduce",
    )
    page = context.new_page()
    page.set_default_timeout(WAIT_MS)
    return page


def sign_in(page: Page, url: str, secret: str) -> None:
    page.goto(f"{url}/sign-in#key={secret}")
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(lambda found: "/sign-in" not in found)


def save(page: Page, path: Path) -> None:
    """Write what the page shows, once it has loaded everything."""
    expect(page.get_by_text("Loading…").filter(visible=True)).to_have_count(0)
    page.wait_for_timeout(1500)
    with Image.open(io.BytesIO(page.screenshot())) as shot:
        shot.convert("RGB").save(path, "WEBP", quality=QUALITY, method=6)


if __name__ == "__main__":
    main()
