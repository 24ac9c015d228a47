"""Quantized files of our making, loaded and run by ComfyUI's own loader."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.weights.file_checks import inspect_numbers, inspect_weight_file, read_safetensors_header
from orchestrator.weights.quantizing.formats import OWN_METADATA
from orchestrator.weights.quantizing.running import WORKER
from scripts.tiny import wan
from scripts.tiny.formats import write_safetensors
from tests.support.cli import command, start_command
from tests.support.comfyui_server import installed_comfyui
from tests.support.polling import wait_until_sync
from tests.support.service import ROOT
from tests.support.weight_files import weight

SCRIPT = Path(__file__).parents[1] / "support" / "quantizing.py"
#: Largest change of the output of one call of the tiny Wan, relative to the output.
LIMITS = {"nvfp4": 0.03, "mxfp8": 0.03, "fp8": 0.03}
#: Largest change of a matrix: a normally distributed one loses 9.5, 2.7 and 2.7 %.
LAYER_LIMITS = {"nvfp4": 0.11, "mxfp8": 0.04, "float8_e4m3fn": 0.04}

pytestmark = pytest.mark.comfyui


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if installed_comfyui() is None:
        pytest.skip("no ComfyUI is installed")
    file = tmp_path_factory.mktemp("source") / "wide.safetensors"
    write_safetensors(file, wan.text_to_video_denoiser(), wan.DENOISER_METADATA)
    return file


def quantize(source: Path, target: Path, *options: str) -> dict[str, Any]:
    """Run the command; returns its report."""
    done = command("weights", "quantize", str(source), str(target), "--json", *options)
    assert done.returncode == 0, done.stderr[-3000:]
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def compare(first: Path, second: Path) -> dict[str, Any]:
    install = installed_comfyui()
    assert install is not None
    done = subprocess.run(
        [install / "venv" / "bin" / "python", SCRIPT, first, second, "1,16,1,16,16", "1,8,768"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(install / "source")])},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize(
    "kind", [kind if kind == "nvfp4" else pytest.param(kind, marks=pytest.mark.slow) for kind in LIMITS]
)
def test_a_quantized_network_is_near_the_original(kind: str, source: Path, tmp_path: Path) -> None:
    target = tmp_path / "narrow.safetensors"
    report = quantize(source, target, "--format", kind)
    found = compare(source, target)
    assert 0 < found["difference"] < LIMITS[kind]
    errors = {layer["layer"]: layer["error"] for layer in report["layers"]}
    assert found["layers"].keys() == errors.keys(), "ComfyUI loads each layer as quantized, and no other"
    for name, layer in found["layers"].items():
        assert layer["error"] < LAYER_LIMITS[layer["format"]]
        assert layer["error"] == pytest.approx(errors[name], abs=0.005), (
            "the report says what the loader restores"
        )
    assert report["target_bytes"] == target.stat().st_size < source.stat().st_size
    row = weight(target.read_bytes(), dtype=kind)
    assert inspect_weight_file(row, target) + inspect_numbers(target) == []
    metadata = dict(read_safetensors_header(target).metadata)
    assert OWN_METADATA in metadata
    assert metadata.items() >= wan.DENOISER_METADATA.items()
    assert [file.name for file in tmp_path.iterdir()] == [target.name], "nothing else is left"


@pytest.mark.slow
def test_scrambled_scales_change_the_output_and_are_noticed(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "narrow.safetensors"
    quantize(source, target, "--format", "nvfp4")
    header = read_safetensors_header(target)
    data = bytearray(target.read_bytes())
    for name, info in header.tensors.items():
        if name.endswith(".weight_scale") and info.dtype == "F8_E4M3":
            # None of them is invalid by itself.
            data[info.start : info.end] = data[info.start : info.end][::-1]
    target.write_bytes(data)
    assert any("other scales than the file was made with" in problem for problem in inspect_numbers(target))
    assert compare(source, target)["difference"] > LIMITS["nvfp4"]


@pytest.mark.slow
def test_a_killed_quantization_goes_on_where_it_stopped(tmp_path: Path) -> None:
    if installed_comfyui() is None:
        pytest.skip("no ComfyUI is installed")
    source, target, whole = (tmp_path / f"{name}.safetensors" for name in ("source", "target", "whole"))
    tensors = {
        f"blocks.{block}.{name}": tensor
        for block in range(24)
        for name, tensor in {"a.weight": random_matrix(block), "a.bias": random_matrix(block)[0]}.items()
    }
    write_safetensors(source, tensors)
    options = ("--format", "nvfp4", "--recipe", "generic")
    quantize(source, whole, *options)
    journal = target.with_name(f"{target.name}.quantizing.journal")
    arguments = ("weights", "quantize", str(source), str(target), *options)
    log = tmp_path / "log"
    running = start_command(*arguments, environment=dict(os.environ), stdout=log, stderr=log)
    wait_until_sync(lambda: journal.exists() and journal.read_text().count("\n") > 5)
    running.kill()
    running.wait()
    log.unlink()
    assert not target.exists()
    report = quantize(source, target, *options)
    assert report["resumed"] >= 5
    assert target.read_bytes() == whole.read_bytes()
    assert {file.name for file in tmp_path.iterdir()} == {source.name, target.name, whole.name}


@pytest.mark.slow
def test_recorded_activations_give_scales_of_inputs(source: Path, tmp_path: Path) -> None:
    recorded = tmp_path / "activations.safetensors"
    install = installed_comfyui()
    assert install is not None
    environment = {**os.environ, "COMFYUI_RECORD_ACTIVATIONS": str(recorded)}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(install / "source")])
    done = subprocess.run(
        [install / "venv" / "bin" / "python", SCRIPT, source, source, "1,16,1,16,16", "1,8,768"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    smooth, plain = tmp_path / "smooth.safetensors", tmp_path / "plain.safetensors"
    options = ("--format", "nvfp4", "--calibrate", str(recorded))
    report = quantize(source, plain, *options)
    assert all(layer["output_error"] < 0.2 for layer in report["layers"])
    assert {layer["format"] for layer in report["layers"]} == {"nvfp4", "fp8"}
    quantize(source, smooth, *options, "--smooth")
    for file, is_smoothed in ((plain, False), (smooth, True)):
        found = compare(source, file)
        assert found["difference"] < LIMITS["nvfp4"]
        assert all(layer["input_scale"] > 0 for layer in found["layers"].values())
        assert {layer["is_smoothed"] for layer in found["layers"].values() if layer["format"] == "nvfp4"} == {
            is_smoothed
        }
        assert inspect_numbers(file) == []
    arguments = (str(source), str(tmp_path / "m.safetensors"), "--format", "mxfp8")
    done_again = command("weights", "quantize", *arguments, "--calibrate", str(recorded))
    assert (done_again.returncode, "takes no recorded ones" in done_again.stderr) == (1, True)


def random_matrix(seed: int) -> Any:
    return np.random.default_rng(seed).standard_normal((1024, 1024)).astype(np.float16)


def test_the_worker_reports_what_went_wrong_within_it(tmp_path: Path) -> None:
    install = installed_comfyui()
    if install is None:
        pytest.skip("no ComfyUI is installed")
    (tmp_path / "part").touch()
    files = {name: str(tmp_path / name) for name in ("part", "journal")}
    operation = {
        "layer": "a",
        "file": __file__,
        "start": 0,
        "end": 8,
        "dtype": "F99",
        "rows": 1,
        "columns": 4,
    }
    plan = {**files, "fingerprint": "x", "data_start": 0, "operations": [operation], "tail": []}
    (tmp_path / "plan").write_text(json.dumps(plan))
    worker = [install / "venv" / "bin" / "python", WORKER, tmp_path / "plan"]
    # Its standard input stays open, as it does while it works.
    with subprocess.Popen(
        worker, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        last = running.stdout.readlines()[-1]
    assert json.loads(last) == {"failed": "KeyError: 'F99'"}


def test_a_source_with_nan_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    if installed_comfyui() is None:
        pytest.skip("no ComfyUI is installed")
    source = tmp_path / "source.safetensors"
    matrix = random_matrix(1)
    matrix[3, 4] = float("nan")
    write_safetensors(source, {"blocks.0.a.weight": matrix})
    done = command("weights", "quantize", str(source), str(tmp_path / "t.safetensors"), "--recipe", "generic")
    assert (done.returncode, "blocks.0.a contains infinity or NaN" in done.stderr) == (1, True), done.stderr
    assert [file.name for file in tmp_path.iterdir()] == [source.name]


@pytest.mark.slow
def test_inputs_of_fp8_layers_without_a_recorded_scale_are_clipped() -> None:
    """What our report says of cards that multiply fp8; on the CPU ComfyUI does not quantize inputs."""
    install = installed_comfyui()
    if install is None:
        pytest.skip("no ComfyUI is installed")
    program = """
import comfy.cli_args
comfy.cli_args.args.cpu = True
import comfy.quant_ops, torch
for layout in ("TensorCoreFP8E4M3Layout", "TensorCoreNVFP4Layout"):
    for scale in (None, torch.tensor(10.0)):
        inputs = torch.full((16, 64), 1000.0, dtype=torch.bfloat16)
        narrow = comfy.quant_ops.QuantizedTensor.from_float(inputs, layout, scale=scale)
        print(float(narrow.dequantize().max()))
"""
    done = subprocess.run(
        [str(install / "venv" / "bin" / "python"), "-c", program],
        env={**os.environ, "PYTHONPATH": str(install / "source")},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    plain, scaled, searched, _ = map(float, done.stdout.split())
    assert plain == 448
    assert scaled == pytest.approx(1000, rel=0.07)
    assert searched == pytest.approx(1000, rel=0.01)
