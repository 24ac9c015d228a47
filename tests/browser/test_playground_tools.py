"""What the playground's form offers beside the prompt: seeds, masks, code, memory, pasting, cancelling."""

from __future__ import annotations

import base64
import io
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from tests.browser.test_playground import balance, cost, generate, results
from tests.support.browser import new_key, sign_in
from tests.support.datasets import zipped
from tests.support.images import png
from tests.support.service import ServiceProcess


def choose(page: Page, model: str) -> None:
    """Choose a model by the dialog, once the models are loaded."""
    expect(page.get_by_label("Model", exact=True)).not_to_have_value("")
    page.get_by_role("button", name="Browse all models").click()
    dialog = page.get_by_role("dialog", name="Models")
    dialog.get_by_label("Search models").fill(model)
    dialog.get_by_role("listitem").get_by_role("button").first.click()


def make_slow(page: Page, model: str) -> None:
    """Have each image take seconds, also at the speed of these instances."""
    choose(page, model)
    page.get_by_text("Advanced settings").click()
    page.get_by_label("Steps", exact=True).fill("50")


def prompt(page: Page) -> Locator:
    return page.get_by_label("Prompt", exact=True)


def give_image(page: Page, label: str, data: bytes) -> None:
    file: Any = {"name": "photo.png", "mimeType": "image/png", "buffer": data}
    page.get_by_label(label, exact=True).set_input_files(file)
    expect(page.get_by_text("photo.png, ")).to_be_visible()


@pytest.mark.slow
def test_finds_a_model_by_what_it_is_good_for(playground: Page) -> None:
    page = playground
    page.get_by_role("button", name="Browse all models").click()
    dialog = page.get_by_role("dialog", name="Models")
    search = dialog.get_by_label("Search models")
    expect(search).to_be_focused()
    search.fill("upscaling ultrasharp")
    expect(dialog.get_by_text("1 model", exact=True)).to_be_visible()
    search.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Model", exact=True)).to_have_value("4x-ultrasharp")
    expect(page.get_by_label("Model", exact=True).locator("option:checked")).to_have_text(
        "4x UltraSharp · from $0.01"
    )
    page.get_by_role("button", name="Browse all models").click()
    search.fill("no such model")
    expect(dialog.get_by_text("0 models", exact=True)).to_be_visible()


@pytest.mark.slow
def test_a_model_is_shown_with_the_latest_result_of_the_account(playground: Page) -> None:
    page = playground
    prompt(page).fill("a cat")
    generate(page)
    expect(results(page)).to_have_count(1)
    page.get_by_role("button", name="Browse all models").click()
    card = page.get_by_role("dialog", name="Models").get_by_role("button").filter(has_text="FLUX.1 Schnell")
    assert str(card.locator("img").get_attribute("src")).endswith("/outputs/0/thumbnail")


@pytest.mark.slow
def test_draws_a_seed_and_uses_it(playground: Page) -> None:
    page = playground
    page.get_by_text("Advanced settings").click()
    seed = page.get_by_label("Seed", exact=True)
    page.get_by_role("button", name="Draw a seed").click()
    drawn = seed.input_value()
    assert drawn.isdigit()
    prompt(page).fill("a cat")
    generate(page)
    results(page).click()
    expect(page.get_by_role("dialog").get_by_text(drawn, exact=True)).to_be_visible()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Random").click()
    expect(seed).to_have_value("")


@pytest.mark.slow
def test_settings_survive_a_reload_and_end_with_the_session(playground: Page) -> None:
    page = playground
    choose(page, "sdxl-1.0")
    prompt(page).fill("a red fox")
    page.get_by_role("radio", name="9:16").check()
    page.reload()
    expect(page.get_by_label("Model", exact=True)).to_have_value("sdxl-1.0")
    expect(prompt(page)).to_have_value("a red fox")
    expect(page.get_by_role("radio", name="9:16")).to_be_checked()
    # Also the model of a mode, of which this one is not the first.
    for mode in ("Video", "Image"):
        page.get_by_role("radio", name=mode, exact=True).check()
    expect(page.get_by_label("Model", exact=True)).to_have_value("sdxl-1.0")
    page.get_by_role("button", name="Sign out").click()
    expect(page).to_have_url("/sign-in")
    assert page.evaluate("localStorage.length") == 0


@pytest.mark.slow
def test_settings_of_one_of_several_results_have_its_seed_and_inputs(playground: Page) -> None:
    page = playground
    choose(page, "flux-1-dev-image-to-image")
    give_image(page, "Input image", png(64, 48))
    prompt(page).fill("a hat")
    page.get_by_text("Advanced settings").click()
    page.get_by_label("Seed", exact=True).fill("70")
    page.get_by_role("group", name="Images").get_by_role("radio", name="2").check()
    generate(page)
    expect(results(page)).to_have_count(2)
    choose(page, "flux-1-schnell")
    results(page).last.click()
    page.get_by_role("button", name="Use these settings").click()
    expect(page.get_by_label("Seed", exact=True)).to_have_value("71")
    expect(page.get_by_role("group", name="Images").get_by_role("radio", name="1")).to_be_checked()
    expect(page.get_by_text("image.png, 64 \u00d7 48")).to_be_visible()


def paint(page: Page) -> None:
    page.get_by_role("button", name="Paint a mask").click()
    canvas = page.get_by_role("img", name="Painting area")
    box = canvas.bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] * 0.1, box["y"] + box["height"] * 0.5)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + box["height"] * 0.5, steps=5)
    page.mouse.up()


def painted_share(page: Page) -> float:
    """Return the painted share of the canvas."""
    return float(
        page.evaluate(
            """() => {
            const canvas = document.getElementById("mask-canvas");
            const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            return data.filter((value, index) => index % 4 === 3 && value > 127).length / (data.length / 4);
        }"""
        )
    )


@pytest.mark.slow
def test_paints_a_mask_with_mouse_and_keyboard(playground: Page) -> None:
    page = playground
    choose(page, "flux-1-fill-dev")
    page.get_by_role("button", name="Paint a mask").click()
    expect(page.get_by_text("Add the input image first.")).to_be_visible()
    give_image(page, "Input image", png(320, 240))
    paint(page)
    stroke = painted_share(page)
    assert 0.02 < stroke < 0.4
    for _ in range(6):
        page.keyboard.press("ArrowUp")
    page.keyboard.press("]")
    page.keyboard.press("Space")
    assert painted_share(page) > stroke
    page.keyboard.press("Control+z")
    assert painted_share(page) == stroke
    page.get_by_role("button", name="Invert").click()
    assert painted_share(page) == pytest.approx(1 - stroke, abs=0.02)
    page.get_by_role("button", name="Undo").click()
    page.get_by_role("button", name="Use mask").click()
    expect(page.get_by_text("painted-mask.png, 320 \u00d7 240")).to_be_visible()
    prompt(page).fill("a hat")
    generate(page)
    expect(results(page)).to_have_count(1)


@pytest.mark.slow
def test_paints_with_a_finger(browser: Any, service: ServiceProcess) -> None:
    context = browser.new_context(
        base_url=service.url, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True
    )
    page = context.new_page()
    page.set_default_timeout(15_000)
    sign_in(page, new_key(service, "1.00")["key"])
    page.get_by_label("Model", exact=True).select_option("flux-1-fill-dev")
    give_image(page, "Input image", png(320, 240))
    page.get_by_role("button", name="Paint a mask").tap()
    page.get_by_role("img", name="Painting area").tap()
    assert 0 < painted_share(page) < 0.2
    page.get_by_role("button", name="Use mask").tap()
    expect(page.get_by_text("painted-mask.png, 320 \u00d7 240")).to_be_visible()
    context.close()


@pytest.mark.slow
def test_takes_pasted_images_and_results_that_are_dragged(playground: Page) -> None:
    page = playground
    prompt(page).fill("a cat")
    generate(page)
    expect(results(page)).to_have_count(1)
    choose(page, "4x-ultrasharp")
    page.evaluate(
        """encoded => {
            const bytes = Uint8Array.from(atob(encoded), (letter) => letter.charCodeAt(0));
            const clipboardData = new DataTransfer();
            clipboardData.items.add(new File([bytes], "pasted.png", { type: "image/png" }));
            dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true }));
        }""",
        base64.b64encode(png(80, 48)).decode(),
    )
    expect(page.get_by_text("pasted.png, 80 \u00d7 48")).to_be_visible()
    results(page).drag_to(page.locator(".drop-zone"))
    expect(page.get_by_text("1024 \u00d7 1024")).to_be_visible()
    expect(page.get_by_text("pasted.png")).to_be_hidden()


@pytest.mark.slow
def test_cancels_one_of_several_results(playground: Page) -> None:
    page = playground
    make_slow(page, "qwen-image")
    prompt(page).fill("a train in the rain")
    page.get_by_role("group", name="Images").get_by_role("radio", name="3").check()
    generate(page)
    tiles = page.locator(".in-progress")
    expect(tiles).to_have_count(3)
    page.get_by_role("button", name="Cancel 3 of 3").click()
    expect(tiles).to_have_count(2)
    page.get_by_role("button", name="Cancel 1 of 3").click()
    expect(tiles).to_have_count(1)
    page.get_by_role("button", name="Cancel 2 of 3").click()
    expect(page.get_by_text("No results yet.")).to_be_visible()
    expect(balance(page)).to_have_text("Balance $5.00")


#: Remember every text that a tile shows: some last only as long as a simulated model loads.
REMEMBER_TEXTS = """() => {
    window.seen = new Set();
    new MutationObserver(() => {
        const texts = document.querySelectorAll(".in-progress .caption span");
        texts.forEach((node) => window.seen.add(node.textContent));
    }).observe(document.getElementById("tiles"), { childList: true, subtree: true, characterData: true });
}"""


#: What a tile says of progress while a model is expected to load for 30 s, and at the end after that.
TEXTS_OF_PROGRESS = """async () => {
    const page = document.querySelector("script[src*='/playground.js']").src;
    const { ProgressState } = await import(new URL("progress-state.js", page));
    const state = new ProgressState("running");
    const say = (value, max, fraction, seconds) => {
        state.queue = { position: null, modelReady: new Date(Date.now() + 1000 * seconds).toISOString() };
        state.progress = { value, max, fraction };
        return state.text;
    };
    return [say(1, 1, 0.04, 30), say(1, 1, 0.5, 30), say(2, 8, 0.04, 30), say(1, 1, 0.04, -1)];
}"""


@pytest.mark.slow
def test_says_that_the_model_loads_and_the_place_in_the_queue(playground: Page) -> None:
    """Eight images for two instances with two places each, of a model that no other test loads."""
    page = playground
    make_slow(page, "flux-2-dev")
    prompt(page).fill("a train in the rain")
    page.get_by_role("group", name="Images").get_by_role("radio", name="4").check()
    page.evaluate(REMEMBER_TEXTS)
    generate(page)
    expect(page.locator(".in-progress")).to_have_count(4)
    generate(page)
    expect(page.get_by_text("in the queue, about").first).to_be_visible()
    seen = page.evaluate("[...window.seen]")
    assert any(text.startswith("Loading the model, about ") for text in seen), seen
    # A prompt's first nodes end before the model is loaded: their share of the progress says less.
    texts = page.evaluate(TEXTS_OF_PROGRESS)
    assert re.fullmatch("Loading the model, about (29|30) s left", texts[0]), texts
    assert texts[1:] == ["50 %", "Step 2 of 8", "4 %"]
    # All at once: a button may be gone before a click reaches it.
    buttons = page.get_by_role("button", name="Cancel")
    while buttons.count():
        buttons.evaluate_all("found => found.forEach((button) => button.click())")
        page.wait_for_timeout(100)
    expect(page.locator(".in-progress")).to_have_count(0)


@pytest.mark.slow
def test_generate_is_in_view_on_a_small_screen(playground: Page) -> None:
    page = playground
    page.set_viewport_size({"width": 1280, "height": 720})
    page.reload()
    for mode in ("Video", "Training", "Image"):
        page.get_by_role("radio", name=mode, exact=True).check()
        expect(page.get_by_role("button", name="Generate")).to_be_in_viewport(ratio=1)


SLOW = pytest.mark.slow
COMMANDS = {
    "curl": ("bash", "sample.sh"),
    "Python": (sys.executable, "sample.py"),
    "JavaScript": ("node", "sample.mjs"),
}


@pytest.mark.parametrize(
    "language", ["curl", pytest.param("Python", marks=SLOW), pytest.param("JavaScript", marks=SLOW)]
)
def test_code_of_the_form_runs(page: Page, service: ServiceProcess, tmp_path: Path, language: str) -> None:
    key = new_key(service, "1.00")["key"]
    sign_in(page, key)
    text = 'it\'s a "quoted" $HOME `fox`,\n\\n é 日本 ${x} <b>'
    choose(page, "flux-1-dev-image-to-image")
    prompt(page).fill(text)
    give_image(page, "Input image", png(64, 48))
    page.locator("#show-code").click()
    page.get_by_role("radio", name=language).check()
    program, name = COMMANDS[language]
    (tmp_path / name).write_text(page.locator("#code").inner_text())
    (tmp_path / "image.png").write_bytes(png(64, 48))
    environment = {**os.environ, "PIXELFACTORY_API_KEY": key}
    try:
        done = subprocess.run(
            [program, name], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100
        )
    except FileNotFoundError:
        pytest.skip(f"needs {program}")
    if "jq: command not found" in done.stderr:
        pytest.skip("needs jq")
    assert done.returncode == 0, done.stderr
    with Image.open(io.BytesIO(httpx.get(done.stdout.strip()).content)) as image:
        assert image.width > 0
    jobs = httpx.get(f"{service.url}/api/v1/jobs", headers={"Authorization": f"Bearer {key}"}).json()["jobs"]
    assert [job["params"]["prompt"] for job in jobs] == [text]


def test_offers_a_trained_lora_with_its_strength(page: Page, service: ServiceProcess) -> None:
    key = new_key(service, "1.00")["key"]
    dataset = "data:application/zip;base64," + base64.b64encode(zipped()).decode()
    body = {"dataset": dataset, "steps": 3, "lora_name": "sks"}
    headers = {"Authorization": f"Bearer {key}"}
    made = httpx.post(f"{service.url}/api/v1/models/sd-1.5-lora-trainer/run", json=body, headers=headers)
    assert made.status_code < 300, made.text
    sign_in(page, key)
    expect(results(page)).to_have_count(1)
    choose(page, "sd-1.5")
    loras = page.get_by_label("LoRAs", exact=True)
    expect(loras.locator("option")).to_have_count(2)
    name = "sks"
    loras.select_option(name)
    page.get_by_label(f"Strength of {name}").fill("0.5")
    prompt(page).fill("a cat")
    generate(page)
    expect(results(page)).to_have_count(2)
    results(page).first.click()
    expect(page.get_by_role("dialog").get_by_text(f"{name} (0.5)", exact=True)).to_be_visible()
    page.get_by_role("button", name="Use these settings").click()
    expect(page.get_by_label(f"Strength of {name}")).to_have_value("0.5")
    page.get_by_role("button", name=f"Remove {name}").click()
    expect(page.get_by_label(f"Strength of {name}")).to_have_count(0)
    expect(cost(page)).to_have_text("$0.01")
