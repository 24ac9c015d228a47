"""fp8 files of our making, read by safetensors and run by ComfyUI's own loader."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from orchestrator.weights.file_checks import inspect_weight_file, read_safetensors_header
from scripts.tiny import wan
from scripts.tiny.formats import write_safetensors
from tests.support.real_comfyui import installation
from tests.support.service import ROOT
from tests.support.weight_files import weight

SCRIPT = Path(__file__).parents[1] / "support" / "quantizing.py"

pytestmark = pytest.mark.comfyui


def test_an_fp8_network_matches_the_original(tmp_path: Path) -> None:
    install = installation()
    if install is None:
        pytest.skip("no ComfyUI is installed")
    source, target = tmp_path / "wide.safetensors", tmp_path / "narrow.safetensors"
    write_safetensors(source, wan.text_to_video_denoiser(), wan.DENOISER_METADATA)
    done = subprocess.run(
        [install / "venv" / "bin" / "python", SCRIPT, source, target],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(install / "source")])},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["quantized"] == len(told["scaled"]) >= 8
    assert all(name.startswith("blocks.0.") for name in told["scaled"]), "embedders and what is kept stay"
    assert told["kept"]
    assert told["worst"] <= 1 / 16, "E4M3 has three bits after the point"
    assert told["likeness"] > 0.999
    assert told["sizes"] == [source.stat().st_size, target.stat().st_size]
    assert told["sizes"][1] < told["sizes"][0]
    header = read_safetensors_header(target)
    assert header.metadata == wan.DENOISER_METADATA
    row = weight(target.read_bytes(), dtype="fp8")
    assert [problem for problem in inspect_weight_file(row, target) if "dtype is" not in problem] == []
    assert not target.with_name("narrow.safetensors.part").exists()
