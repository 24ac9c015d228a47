"""How much GPU time waits for which card: what an autoscaler needs to know. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from types import MappingProxyType

from comfy_instances.fleet.ray.demand import ANY_CARD, WaitingWork
from orchestrator.execution.scheduler import Scheduler

#: Returns the name of the card of an instance; None if unknown.
CardOf = Callable[[str], str | None]
NO_CARDS: Mapping[str, str] = MappingProxyType({})


def find_waiting_work(
    scheduler: Scheduler, card_of: CardOf, new_cards: Mapping[str, str] = NO_CARDS
) -> list[WaitingWork]:
    """Return the expected GPU seconds of the waiting shards by model, with the card that should run them.

    That is the card of most instances that can run the model. If none can, it is that of `new_cards`, which
    names the cards of nodes to add by model, or any card.
    """
    return [
        WaitingWork(
            model=model,
            card=_choose_card(scheduler, model, card_of, new_cards.get(model, ANY_CARD)),
            gpu_seconds=scheduler.estimates.run_seconds(model, scheduler.queue.backlog_seconds(model), 1.0),
        )
        for model in sorted(scheduler.queue.depth_by_model())
    ]


def count_busy_by_card(scheduler: Scheduler, card_of: CardOf) -> dict[str, int]:
    """Return the number of instances that run or have shards, by card."""
    busy = (instance.id for instance in scheduler.instances.values() if instance.assignments)
    return dict(Counter(card_of(instance_id) or ANY_CARD for instance_id in busy))


def _choose_card(scheduler: Scheduler, model: str, card_of: CardOf, new_card: str) -> str:
    capable = (one.id for one in scheduler.instances.values() if one.is_up and one.serves(model))
    cards = Counter(card_of(instance_id) or ANY_CARD for instance_id in capable)
    return min(cards, key=lambda card: (-cards[card], card), default=new_card)
