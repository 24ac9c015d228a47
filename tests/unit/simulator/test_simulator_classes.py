"""Every node class that is known runs, and yields as many outputs as its facts say."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from comfy_instances.simulator.execution.device import SimulatedDevice
from comfy_instances.simulator.nodes import NODE_FUNCTIONS, run_node
from comfy_instances.simulator.nodes.call import NodeContext, NodeResult
from comfy_instances.simulator.nodes.models.training import LIST_INPUT_NODE_CLASSES
from comfy_instances.simulator.nodes.values import AudioClip, Latent, OpaqueValue, VideoClip
from comfy_instances.simulator.validation.input_specs import (
    DYNAMIC_COMBO,
    InputSpec,
    expand_input_specs,
    nest_inputs,
)
from tests.unit.simulator.simulator_bench import FACTS, ExecutorHarness, node

PICTURE = np.full((2, 32, 48, 3), 90, np.uint8)
VALUES: dict[str, Any] = {
    "IMAGE": PICTURE,
    "MASK": np.full((1, 32, 48), 0.5, np.float32),
    "LATENT": Latent(samples=np.zeros((1, 4, 16, 16), np.float32)),
    "AUDIO": AudioClip(np.zeros((1, 2, 4410), np.float32), 44_100),
    "VIDEO": VideoClip(PICTURE, Fraction(8)),
    "SIGMAS": np.linspace(1, 0, 4, dtype=np.float32),
    "COMFY_MATCHTYPE_V3": PICTURE,
    "LORA_MODEL": {"layer.weight": np.ones((2, 3), np.float32)},
    "BOUNDING_BOX": {"x": 0, "y": 0, "width": 8, "height": 8},
}


def value(spec: InputSpec) -> Any:
    """Something that may stand at that input."""
    if "default" in spec.options:
        return spec.options["default"]
    if spec.choices:
        return spec.choices[0]
    kind = str(spec.type).split(",")[0]
    literals = {"INT": spec.options.get("min", 1), "FLOAT": 1.0, "STRING": "text", "BOOLEAN": True}
    fallback = OpaqueValue(type=kind, fingerprint=kind, settings={})
    return VALUES.get(kind, literals.get(kind, "start.png" if spec.choices == [] else fallback))


def values(class_type: str) -> dict[str, Any]:
    """A value for every required input, the first option of every dynamic combo chosen."""
    chosen: dict[str, Any] = {}
    for _ in range(3):  # a choice may unfold into further choices
        for section in ("required", "optional"):
            for name, spec in FACTS[class_type]["input"].get(section, {}).items():
                if spec[0] == DYNAMIC_COMBO:
                    chosen.setdefault(name, spec[1]["options"][0]["key"])
        for spec in expand_input_specs(FACTS[class_type], chosen).values():
            if spec.required and spec.name not in chosen:
                chosen[spec.name] = value(spec)
    return chosen


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> ExecutorHarness:
    bench = ExecutorHarness(tmp_path_factory.mktemp("classes"))
    Image.new("RGB", (16, 16)).save(bench.folders.input / "start.png")
    Image.new("RGB", (16, 16)).save(bench.folders.input / "example.png")
    (bench.folders.input / "3d").mkdir()
    Image.new("RGB", (16, 16)).save(bench.folders.input / "3d" / "example.png")
    return bench


#: They read files of their own kinds; tested with those elsewhere.
READERS = {"LoadAudio", "LoadLatent", "LoadVideo", "PixelFactoryAudio", "PixelFactoryVideo"}
#: Classes that run another one, which an input names.
CALLERS = frozenset({"PixelFactoryDeliverFiles"})
#: Called only on inputs that a first input does not stand for.
ARITHMETIC = {"ComfyMathExpression", "StringFormat", "ComfyNumberConvert", "ManualSigmas"}


@pytest.mark.exhaustive
@pytest.mark.parametrize("class_type", sorted(FACTS.keys() - READERS - ARITHMETIC - CALLERS))
def test_class_runs(class_type: str, shared: ExecutorHarness) -> None:
    assert len(run_class(class_type, shared).outputs) == len(FACTS[class_type]["output"])


def run_class(class_type: str, shared: ExecutorHarness, **own: Any) -> NodeResult:
    facts = FACTS[class_type]
    call = NodeContext(
        node_id="1",
        class_type=class_type,
        node_facts=facts,
        prompt={},
        extra_pnginfo={},
        folders=shared.folders,
        device=SimulatedDevice(2**40),
        previews_enabled=False,
        report_progress=lambda *_: None,
        send_text=lambda _: None,
        all_facts=FACTS,
        deliver=lambda files: None,
    )
    given = values(class_type) | own
    if class_type in LIST_INPUT_NODE_CLASSES:
        given = {name: [one] for name, one in given.items()}
    return run_node(call, nest_inputs(facts, given))


@pytest.mark.parametrize(
    ("class_type", "name", "start"),
    [
        ("Save3DAdvanced", "3d/mesh_00001_.glb", b"glTF"),
        ("SaveGaussianSplat", "3d/splat_00001_.ply", b"ply\n"),
        ("SavePointCloud", "3d/points_00001_.ply", b"ply\n"),
    ],
)
def test_savers_of_3d_files_report_their_paths(
    class_type: str, name: str, start: bytes, shared: ExecutorHarness
) -> None:
    made = run_class(class_type, shared, filename_prefix=name.partition("_")[0], model_3d="any")
    assert made.ui == {"result": [name, None, []]}
    assert (shared.folders.output / name).read_bytes().startswith(start)


def test_implemented_classes_are_known() -> None:
    assert NODE_FUNCTIONS.keys() - FACTS.keys() == set()


def test_readers(bench: ExecutorHarness) -> None:
    """What was saved is read back: films, sounds and latents."""
    made = bench.run_graph({
        "1": node("EmptyImage", width=32, height=16, batch_size=4, color=255),
        "2": node("EmptyAudio", duration=0.5, sample_rate=44100, channels=2),
        "3": node("CreateVideo", images=["1", 0], fps=8.0, audio=["2", 0]),
        "4": node("SaveVideo", video=["3", 0], filename_prefix="v", format="mp4", codec="h264"),
        "5": node("SaveAudio", audio=["2", 0], filename_prefix="a"),
        "6": node("EmptyLatentImage", width=64, height=32, batch_size=1),
        "7": node("SaveLatent", samples=["6", 0], filename_prefix="l"),
    })  # fmt: skip
    (latent,) = (path for path in bench.saved_paths(made) if path.suffix == ".latent")
    assert load_file(latent)["latent_tensor"].shape == (1, 4, 4, 8)
    for path in bench.saved_paths(made):
        path.rename(bench.folders.input / path.name)
    read = bench.run_graph({
        "1": node("LoadVideo", file="v_00001_.mp4"),
        "2": node("GetVideoComponents", video=["1", 0]),
        "3": node("SaveImage", images=["2", 0], filename_prefix="frames"),
        "4": node("LoadAudio", audio="a_00001_.flac"),
        "5": node("SaveAudioOpus", audio=["4", 0], filename_prefix="o", quality="128k"),
        "6": node("LoadLatent", latent="l_00001_.latent"),
        "7": node("SaveLatent", samples=["6", 0], filename_prefix="again"),
        "8": node("PreviewAny", source=["2", 2]),
    })  # fmt: skip
    assert len(bench.saved_paths(read)) == 6
    assert read.outputs["8"] == {"text": ["8.0"]}
