"""Our node pack in a real ComfyUI: it loads, it runs, and what is imported from it runs without it."""

from __future__ import annotations

import asyncio
import json
import wave
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from PIL import Image

from comfy_instances.protocol.node_facts import extract_node_facts, load_core_node_facts, load_pack_node_facts
from orchestrator.catalog import load_model, write_model
from orchestrator.catalog.import_export.infer.parameter_nodes import PARAMETER_NODE_CLASSES
from tests.support.canvas import import_pinned
from tests.support.media_samples import film
from tests.support.real_comfyui import RealServer

pytestmark = pytest.mark.comfyui

FACTS = {**load_pack_node_facts(), **load_core_node_facts()}


def drawn() -> dict[str, Any]:
    """A picture, brightened by a colour of its own size, in every kind of parameter."""
    declared = {"required": False, "description": ""}

    def parameter(kind: str, **values: Any) -> dict[str, Any]:
        return {"class_type": f"PixelFactory{kind}", "inputs": {**declared, **values}}

    nodes: dict[str, Any] = {
        "picture": parameter("Image", image="small.png", name="image", required=True),
        "hole": parameter("Mask", image="small.png", channel="red", name="mask", required=True),
        "side": parameter("Integer", name="side", value=32, minimum=16, maximum=64, step=8),
        "factor": parameter("Number", name="blend_factor", value=0.5, minimum=0, maximum=1, step=0.1),
        "note": parameter("Text", name="note", value="a note"),
        "invert": parameter("Boolean", name="resize", value=True),
    }
    nodes["colour"] = node("EmptyImage", width=["side", 0], height=["side", 0], batch_size=1, color=0xFF0000)
    nodes["blend"] = node(
        "ImageBlend",
        image1=["picture", 0],
        image2=["colour", 0],
        blend_factor=["factor", 0],
        blend_mode="normal",
    )
    nodes["paste"] = node(
        "ImageCompositeMasked",
        destination=["blend", 0],
        source=["colour", 0],
        x=0,
        y=0,
        resize_source=["invert", 0],
        mask=["hole", 0],
    )
    nodes["same"] = node("StringReplace", string=["note", 0], find="a", replace="b")
    nodes["show"] = node("PreviewAny", source=["same", 0])
    nodes["save"] = node("SaveImage", images=["paste", 0], filename_prefix="drawn")
    return nodes


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


async def run(comfyui_with_pack: RealServer, graph: dict[str, Any]) -> dict[str, Any]:
    """Its outputs by node."""
    async with aiohttp.ClientSession(comfyui_with_pack.url) as client:
        async with client.post("/prompt", json={"prompt": graph}) as response:
            answer = await response.json()
            assert response.status == 200, answer
        for _ in range(300):
            async with client.get(f"/history/{answer['prompt_id']}") as response:
                entry = (await response.json()).get(answer["prompt_id"])
            if entry:
                assert entry["status"]["status_str"] == "success", entry["status"]
                outputs: dict[str, Any] = entry["outputs"]
                return outputs
            await asyncio.sleep(0.1)
    raise AssertionError("it never ended")


async def test_our_facts_of_the_pack_are_the_servers(comfyui_with_pack: RealServer) -> None:
    for file in (comfyui_with_pack.base / "input").glob("*.*"):
        file.unlink()  # choices of files are facts, and those of other tests are not recorded
    async with aiohttp.ClientSession(comfyui_with_pack.url) as client, client.get("/object_info") as response:
        nodes = extract_node_facts(await response.json())
    ours = sorted(name for name in FACTS if name.startswith("PixelFactory"))
    assert set(ours) > PARAMETER_NODE_CLASSES
    found = {name: nodes[name] for name in ours}
    recorded = {name: FACTS[name] for name in ours}
    assert json.loads(json.dumps(found)) == recorded


def drawn_lists() -> dict[str, Any]:
    """Two images, turned by a choice; and the sound of a file."""
    declared = {"required": True, "description": ""}
    return {
        "images": node(
            "PixelFactoryImages",
            images={"__value__": ["small.png", "other.png"]},
            max_items=3,
            name="images",
            **declared,
        ),
        "way": node(
            "PixelFactoryChoice",
            name="way",
            value="x-axis: vertically",
            choices="x-axis: vertically\ny-axis: horizontally",
            **declared,
        ),
        "flip": node("ImageFlip", image=["images", 0], flip_method=["way", 0]),
        "save": node("PixelFactoryOutput", result=["flip", 0], name="flipped"),
        "sound": node("PixelFactoryAudio", audio="beep.wav", max_seconds=5.0, name="sound", **declared),
        "keep": node("PixelFactoryOutput", result=["sound", 0], name="kept"),
        "film": node("PixelFactoryVideo", file="film.mp4", max_seconds=5.0, name="film", **declared),
        "show": node("PixelFactoryOutput", result=["film", 0], name="shown"),
    }


async def test_lists_clips_and_named_results_run_as_drawn_and_as_imported(
    comfyui_with_pack: RealServer, tmp_path: Path
) -> None:
    folder = comfyui_with_pack.base / "input"
    top_red = Image.new("RGB", (32, 32), (0, 0, 200))
    top_red.paste((200, 0, 0), (0, 0, 32, 16))
    top_red.save(folder / "small.png")
    Image.new("RGB", (64, 64), (0, 200, 0)).save(folder / "other.png")
    with wave.open(str(folder / "beep.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(b"\0\1" * 8000)
    (folder / "film.mp4").write_bytes(film(frames=8))

    def names(outputs: dict[str, Any]) -> dict[str, list[Path]]:
        """The files by node."""
        return {
            node: [
                comfyui_with_pack.base / "output" / file["subfolder"] / file["filename"]
                for files in shown.values()
                for file in files
                if isinstance(file, dict)
            ]
            for node, shown in outputs.items()
        }

    first = names(await run(comfyui_with_pack, drawn_lists()))
    assert {files[0].name.partition("_")[0] for files in first.values()} == {"flipped", "kept", "shown"}
    imported = import_pinned(drawn_lists(), id="drawn", facts=FACTS)
    assert imported.problems == ()
    model = load_model(write_model(tmp_path, "drawn", imported.files))
    assert {output.name: output.media for output in model.outputs} == {
        "flipped": "image",
        "kept": "audio",
        "shown": "video",
    }
    given = {"images": ["small.png", "other.png"], "sound": "beep.wav", "film": "film.mp4"}
    params = model.example_params(**given, way="x-axis: vertically")
    second = names(await run(comfyui_with_pack, model.render_graph(params, filename_prefix="imported")))
    assert [len(second[node]) for node in ("save", "keep", "show")] == [2, 1, 1]
    for drew, made in zip(first["save"], second["save"], strict=True):
        with Image.open(drew) as one, Image.open(made) as other:
            assert one.size == (32, 32)
            assert one.tobytes() == other.tobytes()
    with Image.open(first["save"][0]) as flipped:
        assert flipped.getpixel((0, 0)) == (0, 0, 200)
    assert first["keep"][0].suffix == second["keep"][0].suffix == ".flac"


async def test_the_graph_runs_as_drawn_and_as_imported(comfyui_with_pack: RealServer, tmp_path: Path) -> None:
    Image.new("RGB", (32, 32), (0, 0, 200)).save(comfyui_with_pack.base / "input" / "small.png")
    outputs = await run(comfyui_with_pack, drawn())
    assert outputs["show"]["text"] == ["b note"]
    first = comfyui_with_pack.base / "output" / outputs["save"]["images"][0]["filename"]

    imported = import_pinned(drawn(), id="drawn", facts=FACTS)
    # No output needs the note, which is only shown.
    assert [problem.code for problem in imported.problems] == ["parameter_without_effect"]
    model = load_model(write_model(tmp_path, "drawn", imported.files))
    assert set(model.parameters) == {"image", "mask", "side", "blend_factor", "resize", "note"}
    assert "what the parameter note is for: no node that an output needs uses it" in imported.open_questions
    params = model.example_params(image="small.png", mask="small.png")
    graph = model.render_graph(params, filename_prefix="imported")
    assert not {each["class_type"] for each in graph.values()} & PARAMETER_NODE_CLASSES
    outputs = await run(comfyui_with_pack, graph)
    second = comfyui_with_pack.base / "output" / outputs["save"]["images"][0]["filename"]
    with Image.open(first) as drew, Image.open(second) as made:
        assert drew.convert("RGB").tobytes() == made.convert("RGB").tobytes()
        assert drew.convert("RGB").getpixel((0, 0)) == (127, 0, 100)
