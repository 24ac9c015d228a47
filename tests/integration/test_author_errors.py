"""What the service says to an author before a graph is stored, and what a test run makes of it."""

from __future__ import annotations

import copy
import io
import json
from typing import Any

import pytest

from tests.support.callers import new_key
from tests.support.canvas import drawn
from tests.support.publishing import (
    AUTHOR_SCOPES,
    MODELS,
    author,
    graph,
    publish,
    publishing_service,
    send,
)
from tests.support.service import ServiceProcess

__all__ = ["author"]

service = publishing_service


@pytest.mark.slow
async def test_a_large_graph_is_published(service: ServiceProcess, author: str) -> None:
    """The page of ComfyUI sends two formats and facts: some public graphs have more than 256 KiB."""
    nodes: dict[str, Any] = {"0": graph()["1"]}
    for number in range(1, 800):
        inverted = {"image": [str(number - 1), 0]}
        meta = {"title": "a long title " * 24}
        nodes[str(number)] = {"class_type": "ImageInvert", "inputs": inverted, "_meta": meta}
    nodes["save"] = {"class_type": "SaveImage", "inputs": {"images": ["799", 0], "filename_prefix": "x"}}
    assert len(json.dumps(nodes)) > 256 * 1024
    status, report = await publish(service, author, "large", prompt=nodes, dry_run=True)
    assert (status, report["usable"]) == (200, True)
    text = json.dumps({"id": "larger", "prompt": {str(number): [] for number in range(600_000)}})
    async with service.client(author) as http, http.post(MODELS, data=io.BytesIO(text.encode())) as response:
        answer = await response.json()
    assert (response.status, answer["error"]["code"]) == (400, "payload_too_large")
    assert "4096 KiB" in answer["error"]["message"]


async def test_a_dry_run_says_whose_model_it_is(service: ServiceProcess, author: str) -> None:
    assert (await publish(service, author, "own", publish=True))[0] == 201
    other = new_key(service, scopes=AUTHOR_SCOPES)
    for id in ("own", "sdxl-1.0"):
        status, answer = await publish(service, other, id, dry_run=True)
        assert (status, answer["error"]["code"]) == (403, "model_not_yours")


@pytest.mark.parametrize(
    ("fields", "param", "message"),
    [
        ({"prompt": {"1": {"class_type": "Foo", "inputs": {}}}}, "prompt", "`prompt`: no node of the graph"),
        ({"prompt": graph(), "workflow": {"nodes": []}}, "workflow", "`workflow`: no node of the graph"),
        ({"prompt": {}, "workflow": {"nodes": []}}, "prompt", "`prompt`: must be a ComfyUI workflow"),
        ({"prompt": {"a\ud83d": graph()["1"]}}, "prompt", "half of a character"),
    ],
)
async def test_an_error_names_the_graph_that_was_sent(
    service: ServiceProcess, author: str, fields: dict[str, Any], param: str, message: str
) -> None:
    status, answer = await publish(service, author, "none", **fields, dry_run=True)
    assert (status, answer["error"]["param"]) == (400, param)
    assert message in answer["error"]["message"]


async def test_two_nodes_with_one_id_are_an_error(service: ServiceProcess, author: str) -> None:
    node = json.dumps(graph()["1"])
    raw = f'{{"id": "twice", "dry_run": true, "prompt": {{"1": {node}, "1": {node}}}}}'
    async with service.client(author) as http, http.post(MODELS, data=raw) as response:
        answer = await response.json()
    assert (response.status, answer["error"]["code"]) == (400, "invalid_json")
    assert "two nodes have the id '1'" in answer["error"]["message"]


async def test_a_test_run_has_the_prompt_of_its_author(service: ServiceProcess, author: str) -> None:
    prompt = copy.deepcopy(drawn())
    manifest = {"license": "mit", "estimates": {"vram_bytes": 1}}
    status, answer = await publish(service, author, "fox", prompt=prompt, manifest=manifest, test_run=True)
    assert (status, answer["test"]["status"]) == (201, "completed")
    own = {row["name"]: row["example"] for row in answer["report"]["parameters"]}["prompt"]
    assert own
    assert answer["test"]["params"]["prompt"] == own
    assert (await send(service, author, "DELETE", f"{MODELS}/fox?draft=true"))[0] == 200
