"""What operators read after a quantization."""

from __future__ import annotations

import pytest

from orchestrator.weights.quantizing.report import LayerReport, QuantizationReport


@pytest.mark.parametrize(
    ("form", "output_error", "is_said"), [("fp8", None, True), ("fp8", 0.02, False), ("nvfp4", None, False)]
)
def test_layers_whose_inputs_a_card_clips_are_counted(
    form: str, output_error: float | None, is_said: bool
) -> None:
    layer = LayerReport(layer="blocks.0.a", format=form, error=0.03, output_error=output_error)
    report = QuantizationReport(
        format=form, recipe="generic", source_bytes=2, target_bytes=1, layers=[layer], copied={}
    )
    assert any("1 layers in fp8 have no recorded inputs" in line for line in report.lines()) is is_said
