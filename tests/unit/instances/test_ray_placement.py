"""Which actors are created, drained and ended."""

from __future__ import annotations

import pytest

from comfy_instances.fleet.ray.demand import Capacity
from comfy_instances.fleet.ray.placement import (
    Changes,
    NewActor,
    PlacedActor,
    PlacementRules,
    card_mismatch,
    plan_changes,
)
from comfy_instances.fleet.ray.values import RayNode

RULES = PlacementRules(min_instances=1, max_instances=8)


def node(name: str, gpus: int = 1, card: str | None = "H100") -> RayNode:
    return RayNode(id=name, address="10.0.0.1", gpus=gpus, card=card)


def actor(number: int, node_id: str | None, **changes: object) -> PlacedActor:
    values = {"name": f"ray-{number}", "node_id": node_id, "is_idle": True, **changes}
    return PlacedActor(**values)  # type: ignore[arg-type]


def plan(
    nodes: list[RayNode],
    actors: list[PlacedActor],
    wanted: dict[str, int] | None = None,
    rules: PlacementRules = RULES,
    now: float = 0.0,
) -> Changes:
    return plan_changes(nodes, actors, None if wanted is None else Capacity(wanted), rules, now)


def test_every_gpu_gets_an_actor() -> None:
    changes = plan([node("a", 2), node("b")], [actor(0, "a")])
    assert changes.create == [NewActor("ray-1", "H100", "a"), NewActor("ray-2", "H100", "b")]
    assert not changes.drain
    assert not changes.end


def test_names_of_ended_actors_are_used_again() -> None:
    changes = plan([node("a", 3)], [actor(1, "a")])
    assert [new.name for new in changes.create] == ["ray-0", "ray-2"]


def test_a_node_without_gpu_gets_none() -> None:
    assert plan([node("head", 0)], []) == Changes(create=[], drain=[], end=[])


def test_gpus_are_left_to_actors_that_wait_for_one() -> None:
    assert not plan([node("a")], [actor(0, None)]).create


def test_keeps_to_the_largest_number() -> None:
    rules = PlacementRules(min_instances=1, max_instances=2)
    assert len(plan([node("a", 5)], [], rules=rules).create) == 2


def test_drains_what_is_beyond_the_largest_number() -> None:
    rules = PlacementRules(min_instances=1, max_instances=1)
    actors = [actor(0, "a", is_idle=False), actor(1, "a")]
    assert plan([node("a", 2)], actors, rules=rules).drain == ["ray-1"]


def test_starts_where_most_weights_are() -> None:
    rules = PlacementRules(min_instances=1, max_instances=8, weights={"b": {"x": 5}, "a": {"x": 1}})
    changes = plan([node("a"), node("b"), node("c")], [], {"H100": 2}, rules)
    assert [new.node_id for new in changes.create] == ["b", "a"]


def test_creates_what_the_demand_wants_of_each_card() -> None:
    nodes = [node("a", 2, "H100"), node("b", 2, "L40S"), node("c", 1, None)]
    changes = plan(nodes, [], {"L40S": 1, "H100": 2})
    assert sorted((new.card or "", new.node_id) for new in changes.create) == [
        ("H100", "a"),
        ("H100", "a"),
        ("L40S", "b"),
    ]


def test_any_card_serves_for_the_minimum() -> None:
    assert len(plan([node("a", 4, "L40S")], [], {"": 2}).create) == 2


def test_a_card_that_is_missing_is_waited_for() -> None:
    assert not plan([node("a", 4, "L40S")], [], {"H100": 2}).create


def test_scales_in_by_idle_actors_and_whole_nodes() -> None:
    nodes = [node("a", 2), node("b", 2)]
    actors = [actor(0, "a", is_idle=False), actor(1, "a"), actor(2, "b"), actor(3, "b")]
    assert sorted(plan(nodes, actors, {"H100": 2}).drain) == ["ray-2", "ray-3"]


def test_what_works_is_not_drained_for_less_demand() -> None:
    actors = [actor(0, "a", is_idle=False), actor(1, "b", is_idle=False)]
    assert not plan([node("a"), node("b")], actors, {"H100": 1}).drain


def test_keeps_the_smallest_number() -> None:
    actors = [actor(number, "a") for number in range(3)]
    rules = PlacementRules(min_instances=2, max_instances=8)
    assert len(plan([node("a", 3)], actors, {}, rules).drain) == 1


def test_ends_a_leaving_actor_once_it_is_idle() -> None:
    busy = actor(0, "a", is_leaving=True, is_idle=False)
    assert not plan([node("a")], [busy], {"": 1}).end
    assert plan([node("a")], [actor(0, "a", is_leaving=True)], {"": 1}).end == ["ray-0"]


def test_replaces_outdated_actors_one_at_a_time() -> None:
    nodes, old = [node("a", 2)], [actor(n, "a", is_outdated=True, is_idle=n > 0) for n in range(2)]
    assert plan(nodes, old).drain == ["ray-1"]
    leaving = [old[0], actor(1, "a", is_outdated=True, is_leaving=True)]
    first = plan(nodes, leaving)
    assert (first.drain, first.end) == ([], ["ray-1"])
    second = plan(nodes, [old[0]])
    assert (second.create, second.drain) == ([NewActor("ray-1", "H100", "a")], [])


def test_gives_up_an_actor_that_waits_for_long_beyond_the_smallest_number() -> None:
    actors = [actor(0, "a"), actor(1, None, waiting_since=0.0)]
    assert not plan([node("a")], actors, now=59).end
    assert plan([node("a")], actors, now=61).end == ["ray-1"]
    assert not plan([], [actors[1]], now=61).end


@pytest.mark.parametrize(
    ("card", "device", "gigabytes"),
    [
        (None, "cpu", 0),
        ("H100", "NVIDIA H100 80GB HBM3", 85),
        ("A100-80G", "NVIDIA A100-SXM4-80GB", 85),
        ("A100-40G", "NVIDIA A100-SXM4-40GB", 42),
        ("T4", "Tesla T4", 15),
        ("RTX-PRO-6000", "NVIDIA RTX PRO 6000 Blackwell Server Edition", 102),
        ("RTX-4090", "NVIDIA GeForce RTX 4090", 25),
        ("L40S", "NVIDIA L40S", 48),
        ("A100-40G", "NVIDIA A100-PCIE", 42),
    ],
)
def test_a_device_fits_the_name_of_its_card(card: str | None, device: str, gigabytes: int) -> None:
    assert card_mismatch(card, device, gigabytes * 10**9, simulated=False) is None


@pytest.mark.parametrize(
    ("card", "device", "gigabytes"),
    [
        ("H100", "NVIDIA A100-SXM4-80GB", 85),
        ("H100", "NVIDIA H200", 150),
        ("L40S", "NVIDIA L40", 48),
        ("L4", "NVIDIA L40", 48),
        ("A100-80G", "NVIDIA A100-SXM4-40GB", 42),
        ("H100", "cpu", None),
        ("SIMULATED", "NVIDIA H100", 85),
    ],
)
def test_a_device_that_contradicts_its_card_is_named(card: str, device: str, gigabytes: int | None) -> None:
    memory = None if gigabytes is None else gigabytes * 10**9
    found = card_mismatch(card, device, memory, simulated=False)
    assert found is not None
    assert f"accelerator_type:{card}" in found
    assert device in found


def test_a_simulated_card_may_call_itself_so_and_nothing_else() -> None:
    assert card_mismatch("SIMULATED", "simulated", 96 * 2**30, simulated=True) is None
    assert card_mismatch("H100", "simulated", 96 * 2**30, simulated=True) is not None
