"""`pixelfactory weights quantize`: make a file of fewer bits, and say what it costs."""

from __future__ import annotations

import json as json_format
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from orchestrator.catalog import WeightFile
from orchestrator.cli.terminal.console import CliError, JsonOption, err, print_json, read_settings
from orchestrator.cli.terminal.progress_bars import file_progress
from orchestrator.files.atomic_files import write_atomically
from orchestrator.settings import Settings
from orchestrator.weights.file_checks import compute_sha256
from orchestrator.weights.pulling import QuantizeFile
from orchestrator.weights.quantizing.calibration import read_calibration
from orchestrator.weights.quantizing.environment import find_quantizing_python
from orchestrator.weights.quantizing.formats import FORMATS, QuantizedFormat
from orchestrator.weights.quantizing.recipes import load_recipes
from orchestrator.weights.quantizing.report import QuantizationReport
from orchestrator.weights.quantizing.running import (
    Quantization,
    QuantizationOptions,
    plan_quantization,
    quantize_weights,
)


def quantize(
    source: Annotated[
        Path, typer.Argument(help="Safetensors file of 16 or 32 bits, or folder or index of its shards.")
    ],
    target: Annotated[Path, typer.Argument(help="File to write, .safetensors.")],
    format: Annotated[str, typer.Option("--format", help="nvfp4, mxfp8 or fp8.")] = "fp8",
    recipe: Annotated[
        str | None, typer.Option(help="Recipe to use; by default the one that fits.", show_default=False)
    ] = None,
    keep: Annotated[str, typer.Option(help="Regular expression for tensors to keep as they are.")] = "",
    calibrate: Annotated[
        Path | None,
        typer.Option(help="Recorded activations: adds scales of inputs.", show_default=False),
    ] = None,
    smooth: Annotated[
        bool, typer.Option(help="With --calibrate: also even out the columns. LoRAs do not fit such a file.")
    ] = False,
    parts: Annotated[
        Path | None,
        typer.Option(help="Checkpoint whose text encoders and VAE complete SOURCE.", show_default=False),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="JSON file for the errors of all layers.", show_default=False)
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace TARGET if it exists.")] = False,
    json: JsonOption = False,
) -> None:
    """Quantize a weight file to NVFP4, MXFP8 or fp8; run it again to continue after an interruption.

    Prints the row for the manifest, and the error of the layers. Needs an installed ComfyUI, or PyTorch and
    comfy-kitchen.
    """
    if smooth and calibrate is None:
        raise CliError("--smooth needs the recorded activations: name them by --calibrate FILE")
    kind = _parse_format(format)
    _check_files(source, target, report, overwrite=overwrite)
    python = find_quantizing_python(read_settings().comfyui_dir)
    calibration = None if calibrate is None else read_calibration(calibrate, smooth=smooth)
    options = QuantizationOptions(
        format=kind, recipe=recipe, keep_pattern=keep, calibration=calibration, parts=parts
    )
    made = _quantize_with_progress(plan_quantization(source, options), source.name, target, python)
    sha256 = compute_sha256(target)
    result = {**made.to_json(), "sha256": sha256}
    if report is not None:
        _write_json(report, result)
    if json:
        print_json({**result, "target": str(target)})
    else:
        _print_report(made, target, sha256)


def _print_report(made: QuantizationReport, target: Path, sha256: str) -> None:
    for line in made.lines():
        err.print(escape(line), highlight=False)
    for line in _manifest_row(made, target, sha256):
        typer.echo(line)


def recipes(json: JsonOption = False) -> None:
    """List the recipes: what each quantizes, which layers take more bits, why, and the errors measured."""
    found = load_recipes()
    if json:
        print_json([recipe.model_dump(mode="json") for recipe in found.values()])
        return
    for name, recipe in found.items():
        typer.echo(f"{name}: {recipe.description}\n  layers {recipe.blocks}")
        for rule in recipe.rules:
            edges = [f"first {rule.first}"] * bool(rule.first) + [f"last {rule.last}"] * bool(rule.last)
            limits = "".join(f", {edge}" for edge in edges)
            typer.echo(f"  {rule.store:5} {rule.layers}{limits}: {rule.reason} (error {rule.error:.1%})")


def file_quantizer(settings: Settings) -> QuantizeFile:
    """Return what makes the quantized files of manifests. Raises WeightError if no Python can."""
    python = find_quantizing_python(settings.comfyui_dir)

    def quantize_file(
        weight: WeightFile, source: Path, target: Path, on_progress: Callable[[int, int], None]
    ) -> str:
        parts = weight.source.parts if weight.source else ""
        options = QuantizationOptions(
            format=FORMATS[weight.dtype],
            recipe=weight.recipe or None,
            parts=settings.models_dir / parts if parts else None,
        )
        report = quantize_weights(plan_quantization(source, options), target, python, on_progress)
        err.print(escape(f"{weight.path}: {next(report.lines())}"), highlight=False)
        return compute_sha256(target)

    return quantize_file


def _write_json(path: Path, value: object) -> None:
    with write_atomically(path) as file:
        file.write(json_format.dumps(value, indent=1).encode())


def _quantize_with_progress(
    planned: Quantization, source_name: str, target: Path, python: Path
) -> QuantizationReport:
    with file_progress() as progress:
        bar = progress.add_task(escape(source_name), total=planned.source.bytes)
        return quantize_weights(
            planned, target, python, lambda done, total: progress.update(bar, completed=done, total=total)
        )


def _parse_format(name: str) -> QuantizedFormat:
    if name not in FORMATS:
        raise CliError(f"--format must be one of {', '.join(FORMATS)} (got {name!r})")
    return FORMATS[name]


def _check_files(source: Path, target: Path, report: Path | None, *, overwrite: bool) -> None:
    """Raise CliError before the work for files that could not, or must not, be written after it."""
    if source.resolve() == target.resolve():
        raise CliError(f"TARGET must be another file than SOURCE (got {target} for both)")
    if target.suffix not in (".safetensors", ".sft") or target.is_dir():
        raise CliError(f"TARGET must be a .safetensors file (got {target})")
    if target.exists() and not overwrite:
        raise CliError(f"TARGET {target} exists: name another file, or replace it with --overwrite")
    if report is None:
        return
    if report.is_dir():
        raise CliError(f"--report must be a file (got the folder {report}): name one in it")
    if report.resolve() in (source.resolve(), target.resolve()):
        raise CliError(f"--report must be another file than SOURCE and TARGET (got {report})")


def _manifest_row(made: QuantizationReport, target: Path, sha256: str) -> list[str]:
    return [
        "[[weights]]",
        f'path = "FOLDER/{target.name}"',
        f'sha256 = "{sha256}"',
        f"bytes = {made.target_bytes}",
        f'dtype = "{made.format}"',
    ]
