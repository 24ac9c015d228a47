"""How many instances of each card the waiting work needs, and the bundles that say so to Ray. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

#: Ray's resource that names the card of a node, and the share of it that one instance occupies.
CARD_RESOURCE, CARD_SHARE = "accelerator_type:{}", 0.001
ANY_CARD = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class WaitingWork:
    """Waiting work of one model that one card is to do."""

    model: str
    #: Name of the card; empty for any.
    card: str
    #: Expected seconds of GPU time.
    gpu_seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class CapacityLimits:
    """What the operator allows."""

    min_instances: int = 1
    max_instances: int = 64
    #: Time within which all waiting work should be done.
    target_wait_seconds: float = 60.0
    #: How long fewer instances must suffice before some are given back.
    idle_seconds: float = 300.0


@dataclass(frozen=True, slots=True)
class Capacity:
    """Wanted numbers of instances by card; the empty card is any."""

    by_card: Mapping[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return sum(self.by_card.values())

    def to_bundles(self) -> list[dict[str, float]]:
        """Return one bundle of Ray's resources for each instance, sorted by card."""
        return [
            {"GPU": 1.0, **({CARD_RESOURCE.format(card): CARD_SHARE} if card else {})}
            for card in sorted(self.by_card)
            for _ in range(self.by_card[card])
        ]


def wanted_instances(
    waiting: Sequence[WaitingWork], busy: Mapping[str, int], target_wait_seconds: float
) -> dict[str, int]:
    """Return the instances by card that finish the `waiting` work in time, beside the `busy` ones."""
    seconds: dict[str, float] = {}
    for work in waiting:
        seconds[work.card] = seconds.get(work.card, 0.0) + max(0.0, work.gpu_seconds)
    return {
        card: busy.get(card, 0) + math.ceil(seconds.get(card, 0.0) / target_wait_seconds - 1e-9)
        for card in {*seconds, *busy}
    }


def bound_capacity(wanted: Mapping[str, int], limits: CapacityLimits) -> Capacity:
    """Return the wanted numbers within the limits, which hold for all cards together.

    Cards get shares of the maximum in proportion to what they need; any card fills up the minimum.
    """
    by_card = {card: count for card, count in _share(wanted, limits.max_instances).items() if count > 0}
    missing = limits.min_instances - sum(by_card.values())
    if missing > 0:
        by_card[ANY_CARD] = by_card.get(ANY_CARD, 0) + missing
    return Capacity(by_card)


def _share(wanted: Mapping[str, int], most: int) -> dict[str, int]:
    """Return the numbers, reduced in proportion to `most` in all; each card keeps one while possible."""
    total = sum(wanted.values())
    if total <= most:
        return dict(wanted)
    exact = {card: count * most / total for card, count in wanted.items()}
    shares = {card: math.floor(share) for card, share in exact.items()}
    rest = most - sum(shares.values())
    order = sorted(exact, key=lambda card: (shares[card] > 0, shares[card] - exact[card], card))
    for card in order[:rest]:
        shares[card] += 1
    return shares


@dataclass(slots=True)
class CapacityPlanner:
    """Follows the need upwards at once, and downwards once it was lower for long enough."""

    limits: CapacityLimits
    #: Per card, what was needed when: (time, number), the numbers falling.
    _recent: dict[str, list[tuple[float, int]]] = field(default_factory=dict)

    def seed(self, present: Mapping[str, int], now: float) -> Capacity:
        """Count the instances that are present as needed now: an earlier process has wanted them.

        Without this, a restart of the service would give all idle instances back at once.
        """
        for card, count in present.items():
            if count > 0:
                self._recent[card] = [(now, count)]
        return bound_capacity(present, self.limits)

    def update(self, waiting: Sequence[WaitingWork], busy: Mapping[str, int], now: float) -> Capacity:
        """Return the capacity to have now: by card, the largest need of the last `idle_seconds`."""
        wanted = wanted_instances(waiting, busy, self.limits.target_wait_seconds)
        for card in {*wanted, *self._recent}:
            recent = self._recent.setdefault(card, [])
            count = wanted.get(card, 0)
            while recent and recent[-1][1] <= count:
                recent.pop()
            recent.append((now, count))
            while recent[0][0] < now - self.limits.idle_seconds:
                del recent[0]
        self._recent = {card: recent for card, recent in self._recent.items() if recent[0][1]}
        return bound_capacity({card: recent[0][1] for card, recent in self._recent.items()}, self.limits)
