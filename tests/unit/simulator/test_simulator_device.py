"""The simulated GPU: what fits, what goes, what time passes."""

from __future__ import annotations

import pytest

from comfy_instances.simulator.execution.device import (
    CUDA_CONTEXT_BYTES,
    OutOfMemoryError,
    ProcessingInterrupted,
    SimulatedDevice,
    estimate_step_seconds,
)
from comfy_instances.simulator.execution.weights import SimulatedWeightFile, lookup_weight_file

GIB = 1024**3
A, B, C = (SimulatedWeightFile(name, 8 * GIB) for name in "abc")


def test_the_longest_unused_goes_when_there_is_no_room() -> None:
    device = SimulatedDevice(CUDA_CONTEXT_BYTES + 17 * GIB)
    for needed in (A, B, A, C):
        device.load_weights([needed])
    assert device.loaded_weights == (A, C)
    assert device.free_bytes == GIB


def test_models_used_together_stay_loaded_together() -> None:
    device = SimulatedDevice(CUDA_CONTEXT_BYTES + 17 * GIB)
    device.load_weights([C])
    device.load_weights([A, B])
    assert set(device.loaded_weights) == {A, B}


def test_working_memory_makes_room_too() -> None:
    device = SimulatedDevice(CUDA_CONTEXT_BYTES + 17 * GIB)
    device.load_weights([A])
    device.load_weights([B], working_bytes=5 * GIB)
    assert device.loaded_weights == (B,)


def test_too_large_models_are_out_of_memory_and_change_nothing() -> None:
    device = SimulatedDevice(CUDA_CONTEXT_BYTES + 17 * GIB)
    device.load_weights([A])
    with pytest.raises(OutOfMemoryError, match="CUDA out of memory"):
        device.load_weights([B], working_bytes=10 * GIB)
    assert device.loaded_weights == (A,)


def test_an_interrupt_strikes_once() -> None:
    device = SimulatedDevice(GIB, time_scale=1000.0)
    device.interrupt_requested.set()
    with pytest.raises(ProcessingInterrupted):
        device.simulate_work(3600)
    device.simulate_work(0)


def test_guidance_doubles_and_size_multiplies_the_time_of_a_step() -> None:
    once = estimate_step_seconds([A], 1000, guided=False)
    assert estimate_step_seconds([A], 1000, guided=True) == 2 * once
    assert estimate_step_seconds([A, B], 3000, guided=False) == pytest.approx(6 * once)


@pytest.mark.parametrize(
    ("name", "gigabytes"),
    [
        ("flux1-schnell.safetensors", 23.8),
        ("sub/wan2.1_t2v_14B_fp8_scaled.safetensors", 14.3),
        ("wan2.1_t2v_14B_fp16.safetensors", 28.6),
        ("umt5_xxl_fp16.safetensors", 11.4),
        ("wan_2.1_vae.safetensors", 0.3),
        ("ltx-2-19b-distilled-lora-384.safetensors", 0.7),
        ("nobody-knows.safetensors", 6.0),
    ],
)
def test_sizes_of_files(name: str, gigabytes: float) -> None:
    assert lookup_weight_file(name).size_bytes == int(gigabytes * 1e9)
