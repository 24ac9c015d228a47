"""Input files in the playground's form: the author's own, videos and sounds, and those of earlier jobs."""

from __future__ import annotations

import base64
import io
import re
from typing import Any
from zipfile import ZipFile

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.browser.test_playground import cost, generate, results, size
from tests.support.browser import admin, new_key, sign_in
from tests.support.datasets import zipped
from tests.support.images import png
from tests.support.media_samples import film, sound
from tests.support.service import ServiceProcess


def media_graph() -> dict[str, Any]:
    """A graph that loads an image, a video and a sound."""
    rows: dict[str, tuple[str, dict[str, Any]]] = {
        "1": ("LoadImage", {"image": "hare.png"}),
        "2": ("SaveImage", {"images": ["1", 0], "filename_prefix": "x"}),
        "3": ("LoadVideo", {"file": "clip.mp4"}),
        "4": ("GetVideoComponents", {"video": ["3", 0]}),
        "5": ("SaveImage", {"images": ["4", 0], "filename_prefix": "x"}),
        "6": ("LoadAudio", {"audio": "tune.wav"}),
        "7": ("SaveAudio", {"audio": ["6", 0], "filename_prefix": "x"}),
    }
    return {id: {"class_type": name, "inputs": inputs} for id, (name, inputs) in rows.items()}


def as_data_url(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def publish_media_model(service: ServiceProcess, name: str, **more: Any) -> None:
    facts = {"license": "mit", "owner": "tests", "price_class": "image", "name": name.title()}
    admin(service, "models", id=name, prompt=media_graph(), manifest=facts, publish=True, **more)


def give_file(page: Page, field: str, name: str, kind: str, data: bytes) -> None:
    file: Any = {"name": name, "mimeType": kind, "buffer": data}
    page.locator(f"#field-{field}").set_input_files(file)


def generated_params(page: Page) -> Any:
    """Send the form, and return the parameters that the service has accepted."""
    with page.expect_request("**/dashboard/api/jobs") as sent:
        generate(page)
    response = sent.value.response()
    assert response is not None
    assert response.status == 202
    body: Any = sent.value.post_data_json
    return body["params"]


def content(url: str) -> bytes:
    return base64.b64decode(url.partition(",")[2])


@pytest.mark.slow
def test_offers_the_author_s_files_and_takes_videos_and_sounds(page: Page, service: ServiceProcess) -> None:
    clip, tune = film(), sound("wav", "pcm_s16le")
    examples = [
        {"name": "hare.png", "data": as_data_url("image/png", png(96, 64))},
        {"name": "clip.mp4", "data": as_data_url("video/mp4", clip)},
    ]
    publish_media_model(service, "media", example_files=examples)
    sign_in(page, new_key(service, "5.00")["key"])
    page.get_by_label("Model", exact=True).select_option("media")
    expect(page.get_by_text("Add an image to see it.")).to_be_visible()
    page.get_by_role("button", name="Use the example input image").or_(
        page.get_by_role("button", name="Use the example image")
    ).click()
    expect(page.get_by_text(size(96, 64))).to_be_visible()
    page.get_by_role("button", name="Use the example video").click()
    expect(page.locator("#field-video")).to_have_value(re.compile(r"clip\.mp4$"))
    expect(page.get_by_role("button", name="Use the example audio")).to_have_count(0)
    give_file(page, "audio", "mine.wav", "audio/wav", tune)
    expect(cost(page)).to_contain_text("$")
    params = generated_params(page)
    assert content(params["video"]) == clip
    assert content(params["audio"]) == tune
    assert params["image"].startswith("data:image/png;base64,")


def reuse_settings(page: Page) -> None:
    results(page).first.click()
    page.get_by_role("button", name="Use these settings").click()


@pytest.fixture
def media_page(page: Page, service: ServiceProcess) -> Page:
    """The playground of an account with one result, which was made from an image, a video and a sound."""
    if "media-again" not in {row["id"] for row in admin_models(service)}:
        publish_media_model(service, "media-again")
    sign_in(page, new_key(service, "5.00")["key"])
    page.get_by_label("Model", exact=True).select_option("media-again")
    give_file(page, "image", "hare.png", "image/png", png(96, 64))
    give_file(page, "video", "clip.mp4", "video/mp4", film())
    give_file(page, "audio", "mine.wav", "audio/wav", sound("wav", "pcm_s16le"))
    generated_params(page)
    expect(results(page).first).to_be_visible()
    page.reload()
    expect(page.get_by_label("Model", exact=True)).to_have_value("media-again")
    return page


def admin_models(service: ServiceProcess) -> Any:
    headers = {"Authorization": f"Bearer {service.admin_token}"}
    return httpx.get(f"{service.url}/admin/v1/models", headers=headers).raise_for_status().json()["models"]


@pytest.mark.slow
def test_settings_of_a_result_have_its_video_and_its_sound(media_page: Page) -> None:
    page = media_page
    reuse_settings(page)
    expect(page.get_by_text(f"image.png, {size(96, 64)}")).to_be_visible()
    expect(page.locator("#field-video")).to_have_value(re.compile(r"video\.mp4$"))
    expect(page.locator("#field-audio")).to_have_value(re.compile(r"audio\.wav$"))
    expect(cost(page)).to_contain_text("$")
    params = generated_params(page)
    assert content(params["video"]) == film()
    assert content(params["audio"]) == sound("wav", "pcm_s16le")


@pytest.mark.slow
def test_names_the_files_of_a_result_that_must_be_chosen_again(media_page: Page) -> None:
    page = media_page
    page.route("**/inputs/video/0", lambda route: route.fulfill(status=404))
    page.route("**/inputs/audio/0", lambda route: route.abort())
    reuse_settings(page)
    alert = page.get_by_role("alert").filter(has_text="Video: the file is no longer kept. Choose it again.")
    expect(alert).to_contain_text("Audio: the file cannot be loaded now. Try again, or choose it again.")
    expect(page.get_by_text("image.png, ")).to_be_visible()
    expect(page.locator("#field-video")).to_have_value("")
    give_file(page, "video", "other.mp4", "video/mp4", film())
    expect(alert).to_be_hidden()


@pytest.mark.slow
def test_settings_of_a_result_take_the_place_of_those_in_the_form(media_page: Page) -> None:
    page = media_page
    page.get_by_label("Model", exact=True).select_option("flux-1-dev-image-to-image")
    give_file(page, "image", "other.png", "image/png", png(80, 48))
    expect(page.get_by_text("other.png, ")).to_be_visible()
    page.get_by_label("Prompt", exact=True).fill("a hat")
    page.get_by_label("Model", exact=True).select_option("flux-1-schnell")
    page.get_by_label("Prompt", exact=True).fill("a fox")
    generate(page)
    expect(results(page).first).to_have_attribute("aria-label", re.compile("a fox"))
    page.get_by_label("Model", exact=True).select_option("flux-1-dev-image-to-image")
    give_file(page, "image", "other.png", "image/png", png(80, 48))
    reuse_settings(page)
    expect(page.get_by_label("Model", exact=True)).to_have_value("flux-1-schnell")
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("a fox")
    page.get_by_label("Model", exact=True).select_option("flux-1-dev-image-to-image")
    expect(page.get_by_text("other.png, ")).to_be_hidden()


def test_settings_of_a_training_have_its_dataset(playground: Page) -> None:
    page = playground
    page.get_by_role("radio", name="Training", exact=True).check()
    page.get_by_label("Model", exact=True).select_option("sd-1.5-lora-trainer")
    page.get_by_text("Advanced settings").click()
    page.get_by_label("Steps", exact=True).fill("3")
    give_file(page, "dataset", "pets.zip", "application/zip", zipped())
    generated_params(page)
    expect(results(page)).to_have_count(1)
    page.reload()
    reuse_settings(page)
    expect(page.get_by_label("Dataset")).to_have_value(re.compile(r"dataset\.zip$"))
    # The service keeps what it needs of an archive, under names of its own.
    with ZipFile(io.BytesIO(content(generated_params(page)["dataset"]))) as archive:
        assert len([name for name in archive.namelist() if name.endswith(".png")]) == 3
