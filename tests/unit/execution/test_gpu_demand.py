"""How much GPU time waits for which card."""

from __future__ import annotations

from comfy_instances.fleet.ray.demand import WaitingWork
from orchestrator.execution.instances.gpu_demand import count_busy_by_card, find_waiting_work
from orchestrator.execution.scheduler import InstanceUp, JobAdded, RunEnded, Scheduler, ShardSpec

CARDS = {"a": "H100", "b": "L40S", "c": "L40S", "d": None}


def spec(number: int, model: str = "m", seconds: float = 10.0) -> ShardSpec:
    return ShardSpec(
        shard_id=f"{model}-{number}",
        job_id=f"job-{model}-{number}",
        account_id="acct",
        model=model,
        run_seconds=seconds,
    )


def add(scheduler: Scheduler, count: int, model: str = "m", seconds: float = 10.0) -> None:
    specs = [spec(number, model, seconds) for number in range(count)]
    scheduler.handle(JobAdded(specs=specs), 0.0)


def up(scheduler: Scheduler, name: str, *models: str) -> None:
    scheduler.handle(InstanceUp(instance_id=name, models=frozenset(models)), 0.0)


def test_without_instances_any_card_is_wanted() -> None:
    scheduler = Scheduler(max_attempts=3)
    add(scheduler, 3)
    assert find_waiting_work(scheduler, CARDS.get) == [WaitingWork(model="m", card="", gpu_seconds=30.0)]
    assert count_busy_by_card(scheduler, CARDS.get) == {}


def test_names_the_card_of_most_instances_that_can_run_the_model() -> None:
    scheduler = Scheduler(max_attempts=3)
    for name in "abc":
        up(scheduler, name, "m")
    up(scheduler, "d", "n")
    add(scheduler, 10)
    add(scheduler, 4, "n", 5.0)
    # Two of each instance's slots are taken at once.
    assert find_waiting_work(scheduler, CARDS.get) == [
        WaitingWork(model="m", card="L40S", gpu_seconds=40.0),
        WaitingWork(model="n", card="", gpu_seconds=10.0),
    ]
    assert count_busy_by_card(scheduler, CARDS.get) == {"H100": 1, "L40S": 2, "": 1}


def test_counts_by_what_runs_took() -> None:
    scheduler = Scheduler(max_attempts=3)
    up(scheduler, "a", "m")
    add(scheduler, 12)
    scheduler.handle(RunEnded(shard_id="m-0", instance_id="a", seconds=30.0), 30.0)
    [work] = find_waiting_work(scheduler, CARDS.get)
    assert work.gpu_seconds == 9 * 30.0


def test_nothing_waits_when_nothing_is_queued() -> None:
    scheduler = Scheduler(max_attempts=3)
    up(scheduler, "a", "m")
    add(scheduler, 1)
    assert find_waiting_work(scheduler, CARDS.get) == []
    assert count_busy_by_card(scheduler, CARDS.get) == {"H100": 1}


def test_without_instances_the_card_of_a_node_to_add_is_wanted() -> None:
    scheduler = Scheduler(max_attempts=3)
    add(scheduler, 1)
    add(scheduler, 1, "n")
    up(scheduler, "a", "o")
    add(scheduler, 3, "o")
    cards = {"m": "L40S", "o": "H200"}
    assert [(work.model, work.card) for work in find_waiting_work(scheduler, CARDS.get, cards)] == [
        ("m", "L40S"),
        ("n", ""),
        # An instance that is there counts more.
        ("o", "H100"),
    ]
