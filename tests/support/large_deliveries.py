"""Run by ComfyUI's own Python: deliver images of 8192x8192 by the pack's node, in bounded memory.

    PYTHONPATH=REPOSITORY python -m tests.support.large_deliveries IMAGES LIMIT_MB

Prints the states of the files, the most memory that the courier held, how long the node waited for room, how
much larger the process became while it delivered, all in bytes and seconds, and whether images that are
converted in pieces have the pixels of others. The uploads go to a server of this process.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

EDGE = 8192
PROMPT = "large"


class Sink(BaseHTTPRequestHandler):
    """Takes uploads and forgets them."""

    def do_PUT(self) -> None:
        left = int(self.headers["Content-Length"])
        while left > 0:
            left -= len(self.rfile.read(min(left, 2**20)))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""


def stand_in(name: str, **values: Any) -> None:
    """Take the place of a module of ComfyUI."""
    module = ModuleType(name)
    vars(module).update(values)
    sys.modules[name] = module


def resident_bytes(name: str) -> int:
    (line,) = (text for text in Path("/proc/self/status").read_text().splitlines() if name in text)
    return int(line.split()[1]) * 1024


def main(count: str, limit_mb: str) -> None:
    os.environ["PIXEL_FACTORY_DELIVERY_MEMORY_MB"] = limit_mb
    torch: Any = importlib.import_module("torch")
    nodes: Any = importlib.import_module("custom_nodes.pixel_factory.delivery.nodes")
    courier = importlib.import_module("custom_nodes.pixel_factory.delivery.courier").get_courier()
    Grant = importlib.import_module("custom_nodes.pixel_factory.delivery.state").Grant
    server = SimpleNamespace(client_id=None, last_prompt_id=PROMPT, last_node_id="9")
    stand_in("server", PromptServer=SimpleNamespace(instance=server))
    stand_in("comfy_execution.utils", get_executing_context=lambda: None)
    stand_in("comfy.model_management", throw_exception_if_processing_interrupted=lambda: None)
    sink = ThreadingHTTPServer(("127.0.0.1", 0), Sink)
    threading.Thread(target=sink.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{sink.server_port}/object?signed"
    converted, nodes._CONVERTED_BYTES = nodes._CONVERTED_BYTES, 50_000
    small = torch.rand(301, 77, 3) * 1.2 - 0.1
    same = bool((nodes._copy_as_8bit(small)() == nodes._hold(small)()).all())
    nodes._CONVERTED_BYTES = converted
    # One image in memory, however many are delivered.
    images = torch.rand(1, EDGE, EDGE, 3).expand(int(count), EDGE, EDGE, 3)
    most = 0

    def states() -> list[str]:
        found = courier.deliveries.snapshot(PROMPT)
        return [row["state"] for row in found["files"]] if found else []

    def grant() -> None:
        nonlocal most
        while True:
            most = max(most, courier.budget.used)
            waiting = [number for number, state in enumerate(states()) if state == "encoded"]
            courier.grant(PROMPT, {number: Grant(url) for number in waiting})
            time.sleep(0.01)

    threading.Thread(target=grant, daemon=True).start()
    before = resident_bytes("VmRSS")
    nodes.DeliverImagesNode().deliver(images, "", "image/png", 90, "1")
    while not all(state in ("stored", "offered", "failed") for state in states()):
        time.sleep(0.05)
    print(
        json.dumps(
            {
                "states": states(),
                "most_held": most,
                "held": courier.budget.used,
                "waited": courier.budget.waited_seconds,
                "growth": resident_bytes("VmHWM") - before,
                "same_pixels": same,
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
