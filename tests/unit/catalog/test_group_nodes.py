"""Group nodes: which inputs and widgets of the inner nodes are those of the group."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.catalog.import_export.ui.ui_to_api import convert_ui_to_api
from tests.support.canvas import node, save, sdxl, socket, widget, workflow
from tests.support.drafts import FACTS


def graph(data: Any) -> dict[str, Any]:
    return convert_ui_to_api(data, FACTS).graph


@pytest.mark.parametrize(
    ("config", "mask"), [({}, "MASK"), ({"2": {"input": {"MASK": {"name": "where"}}}}, "where")]
)
def test_follows_links_into_inputs_that_a_group_names_differently(config: dict[str, Any], mask: str) -> None:
    """The picture goes into `destination`, which is `image` at the group; the mask passes a reroute."""
    composite = [socket("destination", "IMAGE"), socket("source", "IMAGE"), socket("mask", "MASK")]
    inner = [
        node(0, "ImageCompositeMasked", inputs=composite, gives=["IMAGE"], widgets_values=[8, 9, True]),
        node(0, "EmptyImage", gives=["IMAGE"], widgets_values=[64, 64, 1, 0]),
        node(0, "Reroute", inputs=[socket("", "*")], gives=["*"]),
        node(0, "InvertMask", inputs=[socket("mask", "MASK")], gives=["MASK"]),
    ]
    definition = {
        "nodes": inner,
        "links": [
            [None, 0, 0, 0, 50, "IMAGE"],
            [1, 0, 0, 1, 62, "IMAGE"],
            [None, 1, 2, 0, 50, "MASK"],
            [2, 0, 3, 0, 66, "MASK"],
            [3, 0, 0, 2, 64, "MASK"],
        ],
        "external": [[inner[0], 0, "IMAGE"]],
        "config": {"0": {"input": {"destination": {"name": "image"}}}, **config},
    }
    group = node(
        2,
        "workflow/paste",
        inputs=[socket("image", "IMAGE", 1), socket(mask, "MASK", 2)],
        gives=["IMAGE"],
        widgets_values=[8, 9, True, 64, 64, 1, 0],
    )
    links = [[1, 1, 0, 2, 0, "IMAGE"], [2, 1, 1, 2, 1, "MASK"], [3, 2, 0, 3, 0, "IMAGE"]]
    data = workflow(
        node(1, "LoadImage", gives=["IMAGE", "MASK"], widgets_values=["fox.png", "image"]),
        group,
        save(3, 3),
        links=links,
        extra={"groupNodes": {"paste": definition}},
    )
    found = graph(data)
    assert found["2:0"]["inputs"]["destination"] == ["1", 0]
    assert found["2:0"]["inputs"]["source"] == ["2:1", 0]
    assert found["2:0"]["inputs"]["mask"] == ["2:3", 0]
    assert found["2:3"]["inputs"]["mask"] == ["1", 1]
    assert found["3"]["inputs"]["images"] == ["2:0", 0]


def test_values_of_widgets_that_a_group_has_made_inputs_come_last() -> None:
    names = ("model", "positive", "negative", "latent_image")
    types = ("MODEL", "CONDITIONING", "CONDITIONING", "LATENT")
    sockets = [socket(name, type) for name, type in zip(names, types, strict=True)]
    inner = [
        node(
            0,
            "KSampler",
            inputs=[*sockets, widget("seed", "INT")],
            gives=["LATENT"],
            widgets_values=[888, "fixed", 20, 8, "euler", "normal", 1],
        ),
        node(0, "EmptyLatentImage", gives=["LATENT"], widgets_values=[512, 512, 16]),
    ]
    definition = {
        "nodes": inner,
        "links": [[1, 0, 0, 3, 9, "LATENT"], [None, 0, 0, 4, 5, "INT"]],
        "external": [[0, 0, "LATENT"]],
    }
    data = sdxl()
    by_id = {each["id"]: each for each in data["nodes"]}
    by_id[3] |= {
        "type": "workflow>sampling",
        "inputs": [*by_id[3]["inputs"][:3], widget("seed", "INT")],
        "widgets_values": [20, 7.5, "dpmpp_2m", "karras", 0.9, 400, 640, 1, 1005, "fixed"],
    }
    data["nodes"] = [each for each in data["nodes"] if each["id"] != 5]
    data["links"] = [link for link in data["links"] if link[1] != 5]
    data["extra"]["groupNodes"] = {"sampling": definition}
    found = graph(data)
    sampler = found["3:0"]["inputs"]
    assert {name: value for name, value in sampler.items() if not isinstance(value, list)} == {
        "seed": 1005,
        "steps": 20,
        "cfg": 7.5,
        "sampler_name": "dpmpp_2m",
        "scheduler": "karras",
        "denoise": 0.9,
    }
    assert found["3:1"]["inputs"] == {"width": 400, "height": 640, "batch_size": 1}
