"""Run by ComfyUI's own Python: makes the fp8 version of a file and says how near it is to the first.

python -m tests.comfyui.quantizing SOURCE TARGET      in the folder of ComfyUI's source
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

from orchestrator.weights.quantize import quantize_to_fp8


def main(source: Path, target: Path) -> None:
    made = quantize_to_fp8(source, target, keep_pattern=r"blocks\.1\.")
    torch: Any = importlib.import_module("torch")
    load: Any = importlib.import_module("safetensors.torch").load_file
    before, after = load(source), load(target)
    scaled = sorted(name for name, tensor in after.items() if tensor.dtype == torch.float8_e4m3fn)
    errors = []
    for name in scaled:
        wide = before[name].float()
        narrow = after[name].float() * after[f"{name.removesuffix('.weight')}.weight_scale"]
        errors.append(float((wide - narrow).abs().max() / wide.abs().max()))
    kept = [name for name in before if name not in scaled]
    print(
        json.dumps(
            {
                "quantized": made.quantized,
                "scaled": scaled,
                "kept": all(torch.equal(before[name], after[name]) for name in kept),
                "worst": max(errors),
                "likeness": _likeness(torch, source, target),
                "sizes": [made.source_bytes, made.target_bytes],
            }
        )
    )


def _likeness(torch: Any, source: Path, target: Path) -> float:
    """Cosine of the angle between what both networks answer, loaded by ComfyUI itself."""
    args: Any = importlib.import_module("comfy.cli_args").args
    args.cpu = True
    sd: Any = importlib.import_module("comfy.sd")
    memory: Any = importlib.import_module("comfy.model_management")
    torch.manual_seed(1)
    latent, text = torch.randn(1, 16, 1, 16, 16), torch.randn(1, 8, 768)
    answers = []
    for file in (source, target):
        patcher = sd.load_diffusion_model(str(file))
        memory.load_models_gpu([patcher])
        with torch.no_grad():
            answer = patcher.model.apply_model(latent, torch.tensor([0.5]), c_crossattn=text)
        answers.append(answer.float().flatten())
    return float(torch.nn.functional.cosine_similarity(*answers, dim=0))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
