"""The playground page, from the prompt to the downloaded file."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import httpx
import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from tests.support.browser import new_key, sign_in
from tests.support.datasets import is_trained, zipped
from tests.support.images import png
from tests.support.service import ServiceProcess


def balance(page: Page) -> Locator:
    return page.locator("#balance")


def cost(page: Page) -> Locator:
    return page.locator("#cost")


def results(page: Page) -> Locator:
    """Finished outputs in the gallery."""
    return page.get_by_role("button", name="Open ")


def size(width: int, height: int) -> str:
    """Return a size as the page shows it, with a multiplication sign."""
    return f"{width} \u00d7 {height}"


def generate(page: Page) -> None:
    page.get_by_role("button", name="Generate").click()


def download_output(page: Page, folder: Path) -> Path:
    """Download the output in the lightbox, and return the file."""
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    file = folder / download.value.suggested_filename
    download.value.save_as(file)
    return file


def test_generates_images_and_shows_them_in_the_gallery(playground: Page, tmp_path: Path) -> None:
    page = playground
    expect(page.get_by_text("Simulated instances.")).to_be_visible()
    expect(balance(page)).to_have_text("Balance $5.00")
    page.get_by_label("Prompt", exact=True).fill("a lighthouse at dusk")
    page.get_by_role("radio", name="16:9").check()
    page.get_by_role("group", name="Images").get_by_role("radio", name="2").check()
    expect(cost(page)).to_have_text("$0.01")
    page.get_by_text("Advanced settings").click()
    page.get_by_label("Seed", exact=True).fill("41")
    generate(page)
    expect(results(page)).to_have_count(2)
    expect(balance(page)).to_have_text("Balance $4.99")
    results(page).last.click()
    lightbox = page.get_by_role("dialog")
    expect(lightbox.get_by_role("img")).to_have_js_property("naturalWidth", 1344)
    for fact in ("FLUX.1 Schnell", size(1344, 768), "42", "$0.01 for 2"):
        expect(lightbox.get_by_text(fact, exact=True)).to_be_visible()
    expect(lightbox.get_by_text("Kept until")).to_be_visible()
    file = download_output(page, tmp_path)
    assert file.name.startswith("flux-1-schnell-")
    with Image.open(file) as image:
        assert (image.format, image.size) == ("PNG", (1344, 768))
    page.keyboard.press("ArrowLeft")
    expect(lightbox.get_by_text("41", exact=True)).to_be_visible()
    page.keyboard.press("Escape")
    page.reload()
    expect(results(page)).to_have_count(2)


@pytest.mark.slow
def test_sliders_set_length_and_frame_rate_of_a_video(playground: Page, tmp_path: Path) -> None:
    page = playground
    page.get_by_role("radio", name="Video").check()
    page.get_by_label("Model", exact=True).select_option("wan2.1-t2v-pro")
    expect(cost(page)).to_have_text("$0.015")
    page.get_by_label("Prompt", exact=True).fill("waves on a rocky shore")
    page.get_by_label("Frames, slider").fill("161")
    expect(page.get_by_text("10.1 seconds")).to_be_visible()
    expect(cost(page)).to_have_text("$0.029815")
    page.get_by_label("Frames", exact=True).fill("17")
    page.get_by_label("Frames per second", exact=True).fill("8")
    expect(cost(page)).to_have_text("$0.01")
    generate(page)
    results(page).click()
    video = page.get_by_role("dialog").locator("video")
    expect(video).to_have_js_property("videoWidth", 832)
    with av.open(download_output(page, tmp_path)) as container:
        stream = container.streams.video[0]
        assert (stream.frames, float(stream.average_rate or 0)) == (17, 8.0)


@pytest.mark.slow
def test_upscales_a_dropped_image(playground: Page, tmp_path: Path) -> None:
    page = playground
    page.get_by_label("Model", exact=True).select_option("4x-ultrasharp")
    expect(page.get_by_text("Add an image to see it.")).to_be_visible()
    expect(page.get_by_label("Prompt", exact=True)).to_have_count(0)
    drop(page.locator(".drop-zone"), "small.png", png(80, 48))
    expect(page.get_by_text(f"small.png, {size(80, 48)}")).to_be_visible()
    expect(cost(page)).to_have_text("$0.01")
    generate(page)
    results(page).click()
    with Image.open(download_output(page, tmp_path)) as image:
        assert image.size == (320, 192)


def drop(zone: Locator, name: str, data: bytes) -> None:
    """Drop a file from outside of the browser on `zone`."""
    transfer = zone.page.evaluate_handle(
        """([name, encoded]) => {
            const bytes = Uint8Array.from(atob(encoded), (letter) => letter.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([bytes], name, { type: "image/png" }));
            return transfer;
        }""",
        [name, base64.b64encode(data).decode()],
    )
    zone.dispatch_event("drop", {"dataTransfer": transfer})


@pytest.mark.slow
def test_animates_an_output(playground: Page) -> None:
    page = playground
    page.get_by_label("Prompt", exact=True).fill("a paper boat")
    generate(page)
    results(page).click()
    page.get_by_role("button", name="Animate").click()
    expect(page.get_by_role("radio", name="Video")).to_be_checked()
    expect(page.get_by_text(f"flux-1-schnell.png, {size(1024, 1024)}")).to_be_visible()
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("a paper boat")
    expect(cost(page)).to_have_text("$0.02")


@pytest.mark.slow
def test_rejects_a_file_that_is_not_an_image(playground: Page) -> None:
    page = playground
    page.get_by_label("Model", exact=True).select_option("4x-ultrasharp")
    files = {"name": "notes.png", "mimeType": "image/png", "buffer": b"not an image"}
    page.get_by_label("Input image").set_input_files(files)  # type: ignore[arg-type]
    expect(page.get_by_text("not an image that the browser can read")).to_be_visible()
    generate(page)
    expect(page.get_by_text("Input image is required")).to_be_visible()


def test_shows_errors_at_the_field_at_fault(playground: Page) -> None:
    page = playground
    generate(page)
    expect(page.get_by_role("alert").filter(has_text="Prompt is required")).to_be_visible()
    prompt = page.get_by_label("Prompt", exact=True)
    expect(prompt).to_be_focused()
    expect(prompt).to_have_attribute("aria-invalid", "true")
    prompt.fill("a cat")
    expect(page.get_by_text("Prompt is required")).to_be_hidden()
    page.get_by_text("Advanced settings").click()
    page.get_by_label("Width", exact=True).fill("1023")
    generate(page)
    expect(page.get_by_role("alert").filter(has_text="multiple of 8")).to_be_visible()
    expect(page.get_by_label("Width", exact=True)).to_be_focused()
    expect(results(page)).to_have_count(0)
    expect(balance(page)).to_have_text("Balance $5.00")


@pytest.mark.slow
def test_explains_an_insufficient_balance(page: Page, service: ServiceProcess) -> None:
    sign_in(page, new_key(service, "0.001")["key"])
    page.get_by_label("Prompt", exact=True).fill("a cat")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("alert").filter(has_text="balance")).to_be_visible()


def test_shows_progress_and_previews_and_cancels_a_job(playground: Page) -> None:
    page = playground
    page.get_by_role("radio", name="Video").check()
    page.get_by_label("Model", exact=True).select_option("wan2.2-t2v-14b")
    page.get_by_label("Prompt", exact=True).fill("a train in the rain")
    generate(page)
    step = page.get_by_text(re.compile(r"Step \d+ of \d+"))
    expect(step).to_be_visible()
    preview = page.locator(".in-progress img")
    expect(preview).to_be_visible()
    source = preview.get_attribute("src") or ""
    with Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))) as image:
        assert image.width > 0
    page.reload()
    expect(step).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("No results yet.")).to_be_visible()
    expect(balance(page)).to_have_text("Balance $5.00")


@pytest.mark.slow
def test_reuses_the_settings_of_an_output(playground: Page) -> None:
    page = playground
    page.get_by_label("Model", exact=True).select_option("sdxl-1.0")
    page.get_by_label("Prompt", exact=True).fill("a red fox")
    page.get_by_label("Negative prompt").fill("snow")
    page.get_by_role("radio", name="9:16").check()
    generate(page)
    expect(results(page)).to_have_count(1)
    page.reload()
    results(page).click()
    page.get_by_role("button", name="Use these settings").click()
    expect(page.get_by_label("Model", exact=True)).to_have_value("sdxl-1.0")
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("a red fox")
    expect(page.get_by_label("Negative prompt")).to_have_value("snow")
    expect(page.get_by_role("radio", name="9:16")).to_be_checked()
    page.get_by_text("Advanced settings").click()
    expect(page.get_by_label("Seed", exact=True)).not_to_have_value("")


@pytest.mark.slow
def test_shows_why_a_job_failed_and_charges_nothing(playground: Page, service: ServiceProcess) -> None:
    page = playground
    page.get_by_label("Prompt", exact=True).fill("a cat")
    with faulty(service, "reject"):
        generate(page)
        expect(page.get_by_text("The instance rejected the model's graph.")).to_be_visible()
    expect(page.get_by_text("Failed, not charged")).to_be_visible()
    expect(balance(page)).to_have_text("Balance $5.00")
    page.reload()
    expect(page.get_by_text("The instance rejected the model's graph.")).to_be_visible()
    page.get_by_role("button", name="Try again").click()
    expect(results(page)).to_have_count(1)
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete: a cat").click()
    expect(page.get_by_text("Failed, not charged")).to_be_hidden()
    expect(results(page)).to_have_count(1)


@contextmanager
def faulty(service: ServiceProcess, kind: str) -> Iterator[None]:
    """Make all prompts on all instances fail in this way."""
    headers = {"Authorization": f"Bearer {service.admin_token}"}
    rows = httpx.get(f"{service.url}/admin/v1/instances", headers=headers).json()["instances"]

    def arm(count: int) -> None:
        for row in rows:
            httpx.post(
                f"{row['url']}/simulator/faults", json={"kind": kind, "count": count}
            ).raise_for_status()

    arm(100)
    try:
        yield
    finally:
        arm(0)


def test_trains_a_lora_from_a_dataset(playground: Page, tmp_path: Path) -> None:
    page = playground
    page.get_by_role("radio", name="Training", exact=True).check()
    page.get_by_label("Model", exact=True).select_option("sd-1.5-lora-trainer")
    expect(cost(page)).to_have_text("$0.50")
    page.get_by_text("Advanced settings").click()
    page.get_by_label("Steps", exact=True).fill("3")
    expect(cost(page)).to_have_text("$0.01")
    generate(page)
    expect(results(page)).to_have_count(0)  # the browser asks for the dataset first
    archive = tmp_path / "pets.zip"
    archive.write_bytes(zipped())
    page.get_by_label("Dataset").set_input_files(archive)
    generate(page)
    expect(results(page)).to_have_count(1)
    expect(results(page)).to_have_text("safetensors")
    results(page).click()
    saved = download_output(page, tmp_path)
    assert saved.suffix == ".safetensors"
    assert is_trained(saved.read_bytes())
