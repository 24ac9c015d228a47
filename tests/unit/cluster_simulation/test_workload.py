"""The requests of the cluster simulation: arrivals, mix, results per job, and accounts."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest

from scripts.bench.cluster_simulation.workload import (
    DAY_SECONDS,
    MAX_N,
    JobDraw,
    Traffic,
    Workload,
    around_noon,
    draw_n,
    draw_run_seconds,
    mean_n,
    to_shard_specs,
)
from tests.support.cluster_inputs import IMAGE, VIDEO, WORKLOAD


def draw(traffic: Traffic, seed: int) -> list[JobDraw]:
    return list(WORKLOAD.draw_jobs(traffic, random.Random(seed)))


def test_draws_the_same_jobs_for_the_same_seed_only() -> None:
    traffic = around_noon(1.0, 300.0)
    assert draw(traffic, 1) == draw(traffic, 1)
    assert draw(traffic, 1) != draw(traffic, 2)


def test_has_the_highest_rate_at_noon_and_the_lowest_at_midnight() -> None:
    day = Traffic(7.0, DAY_SECONDS, swing=0.4)
    assert day.rate(DAY_SECONDS / 2) == pytest.approx(7.0)
    assert day.rate(0.0) == pytest.approx(3.0)
    rates = [day.rate(hour * 3600.0) for hour in range(24)]
    assert sum(rates) / 24 == pytest.approx(day.mean_rate) == 5.0
    assert around_noon(7.0, 3600.0).rate(1800.0) == pytest.approx(7.0)


def test_draws_as_many_jobs_as_the_rate_says() -> None:
    jobs = draw(Traffic(0.1, DAY_SECONDS), 1)
    assert len(jobs) == pytest.approx(Traffic(0.1, DAY_SECONDS).mean_rate * DAY_SECONDS, rel=0.05)
    at_noon = sum(abs(job.at - DAY_SECONDS / 2) < DAY_SECONDS / 8 for job in jobs)
    at_midnight = sum(abs(job.at - DAY_SECONDS / 2) > 3 * DAY_SECONDS / 8 for job in jobs)
    assert at_noon > 1.8 * at_midnight
    assert [job.at for job in jobs] == sorted(job.at for job in jobs)


def test_draws_models_and_accounts_by_their_shares() -> None:
    jobs = draw(around_noon(10.0, 1000.0), 3)
    models = Counter(job.model.id for job in jobs)
    assert models["image"] / len(jobs) == pytest.approx(0.75, abs=0.03)
    accounts = Counter(job.account for job in jobs)
    assert accounts[0] / len(jobs) == pytest.approx(WORKLOAD.account_shares[0], abs=0.03)
    assert accounts[0] > 5 * accounts[49]
    assert sum(WORKLOAD.account_shares) == pytest.approx(1.0)


def test_most_image_jobs_are_small_and_some_are_large() -> None:
    rng = random.Random(1)
    drawn = [draw_n(IMAGE, rng) for _ in range(20_000)]
    assert max(drawn) == MAX_N
    assert drawn.count(1) > len(drawn) / 2
    assert sum(drawn) / len(drawn) == pytest.approx(mean_n(IMAGE), rel=0.02)
    assert {draw_n(VIDEO, rng) for _ in range(100)} == {1}


def test_run_times_scatter_around_the_estimate() -> None:
    rng = random.Random(1)
    drawn = [draw_run_seconds(IMAGE, rng) for _ in range(10_000)]
    assert sum(drawn) / len(drawn) == pytest.approx(IMAGE.run_seconds, rel=0.01)
    assert len(set(drawn)) == len(drawn)


def test_the_peak_rate_loads_the_gpus_as_asked() -> None:
    rate = WORKLOAD.peak_rate(40, 0.8)
    assert rate * WORKLOAD.seconds_per_job == pytest.approx(32.0)
    shards = sum(WORKLOAD.shard_share(model) for model in WORKLOAD.models)
    assert shards == pytest.approx(1.0)
    assert WORKLOAD.seconds_per_shard * WORKLOAD.shards_per_job == pytest.approx(WORKLOAD.seconds_per_job)


def test_a_part_of_the_models_keeps_their_proportions() -> None:
    third = replace(VIDEO, id="third", share=0.5)
    part = Workload([replace(IMAGE, share=0.25), VIDEO, third], 50).restrict([VIDEO, third])
    assert [model.share for model in part.models] == pytest.approx([1 / 3, 2 / 3])


def test_every_result_of_a_job_is_a_shard() -> None:
    specs = to_shard_specs(JobDraw(0.0, 7, IMAGE, 3), "j")
    assert [spec.shard_id for spec in specs] == ["j-0", "j-1", "j-2"]
    assert {(spec.job_id, spec.account_id, spec.model) for spec in specs} == {("j", "account-7", "image")}
