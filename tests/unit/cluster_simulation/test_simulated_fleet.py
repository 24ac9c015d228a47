"""The simulated fleets: what GPUs, loops and policies do to waits and utilisation."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from scripts.bench.cluster_simulation.decision_cost import DecisionCost
from scripts.bench.cluster_simulation.fleet import (
    LoopCost,
    Outcome,
    Setup,
    Simulation,
    draw_quantile,
    percentile,
    preloads,
)
from scripts.bench.cluster_simulation.policies import GpuSet, SampledPolicy, SchedulerPolicy, WaitingModels
from scripts.bench.cluster_simulation.scenarios import balance_accounts, hash_accounts, split_by_kind
from scripts.bench.cluster_simulation.workload import GPU_MEMORY_BYTES, JobDraw, around_noon
from tests.support.cluster_inputs import IMAGE, VIDEO, WORKLOAD


def setup(gpus: int = 20, load: float = 0.7, seconds: float = 600.0, **more: object) -> Setup:
    traffic = around_noon(WORKLOAD.peak_rate(gpus, load), seconds)
    return Setup(WORKLOAD, traffic, [gpus], **more)  # type: ignore[arg-type]


def run(of: Setup) -> Outcome:
    return Simulation(of).run()


def test_the_same_seed_gives_the_same_outcome() -> None:
    assert run(setup(seed=3)) == run(setup(seed=3))
    assert run(setup(seed=3)) != run(setup(seed=4))


def test_gpus_run_what_arrives() -> None:
    outcome = run(setup(gpus=60, load=0.5, seconds=1500.0))
    assert outcome.busy - outcome.loading == pytest.approx(0.5, abs=0.1)
    assert outcome.wait_p50 == pytest.approx(0.0, abs=0.01)
    assert outcome.left_over < outcome.shards / 50


def test_too_much_work_keeps_all_gpus_busy_and_waits() -> None:
    outcome = run(setup(load=2.0))
    assert outcome.busy > 0.95
    assert outcome.left_over > outcome.shards / 5
    assert outcome.wait_p50 <= outcome.wait_p95 <= outcome.wait_p99 <= 600.0


def test_a_slow_loop_leaves_gpus_idle() -> None:
    quick = run(setup(gpus=40))
    slow = run(setup(gpus=40, loop=LoopCost(0.0, 0.0, DecisionCost(0.0, 0.0, 40_000.0))))
    assert quick.loop_busy == 0.0
    assert slow.loop_busy > 0.95
    assert slow.busy < quick.busy / 2
    assert slow.left_over > quick.left_over


def test_the_cost_of_the_loop_is_that_of_its_events() -> None:
    cost = LoopCost(0.1, 0.01, DecisionCost(1e6, 0.0, 1e5))
    free, full = WaitingModels(2, True), WaitingModels(2, False)
    assert cost.of_job(10, 3, WaitingModels(0, True)) == pytest.approx(0.1 + 3 * (1 + 1.0))
    assert cost.of_job(10, 3, full) == pytest.approx(0.1 + 1)
    assert cost.of_run(10, full) == pytest.approx(0.01 + 3 * 1 + 2.0)
    # Shards that wait for another instance are looked at again by each event.
    assert cost.of_job(10, 1, free) == pytest.approx(0.1 + 1 + 3.0)
    assert cost.of_run(10, free) == pytest.approx(0.01 + 3 * (1 + 2.0))
    assert LoopCost().of_job(10, 3, free) == LoopCost().of_run(10, free) == 0.0


def test_the_sample_does_about_what_the_scheduler_does() -> None:
    compared = setup(gpus=8, load=0.8, seconds=1500.0)
    ours, sampled = (run(replace(compared, policy=policy)) for policy in (SchedulerPolicy, SampledPolicy))
    assert sampled.shards == ours.shards
    assert sampled.busy == pytest.approx(ours.busy, abs=0.08)
    assert sampled.loading == pytest.approx(ours.loading, abs=0.08)


def test_one_fleet_waits_less_than_many() -> None:
    pooled = setup(gpus=48, load=0.75, seconds=900.0)
    split = replace(pooled, fleets=[4] * 12, router=hash_accounts(12))
    assert run(pooled).wait_p95 < run(split).wait_p95
    assert run(split).fleets == 12


def test_accounts_are_spread_by_their_load() -> None:
    shares = WORKLOAD.account_shares
    route, totals = balance_accounts(shares, 4), [0.0] * 4
    for account, share in enumerate(shares):
        totals[route(JobDraw(0.0, account, IMAGE, 1))] += share
    assert max(totals) < 1.1 * min(totals)


def test_an_account_stays_in_its_fleet() -> None:
    route = hash_accounts(4)
    first = [route(JobDraw(0.0, account, IMAGE, 1)) for account in range(50)]
    assert [route(JobDraw(9.0, account, VIDEO, 1)) for account in range(50)] == first
    assert set(first) == {0, 1, 2, 3}


def test_videos_get_gpus_by_their_share_of_the_work() -> None:
    split = split_by_kind(setup(gpus=20))
    images, videos = split.fleets
    assert images + videos == 20
    share = WORKLOAD.shard_share(VIDEO) * VIDEO.run_seconds / WORKLOAD.seconds_per_shard
    assert videos == round(20 * share)
    assert [split.router(JobDraw(0.0, 0, model, 1)) for model in (IMAGE, VIDEO)] == [0, 1]
    assert split.models_of is not None
    assert (split.models_of(0), split.models_of(1)) == ([IMAGE], [VIDEO])
    assert run(split).loads_per_100_shards == 0.0


def test_memory_holds_what_fits_at_the_start() -> None:
    loaded = preloads(WORKLOAD, 20)
    assert all(sum(model.vram for model in models) <= GPU_MEMORY_BYTES for models in loaded)
    assert {model.id for models in loaded for model in models} == {"image", "video"}


def test_a_set_of_gpus_samples_its_members() -> None:
    found, rng = GpuSet(), random.Random(1)
    for gpu in (3, 5, 8, 5):
        found.add(gpu)
    found.discard(3)
    found.discard(99)
    assert len(found) == 2
    assert sorted(found.sample(3, rng)) == [5, 8]
    for gpu in range(100):
        found.add(gpu)
    assert set(found.sample(10, rng)) <= set(range(100))
    assert len(found.sample(10, rng)) == 10


def test_quantiles_are_interpolated() -> None:
    assert [draw_quantile([1.0, 2.0, 4.0], at) for at in (0.0, 0.25, 0.5, 0.75, 1.0)] == [1, 1.5, 2, 3, 4]
    assert percentile([], 0.95) == 0.0
    assert percentile([1.0, 2.0, 3.0], 1.0) == 3.0
