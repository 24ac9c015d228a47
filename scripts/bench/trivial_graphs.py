"""Graphs without weights, and a program that runs them without the service."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import aiohttp
import httpx

SIZE, WARM_UP = 1024, 3
BARE = "bare websocket"


def graph(color: int) -> dict[str, Any]:
    """Return the graph that both clients run."""
    source = {"width": SIZE, "height": SIZE, "batch_size": 1, "color": color}
    return {
        "1": {"class_type": "EmptyImage", "inputs": source},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "bench"}},
    }


def photograph(color: int) -> dict[str, Any]:
    """Return a graph whose picture has the noise of a photograph."""
    found = graph(color)
    noise = {"image": ["1", 0], "seed": color, "strength": 0.02}
    found["3"] = {"class_type": "ImageAddNoise", "inputs": noise}
    found["2"]["inputs"]["images"] = ["3", 0]
    return found


async def run_bare(url: str, prompt: Mapping[str, Any]) -> bytes:
    """Run the graph as a program that talks to ComfyUI itself."""
    client = uuid4().hex
    async with aiohttp.ClientSession(url) as http, http.ws_connect(f"/ws?clientId={client}") as socket:
        body = {"prompt": prompt, "client_id": client}
        async with http.post("/prompt", json=body) as response:
            prompt_id = (await response.json())["prompt_id"]
        file: dict[str, str] = {}
        async for message in socket:
            event = json.loads(message.data) if message.type is aiohttp.WSMsgType.TEXT else {}
            data = event.get("data", {})
            if event.get("type") == "executed" and data["prompt_id"] == prompt_id:
                file = data["output"]["images"][0]
            if event.get("type") == "execution_success":
                break
        async with http.get("/view", params=file) as response:
            return await response.read()


def describe_instance(url: str | None) -> str:
    """Return what the clients have run on."""
    if url is None:
        return "simulator"
    system = httpx.get(f"{url}/system_stats").raise_for_status().json()["system"]
    return f"ComfyUI {system['comfyui_version']}"
