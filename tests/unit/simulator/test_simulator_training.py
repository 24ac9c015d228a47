"""Training as the simulator does it: what goes in decides what comes out, and every step is told of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load

from comfy_instances.simulator.validation.live_facts import with_current_files
from comfy_instances.simulator.validation.validation import validate_graph
from tests.unit.simulator.simulator_bench import FACTS, ExecutorHarness, node

PETS = ((48, 32, "a cat"), (32, 48, "a dog"), (64, 64, None))


def dataset(folder: Path, pictures: Any = PETS) -> None:
    folder.mkdir(parents=True)
    for number, (width, height, caption) in enumerate(pictures):
        Image.new("RGB", (width, height), (80 * number, 0, 0)).save(folder / f"{number:04}.png")
        if caption:
            (folder / f"{number:04}.txt").write_text(caption)


def training(folder: str = "3d", **changes: Any) -> dict[str, Any]:
    """`3d` is the one folder that the recorded facts know."""
    inputs = {
        "batch_size": 1,
        "grad_accumulation_steps": 1,
        "steps": 4,
        "learning_rate": 1e-3,
        "rank": 2,
        "optimizer": "AdamW",
        "loss_function": "MSE",
        "seed": 1,
        "training_dtype": "bf16",
        "lora_dtype": "fp32",
        "quantized_backward": False,
        "algorithm": "LoRA",
        "offloading": False,
        "gradient_checkpointing": True,
        "checkpoint_depth": 1,
        "existing_lora": "[None]",
        "bucket_mode": False,
        "bypass_mode": False,
    }
    return {
        "checkpoint": node("CheckpointLoaderSimple", ckpt_name="v1-5.safetensors"),
        "pairs": node("LoadImageTextDataSetFromFolder", folder=folder),
        "scaled": node(
            "ImageScale", image=["pairs", 0], upscale_method="area", width=64, height=64, crop="center"
        ),
        "encoded": node(
            "MakeTrainingDataset",
            images=["scaled", 0],
            vae=["checkpoint", 2],
            clip=["checkpoint", 1],
            texts=["pairs", 1],
        ),
        "train": node(
            "TrainLoraNode",
            model=["checkpoint", 0],
            latents=["encoded", 0],
            positive=["encoded", 1],
            **inputs | changes,
        ),
        "save": node("SaveLoRA", lora=["train", 0], prefix="loras/pf"),
    }


def trained(base: Path, graph: dict[str, Any], pictures: Any = PETS) -> dict[str, Any]:
    """Tensors by name."""
    bench = ExecutorHarness(base)
    dataset(bench.folders.input / "3d", pictures)
    outcome = bench.run_graph(graph)
    assert outcome.success, outcome.messages[-1]
    assert outcome.outputs == {}
    (file,) = (bench.folders.output / "loras").iterdir()
    assert file.name == "pf_00001_.safetensors"
    return load(file.read_bytes())


def test_training_saves_a_lora_without_an_output_message(tmp_path: Path) -> None:
    tensors = trained(tmp_path, training())
    assert {array.shape for array in tensors.values()} == {(64, 2), (2, 64)}
    assert all(array.any() for array in tensors.values())


def test_reports_each_step(tmp_path: Path) -> None:
    bench = ExecutorHarness(tmp_path)
    dataset(bench.folders.input / "3d")
    bench.run_graph(training(steps=30))
    steps = [step for step in bench.event_sink.events_of_type("progress") if step["node"] == "train"]
    assert [steps[0]["value"], steps[-1]["value"]] == [1, 30]
    assert {step["max"] for step in steps} == {30}


@pytest.mark.parametrize(
    ("graph", "pictures"),
    [
        (training(seed=2), PETS),
        (training(steps=5), PETS),
        (training(rank=3), PETS),
        (training(), PETS[:2]),
        (training(), (*PETS[:2], (64, 64, "a fox"))),
    ],
)
def test_all_that_goes_in_matters(tmp_path: Path, graph: dict[str, Any], pictures: Any) -> None:
    usual = trained(tmp_path / "usual", training())
    again = trained(tmp_path / "again", training())
    other = trained(tmp_path / "other", graph, pictures)
    assert all((usual[name] == again[name]).all() for name in usual)
    assert not all(np.array_equal(usual[name], other[name]) for name in usual)


def test_an_empty_folder(tmp_path: Path) -> None:
    bench = ExecutorHarness(tmp_path)
    (bench.folders.input / "3d").mkdir()
    assert "No valid images" in str(bench.run_graph(training()).messages[-1])


def test_rejects_more_captions_than_images(tmp_path: Path) -> None:
    bench = ExecutorHarness(tmp_path)
    dataset(bench.folders.input / "3d")
    graph = training()
    graph["one"] = node("EmptyImage", width=64, height=64, batch_size=1, color=0)
    graph["encoded"]["inputs"]["images"] = ["one", 0]
    assert "does not match number of images (1)" in str(bench.run_graph(graph).messages[-1])


def test_a_folder_may_be_named_once_it_is_there(tmp_path: Path) -> None:
    bench = ExecutorHarness(tmp_path)
    graph = training(folder="pets/day-1")

    def findings() -> dict[str, Any]:
        return validate_graph(
            graph, with_current_files(FACTS, bench.folders), has_file=lambda _: True
        ).node_errors

    assert findings()["pairs"]["errors"][0]["type"] == "value_not_in_list"
    dataset(bench.folders.input / "pets" / "day-1")
    assert findings() == {}
