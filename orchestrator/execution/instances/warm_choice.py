"""Decides which idle instance loads which model ahead of requests. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from orchestrator.execution.scheduler.instances import Instance

#: Time after which a past request counts half, in seconds.
HALF_LIFE_SECONDS = 1800.0
#: Demand below which a model is not worth a load: one request of three hours ago.
MIN_DEMAND = 1 / 64


@dataclass(slots=True)
class Demand:
    """How often each model was asked for, recent requests first: an exponentially decaying count."""

    _counts: dict[str, tuple[float, float]] = field(default_factory=dict)

    def record(self, model: str, at: float) -> None:
        """Count one request at a time in seconds; earlier times may follow later ones."""
        known = self._counts.get(model)
        if known is None:
            self._counts[model] = (1.0, at)
            return
        count, since = known
        latest = max(since, at)
        self._counts[model] = (_decay(count, latest - since) + _decay(1.0, latest - at), latest)

    def of(self, model: str, now: float) -> float:
        """Return the present count of a model."""
        count, since = self._counts.get(model, (0.0, now))
        return _decay(count, max(0.0, now - since))

    def by_model(self, now: float) -> dict[str, float]:
        """Return the present counts that are worth a load."""
        counts = {model: self.of(model, now) for model in self._counts}
        return {model: count for model, count in counts.items() if count >= MIN_DEMAND}


@dataclass(frozen=True, kw_only=True, slots=True)
class WarmChoice:
    """A model to load on an instance."""

    instance_id: str
    model: str


def choose_warm_run(
    instances: Iterable[Instance],
    demand: Mapping[str, float],
    may_warm: Callable[[Instance, str], bool],
) -> WarmChoice | None:
    """Return the load that serves most of the demand, or None if no idle instance gains by one.

    A model that others hold already counts less. An instance that holds models gets another one only if no
    instance holds that one, and if it is asked for more than what it replaces.
    """
    up = [instance for instance in instances if instance.is_up]
    copies = {model: sum(model in one.loaded_models for one in up) for model in demand}
    best: tuple[float, str, str] | None = None
    for instance in up:
        if instance.assignments or instance.warming:
            continue
        held = max((demand.get(model, 0.0) for model in instance.loaded_models), default=0.0)
        for model, count in demand.items():
            gain = count / (1 + copies[model])
            if model in instance.loaded_models or not may_warm(instance, model):
                continue
            if instance.loaded_models and (copies[model] or count <= held):
                continue
            if best is None or (gain, model, instance.id) > best:
                best = (gain, model, instance.id)
    return None if best is None else WarmChoice(instance_id=best[2], model=best[1])


def _decay(count: float, seconds: float) -> float:
    return float(count * 0.5 ** (seconds / HALF_LIFE_SECONDS))
