"""The tiny checkpoints, read as torch and safetensors read them; tests/comfyui has real nodes load them."""

from __future__ import annotations

import io
import json
import pickle
import subprocess
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent.parent
Array = NDArray[Any]


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "scripts.tiny_models", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    done = run(folder, "--only", "4x-ultrasharp", "sd-3.5-large", "wan2.2-i2v-14b")
    assert done.returncode == 0, done.stderr
    assert {line.split(maxsplit=1)[1] for line in done.stdout.splitlines()} == {
        str(file) for file in folder.rglob("*.*")
    }
    return folder


class TorchReader(pickle.Unpickler):
    """Reads the pickle inside a file of torch, with numpy arrays for tensors."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        super().__init__(io.BytesIO(archive.read("archive/data.pkl")))
        self._archive = archive

    def find_class(self, module: str, name: str) -> Any:
        known = {
            ("torch", "FloatStorage"): np.float32,
            ("torch._utils", "_rebuild_tensor_v2"): self._rebuild,
            ("collections", "OrderedDict"): OrderedDict,
        }
        return known[module, name]

    def persistent_load(self, pid: Any) -> Array:
        kind, dtype, key, device, count = pid
        assert (kind, device) == ("storage", "cpu")
        storage = np.frombuffer(self._archive.read(f"archive/data/{key}"), dtype)
        assert storage.size == count
        return storage

    @staticmethod
    def _rebuild(
        storage: Array, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *rest: Any
    ) -> Array:
        assert (offset, rest) == (0, (False, OrderedDict()))
        steps = [step * storage.itemsize for step in strides]
        return np.lib.stride_tricks.as_strided(storage, shape, steps)


def upscaler(models: Path) -> dict[str, Array]:
    with zipfile.ZipFile(models / "upscale_models" / "4x-UltraSharp.pth") as archive:
        assert archive.testzip() is None
        tensors: dict[str, Array] = TorchReader(archive).load()
        return tensors


def convolved(tensors: Mapping[str, Array], layer: str, image: Array) -> Array:
    """A 3x3 convolution of [channels, height, width] with a border of zeros."""
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(image, ((0, 0), (1, 1), (1, 1))), (3, 3), axis=(1, 2)
    )
    result: Array = np.einsum("oihw,iyxhw->oyx", tensors[f"{layer}.weight"], windows)
    return result + tensors[f"{layer}.bias"][:, None, None]


@pytest.mark.slow
def test_the_upscaler_has_the_tensors_of_an_esrgan_with_one_block(models: Path) -> None:
    tensors = upscaler(models)
    assert len(tensors) == 42
    assert tensors["model.0.weight"].shape == (8, 3, 3, 3)
    assert tensors["model.1.sub.0.RDB3.conv5.0.weight"].shape == (8, 8 + 4 * 32, 3, 3)
    # Its block adds nothing, so that the rest alone decides about the picture.
    assert not any(array.any() for name, array in tensors.items() if name.startswith("model.1."))


@pytest.mark.slow
def test_the_upscaler_repeats_each_pixel_four_times_four(models: Path) -> None:
    tensors = upscaler(models)
    image = np.random.default_rng(0).random((3, 5, 7), np.float32)
    features = convolved(tensors, "model.0", image)
    for layer in ("model.3", "model.6"):
        features = convolved(tensors, layer, features.repeat(2, axis=1).repeat(2, axis=2))
        features = np.where(features > 0, features, 0.2 * features)
    features = convolved(tensors, "model.8", features)
    enlarged = convolved(tensors, "model.10", np.where(features > 0, features, 0.2 * features))
    assert np.array_equal(enlarged, image.repeat(4, axis=1).repeat(4, axis=2))


@pytest.mark.slow
def test_safetensors_are_complete_and_hold_numbers(models: Path) -> None:
    for file in models.rglob("*.safetensors"):
        header, tensors = read_safetensors(file)
        assert all(np.isfinite(array).all() for array in tensors.values())
        assert all(name == "__metadata__" or name in tensors for name in header)
        assert any(array.any() for array in tensors.values())


@pytest.mark.slow
def test_the_video_denoiser_has_the_text_width_of_its_encoder(models: Path) -> None:
    header, tensors = read_safetensors(
        models / "diffusion_models" / "wan2.2_i2v_low_noise_14B_fp8_scaled.safetensors"
    )
    width = json.loads(header["__metadata__"]["config"])["transformer"]["text_dim"]
    assert tensors["text_embedding.0.weight"].shape[1] == width
    _, encoder = read_safetensors(models / "text_encoders" / "umt5_xxl_fp16.safetensors")
    assert encoder["text_model.final_layer_norm.weight"].shape == (width,)


def read_safetensors(file: Path) -> tuple[dict[str, Any], dict[str, Array]]:
    """Header and tensors. Fails where they overlap, leave gaps or do not fill the file."""
    with file.open("rb") as stream:
        header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
        begin = stream.tell()
        data = np.memmap(file, np.uint8, "r", begin)
    tensors: dict[str, Array] = {}
    end = 0
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        start, stop = entry["data_offsets"]
        assert start == end, name
        end = stop
        dtype = {"F16": np.float16, "F32": np.float32}[entry["dtype"]]
        tensors[name] = data[start:stop].view(dtype).reshape(entry["shape"])
    assert end == data.size
    return header, tensors


@pytest.mark.slow
def test_every_writing_gives_the_same_bytes(models: Path, tmp_path: Path) -> None:
    assert run(tmp_path, "--only", "4x-ultrasharp").returncode == 0
    (file,) = tmp_path.rglob("*.pth")
    assert file.read_bytes() == (models / file.relative_to(tmp_path)).read_bytes()


def test_a_model_without_a_tiny_one_is_wrong_usage(tmp_path: Path) -> None:
    done = run(tmp_path, "--only", "flux-1-dev")
    assert done.returncode == 2
    assert "4x-ultrasharp" in done.stderr
    assert not any(tmp_path.iterdir())
