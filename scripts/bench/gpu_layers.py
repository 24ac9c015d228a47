"""What a layer of FLUX.1 costs the card and the CPU in each kind of weights. Run by ComfyUI's own Python.

    PYTHONPATH=COMFYUI/source COMFYUI/venv/bin/python scripts/bench/gpu_layers.py [--small]

Prints JSON: for each matrix of the network and the tokens that it gets at 1024x1024, milliseconds from call
to call (`ms`) and those until the call returns (`launch_ms`). Where both are alike, the card waits for the
CPU. Layers are called as ComfyUI calls those of a quantized file: the input is quantized, too. `error` is the
change of the output relative to bf16. `--small` tries the program on the CPU.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable
from typing import Any

#: Tokens, columns and rows: 4096 of the image and 256 of the text, the text alone, the one of the modulation.
SHAPES = (
    (4352, 3072, 9216),
    (4352, 3072, 3072),
    (4352, 3072, 12288),
    (4352, 12288, 3072),
    (4352, 3072, 21504),
    (4352, 15360, 3072),
    (256, 3072, 9216),
    (1, 3072, 18432),
)
SMALL_SHAPES = ((32, 64, 128),)
LAYOUTS = {
    "fp8": "TensorCoreFP8E4M3Layout",
    "mxfp8": "TensorCoreMXFP8Layout",
    "nvfp4": "TensorCoreNVFP4Layout",
}
#: Calls before the measurement, and in it.
FIRST_CALLS, CALLS = 5, 20


def main(*words: str) -> None:
    args: Any = importlib.import_module("comfy.cli_args").args
    torch: Any = importlib.import_module("torch")
    has_gpu = torch.cuda.is_available()
    args.cpu = not has_gpu
    importlib.import_module("comfy.quant_ops")  # registers the layouts
    torch.manual_seed(1)
    shapes = SMALL_SHAPES if "--small" in words else SHAPES
    with torch.no_grad():
        rows = [row for shape in shapes for row in measure(torch, shape, "cuda" if has_gpu else "cpu")]
    name = torch.cuda.get_device_name() if has_gpu else "CPU"
    print(json.dumps({"gpu": name, "torch": torch.__version__, "rows": rows}, indent=1))


def measure(torch: Any, shape: tuple[int, int, int], device: str) -> list[dict[str, Any]]:
    """Return a row for each kind of weights."""
    tokens, columns, rows = shape
    inputs = torch.randn(tokens, columns, device=device).to(torch.bfloat16)
    weight = (torch.randn(rows, columns, device=device) / columns**0.5).to(torch.bfloat16)
    bias = torch.zeros(rows, device=device, dtype=torch.bfloat16)
    linear = torch.nn.functional.linear
    said: dict[str, Any] = {"tokens": tokens, "columns": columns, "rows": rows}
    wide = linear(inputs, weight, bias).float()
    found = [said | {"kind": "bf16"} | time_call(torch, lambda: linear(inputs, weight, bias))]
    for kind, layout in LAYOUTS.items():
        try:
            call = quantized_call(linear, layout, inputs, weight, bias)
            error = float((call().float() - wide).norm() / wide.norm())
            found.append(said | {"kind": kind, "error": round(error, 4)} | time_call(torch, call))
        except (RuntimeError, TypeError) as failure:
            found.append(said | {"kind": kind, "failed": f"{type(failure).__name__}: {failure}"})
    return found


def quantized_call(linear: Any, layout: str, inputs: Any, weight: Any, bias: Any) -> Callable[[], Any]:
    """Return what ComfyUI does for a layer in `layout` that has no recorded scale of its input."""
    tensor: Any = importlib.import_module("comfy_kitchen.tensor").QuantizedTensor
    scale = {"scale": "recalculate"} if "FP8E4M3" in layout else {}
    narrow = tensor.from_float(weight, layout, **scale)
    return lambda: linear(tensor.from_float(inputs, layout, scale=None), narrow, bias)


def time_call(torch: Any, call: Callable[[], Any]) -> dict[str, float]:
    """Return the milliseconds of a call, and of its launch alone."""
    wait = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    for _ in range(FIRST_CALLS):
        call()
    wait()
    started = time.perf_counter()
    for _ in range(CALLS):
        call()
    launched = time.perf_counter()
    wait()
    ended = time.perf_counter()
    return {
        "ms": round((ended - started) / CALLS * 1000, 4),
        "launch_ms": round((launched - started) / CALLS * 1000, 4),
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
