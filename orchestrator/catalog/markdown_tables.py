"""Format models and their parameters as Markdown tables, for MODELS.md."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from orchestrator.catalog.model import Model
from orchestrator.catalog.parameters.values import (
    AudioParameter,
    ImageListParameter,
    ImageParameter,
    IntegerParameter,
    NumberParameter,
    Parameter,
    TextParameter,
    VideoParameter,
)


def format_model_table(models: Iterable[Model], price: Callable[[Model], str]) -> str:
    """Return a table with a row per model; `price` formats the price of one result of base size."""
    rows = [
        [
            f"`{model.id}`",
            model.name,
            model.kind,
            _format_max_size(model),
            str(model.default_steps),
            price(model),
            model.manifest.license,
            ", ".join(f"`{alias}`" for alias in model.aliases),
        ]
        for model in models
    ]
    return _format_table(["id", "name", "type", "largest", "steps", "price", "license", "also"], rows)


def format_parameter_table(model: Model) -> str:
    """Return a table with a row per parameter of a model."""
    rows = [
        [f"`{name}`", spec.type, _format_default(spec), _format_range(spec), spec.description]
        for name, spec in model.parameters.items()
    ]
    return _format_table(["parameter", "type", "default", "range", "meaning"], rows)


def _format_max_size(model: Model) -> str:
    frames = model.parameters.get("num_frames")
    length = f", {frames.maximum} frames" if isinstance(frames, IntegerParameter) else ""
    return model.manifest.max_resolution + length


def _format_default(spec: Parameter) -> str:
    if spec.required:
        return "required"
    return "" if spec.default in (None, "", ()) else str(spec.default)


def _format_range(spec: Parameter) -> str:
    match spec:
        case IntegerParameter() | NumberParameter():
            step = f", step {spec.step:g}" if spec.step and spec.step != 1 else ""
            return f"{spec.minimum:g} to {spec.maximum:g}{step}"
        case TextParameter():
            return ", ".join(spec.choices) or f"up to {spec.max_length} characters"
        case ImageListParameter():
            return f"up to {spec.max_items}, each up to {spec.max_width}x{spec.max_height}"
        case VideoParameter() | AudioParameter():
            return f"{spec.min_seconds:g} to {spec.max_seconds:g} seconds"
        case ImageParameter():
            return f"up to {spec.max_width}x{spec.max_height}"
        case _:
            return f"0 to {spec.max_text}" if spec.type == "seed" else ""


def _format_table(titles: list[str], rows: list[list[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
