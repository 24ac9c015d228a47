"""How many instances the waiting work needs, and the bundles that say so to Ray."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfy_instances.fleet.ray.demand import (
    ANY_CARD,
    Capacity,
    CapacityLimits,
    CapacityPlanner,
    WaitingWork,
    bound_capacity,
    wanted_instances,
)

LIMITS = CapacityLimits(min_instances=1, max_instances=8, target_wait_seconds=60, idle_seconds=300)


def work(seconds: float, card: str = "H100", model: str = "m") -> WaitingWork:
    return WaitingWork(model=model, card=card, gpu_seconds=seconds)


@pytest.mark.parametrize(
    ("waiting", "busy", "wanted"),
    [
        ([], {}, {}),
        ([work(1)], {}, {"H100": 1}),
        ([work(60)], {}, {"H100": 1}),
        ([work(61)], {}, {"H100": 2}),
        ([work(40), work(40, model="n")], {}, {"H100": 2}),
        ([work(120)], {"H100": 3}, {"H100": 5}),
        ([work(120, "L40S")], {"H100": 3}, {"H100": 3, "L40S": 2}),
        ([work(0)], {}, {"H100": 0}),
        ([work(-5)], {"": 1}, {"H100": 0, "": 1}),
    ],
)
def test_wants_what_finishes_the_waiting_work_in_time_beside_the_busy_instances(
    waiting: list[WaitingWork], busy: dict[str, int], wanted: dict[str, int]
) -> None:
    assert wanted_instances(waiting, busy, 60) == wanted


def test_any_card_fills_up_the_minimum() -> None:
    limits = CapacityLimits(min_instances=3, max_instances=8)
    assert bound_capacity({}, limits).by_card == {ANY_CARD: 3}
    assert bound_capacity({"H100": 2}, limits).by_card == {"H100": 2, ANY_CARD: 1}
    assert bound_capacity({"H100": 5}, limits).by_card == {"H100": 5}


def test_cards_share_the_maximum_in_proportion() -> None:
    assert bound_capacity({"A": 30, "B": 10}, LIMITS).by_card == {"A": 6, "B": 2}


def test_a_rare_card_keeps_one_instance() -> None:
    assert bound_capacity({"A": 1000, "B": 1}, LIMITS).by_card == {"A": 7, "B": 1}


@given(
    st.dictionaries(st.sampled_from(["", "A", "B", "C"]), st.integers(0, 500)),
    st.integers(1, 20),
    st.integers(0, 100),
)
def test_stays_within_the_limits(wanted: dict[str, int], least: int, more: int) -> None:
    limits = CapacityLimits(min_instances=least, max_instances=least + more)
    total = bound_capacity(wanted, limits).total
    assert least <= total <= least + more
    assert total == min(max(sum(wanted.values()), least), least + more)


def test_bundles_name_the_card_as_nodes_do() -> None:
    assert Capacity({"H100": 2, ANY_CARD: 1}).to_bundles() == [
        {"GPU": 1.0},
        {"GPU": 1.0, "accelerator_type:H100": 0.001},
        {"GPU": 1.0, "accelerator_type:H100": 0.001},
    ]


def test_follows_the_need_upwards_at_once_and_downwards_later() -> None:
    planner = CapacityPlanner(LIMITS)
    assert planner.update([work(240)], {}, 0).by_card == {"H100": 4}
    assert planner.update([work(360)], {}, 1).by_card == {"H100": 6}
    assert planner.update([], {"H100": 2}, 100).by_card == {"H100": 6}
    assert planner.update([], {"H100": 1}, 250).by_card == {"H100": 6}
    assert planner.update([], {}, 301).by_card == {"H100": 6}
    assert planner.update([], {}, 302).by_card == {"H100": 2}
    assert planner.update([], {}, 401).by_card == {"H100": 1}
    assert planner.update([], {}, 551).by_card == {ANY_CARD: 1}


def test_what_an_earlier_process_wanted_is_kept_for_as_long() -> None:
    planner = CapacityPlanner(LIMITS)
    assert planner.seed({"H100": 6, "L40S": 0}, 0).by_card == {"H100": 6}
    assert planner.update([], {}, 5).by_card == {"H100": 6}
    assert planner.update([], {"H100": 1}, 301).by_card == {"H100": 1}
    assert CapacityPlanner(LIMITS).seed({}, 0).by_card == {ANY_CARD: 1}


def test_a_short_pause_of_the_work_gives_nothing_back() -> None:
    planner = CapacityPlanner(LIMITS)
    seen = set()
    for second in range(0, 2000, 5):
        waiting = [work(240)] if second % 200 < 50 else []
        seen.add(planner.update(waiting, {}, second).total)
    assert seen == {4}
