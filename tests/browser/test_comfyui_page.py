"""Our commands and nodes on the page of a real ComfyUI: draw a graph, publish it, call the model."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from typing import Any
from urllib.request import urlopen

import pytest
from openai import OpenAI
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect

from tests.support.author_studio import Studio, open_studio
from tests.support.comfyui_page import add_nodes, open_page, run_on_canvas
from tests.support.real_comfyui import installation

pytestmark = pytest.mark.comfyui

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


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    install = installation()
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

    client = OpenAI(base_url=f"{studio.service.url}/v1", api_key=studio.key, max_retries=0)
    called = client.images.generate(model="swatch", prompt="x" * 64, response_format="b64_json")
    assert called.data is not None
    assert pixels(base64.b64decode(called.data[0].b64_json or "")) == pixels(first)
    with pytest.raises(Exception, match="color"):
        client.images.generate(model="swatch", prompt="x", extra_body={"color": 0xFFFFFF})
