"""Decides which actors to create, drain and end. Pure: the cluster's state in, one step at a time out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

from comfy_instances.fleet.ray.demand import ANY_CARD, Capacity
from comfy_instances.fleet.ray.values import RayNode

NAME_PREFIX = "ray-"
#: Memory that a label names may differ from what a driver reports, relatively.
MEMORY_TOLERANCE = 0.12
_MEMORY = re.compile(r"(\d+)GB?")


@dataclass(frozen=True, kw_only=True, slots=True)
class PlacedActor:
    """An actor as the fleet knows it."""

    name: str
    #: Node on which it runs; None while it waits for one, or has not said so yet.
    node_id: str | None
    #: Whether no prompt runs or waits on its instance.
    is_idle: bool
    #: Whether it was created by another version of the service.
    is_outdated: bool = False
    #: Whether it is being drained to be ended.
    is_leaving: bool = False
    #: Since when it has been without node, in seconds of the fleet's clock; None while it has one.
    waiting_since: float | None = None


@dataclass(frozen=True, slots=True)
class NewActor:
    """An actor to create."""

    name: str
    card: str | None
    node_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Changes:
    """One step: what to do now."""

    create: Sequence[NewActor] = ()
    #: Names of actors that get no new prompts from now on, to be ended once they are idle.
    drain: Sequence[str] = ()
    #: Names of actors to end now.
    end: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class PlacementRules:
    """What limits the steps."""

    min_instances: int
    max_instances: int
    #: How long an actor may wait for a node before it is given up, if there are enough others.
    pending_seconds: float = 60.0
    #: Sizes of weight files by path, by node: where a new instance has the least to pull.
    weights: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


def plan_changes(
    nodes: Sequence[RayNode],
    actors: Sequence[PlacedActor],
    wanted: Capacity | None,
    rules: PlacementRules,
    now: float,
) -> Changes:
    """Return the next step towards `wanted`, or towards one actor for each GPU if that is None.

    An outdated actor is replaced alone and only while no other one leaves, so that the others go on working.
    """
    leaving = [actor for actor in actors if actor.is_leaving]
    end = [actor.name for actor in leaving if actor.is_idle or actor.node_id is None]
    end += _given_up(actors, rules, now)
    staying = [actor for actor in actors if not actor.is_leaving and actor.name not in end]
    create = _plan_new(nodes, actors, staying, wanted, rules)
    drain = [] if create else _plan_drains(nodes, staying, wanted, rules)
    if not (create or drain or leaving):
        outdated = sorted((a for a in staying if a.is_outdated), key=lambda a: (not a.is_idle, a.name))
        drain = [actor.name for actor in outdated[:1]]
    return Changes(create=create, drain=drain, end=end)


def _given_up(actors: Sequence[PlacedActor], rules: PlacementRules, now: float) -> list[str]:
    """Return actors that wait for a node for too long: they are created again when there is one."""
    late = [
        actor.name
        for actor in actors
        if actor.waiting_since is not None and now - actor.waiting_since >= rules.pending_seconds
    ]
    return late[: max(0, len(actors) - rules.min_instances)]


def _plan_new(
    nodes: Sequence[RayNode],
    actors: Sequence[PlacedActor],
    staying: Sequence[PlacedActor],
    wanted: Capacity | None,
    rules: PlacementRules,
) -> list[NewActor]:
    used = Counter(actor.node_id for actor in actors if actor.node_id is not None)
    unplaced = sum(actor.node_id is None for actor in actors)
    free = [node for node in nodes for _ in range(node.gpus - used[node.id])]
    # Ray gives free GPUs to those that wait already.
    free = sorted(free, key=lambda node: (-sum(rules.weights.get(node.id, {}).values()), node.id))
    room = min(rules.max_instances - len(actors), len(free) - unplaced)
    names = _free_names({actor.name for actor in actors})
    chosen: list[RayNode] = []
    missing = _missing_by_card(nodes, staying, wanted)
    for node in free:
        if len(chosen) >= room:
            break
        if missing is None:
            chosen.append(node)
            continue
        card = (node.card or ANY_CARD) if missing[node.card or ANY_CARD] > 0 else ANY_CARD
        if missing[card] > 0:
            missing[card] -= 1
            chosen.append(node)
    return [NewActor(next(names), node.card, node.id) for node in chosen]


def _missing_by_card(
    nodes: Sequence[RayNode], staying: Sequence[PlacedActor], wanted: Capacity | None
) -> Counter[str] | None:
    """Return how many actors of each card are missing; None for one on every GPU."""
    if wanted is None:
        return None
    held, _ = _match(nodes, staying, wanted)
    return Counter({card: number - held[card] for card, number in wanted.by_card.items()})


def _match(
    nodes: Sequence[RayNode], staying: Sequence[PlacedActor], wanted: Capacity
) -> tuple[Counter[str], list[PlacedActor]]:
    """Return how many wanted instances of each card there are, and the actors beyond them.

    Busy actors are counted first, so that idle ones are the surplus, and among those whole nodes.
    """
    cards = {node.id: node.card or ANY_CARD for node in nodes}
    busy_nodes = Counter(actor.node_id for actor in staying if not actor.is_idle)
    order = sorted(staying, key=lambda a: (a.is_idle, -busy_nodes[a.node_id], str(a.node_id), a.name))
    held: Counter[str] = Counter()
    surplus = []
    for actor in order:
        card = cards.get(str(actor.node_id), ANY_CARD)
        if held[card] < wanted.by_card.get(card, 0):
            held[card] += 1
        elif held[ANY_CARD] < wanted.by_card.get(ANY_CARD, 0):
            held[ANY_CARD] += 1
        else:
            surplus.append(actor)
    return held, surplus


def _plan_drains(
    nodes: Sequence[RayNode],
    staying: Sequence[PlacedActor],
    wanted: Capacity | None,
    rules: PlacementRules,
) -> list[str]:
    if wanted is None:
        order = sorted(staying, key=lambda actor: (not actor.is_idle, actor.name))
        return [actor.name for actor in order[: max(0, len(staying) - rules.max_instances)]]
    _, extra = _match(nodes, staying, wanted)
    spare = max(0, len(staying) - rules.min_instances)
    # What works is not stopped for less need than there was; its work will end.
    return [actor.name for actor in reversed(extra) if actor.is_idle][:spare]


def _free_names(taken: Collection[str]) -> Iterator[str]:
    return (name for name in (f"{NAME_PREFIX}{number}" for number in count()) if name not in taken)


def card_mismatch(card: str | None, device: str, vram_total: int | None, *, simulated: bool) -> str | None:
    """Return how an instance contradicts the card that its node claims to have; None if it does not.

    Every word of the card's name must be in the device's; a size such as `80G` must be its memory.
    """
    if card is None or (simulated and card.upper() == "SIMULATED"):
        return None
    words = set(re.findall(r"[A-Z0-9]+", device.upper()))
    for word in re.findall(r"[A-Z0-9]+", card.upper()):
        memory = _MEMORY.fullmatch(word)
        if memory is not None and vram_total is not None:
            if abs(vram_total / (int(memory[1]) * 1e9) - 1) <= MEMORY_TOLERANCE:
                continue
        elif word in words:
            continue
        size = "" if vram_total is None else f" with {vram_total / 1e9:.0f} GB"
        return (
            f"its node has the resource accelerator_type:{card}, but its instance reports the device"
            f" {device!r}{size}: correct the node's resources, or its driver"
        )
    return None
