"""The tiers of a price that results of the models of a name reach, under labels that requests may send."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from orchestrator.catalog import Model
from orchestrator.catalog.parameters.values import IntegerParameter
from orchestrator.web.dialects.dimensions import DEFAULT_FPS, format_seconds
from orchestrator.web.dialects.pixeldojo.run_schema import supports_resolution
from pricing.rates import Rate, Tier, TierMeasure
from pricing.usage import BillableWork, ModelKind


def limit_tiers(rate: Rate, models: Sequence[Model]) -> Rate:
    """Return the rate without the tiers that no model reaches.

    The last tier that a model reaches only in part has the label of its largest size or length.
    """
    if isinstance(rate, Fraction) or not rate:
        return rate
    if rate[0].measure is TierMeasure.SECONDS and not any(model.makes_video for model in models):
        # An image has the length of one frame.
        return limit_tiers(rate[0].rate, models)
    shown: list[Tier] = []
    lower = Fraction(0)
    for tier in rate:
        reaching = {model: label for model in models if (label := _shown_label(tier, lower, model))}
        labels = dict.fromkeys(reaching.values())
        if labels:
            label = tier.label if tier.label in labels else next(iter(labels))
            shown.append(replace(tier, label=label, rate=limit_tiers(tier.rate, list(reaching))))
        lower = tier.limit
    return tuple(shown) or rate[-1].rate


def _shown_label(tier: Tier, lower: Fraction, model: Model) -> str | None:
    """Return the label under which a model reaches a tier that begins above `lower`; None if it does not."""
    if tier.measure is TierMeasure.SECONDS:
        least, most = _length_range(model)
        if least > tier.limit or most <= lower:
            return None
        return tier.label if most >= tier.limit else f"{format_seconds(float(most))}s"
    if supports_resolution(model, tier.label):
        return tier.label
    sizes = model.output_sizes
    if sizes is None:
        # The input decides on the size.
        return tier.label if _measure(tier, *model.manifest.max_size) > lower else None
    largest = max(sizes.nearest_sizes(sizes.max_size), key=lambda size: _measure(tier, *size))
    return f"{largest.width}x{largest.height}" if lower < _measure(tier, *largest) <= tier.limit else None


def _measure(tier: Tier, width: int, height: int) -> Fraction:
    work = BillableWork(model="", kind=ModelKind.IMAGE, n=1, width=width, height=height)
    return tier.measure.value_for(work)


def _length_range(model: Model) -> tuple[Fraction, Fraction]:
    """Return the shortest and the longest video at the default frame rate, in seconds."""
    frames, fps = model.parameters.get("num_frames"), model.parameters.get("fps")
    if not isinstance(frames, IntegerParameter) or not isinstance(fps, IntegerParameter):
        return Fraction(0), Fraction(0)
    rate = fps.default or DEFAULT_FPS
    return Fraction(frames.minimum, rate), Fraction(frames.largest_allowed, rate)
