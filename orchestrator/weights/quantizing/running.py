"""Quantize a file: plan it, have the worker write it, and give it its name once it is complete.

    TARGET.quantizing          what is written so far; locked while a process writes it
    TARGET.quantizing.journal  which parts of it are finished: the next run with the same source and options
                               goes on there, also after the processes were killed
    TARGET.quantizing.plan     the orders for the worker

All three are removed when the file is complete, and by a run with another source or other options.
"""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from orchestrator.weights.errors import BadWeightFile, InsufficientDiskSpace, WeightError
from orchestrator.weights.quantizing.calibration import Calibration
from orchestrator.weights.quantizing.formats import COMFY_QUANT, WEIGHT, QuantizedFormat
from orchestrator.weights.quantizing.layout import FileLayout, Layer, lay_out
from orchestrator.weights.quantizing.recipes import (
    Decision,
    FoundRecipe,
    RecipeDecisions,
    find_recipe,
    load_recipes,
)
from orchestrator.weights.quantizing.report import LayerReport, QuantizationReport
from orchestrator.weights.quantizing.sources import SourceTensor, WeightSource, open_source

WORKER = Path(__file__).with_name("worker.py")
#: Space that a quantization leaves free on the disk.
MIN_FREE_BYTES = 2**30

ReadProgress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class QuantizationOptions:
    """How a file is quantized."""

    format: QuantizedFormat
    #: Name of a recipe; None to choose it by the names of the tensors.
    recipe: str | None = None
    #: Regular expression for names of tensors that keep their type whatever the recipe says.
    keep_pattern: str = ""
    calibration: Calibration | None = None
    #: Checkpoint with the other networks that the source lacks.
    parts: Path | None = None


@dataclass(frozen=True, slots=True)
class Quantization:
    """What will be written."""

    source: WeightSource
    options: QuantizationOptions
    found: FoundRecipe
    decisions: Mapping[str, Decision]
    layout: FileLayout

    @property
    def target_bytes(self) -> int:
        return len(self.layout.header()) + self.layout.data_bytes


def plan_quantization(source_path: Path, options: QuantizationOptions) -> Quantization:
    """Read the headers of the source and decide about every tensor. Raises WeightError, OSError."""
    source = open_source(source_path, options.parts)
    found = find_recipe(source.tensors.keys(), load_recipes(), options.recipe)
    decisions = RecipeDecisions(found, options.format, options.keep_pattern).decide(source)
    if not any(decision.format for decision in decisions.values()):
        raise BadWeightFile(
            f"SOURCE {source_path} has nothing to quantize by the recipe {found.recipe.architecture}:"
            " no large matrix of 16 or 32 bits within a repeated block; name another --recipe"
        )
    architecture, kind = found.recipe.architecture, options.format
    layout = lay_out(source, decisions, architecture, kind)
    if (calibration := options.calibration) is not None:
        extras = {layer.name: calibration.extra_suffixes(layer, found.prefix) for layer in layout.layers}
        if not any(extras.values()):
            raise BadWeightFile(
                f"--calibrate {calibration.file} has no layer that gets a scale for its input:"
                f" record this model; {kind.name} "
                f"{'takes' if kind.has_input_scale else 'computes its own and takes no'} recorded ones"
            )
        layout = lay_out(source, decisions, architecture, kind, extras)
    return Quantization(source, options, found, decisions, layout)


def quantize_weights(
    quantization: Quantization,
    target: Path,
    python: Path,
    on_progress: ReadProgress = lambda done, total: None,
) -> QuantizationReport:
    """Write the file to `target`, which exists only once it is complete, by the worker in `python`.

    `on_progress` receives the number of bytes of the source that are done, and of all. Raises WeightError,
    OSError; what is written until then is continued by the next call.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.quantizing")
    with _locked(part):
        _check_space(quantization, target, part)
        plan = _build_plan(quantization, part)
        plan_file = Path(f"{part}.plan")
        plan_file.write_text(json.dumps(plan), "utf-8")
        try:
            resumed = _run_worker([str(python), str(WORKER), str(plan_file)], quantization, on_progress)
        except BadWeightFile:
            discard_unfinished(target)
            raise
        results = _read_results(Path(plan["journal"]))
        digests = {name: str(result["digest"]) for name, result in results.items()}
        with part.open("r+b") as opened:
            opened.write(quantization.layout.header(digests))
        report = _report(quantization, results, resumed)
        part.replace(target)
        discard_unfinished(target)
    return report


def discard_unfinished(target: Path) -> None:
    """Remove what interrupted runs have left of a target."""
    for suffix in ("", ".journal", ".plan"):
        target.with_name(f"{target.name}.quantizing{suffix}").unlink(missing_ok=True)


@contextmanager
def _locked(part: Path) -> Iterator[None]:
    with part.open("ab") as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise WeightError(f"another process writes {part}: wait for it, or stop it") from error
        yield


def _check_space(quantization: Quantization, target: Path, part: Path) -> None:
    """Raise InsufficientDiskSpace unless the file fits on the disk."""
    free, wanted = shutil.disk_usage(target.parent).free, quantization.target_bytes - part.stat().st_size
    if wanted + MIN_FREE_BYTES > free:
        raise InsufficientDiskSpace(
            f"TARGET {target} will have {quantization.target_bytes / 1e9:.1f} GB, but its disk has"
            f" {free / 1e9:.1f} GB free; make space or name another TARGET"
        )


def _build_plan(quantization: Quantization, part: Path) -> dict[str, Any]:
    layout = quantization.layout
    layers = {layer.name + WEIGHT: layer for layer in layout.layers}
    operations = [
        _order(quantization, layers[name]) if name in layers else {"copy": _byte_range(tensor)}
        for name, tensor in quantization.source.tensors.items()
    ]
    tail = [_tail_item(tensor.layer, tensor.name) for tensor in layout.tensors if tensor.layer is not None]
    plan = {
        "operations": operations,
        "tail": [item for item in tail if item],
        "data_start": len(layout.header()),
    }
    stamps = [[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in quantization.source.files]
    worker = sha256(WORKER.read_bytes()).hexdigest()
    identity = json.dumps([plan, stamps, worker], sort_keys=True).encode()
    files = {"part": str(part), "journal": f"{part}.journal"}
    return {**plan, **files, "fingerprint": sha256(identity).hexdigest()}


def _order(quantization: Quantization, layer: Layer) -> dict[str, Any]:
    """Return the operation that quantizes a layer."""
    file, start, end = _byte_range(layer.source)
    order = {"layer": layer.name, "format": layer.format.name, "file": file, "start": start, "end": end}
    order |= {"dtype": layer.source.info.dtype, "rows": layer.rows, "columns": layer.columns}
    calibration = quantization.options.calibration
    inputs = calibration.find(layer, quantization.found.prefix) if calibration else None
    if inputs is None or calibration is None or not layer.format.has_input_scale:
        return order
    smooth = calibration.smooth and layer.format.name == "nvfp4"
    return {**order, "amax": [*inputs.amax], "mean_square": [*inputs.mean_square], "smooth": smooth}


def _byte_range(tensor: SourceTensor) -> tuple[str, int, int]:
    return str(tensor.file.resolve()), tensor.info.start, tensor.info.end


def _tail_item(layer: Layer, name: str) -> dict[str, str] | None:
    """Return what the worker writes for a tensor after the last matrix; None for one before."""
    suffix = name.removeprefix(layer.name)
    if suffix == WEIGHT or (layer.format.block and suffix == ".weight_scale"):
        return None
    if suffix == COMFY_QUANT:
        return {"hex": layer.format.comfy_quant.hex()}
    return {"layer": layer.name, "suffix": suffix}


def _run_worker(command: list[str], quantization: Quantization, on_progress: ReadProgress) -> int:
    """Run the worker to its end; returns the number of operations that an earlier one had finished.

    Raises BadWeightFile if it refuses the source, WeightError if it fails.
    """
    total, done, resumed, last = quantization.source.bytes, 0, 0, {}
    with (
        TemporaryFile("w+") as errors,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as worker,
    ):
        try:
            for text in worker.stdout or ():
                last = json.loads(text)
                done += last.get("read", 0)
                resumed = last.get("resumed", resumed)
                on_progress(done, total)
        except BaseException:
            worker.kill()
            raise
        errors.seek(0)
        output = errors.read().strip().splitlines()
    if "refused" in last:
        raise BadWeightFile(last["refused"])
    if "done" not in last:
        reason = last.get("failed") or (output[-1] if output else "it was killed")
        raise WeightError(f"the worker failed ({reason}); run the command again to go on where it stopped")
    return resumed


def _read_results(journal: Path) -> dict[str, dict[str, Any]]:
    """Return what the worker noted of each layer."""
    rows = [json.loads(line) for line in journal.read_text("utf-8").splitlines()]
    return {row["layer"]: row for row in rows if "layer" in row}


def _report(
    quantization: Quantization, results: Mapping[str, Mapping[str, Any]], resumed: int
) -> QuantizationReport:
    layout = quantization.layout
    copied = Counter(one.reason for one in quantization.decisions.values() if one.format is None)
    return QuantizationReport(
        format=layout.format.name,
        recipe=layout.recipe,
        source_bytes=quantization.source.bytes,
        target_bytes=quantization.target_bytes,
        layers=[
            LayerReport(
                layer=layer.name,
                format=layer.format.name,
                error=results[layer.name]["error"],
                output_error=results[layer.name]["output_error"],
            )
            for layer in layout.layers
        ],
        copied=dict(copied),
        resumed=resumed,
    )
