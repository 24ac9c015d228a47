"""What a quantization did: sizes, and the error of each layer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

#: Layers that are listed with the largest errors, and reasons that are listed with most layers.
WORST_LAYERS = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerReport:
    """One quantized layer."""

    layer: str
    format: str
    #: Norm of the change of its matrix relative to the norm of the matrix.
    error: float
    #: Likewise of its output, for inputs as they were recorded; None without recorded ones.
    output_error: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class QuantizationReport:
    """The whole file."""

    format: str
    recipe: str
    source_bytes: int
    target_bytes: int
    layers: Sequence[LayerReport]
    #: Numbers of tensors that were copied, by reason.
    copied: Mapping[str, int]
    #: Operations that an interrupted run had finished.
    resumed: int = 0

    @property
    def worst(self) -> list[LayerReport]:
        """The layers with the largest errors."""
        return sorted(self.layers, key=lambda layer: -layer.error)[:WORST_LAYERS]

    @property
    def mean_error(self) -> float:
        return sum(layer.error for layer in self.layers) / len(self.layers)

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return asdict(self) | {"mean_error": self.mean_error, "worst": [asdict(one) for one in self.worst]}

    def lines(self) -> Iterator[str]:
        """Yield the report as text for operators."""
        by_format = Counter(layer.format for layer in self.layers)
        numbers = ", ".join(f"{count} layers in {name}" for name, count in sorted(by_format.items()))
        gigabytes = f"{self.target_bytes / 1e9:.2f} GB instead of {self.source_bytes / 1e9:.2f} GB"
        yield f"recipe {self.recipe}: {numbers}, {sum(self.copied.values())} tensors copied: {gigabytes}"
        yield f"error of a layer: {self.mean_error:.2%} on average; the largest ones:"
        for layer in self.worst:
            output = "" if layer.output_error is None else f", {layer.output_error:.2%} of its output"
            yield f"  {layer.error:.2%}{output}  {layer.format:5}  {layer.layer}"
        if clipped := sum(layer.format == "fp8" and layer.output_error is None for layer in self.layers):
            yield (
                f"{clipped} layers in fp8 have no recorded inputs: a card that multiplies fp8 clips theirs at"
                " 448; --calibrate FILE gives them a scale"
            )
        yield "copied as they are:"
        for reason, count in sorted(self.copied.items(), key=lambda item: -item[1]):
            yield f"  {count:5}  {reason}"
