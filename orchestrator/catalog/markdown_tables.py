"""Tables of the catalogue for documents, in Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from orchestrator.catalog.model import Model
from orchestrator.catalog.parameters.values import Image, Images, Integer, Number, Parameter, Text


def model_table(models: Iterable[Model], price: Callable[[Model], str]) -> str:
    """A row for each model; `price` says what one result of base size costs."""
    rows = [
        [
            f"`{model.id}`",
            model.name,
            model.kind,
            _size(model),
            str(model.default_steps),
            price(model),
            model.manifest.license,
            ", ".join(f"`{alias}`" for alias in model.aliases),
        ]
        for model in models
    ]
    return _table(["id", "name", "type", "largest", "steps", "price", "license", "also"], rows)


def parameter_table(model: Model) -> str:
    """A row for each parameter of a model."""
    rows = [
        [f"`{name}`", spec.type, _default(spec), _range(spec), spec.description]
        for name, spec in model.parameters.items()
    ]
    return _table(["parameter", "type", "default", "range", "meaning"], rows)


def _size(model: Model) -> str:
    frames = model.parameters.get("num_frames")
    length = f", {frames.maximum} frames" if isinstance(frames, Integer) else ""
    return model.manifest.max_resolution + length


def _default(spec: Parameter) -> str:
    if spec.required:
        return "required"
    return "" if spec.default in (None, "", ()) else str(spec.default)


def _range(spec: Parameter) -> str:
    match spec:
        case Integer() | Number():
            step = f", step {spec.step:g}" if spec.step and spec.step != 1 else ""
            return f"{spec.minimum:g} to {spec.maximum:g}{step}"
        case Text():
            return ", ".join(spec.choices) or f"up to {spec.max_length} characters"
        case Images():
            return f"up to {spec.max_items}, each up to {spec.max_width}x{spec.max_height}"
        case Image():
            return f"up to {spec.max_width}x{spec.max_height}"
        case _:
            return "0 to 2^64 - 1" if spec.type == "seed" else ""


def _table(titles: list[str], rows: list[list[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
