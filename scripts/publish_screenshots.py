"""Draw the screenshots of docs/how-to/publish.md: `python -m scripts.publish_screenshots`.

Starts the installed ComfyUI with our pack, a service, and Chromium, and goes through the page's steps.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import Locator, Page, expect, sync_playwright

from tests.support.author_studio import Studio, open_studio
from tests.support.comfyui_page import add_nodes, open_page
from tests.support.comfyui_server import installed_comfyui

IMAGES = Path(__file__).parents[1] / "docs" / "images"
WAIT_MS = 60_000
#: Needs no weights, so that it runs on any computer.
GRAPH: dict[str, Any] = {
    "color": {
        "class": "PixelFactoryInteger",
        "values": {"name": "color", "value": 0xD03030, "minimum": 0, "maximum": 0xFFFFFF},
        "pos": [60, 120],
    },
    "side": {
        "class": "PixelFactoryInteger",
        "values": {"name": "side", "value": 256, "minimum": 64, "maximum": 1024, "step": 8},
        "pos": [60, 500],
    },
    "image": {
        "class": "EmptyImage",
        "values": {"batch_size": 1},
        "links": {"width": ["side", 0], "height": ["side", 0], "color": ["color", 0]},
        "pos": [560, 120],
    },
    "output": {
        "class": "PixelFactoryOutput",
        "values": {"name": "poster"},
        "links": {"result": ["image", 0]},
        "pos": [940, 120],
    },
}
#: Draws the links anew, after the nodes have their sizes.
LAY_OUT = """async () => {
    await app.loadGraphData(app.graph.serialize());
    app.canvas.ds.scale = 0.85;
    app.canvas.ds.offset = [40, 40];
    app.canvas.setDirty(true, true);
}"""


def main() -> None:
    install = installed_comfyui()
    if install is None:
        sys.exit("no ComfyUI is installed; run: pixelfactory comfyui install")
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else IMAGES
    target.mkdir(parents=True, exist_ok=True)
    expect.set_options(timeout=WAIT_MS)
    with (
        tempfile.TemporaryDirectory() as directory,
        open_studio(install, Path(directory)) as studio,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        page = browser.new_page(viewport={"width": 1360, "height": 850}, color_scheme="dark")
        page.set_default_timeout(WAIT_MS)
        draw(page, studio, target)
        browser.close()


def draw(page: Page, studio: Studio, target: Path) -> None:
    """Go through the steps and write one image for each."""
    open_page(page, studio.url, nodes_2=True)
    add_nodes(page, GRAPH)
    page.wait_for_timeout(1000)
    page.evaluate(LAY_OUT)
    page.wait_for_timeout(1500)
    page.screenshot(path=target / "publish-canvas.png")
    open_file_menu(page)
    page.screenshot(path=target / "publish-menu.png", clip={"x": 0, "y": 0, "width": 700, "height": 620})
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Publish this graph as a model of Pixel Factory").click()
    dialog = page.get_by_role("dialog", name="Publish to Pixel Factory")
    dialog.get_by_label("Model id").fill("poster")
    dialog.get_by_role("button", name="Check", exact=True).click()
    license = dialog.get_by_label("License (needed to publish)")
    license.fill("cc0-1.0")
    dialog.get_by_label("maximum of side").fill("512")
    dialog.get_by_role("button", name="Check again").click()
    expect(dialog.get_by_text("The graph can be published.")).to_be_visible()
    shoot(dialog, target / "publish-check.png")
    dialog.get_by_role("button", name="Save draft and test").click()
    expect(dialog.get_by_alt_text("Result of the test run")).to_be_visible()
    shoot(dialog, target / "publish-test.png")
    dialog.get_by_role("button", name="Publish", exact=True).click()
    expect(dialog.get_by_text("poster is live")).to_be_visible()
    shoot(dialog, target / "publish-live.png")
    dialog.get_by_role("button", name="Close").click()
    page.evaluate("() => app.extensionManager.command.execute('PixelFactory.Open')")
    models = page.get_by_role("dialog", name="Open from Pixel Factory")
    models.get_by_label("Filter").fill("poster")
    expect(models.get_by_role("button", name="Open poster")).to_be_visible()
    shoot(models, target / "publish-open.png")


def open_file_menu(page: Page) -> None:
    page.locator(".comfy-menu-button-wrapper, .comfyui-logo-menu, [aria-label='Menu']").first.click()
    page.get_by_role("menuitem", name="File").first.hover()
    page.wait_for_timeout(700)


def shoot(dialog: Locator, path: Path) -> None:
    dialog.page.wait_for_timeout(400)
    dialog.screenshot(path=path)


if __name__ == "__main__":
    main()
