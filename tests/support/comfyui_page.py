"""ComfyUI's page in a browser: open it, draw a graph on its canvas, and run that."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

from playwright.sync_api import Page

#: The page takes a while on a busy machine.
START_MS = 240_000
_IS_READY = """() => window.app?.graph && window.app.extensionManager
    && Object.keys(LiteGraph.registered_node_types).length > 400"""
_ADD_NODES = """async (drawn) => {
    app.graph.clear();
    const made = {};
    let index = 0;
    for (const [id, {class: type, values, pos}] of Object.entries(drawn)) {
        const node = LiteGraph.createNode(type);
        node.pos = pos ?? [60 + 380 * (index % 4), 120 + 420 * Math.floor(index / 4)];
        index += 1;
        app.graph.add(node);
        for (const [name, value] of Object.entries(values ?? {})) {
            const widget = node.widgets.find((each) => each.name === name);
            widget.value = value;
            widget.callback?.(value);
        }
        made[id] = node;
    }
    for (const [id, {links}] of Object.entries(drawn)) {
        for (const [name, [source, slot]] of Object.entries(links ?? {})) {
            const input = made[id].inputs.findIndex((each) => each.name === name);
            made[source].connect(slot, made[id], input);
        }
    }
    app.canvas.setDirty(true, true);
}"""

_RUN = """async () => {
    const readHistory = async () => (await app.api.fetchApi("/history")).json();
    const before = Object.keys(await readHistory());
    await app.queuePrompt(0);
    for (let waited = 0; waited < 600; waited += 1) {
        const history = await readHistory();
        const made = Object.keys(history).find((id) => !before.includes(id));
        if (made) {
            return history[made];
        }
        await new Promise((resolve) => setTimeout(resolve, 100));
    }
    throw new Error("the run did not end within a minute");
}"""

_DROP = """([name, text]) => {
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File([text], name, {type: "application/json"}));
    const where = {bubbles: true, cancelable: true, clientX: 800, clientY: 500, dataTransfer};
    const canvas = document.querySelector("#graph-canvas");
    canvas.dispatchEvent(new DragEvent("dragover", where));
    canvas.dispatchEvent(new DragEvent("drop", where));
}"""

_SET_WIDGET = """([title, name, value]) => {
    const node = app.graph.nodes.find((each) => each.title === title);
    const widget = node.widgets.find((each) => each.name === name);
    widget.value = value;
    widget.callback?.(value);
}"""


def open_page(page: Page, url: str, *, nodes_2: bool = False) -> None:
    """Open the page with an empty graph; `nodes_2` selects the newer rendering of nodes."""
    settings = {"Comfy.TutorialCompleted": True, "Comfy.VueNodes.Enabled": nodes_2}
    page.request.post(f"{url}/api/settings", data=settings)
    page.goto(url)
    page.wait_for_function(_IS_READY, timeout=START_MS)
    # The page loads a default graph, which would replace one that is drawn earlier.
    page.wait_for_function("() => app.graph.nodes.length > 0", timeout=START_MS)
    page.evaluate("() => app.graph.clear()")


def add_nodes(page: Page, drawn: dict[str, Any]) -> None:
    """Replace the graph by nodes with `class`, `values` of widgets, `links`, and `pos`, by any ids."""
    page.evaluate(_ADD_NODES, drawn)


def set_widget(page: Page, title: str, name: str, value: object) -> None:
    """Set a widget of the node with a title."""
    page.evaluate(_SET_WIDGET, [title, name, value])


def drop_file(page: Page, name: str, text: str) -> None:
    """Drop a file from the desktop onto the canvas."""
    page.evaluate(_DROP, [name, text])


def read_titles(page: Page) -> list[str]:
    """Return the titles of all nodes."""
    titles: list[str] = page.evaluate("() => app.graph.nodes.map((node) => node.title)")
    return titles


def run_on_canvas(page: Page, url: str) -> bytes:
    """Run the graph as ComfyUI's own button does, and return its first file."""
    entry = page.evaluate(_RUN)
    assert entry["status"]["status_str"] == "success", entry["status"]
    files = [file for shown in entry["outputs"].values() for files in shown.values() for file in files]
    query = urlencode({name: files[0][name] for name in ("filename", "subfolder", "type")})
    with urlopen(f"{url}/view?{query}") as response:
        data: bytes = response.read()
    return data
