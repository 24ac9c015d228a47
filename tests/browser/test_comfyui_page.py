"""Our commands and nodes on the page of a real ComfyUI: draw a graph, publish it, call the model."""

from __future__ import annotations

import base64
import io
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import httpx
import pytest
from openai import BadRequestError, OpenAI
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect

from tests.support.author_studio import Studio, open_studio
from tests.support.browser import admin
from tests.support.comfyui_page import add_nodes, drop_file, open_page, read_titles, run_on_canvas, set_widget
from tests.support.comfyui_server import installed_comfyui

pytestmark = [pytest.mark.comfyui, pytest.mark.slow]

#: Red, by a parameter; as wide as the prompt is long.
GRAPH: dict[str, Any] = {
    "prompt": {"class": "PixelFactoryText", "values": {"value": "x" * 64}},
    "length": {"class": "StringLength", "links": {"string": ["prompt", 0]}},
    "color": {
        "class": "PixelFactoryInteger",
        "values": {"name": "color", "value": 0xFF0000, "minimum": 0, "maximum": 0xFFFFFF},
    },
    "image": {
        "class": "EmptyImage",
        "values": {"height": 32},
        "links": {"width": ["length", 0], "color": ["color", 0]},
    },
    "output": {
        "class": "PixelFactoryOutput",
        "values": {"name": "swatch"},
        "links": {"result": ["image", 0]},
    },
}
TITLES = [
    "prompt · Text parameter",
    "Text Length",
    "color · Integer parameter",
    "Empty Image",
    "swatch · Output",
]
#: Widgets of our nodes without a tooltip; buttons and players need none.
WITHOUT_TOOLTIP = """() => app.graph.nodes.flatMap((node) => node.widgets
    .filter(({name}) => !["upload", "audioUI"].includes(name) && !name.startsWith("$$"))
    .filter(({name}) => !node.constructor.nodeData.input.required[name]?.[1]?.tooltip)
    .map(({name}) => `${node.type}.${name}`))"""
DURATION = """(player) => new Promise((resolve) => {
    player.onloadedmetadata = () => resolve(player.duration);
    if (player.duration) {
        resolve(player.duration);
    }
})"""


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    install = installed_comfyui()
    if install is None:
        pytest.skip("no ComfyUI is installed")
    with open_studio(install, tmp_path_factory.mktemp("studio")) as started:
        yield started


@pytest.fixture
def canvas(browser: Browser, studio: Studio) -> Iterator[Page]:
    """ComfyUI's page with an empty graph. Our scripts must raise no error."""
    context = browser.new_context(viewport={"width": 1600, "height": 1000})
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    open_page(page, studio.url)
    yield page
    context.close()
    assert [text for text in errors if "pixel_factory" in text] == []


def dialog(page: Page, name: str = "Publish to Pixel Factory") -> Locator:
    return page.get_by_role("dialog", name=name)


def open_publish_dialog(page: Page, id: str) -> Locator:
    page.get_by_role("button", name="Publish this graph as a model of Pixel Factory").click()
    shown = dialog(page)
    shown.get_by_label("Model id").fill(id)
    shown.get_by_role("button", name="Check", exact=True).click()
    expect(shown.get_by_role("heading", name="Parameters of requests")).to_be_visible()
    return shown


def publish(page: Page, id: str) -> str:
    """Publish the graph and return the version."""
    shown = open_publish_dialog(page, id)
    shown.get_by_label("License").fill("cc0-1.0")
    shown.get_by_role("button", name="Publish", exact=True).click()
    message = shown.get_by_text(f"{id} is live (version ")
    expect(message).to_be_visible()
    return message.inner_text().partition("version ")[2].partition(")")[0]


def refused(page: Page) -> Locator:
    """Open the dialog anew, check the graph if it is possible, and return the error."""
    page.keyboard.press("Escape")
    expect(dialog(page)).to_be_hidden()
    page.get_by_role("button", name="Publish this graph as a model of Pixel Factory").click()
    expect(dialog(page).get_by_text("Asking the service")).to_be_hidden()
    if dialog(page).get_by_label("Model id").is_visible():
        dialog(page).get_by_label("Model id").fill("refused")
        dialog(page).get_by_role("button", name="Check", exact=True).click()
    return dialog(page).locator(".pf-error")


def open_model(page: Page, id: str) -> Locator:
    """Open a model on the canvas and return the dialog, which closes if there is nothing to say."""
    page.evaluate("() => app.extensionManager.command.execute('PixelFactory.Open')")
    shown = dialog(page, "Open from Pixel Factory")
    shown.get_by_role("button", name=f"Open {id}", exact=True).click()
    return shown


def call(studio: Studio, model: str, **params: Any) -> tuple[tuple[int, int], bytes]:
    """Return the first image of a request."""
    client = OpenAI(base_url=f"{studio.service.url}/v1", api_key=studio.key, max_retries=0)
    prompt = params.pop("prompt", "")
    called = client.images.generate(model=model, prompt=prompt, response_format="b64_json", extra_body=params)
    assert called.data is not None
    return pixels(base64.b64decode(called.data[0].b64_json or ""))


def write_sound(path: Path) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(b"\0\1" * 8000)


def pixels(data: bytes) -> tuple[tuple[int, int], bytes]:
    with Image.open(io.BytesIO(data)) as image:
        return image.size, image.convert("RGB").tobytes()


def test_draws_publishes_and_calls_a_model(canvas: Page, studio: Studio) -> None:
    add_nodes(canvas, GRAPH)
    first = run_on_canvas(canvas, studio.url)
    shown = open_publish_dialog(canvas, "swatch")
    expect(shown.get_by_label("name of color")).to_have_value("color")
    expect(shown.get_by_text("To publish it, fill in: license")).to_be_visible()
    shown.get_by_role("button", name="Publish", exact=True).click()
    expect(shown.get_by_text("(incomplete_manifest)")).to_be_visible()
    shown.get_by_label("License (needed to publish)").fill("cc0-1.0")
    shown.get_by_label("maximum of color").fill(str(0xFF00FF))
    shown.get_by_role("button", name="Check again").click()
    expect(shown.get_by_text("The graph can be published.")).to_be_visible()
    expect(shown.get_by_label("maximum of color")).to_have_value(str(0xFF00FF))
    shown.get_by_role("button", name="Save draft and test").click()
    result = shown.get_by_alt_text("Result of the test run")
    expect(result).to_be_visible(timeout=60_000)
    source = result.get_attribute("src")
    assert source is not None
    with urlopen(f"{studio.url}{source}") as response:
        assert pixels(response.read()) == pixels(first)
    shown.get_by_role("button", name="Publish", exact=True).click()
    expect(shown.get_by_text("swatch is live")).to_be_visible()
    expect(shown.get_by_text(f"curl {studio.service.url}/v1/images/generations")).to_be_visible()
    expect(shown.get_by_text('model="swatch"')).to_be_visible()
    assert studio.key not in canvas.content()

    assert call(studio, "swatch", prompt="x" * 64) == pixels(first)
    client = OpenAI(base_url=f"{studio.service.url}/v1", api_key=studio.key, max_retries=0)
    with pytest.raises(BadRequestError, match="color"):
        client.images.generate(model="swatch", prompt="x", extra_body={"color": 0xFFFFFF})


def test_an_image_that_is_unticked_stays_the_author_s(canvas: Page, studio: Studio) -> None:
    (studio.base / "input").mkdir(exist_ok=True)
    Image.new("RGB", (24, 24), (0, 0, 255)).save(studio.base / "input" / "seal.png")
    drawn = {
        "photo": {"class": "LoadImage", "values": {"image": "seal.png"}},
        "twice": {
            "class": "RepeatImageBatch",
            "values": {"amount": 2},
            "links": {"image": ["photo", 0]},
        },
        "save": {"class": "SaveImage", "links": {"images": ["twice", 0]}},
    }
    add_nodes(canvas, drawn)
    shown = open_publish_dialog(canvas, "sealed")
    shown.get_by_label("requests set image").uncheck()
    expect(shown.get_by_text("stays seal.png")).to_be_visible()
    shown.get_by_label("License").fill("cc0-1.0")
    shown.get_by_role("button", name="Check again").click()
    expect(shown.get_by_text("for 2 results")).to_be_visible()
    shown.get_by_role("button", name="Publish", exact=True).click()
    expect(shown.get_by_text("sealed is live")).to_be_visible()
    size, data = call(studio, "sealed")
    assert (size, data[:3]) == ((24, 24), b"\0\0\xff")


def test_asks_for_the_results_that_callers_pay_for(canvas: Page, studio: Studio) -> None:
    empty = {"width": 64, "height": 64, "batch_size": 3, "color": 255}
    drawn = {
        "three": {"class": "EmptyImage", "values": empty},
        "first": {
            "class": "ImageFromBatch",
            "values": {"batch_index": 0, "length": 1},
            "links": {"image": ["three", 0]},
        },
        "save": {"class": "SaveImage", "links": {"images": ["first", 0]}},
    }
    add_nodes(canvas, drawn)
    shown = open_publish_dialog(canvas, "first-of-three")
    shown.get_by_label("License").fill("cc0-1.0")
    shown.get_by_role("button", name="Save draft and test").click()
    expect(shown.get_by_alt_text("Result of the test run")).to_be_visible(timeout=60_000)
    shown.get_by_role("button", name="Check again").click()
    expect(shown.get_by_text("To publish it, fill in: batch")).to_be_visible()
    paid = shown.get_by_label("Results that callers pay for (needed to publish): at most 1")
    paid.fill("1")
    shown.get_by_role("button", name="Publish", exact=True).click()
    expect(shown.get_by_text("first-of-three is live")).to_be_visible()


def test_replaces_a_model_and_rolls_it_back(canvas: Page, studio: Studio) -> None:
    add_nodes(canvas, GRAPH)
    first = publish(canvas, "changing")
    canvas.keyboard.press("Escape")
    expect(dialog(canvas)).to_be_hidden()
    set_widget(canvas, "color · Integer parameter", "value", 0x00FF00)
    canvas.get_by_role("button", name="Publish this graph as a model of Pixel Factory").click()
    shown = dialog(canvas)
    expect(shown.get_by_label("Model id")).to_have_value("changing")
    expect(shown.get_by_text("It replaces the live model with this id.")).to_be_visible()
    expect(shown.get_by_label("License")).to_have_value("cc0-1.0")
    shown.get_by_role("button", name="Publish", exact=True).click()
    expect(shown.get_by_text("(model_exists)")).to_be_visible()
    shown.get_by_label("Replace the model with this id").check()
    shown.get_by_role("button", name="Publish", exact=True).click()
    expect(shown.get_by_text("changing is live")).to_be_visible()
    assert call(studio, "changing", prompt="x" * 64) == ((64, 32), b"\x00\xff\x00" * 64 * 32)
    admin(studio.service, "models/changing/rollback", version=first)
    assert call(studio, "changing", prompt="x" * 64) == ((64, 32), b"\xff\x00\x00" * 64 * 32)


def test_opens_a_model_as_its_author_drew_it(canvas: Page, studio: Studio) -> None:
    add_nodes(canvas, GRAPH)
    publish(canvas, "drawing")
    canvas.keyboard.press("Escape")
    add_nodes(canvas, {})
    canvas.evaluate("() => app.extensionManager.command.execute('PixelFactory.Open')")
    shown = dialog(canvas, "Open from Pixel Factory")
    shown.get_by_label("Filter").fill("drawing")
    expect(shown.get_by_role("button", name="Open sdxl-1.0")).to_be_hidden()
    shown.get_by_role("button", name="Open drawing").click()
    expect(shown).to_be_hidden()
    assert read_titles(canvas) == TITLES


def test_the_graph_of_a_job_can_be_dropped_onto_the_canvas(canvas: Page, studio: Studio) -> None:
    add_nodes(canvas, GRAPH)
    publish(canvas, "dropped")
    canvas.keyboard.press("Escape")
    headers = {"Authorization": f"Bearer {studio.key}"}
    body = {"model": "dropped", "prompt": "x" * 40, "color": 0x00FF00}
    url = f"{studio.service.url}/v1/images/generations"
    made = httpx.post(url, json=body, headers=headers, timeout=60).raise_for_status()
    job = made.headers["X-PixelFactory-Job"]
    address = f"{studio.service.url}/admin/v1/jobs/{job}/graph"
    operator = {"Authorization": f"Bearer {studio.service.admin_token}"}
    sent = httpx.get(address, headers=operator).raise_for_status()
    drop_file(canvas, f"{job}.json", sent.text)
    canvas.wait_for_function("(count) => app.graph.nodes.length === count", arg=len(sent.json()))
    shown = canvas.evaluate("async () => (await app.graphToPrompt()).output")
    assert {id: (node["class_type"], node["inputs"]) for id, node in shown.items()} == {
        id: (node["class_type"], node["inputs"]) for id, node in sent.json().items()
    }


def test_opening_a_model_brings_its_files_or_names_what_is_missing(canvas: Page, studio: Studio) -> None:
    file = studio.base / "input" / "otter.png"
    file.parent.mkdir(exist_ok=True)
    Image.new("RGB", (24, 24), (0, 255, 0)).save(file)
    drawn = {
        "photo": {"class": "LoadImage", "values": {"image": "otter.png"}},
        "save": {"class": "SaveImage", "links": {"images": ["photo", 0]}},
    }
    add_nodes(canvas, drawn)
    shown = open_publish_dialog(canvas, "otter")
    shown.get_by_label("requests set image").uncheck()
    shown.get_by_label("License").fill("cc0-1.0")
    shown.get_by_role("button", name="Publish", exact=True).click()
    expect(shown.get_by_text("otter is live")).to_be_visible()
    canvas.keyboard.press("Escape")
    file.unlink()
    expect(open_model(canvas, "otter")).to_be_hidden()
    assert pixels(file.read_bytes()) == ((24, 24), b"\0\xff\0" * 24 * 24)

    file.write_bytes(b"another file")
    shown = open_model(canvas, "otter")
    expect(shown.get_by_text("has other files with the names of the model's: otter.png")).to_be_visible()
    assert file.read_bytes() == b"another file"
    canvas.keyboard.press("Escape")

    prompt = {
        "photo": {"class_type": "LoadImage", "inputs": {"image": "gone.png"}},
        "save": {"class_type": "SaveImage", "inputs": {"images": ["photo", 0], "filename_prefix": "x"}},
    }
    saved = httpx.post(
        f"{studio.service.url}/admin/v1/models",
        headers={"Authorization": f"Bearer {studio.key}"},
        json={"id": "gone", "prompt": prompt, "manifest": {"parameters": {"image": None}}},
    )
    assert saved.status_code == 201, saved.text
    shown = open_model(canvas, "gone")
    expect(shown.get_by_text("does not have these files, which the graph loads: gone.png")).to_be_visible()


def test_says_why_the_service_refuses(canvas: Page, studio: Studio) -> None:
    add_nodes(canvas, GRAPH)
    try:
        studio.configure(url=studio.service.url, key=studio.new_key("generate"))
        expect(refused(canvas)).to_contain_text("publish")
        studio.configure(url="http://127.0.0.1:9", key="pk-test")
        expect(refused(canvas)).to_contain_text("The service at http://127.0.0.1:9 does not answer")
        studio.configure(url=studio.service.url)
        expect(refused(canvas)).to_contain_text("The key of the service is not set.")
    finally:
        studio.configure(url=studio.service.url, key=studio.key)


def test_shows_what_is_wrong_as_text(canvas: Page, studio: Studio) -> None:
    markup = "<img src=x onerror=alert(1)>"
    graph = GRAPH | {"color": GRAPH["color"] | {"values": GRAPH["color"]["values"] | {"name": markup}}}
    add_nodes(canvas, graph)
    expect(refused(canvas)).to_contain_text(markup)
    expect(dialog(canvas).locator("img")).to_have_count(0)


def test_other_pages_cannot_use_the_key(studio: Studio) -> None:
    for method, path in (("GET", "status"), ("GET", "models"), ("POST", "models"), ("POST", "models/x/test")):
        answer = httpx.request(method, f"{studio.url}/pixelfactory/{path}", json={})
        assert answer.status_code == 403, path
    headers = {"X-Pixel-Factory-Page": "1"}
    status = httpx.get(f"{studio.url}/pixelfactory/status", headers=headers)
    assert status.json()["url"] == studio.service.url
    assert studio.key not in status.text
    stored = httpx.get(f"{studio.url}/userdata?dir=..&recurse=true", headers=headers)
    assert studio.key not in stored.text


@pytest.mark.parametrize("nodes_2", [False, True])
def test_parameter_nodes_are_pleasant(browser: Browser, studio: Studio, nodes_2: bool) -> None:
    page = browser.new_page(viewport={"width": 1600, "height": 1000})
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    open_page(page, studio.url, nodes_2=nodes_2)
    kinds = ("Text", "Integer", "Number", "Boolean", "Image", "Mask", "Images", "Video", "Audio", "Loras")
    add_nodes(page, {kind: {"class": f"PixelFactory{kind}", "values": {"name": "mine"}} for kind in kinds})
    assert {title.split(" · ")[0] for title in read_titles(page)} == {"mine"}
    assert page.evaluate(WITHOUT_TOOLTIP) == []
    if nodes_2:
        expect(page.get_by_text("mine · Integer parameter")).to_be_visible()
    add_nodes(
        page,
        {
            "choice": {"class": "PixelFactoryChoice"},
            "sampler": {"class": "KSampler", "links": {"scheduler": ["choice", 0]}},
            "note": {"class": "PixelFactoryText"},
        },
    )
    choices = "() => app.graph.nodes[0].widgets.find((each) => each.name === 'value').options.values"
    assert {"simple", "karras"} <= set(page.evaluate(choices))
    page.evaluate("() => { app.graph.nodes[2].title = 'What I want'; }")
    set_widget(page, "What I want", "name", "other")
    assert read_titles(page)[2] == "What I want"
    page.close()
    assert errors == []


def test_files_run_from_the_page_and_as_a_model(canvas: Page, studio: Studio) -> None:
    for name, color in (("red.png", (255, 0, 0)), ("blue.png", (0, 0, 255))):
        Image.new("RGB", (16, 16), color).save(studio.base / "input" / name)
    write_sound(studio.base / "input" / "beep.wav")
    # The page reads the lists of files when it starts.
    open_page(canvas, studio.url)
    images = {"images": ["red.png", "blue.png"], "max_items": 2}
    flip = {"name": "way", "choices": "x-axis: vertically\ny-axis: horizontally"}
    add_nodes(
        canvas,
        {
            "images": {"class": "PixelFactoryImages", "values": images},
            "way": {"class": "PixelFactoryChoice", "values": flip},
            "flip": {"class": "ImageFlip", "links": {"image": ["images", 0], "flip_method": ["way", 0]}},
            "saved": {"class": "PixelFactoryOutput", "links": {"result": ["flip", 0]}},
        },
    )
    assert pixels(run_on_canvas(canvas, studio.url)) == ((16, 16), b"\xff\x00\x00" * 256)
    publish(canvas, "flipped")
    canvas.keyboard.press("Escape")
    blue = base64.b64encode((studio.base / "input" / "blue.png").read_bytes()).decode()
    made = call(studio, "flipped", images=[blue, blue], way="y-axis: horizontally")
    assert made == ((16, 16), b"\x00\x00\xff" * 256)
    add_nodes(
        canvas,
        {
            "audio": {"class": "PixelFactoryAudio", "values": {"audio": "beep.wav", "max_seconds": 5}},
            "saved": {"class": "PixelFactoryOutput", "links": {"result": ["audio", 0]}},
        },
    )
    assert run_on_canvas(canvas, studio.url).startswith(b"fLaC")
    shown = open_publish_dialog(canvas, "echo")
    expect(shown.get_by_text("The graph runs.")).to_be_visible()
    shown.get_by_role("button", name="Save draft and test").click()
    expect(shown.locator(".pf-result")).to_contain_text("Draft saved")
    shown.locator("input[type=file]").set_input_files(studio.base / "input" / "beep.wav")
    shown.get_by_role("button", name="Run", exact=True).click()
    expect(shown.locator("audio")).to_be_visible(timeout=60_000)
    assert shown.locator("audio").evaluate(DURATION) == 1
