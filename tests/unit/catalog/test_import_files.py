"""Old, odd and foreign files: group nodes, broadcast links, wrapped graphs, other tools' parameters."""

from __future__ import annotations

import base64
import io
import json
from datetime import date
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from orchestrator.catalog.import_export import (
    InvalidWorkflow,
    import_workflow,
    read_workflow,
    read_workflow_file,
)
from orchestrator.catalog.import_export.infotext import parse_infotext, propose_graph
from orchestrator.catalog.import_export.ui.ui_to_api import convert_ui_to_api
from tests.support.canvas import (
    api,
    image,
    import_pinned,
    imported,
    invert,
    node,
    parameters,
    save,
    sdxl,
    socket,
    workflow,
)
from tests.support.drafts import FACTS, parse_imported

API = api(empty=("EmptyImage", "", {"width": 8}))
UI = sdxl()


def graph(data: Any) -> dict[str, Any]:
    return convert_ui_to_api(data, FACTS).graph


@pytest.mark.parametrize(
    "wrapped",
    [
        {"input": {"workflow": API}},
        {"workflow_api": API},
        {"prompt": API, "extra_data": {}},
        {"prompt": [3, "id", API, {"extra_pnginfo": {}}, ["9"]]},
        {"data": {"graph": json.dumps(API)}},
        json.dumps(json.dumps(API)),
        [{"name": "mine", "body": {"anything": API}}],
    ],
)
def test_finds_a_graph_in_its_wrapping(wrapped: Any) -> None:
    assert read_workflow(json.dumps(wrapped).encode()) == API


def test_finds_both_graphs_of_a_wrapping() -> None:
    found = read_workflow_file(json.dumps({"workflow": UI, "output": API}).encode())
    assert (found.graph, found.prompt) == (UI, API)


def test_reads_numbers_that_are_not_json() -> None:
    text = json.dumps(API).replace('"width": 8', '"width": 8, "is_changed": NaN')
    assert read_workflow(text.encode())["empty"]["inputs"]["width"] == 8


def sound(format: str, codec: str, rate: int = 48_000, **texts: str) -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format) as container:
        container.metadata.update(texts)
        stream = container.add_stream(codec, rate=rate, layout="mono")
        assert isinstance(stream, av.AudioStream)
        samples = np.zeros((1, 9600), np.float32)
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        frame.sample_rate = rate
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def webm(**texts: str) -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", "webm") as container:
        container.metadata.update(texts)
        stream = container.add_stream("libvpx-vp9", rate=8)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def jpeg(parameters: str) -> bytes:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + parameters.encode("utf-16-be")
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()


def animated_png(**texts: str) -> bytes:
    info = PngImagePlugin.PngInfo()
    for name, text in texts.items():
        info.add(b"comf", name.encode("latin-1") + b"\0" + text.encode("latin-1"), after_idat=True)
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    buffer = io.BytesIO()
    frames[0].save(buffer, "PNG", save_all=True, append_images=frames[1:], pnginfo=info)
    return buffer.getvalue()


def glb(**texts: str) -> bytes:
    scene = json.dumps({"asset": {"version": "2.0", "extras": texts}}).encode()
    chunk = len(scene).to_bytes(4, "little") + b"JSON" + scene
    return b"glTF" + (2).to_bytes(4, "little") + (12 + len(chunk)).to_bytes(4, "little") + chunk


@pytest.mark.parametrize(
    "make",
    [
        lambda **texts: sound("flac", "flac", **texts),
        lambda **texts: sound("mp3", "libmp3lame", 44_100, **texts),
        lambda **texts: sound("ogg", "libopus", **texts),
        animated_png,
        webm,
        glb,
    ],
    ids=["flac", "mp3", "opus", "apng", "webm", "glb"],
)
def test_finds_the_graphs_in_files_of_comfyui(make: Any) -> None:
    found = read_workflow_file(make(workflow=json.dumps(UI), prompt=json.dumps(API)))
    assert (found.graph, found.prompt) == (UI, API)


@pytest.mark.parametrize(
    "wrapped",
    [
        {"prompt": json.dumps(API), "workflow": UI, "CreationTime": "2024-01-01"},
        {"workflow": json.dumps(UI), "prompt": API},
    ],
)
@pytest.mark.parametrize("make", [webm, lambda **texts: sound("flac", "flac", **texts)], ids=["webm", "flac"])
def test_finds_the_graphs_in_the_comment_of_older_videos(make: Any, wrapped: dict[str, Any]) -> None:
    found = read_workflow_file(make(comment=json.dumps(wrapped)))
    assert (found.graph, found.prompt) == (UI, API)


@pytest.mark.parametrize("comment", ["a fox", '{"mood": "calm"}', "{broken", "[]"])
def test_comments_without_a_graph_are_ignored(comment: str) -> None:
    with pytest.raises(InvalidWorkflow, match="no embedded workflow"):
        read_workflow_file(webm(comment=comment))
    assert read_workflow_file(webm(comment=comment, prompt=json.dumps(API))).graph == API


INFOTEXT = (
    "a red fox, <lora:watercolor:0.6> snow\nNegative prompt: blurry,\nlow quality\n"
    'Steps: 28, Sampler: DPM++ 2M Karras, CFG scale: 6.5, Seed: 7, Size: 640x448, Model: "sd, 15",'
    " Clip skip: 2, Hires upscale: 2"
)


def test_proposes_a_graph_for_parameters_of_a1111() -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", INFOTEXT)
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG", pnginfo=info)
    found = read_workflow_file(buffer.getvalue())
    assert "Hires upscale: 2".lower() in " ".join(found.notes).lower()
    result = imported(found.graph)
    assert result.usable
    assert result.fixed_inputs["sampler.sampler_name"] == "dpmpp_2m"
    assert result.fixed_inputs["sampler.scheduler"] == "karras"
    assert result.fixed_inputs["checkpoint.ckpt_name"] == "sd, 15.safetensors"
    assert result.fixed_inputs["clip_skip.stop_at_clip_layer"] == -2
    found_parameters = parameters(result)
    assert found_parameters["width"]["default"] == 640
    assert found_parameters["negative_prompt"]["default"] == "blurry,\nlow quality"
    assert found_parameters["loras"]["default"] == [{"name": "watercolor", "strength": 0.6}]


def test_reads_parameters_of_a1111_from_a_jpeg() -> None:
    graph = read_workflow(jpeg(INFOTEXT))
    assert graph["positive"]["inputs"]["text"].startswith("a red fox")


@pytest.mark.parametrize("text", ["", "a fox", "Steps", "a fox\nSteps: 20, Sampler: Made Up, Size: 0x0"])
def test_parses_any_infotext(text: str) -> None:
    info = parse_infotext(text)
    if info is not None:
        found, notes = propose_graph(info)
        assert found["sampler"]["inputs"]["sampler_name"] == "euler"
        assert any("made up" in note for note in notes)


def grouped(type: str = "workflow>blue", **fields: Any) -> dict[str, Any]:
    """A picture, a group node that scales and inverts it, and a saver."""
    scale = node(
        0,
        "ImageScaleBy",
        inputs=[socket("image", "IMAGE")],
        gives=["IMAGE"],
        widgets_values=["bilinear", 0.5],
        index=0,
    )
    turn = node(0, "ImageInvert", inputs=[socket("image", "IMAGE")], gives=["IMAGE"], index=1)
    definition = {"nodes": [scale, turn], "links": [[0, 0, 1, 0, 1, "IMAGE"]], "external": [[1, 0, "IMAGE"]]}
    group = node(
        2,
        type,
        inputs=[socket("image", "IMAGE", 1)],
        gives=["IMAGE"],
        widgets_values=["lanczos", 0.25],
    )
    links = [[1, 1, 0, 2, 0, "IMAGE"], [2, 2, 0, 3, 0, "IMAGE"]]
    extra = {"groupNodes": {"blue": definition}}
    return workflow(image(1), group | fields, save(3, 2), links=links, extra=extra)


@pytest.mark.parametrize("type", ["workflow>blue", "workflow/blue"])
def test_expands_group_nodes(type: str) -> None:
    found = graph(grouped(type))
    assert found["2:0"]["inputs"] == {
        "image": ["1", 0],
        "upscale_method": "lanczos",
        "scale_by": 0.25,
    }
    assert found["2:1"]["inputs"] == {"image": ["2:0", 0]}
    assert found["3"]["inputs"]["images"] == ["2:1", 0]


def test_leaves_out_the_nodes_of_a_muted_group() -> None:
    found = graph(grouped(mode=2))
    assert found.keys() == {"1", "3"}


def test_ignores_group_definitions_that_no_node_uses() -> None:
    data = grouped()
    data["nodes"][1] = invert(2, 1)
    assert graph(data)["3"]["inputs"]["images"] == ["2", 0]


def test_rejects_groups_within_themselves() -> None:
    data = grouped()
    data["extra"]["groupNodes"]["blue"]["nodes"][0]["type"] = "workflow>blue"
    with pytest.raises(InvalidWorkflow, match="contain each other"):
        graph(data)


def everywhere(**fields: Any) -> dict[str, Any]:
    """A broadcasting node gives a checkpoint to all nodes that need it; only a link to the saver is drawn."""
    nodes = [each for each in sdxl()["nodes"] if each["id"] not in (9, 10)]
    for each in nodes:
        for one in each["inputs"]:
            if one["type"] in ("MODEL", "CLIP", "VAE"):
                one["link"] = None
    senders = [
        node(20 + number, "Anything Everywhere", inputs=[socket("anything", "*", 20 + number)])
        for number in range(3)
    ]
    links = [link for link in sdxl()["links"] if link[5] not in ("MODEL", "CLIP", "VAE")]
    links += [[20 + slot, 4, slot, 20 + slot, 0, "*"] for slot in range(3)]
    return workflow(*nodes, save(9, 9), *senders, links=links, **fields)


def test_follows_links_of_use_everywhere() -> None:
    assert import_pinned(everywhere(), id="drawn").graph == import_pinned(sdxl(), id="drawn").graph


def test_follows_the_stored_links_of_use_everywhere() -> None:
    stored = [{"upstream": 4, "upstream_slot": 1, "downstream": 6, "downstream_slot": 0, "type": "CLIP"}]
    found = graph(everywhere(extra={"ue_links": stored}))
    assert found["6"]["inputs"]["clip"] == ["4", 1]
    assert "clip" not in found["7"]["inputs"]


def test_sends_prompts_everywhere_by_the_name_of_the_input() -> None:
    data = sdxl()
    data["links"] = [link for link in data["links"] if link[0] not in (4, 5)]
    for one in data["nodes"][4]["inputs"][1:3]:
        one["link"] = None
    inputs = [socket("CONDITIONING", "*", 31), socket("CONDITIONING2", "*", 32)]
    data["nodes"].append(node(30, "Prompts Everywhere", inputs=inputs))
    data["links"] += [[31, 6, 0, 30, 0, "CONDITIONING"], [32, 7, 0, 30, 1, "CONDITIONING"]]
    inputs = graph(data)["3"]["inputs"]
    assert (inputs["positive"], inputs["negative"]) == (["6", 0], ["7", 0])


@pytest.mark.parametrize(("setter", "getter"), [("SetNode", "GetNode"), ("easy setNode", "easy getNode")])
def test_follows_set_and_get_nodes_of_packs(setter: str, getter: str) -> None:
    data = workflow(
        image(1),
        node(2, setter, inputs=[socket("IMAGE", "IMAGE", 1)], gives=["*"], widgets_values=["base"]),
        node(3, getter, gives=["IMAGE"], widgets_values=["base"]),
        node(4, "Label (rgthree)", title="Read me"),
        node(5, "Fast Groups Muter (rgthree)"),
        save(6, 2),
        links=[[1, 1, 0, 2, 0, "IMAGE"], [2, 3, 0, 6, 0, "IMAGE"]],
    )
    found = convert_ui_to_api(data, FACTS)
    assert found.graph["6"]["inputs"]["images"] == ["1", 0]
    assert found.unknown_classes == {}


def test_skips_the_boolean_after_a_seed() -> None:
    data = sdxl()
    data["nodes"][4]["widgets_values"] = [42, False, 25, 7, "dpmpp_2m", "karras", 1]
    assert graph(data)["3"]["inputs"]["steps"] == 25


def test_writes_paths_of_windows_with_slashes() -> None:
    data = sdxl()
    data["nodes"][0]["widgets_values"] = ["sdxl\\base.safetensors"]
    data["nodes"][1]["widgets_values"] = ["a fox on C:\\foxes\\red.png"]
    result = imported(data)
    assert result.usable
    assert result.fixed_inputs["4.ckpt_name"] == "sdxl/base.safetensors"
    assert "checkpoints/sdxl/base.safetensors" in result.manifest


def test_keeps_a_small_picture_of_the_file() -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("workflow", json.dumps(UI))
    buffer = io.BytesIO()
    Image.new("RGB", (1024, 512), "red").save(buffer, "PNG", pnginfo=info)
    found = read_workflow_file(buffer.getvalue())
    shown = Image.open(io.BytesIO(base64.b64decode(found.picture.partition(",")[2])))
    assert (shown.format, shown.size) == ("WEBP", (256, 128))
    result = import_workflow(
        found.graph,
        id="drawn",
        facts=FACTS,
        today=date(2026, 7, 1),
        comfyui_version="0.33.0",
        picture=found.picture,
    )
    assert parse_imported(result).manifest.example_picture == found.picture
    assert read_workflow_file(webm(workflow=json.dumps(UI))).picture.startswith("data:image/webp")
    assert read_workflow_file(json.dumps(UI).encode()).picture == ""
    assert read_workflow_file(buffer.getvalue()[:-60]).picture == ""
