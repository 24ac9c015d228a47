"""The node pack's nodes in the simulator: a graph that an author draws runs there as well."""

from __future__ import annotations

import shutil
from typing import Any

from PIL import Image

from comfy_instances.simulator.nodes import NODE_FUNCTIONS
from tests.unit.simulator.simulator_bench import FACTS, ExecutorHarness, node


def test_every_node_of_the_pack_has_a_function() -> None:
    ours = {name for name in FACTS if name.startswith("PixelFactory")}
    assert len(ours) == 15
    assert ours <= NODE_FUNCTIONS.keys()


def test_lists_and_named_results_run(bench: ExecutorHarness) -> None:
    shutil.copy(bench.folders.input / "start.png", bench.folders.input / "second.png")
    declared = {"required": True, "description": ""}
    graph = {
        "photos": node(
            "PixelFactoryImages",
            images={"__value__": ["start.png", "second.png"]},
            max_items=3,
            name="photos",
            **declared,
        ),
        "way": node(
            "PixelFactoryChoice",
            name="way",
            value="x-axis: vertically",
            choices="x-axis: vertically",
            **declared,
        ),
        "flip": node("ImageFlip", image=["photos", 0], flip_method=["way", 0]),
        "save": node("PixelFactoryOutput", result=["flip", 0], name="flipped"),
    }
    first, second = bench.saved_paths(bench.run_graph(graph))
    assert first.name.startswith("flipped_")
    with Image.open(first) as one, Image.open(second) as other:
        assert one.tobytes() == other.tobytes()
        assert one.getpixel((5, 2)) == (0, 0, 255)


def test_a_lora_list_changes_the_model(bench: ExecutorHarness) -> None:
    def sampled(**rows: object) -> bytes:
        """The pixels of an image with these LoRAs."""
        listed = {"name": "loras", "max_items": 4, "minimum": -2.0, "maximum": 2.0, "description": ""}
        rows = {f"lora_{number}": "none" for number in range(1, 5)} | rows
        rows = {f"strength_{number}": 1.0 for number in range(1, 5)} | rows
        sampler: dict[str, Any] = {"seed": 1, "steps": 1, "cfg": 1.0, "denoise": 1.0}
        sampler |= {"sampler_name": "euler", "scheduler": "simple"}
        graph = {
            "model": node("CheckpointLoaderSimple", ckpt_name="base.safetensors"),
            "loras": node("PixelFactoryLoras", model=["model", 0], clip=["model", 1], **listed, **rows),
            "text": node("CLIPTextEncode", text="a fox", clip=["loras", 1]),
            "latent": node("EmptyLatentImage", width=64, height=64, batch_size=1),
            "sampler": node(
                "KSampler",
                model=["loras", 0],
                positive=["text", 0],
                negative=["text", 0],
                latent_image=["latent", 0],
                **sampler,
            ),
            "decode": node("VAEDecode", samples=["sampler", 0], vae=["model", 2]),
            "save": node("PixelFactoryOutput", result=["decode", 0], name="fox"),
        }
        (path,) = bench.saved_paths(bench.run_graph(graph))
        with Image.open(path) as image:
            return image.tobytes()

    plain = sampled()
    assert sampled(lora_2="ink.safetensors", strength_2=0.0) == plain
    assert sampled(lora_2="ink.safetensors") != plain
    assert sampled(lora_2="ink.safetensors") != sampled(lora_2="ink.safetensors", strength_2=0.5)
