"""UI format to API format: widgets, and everything that exists only on screen."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.catalog.checks.graph_checks import validate_graph
from orchestrator.catalog.import_export import InvalidWorkflow
from orchestrator.catalog.import_export.ui.ui_to_api import convert_ui_to_api
from tests.support.canvas import image, imported, invert, node, save, sdxl, socket, widget, workflow
from tests.support.drafts import FACTS


def graph(data: Any) -> dict[str, dict[str, Any]]:
    return convert_ui_to_api(data, FACTS).graph


def test_converts_a_whole_workflow() -> None:
    converted = convert_ui_to_api(sdxl(), FACTS)
    assert converted.graph["3"]["inputs"] == {
        "model": ["4", 0],
        "seed": 42,
        "steps": 25,
        "cfg": 7,
        "sampler_name": "dpmpp_2m",
        "scheduler": "karras",
        "positive": ["6", 0],
        "negative": ["7", 0],
        "latent_image": ["5", 0],
        "denoise": 1,
    }
    assert "10" not in converted.graph
    assert validate_graph(converted.graph, FACTS, {"base.safetensors"}) == []
    assert converted.model_downloads["base.safetensors"]["url"].startswith("https://weights.example/")


def test_links_may_be_objects_and_ids_texts() -> None:
    data = workflow(
        image(1),
        save(2, 5),
        links=[{"id": "5", "origin_id": "1", "origin_slot": 0, "target_id": "2", "target_slot": 0}],
    )
    assert graph(data)["2"]["inputs"]["images"] == ["1", 0]


def test_a_seed_from_before_its_companion() -> None:
    data = sdxl()
    data["nodes"][4]["widgets_values"] = [42, 25, 7, "euler", "simple", 1]
    assert graph(data)["3"]["inputs"]["steps"] == 25


def test_values_by_name_and_values_that_are_missing() -> None:
    data = sdxl()
    data["nodes"][4]["widgets_values"] = {"seed": 1, "steps": 2, "videopreview": {}}
    assert graph(data)["3"]["inputs"].items() >= {"seed": 1, "steps": 2}.items()
    data["nodes"][4]["widgets_values"] = [7, "fixed", 30]
    assert graph(data)["3"]["inputs"].items() >= {"steps": 30, "cfg": 8.0, "scheduler": "simple"}.items()


def test_an_upload_button_owns_a_value_that_is_no_input() -> None:
    data = workflow(node(1, "LoadImage", gives=["IMAGE"], widgets_values=["a.png", "image"]), links=[])
    assert graph(data)["1"]["inputs"] == {"image": "a.png"}


UPLOAD = ["COMBO", {"options": ["hare.png"], "image_upload": True}]
TEXT, SEED = ["STRING", {}], ["INT", {"min": 0, "max": 1000}]


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (["image", "a fox"], "a fox"),
        (["a fox", "image"], "a fox"),
        (["a fox"], "a fox"),
    ],
)
def test_an_upload_button_may_be_behind_the_required_inputs(values: list[Any], text: str) -> None:
    entry = {"input": {"required": {"image": UPLOAD}, "optional": {"text": TEXT}}, "output": ["IMAGE"]}
    reader = node(1, "Reader", widgets_values=["hare.png", *values], gives=["IMAGE"])
    data = workflow(reader, save(2, 1), links=[[1, 1, 0, 2, 0, "IMAGE"]])
    found = convert_ui_to_api(data, {**FACTS, "Reader": entry}, {"Reader"})
    assert found.graph["1"]["inputs"] == {"image": "hare.png", "text": text}
    assert found.mismatches == {}


@pytest.mark.parametrize("is_named", [True, False])
def test_a_button_between_widgets_is_known_where_the_file_names_all_widgets(is_named: bool) -> None:
    entry = {"input": {"required": {"text": TEXT, "seed": SEED}}, "output": ["IMAGE"]}
    sockets = [widget("text", "STRING"), widget("seed", "INT")] if is_named else []
    painter = node(1, "Painter", widgets_values=["a fox", "", 5, "fixed"], inputs=sockets, gives=["IMAGE"])
    data = workflow(painter, save(2, 1), links=[[1, 1, 0, 2, 0, "IMAGE"]])
    found = convert_ui_to_api(data, {**FACTS, "Painter": entry}, {"Painter"})
    if is_named:
        assert found.graph["1"]["inputs"] == {"text": "a fox", "seed": 5}
        assert found.placed.keys() == {"1"}
    else:
        assert found.mismatches.keys() == {"1"}


def test_a_dynamic_combo_brings_its_own_widgets() -> None:
    resize = node(
        2,
        "ResizeImageMaskNode",
        inputs=[socket("input", "IMAGE,MASK", 1)],
        gives=["IMAGE"],
        widgets_values=["scale dimensions", 32, 16, "center", "area"],
    )
    data = workflow(image(1), resize, save(3, 2), links=[[1, 1, 0, 2, 0, "IMAGE"], [2, 2, 0, 3, 0, "IMAGE"]])
    assert graph(data)["2"]["inputs"] == {
        "input": ["1", 0],
        "resize_type": "scale dimensions",
        "resize_type.width": 32,
        "resize_type.height": 16,
        "resize_type.crop": "center",
        "scale_method": "area",
    }


def test_a_list_is_wrapped_so_that_it_is_no_link() -> None:
    data = workflow(
        node(1, "Unknown", inputs=[widget("points")], gives=["IMAGE"], widgets_values=[["a", 0]]), links=[]
    )
    assert graph(data)["1"]["inputs"] == {"points": {"__value__": ["a", 0]}}


@pytest.mark.parametrize(("mode", "source"), [(0, ["2", 0]), (4, ["1", 0]), (2, None)])
def test_muted_and_bypassed_nodes(mode: int, source: list[Any] | None) -> None:
    data = workflow(
        image(1),
        invert(2, 1, mode=mode),
        save(3, 2),
        links=[[1, 1, 0, 2, 0, "IMAGE"], [2, 2, 0, 3, 0, "IMAGE"]],
    )
    converted = graph(data)
    assert ("2" in converted) is (mode == 0)
    assert converted["3"]["inputs"].get("images") == source


def test_a_bypass_takes_the_input_of_the_right_type() -> None:
    blend = node(
        3,
        "LoraLoader",
        mode=4,
        inputs=[socket("clip", "CLIP", 1), socket("model", "MODEL", 2)],
        gives=["MODEL", "CLIP"],
        widgets_values=["a.safetensors", 1, 1],
    )
    loader = node(
        1, "CheckpointLoaderSimple", gives=["MODEL", "CLIP", "VAE"], widgets_values=["b.safetensors"]
    )
    text = node(4, "CLIPTextEncode", inputs=[socket("clip", "CLIP", 3)], gives=["CONDITIONING"])
    data = workflow(
        loader,
        blend,
        text,
        links=[[1, 1, 1, 3, 0, "CLIP"], [2, 1, 0, 3, 1, "MODEL"], [3, 3, 1, 4, 0, "CLIP"]],
    )
    assert graph(data)["4"]["inputs"]["clip"] == ["1", 1]


def test_reroutes_and_set_and_get_are_followed() -> None:
    data = workflow(
        image(1),
        node(2, "Reroute", inputs=[socket("", "*", 1)], gives=["IMAGE"]),
        node(3, "SetNode", inputs=[socket("IMAGE", "IMAGE", 2)], gives=["*"], widgets_values=["picture"]),
        node(4, "GetNode", gives=["IMAGE"], widgets_values=["picture"]),
        save(5, 3),
        links=[[1, 1, 0, 2, 0, "IMAGE"], [2, 2, 0, 3, 0, "IMAGE"], [3, 4, 0, 5, 0, "IMAGE"]],
    )
    converted = graph(data)
    assert set(converted) == {"1", "5"}
    assert converted["5"]["inputs"]["images"] == ["1", 0]


def test_a_primitive_gives_its_value() -> None:
    picture = image(1)
    picture["inputs"] = [widget("width", "INT", 1), widget("height", "INT", 2)]
    data = workflow(
        node(9, "PrimitiveNode", gives=["INT"], widgets_values=[512, "fixed"]),
        picture,
        save(2, 3),
        links=[[1, 9, 0, 1, 0, "INT"], [2, 9, 0, 1, 1, "INT"], [3, 1, 0, 2, 0, "IMAGE"]],
    )
    converted = graph(data)
    assert converted["1"]["inputs"].items() >= {"width": 512, "height": 512}.items()
    assert "9" not in converted


def subgraph(instances: list[dict[str, Any]], **fields: Any) -> dict[str, Any]:
    """A workflow with a subgraph: a picture whose colour is promoted, inverted."""
    picture = image(1, color=5)
    picture["inputs"] = [widget("color", "INT", 1)]
    inside = {
        "id": "inside",
        "name": "Inverted",
        "inputs": [{"name": "color", "type": "INT"}],
        "outputs": [{"name": "IMAGE", "type": "IMAGE"}],
        "nodes": [picture, invert(2, 2)],
        "links": [
            {"id": 1, "origin_id": -10, "origin_slot": 0, "target_id": 1, "target_slot": 0, "type": "INT"},
            {"id": 2, "origin_id": 1, "origin_slot": 0, "target_id": 2, "target_slot": 0, "type": "IMAGE"},
            {"id": 3, "origin_id": 2, "origin_slot": 0, "target_id": -20, "target_slot": 0, "type": "IMAGE"},
        ],
    }
    savers = [save(100 + at, at + 1) for at in range(len(instances))]
    links = [[at + 1, item["id"], 0, 100 + at, 0, "IMAGE"] for at, item in enumerate(instances)]
    return workflow(*instances, *savers, links=links, definitions={"subgraphs": [inside]}) | fields


def instance(id: int, **fields: Any) -> dict[str, Any]:
    return node(id, "inside", gives=["IMAGE"], **fields)


def test_subgraphs_are_unfolded_each_under_its_own_path() -> None:
    converted = graph(subgraph([instance(7), instance(8)]))
    assert set(converted) == {"7:1", "7:2", "8:1", "8:2", "100", "101"}
    assert converted["100"]["inputs"]["images"] == ["7:2", 0]
    assert converted["8:2"]["inputs"]["image"] == ["8:1", 0]


@pytest.mark.parametrize(
    ("fields", "color"),
    [
        ({}, 5),
        ({"widgets_values": []}, 5),
        ({"widgets_values": [9]}, 9),
        ({"widgets_values": [None]}, 5),
        ({"widgets_values": [9], "properties": {"proxyWidgets": [["-1", "color"]]}}, 9),
        ({"widgets_values": [9], "properties": {"proxyWidgets": [["1", "color"]]}}, 9),
        ({"widgets_values": [], "properties": {"proxyWidgets": [["1", "color"]]}}, 5),
    ],
)
def test_a_promoted_widget_has_the_value_of_the_instance(fields: dict[str, Any], color: int) -> None:
    assert graph(subgraph([instance(7, **fields)]))["7:1"]["inputs"]["color"] == color


@pytest.mark.parametrize(("given", "color"), [([9], 9), ([None], 6), ([], 6)])
@pytest.mark.parametrize("proxy", ["1", "-1"])
def test_a_widget_that_two_subgraphs_promote_has_the_value_of_the_outer_one(
    proxy: str, given: list[Any], color: int
) -> None:
    inner = instance(4, widgets_values=[6], properties={"proxyWidgets": [[proxy, "color"]]})
    links = [{"id": 3, "origin_id": 4, "origin_slot": 0, "target_id": -20, "target_slot": 0, "type": "IMAGE"}]
    outputs = [{"name": "IMAGE", "type": "IMAGE"}]
    outer = {
        "id": "outer",
        "name": "Outer",
        "inputs": [],
        "outputs": outputs,
        "nodes": [inner],
        "links": links,
    }
    proxies = {"proxyWidgets": [["4", "color"]]}
    data = subgraph([node(7, "outer", gives=["IMAGE"], widgets_values=given, properties=proxies)])
    data["definitions"]["subgraphs"].append(outer)
    assert graph(data)["7:4:1"]["inputs"]["color"] == color


@pytest.mark.parametrize("type", ["workflow>gone", "0b6a1a58-1111-4222-8333-444455556666"])
def test_a_definition_that_the_file_lacks_is_named(type: str) -> None:
    unknown = node(2, type, inputs=[socket("image", "IMAGE", 1)], gives=["IMAGE"])
    links = [[1, 1, 0, 2, 0, "IMAGE"], [2, 2, 0, 3, 0, "IMAGE"]]
    result = imported(workflow(image(1), unknown, save(3, 2), links=links))
    (problem,) = result.problems
    assert problem.code == "missing_node_type"
    for text in (problem.message, result.open_questions[0]):
        assert type.removeprefix("workflow>") in text
        assert "which the file does not have; open the workflow" in text


def test_a_linked_promoted_widget_has_the_value_of_the_link() -> None:
    data = subgraph([instance(7, inputs=[widget("color", "INT", 50)])])
    data["nodes"].append(node(20, "PrimitiveInt", gives=["INT"], widgets_values=[3, "fixed"]))
    data["links"].append([50, 20, 0, 7, 0, "INT"])
    assert graph(data)["7:1"]["inputs"]["color"] == ["20", 0]


@pytest.mark.parametrize("mode", [2, 4])
def test_a_subgraph_that_is_switched_off_is_not_unfolded(mode: int) -> None:
    assert set(graph(subgraph([instance(7, mode=mode)]))) == {"100"}


def test_an_unknown_class_is_named_with_its_pack() -> None:
    properties = {"cnr_id": "some-pack", "ver": "1.2.3"}
    pack = node(
        1,
        "Mystery",
        inputs=[widget("seed", "INT"), widget("amount", "INT")],
        gives=["IMAGE"],
        widgets_values=[4, "randomize", 2],
        properties=properties,
    )
    converted = convert_ui_to_api(workflow(pack, links=[]), FACTS)
    assert converted.unknown_classes == {"Mystery": "some-pack 1.2.3"}
    assert converted.graph["1"]["inputs"] == {"seed": 4, "amount": 2}


def test_the_real_class_may_stand_in_the_properties() -> None:
    named = node(1, "My own name", gives=["IMAGE"], properties={"Node name for S&R": "EmptyImage"})
    assert graph(workflow(named, links=[]))["1"]["class_type"] == "EmptyImage"


def circle_of_reroutes() -> dict[str, Any]:
    return workflow(
        node(1, "Reroute", inputs=[socket("", "*", 2)], gives=["*"]),
        node(2, "Reroute", inputs=[socket("", "*", 1)], gives=["*"]),
        save(3, 3),
        links=[[1, 1, 0, 2, 0, "*"], [2, 2, 0, 1, 0, "*"], [3, 2, 0, 3, 0, "*"]],
    )


def subgraph_within_itself() -> dict[str, Any]:
    data = subgraph([instance(7)])
    data["definitions"]["subgraphs"][0]["nodes"].append(instance(9))
    return data


def doubling_subgraphs() -> dict[str, Any]:
    """Twenty levels, each with two of the next: a million nodes out of a few lines."""
    levels = [
        {"id": f"level{at}", "nodes": [node(1, f"level{at + 1}"), node(2, f"level{at + 1}")], "links": []}
        for at in range(20)
    ]
    levels.append({"id": "level20", "nodes": [image(1)], "links": []})
    return workflow(node(1, "level0"), links=[], definitions={"subgraphs": levels})


@pytest.mark.parametrize(
    "data",
    [
        {},
        [],
        None,
        {"nodes": "many"},
        {"nodes": [1]},
        {"nodes": [{"id": 1}]},
        {"nodes": [{"id": 1, "type": {}}]},
        {"nodes": [], "links": [[1, 2]]},
        {"nodes": [], "links": [[1, 1, "x", 2, 0, "*"]]},
        {"nodes": [], "links": [{"id": 1}]},
        {"nodes": [node(at, "Note") for at in range(10_001)], "links": []},
        circle_of_reroutes(),
        subgraph_within_itself(),
        doubling_subgraphs(),
    ],
)
def test_rejects_files_that_are_no_workflow(data: Any) -> None:
    with pytest.raises(InvalidWorkflow):
        convert_ui_to_api(data, FACTS)


@pytest.mark.parametrize(
    "change",
    [
        {"inputs": None},
        {"inputs": [None, 3, {"name": 5, "link": 99}]},
        {"outputs": {}},
        {"widgets_values": 5},
        {"widgets_values": [{"a": 1}, [2]]},
        {"properties": []},
        {"mode": "loud"},
        {"title": 7},
    ],
)
def test_odd_fields_of_a_node_do_no_harm(change: dict[str, Any]) -> None:
    data = workflow(image(1) | change, save(2, 1), links=[[1, 1, 0, 2, 0, "IMAGE"]])
    assert graph(data)["2"]["inputs"]["images"] == ["1", 0]


def test_a_circle_of_reroutes_names_its_nodes() -> None:
    with pytest.raises(InvalidWorkflow, match=r"\d \(Reroute\) -> \d \(Reroute\) -> \d \(Reroute\); delete"):
        graph(circle_of_reroutes())


def test_two_nodes_of_one_id_are_refused_by_name() -> None:
    data = sdxl()
    twin = {**data["nodes"][4], "title": "Twin", "widgets_values": [1, "fixed", 2, 3, "euler", "simple", 1]}
    same = {**data, "nodes": [*data["nodes"], data["nodes"][4]]}
    assert graph(same) == graph(data)
    with pytest.raises(InvalidWorkflow, match=r"two nodes have the id 3: KSampler.* and KSampler \(Twin\)"):
        graph({**data, "nodes": [*data["nodes"], twin]})
