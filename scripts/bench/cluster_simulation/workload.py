"""Draws the requests of a day: open arrivals, a mix of models, several results per job, unequal accounts.

Run and load times are the estimates of the manifests for the reference GPU (RTX PRO 6000, 96 GB), with noise.
"""

from __future__ import annotations

import math
import random
from bisect import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from orchestrator.catalog import Catalog, Model, ModelKind
from orchestrator.execution.scheduler import ShardSpec

#: Models of the mix by popularity: the weight of the k-th is k ** -MODEL_SKEW.
MODEL_RANKS = (
    "flux-1-schnell",
    "sdxl-1.0",
    "z-image-turbo",
    "flux-1-dev",
    "qwen-image",
    "flux-2-dev",
    "4x-ultrasharp",
    "flux-1-kontext-dev",
    "qwen-image-edit",
    "sd-3.5-large",
    "hidream-i1",
    "flux-2-klein-9b",
    "wan2.1-t2v-fast",
    "ltx2-t2v",
    "wan2.2-t2v-14b",
    "hunyuan-video-720p",
)
MODEL_SKEW = 1.0
#: The largest account asks for ACCOUNT_COUNT ** ACCOUNT_SKEW times as much as the smallest.
ACCOUNT_SKEW = 0.8
#: P(n > x) = x ** -N_TAIL, up to MAX_N results of one image job; a video job has one.
N_TAIL, MAX_N = 1.5, 10
#: Standard deviation of the logarithm of run times around the estimate.
RUN_NOISE = 0.1
GPU_MEMORY_BYTES = 96 * 10**9
DAY_SECONDS = 86_400.0
#: Difference between the highest and the mean rate of a day, relative to the mean.
DAILY_SWING = 0.4


@dataclass(frozen=True, slots=True)
class ModelLoad:
    """One model of the mix."""

    id: str
    kind: ModelKind
    #: Share of the jobs.
    share: float
    #: Seconds of a warm run with default parameters, and of loading, on the reference GPU.
    run_seconds: float
    load_seconds: float
    vram: int

    @property
    def is_video(self) -> bool:
        return self.kind in (ModelKind.VIDEO, ModelKind.I2V)


@dataclass(frozen=True, slots=True)
class JobDraw:
    """A job that arrives."""

    at: float
    account: int
    model: ModelLoad
    n: int


@dataclass(frozen=True, slots=True)
class Traffic:
    """When how many jobs arrive: a part of a day whose rate is a sine, lowest at midnight."""

    #: Jobs per second at the highest rate, at noon.
    peak_rate: float
    #: Seconds that are simulated, and the time of day at which they begin.
    seconds: float
    begin: float = 0.0
    swing: float = DAILY_SWING

    @property
    def mean_rate(self) -> float:
        """Jobs per second over the whole day."""
        return self.peak_rate / (1 + self.swing)

    def rate(self, at: float) -> float:
        """Return jobs per second after `at` seconds."""
        time_of_day = (self.begin + at) / DAY_SECONDS
        return self.mean_rate * (1 - self.swing * math.cos(2 * math.pi * time_of_day))


def around_noon(peak_rate: float, seconds: float) -> Traffic:
    """Return the busiest part of a day."""
    return Traffic(peak_rate, seconds, (DAY_SECONDS - seconds) / 2)


class Workload:
    """The mix of models and accounts."""

    def __init__(self, models: Sequence[ModelLoad], account_count: int) -> None:
        self.models = tuple(models)
        self.account_count = account_count
        self._model_shares = list(accumulate(model.share for model in models))
        weights = [rank**-ACCOUNT_SKEW for rank in range(1, account_count + 1)]
        self.account_shares = [weight / sum(weights) for weight in weights]
        self._account_shares = list(accumulate(self.account_shares))

    @property
    def seconds_per_job(self) -> float:
        """Mean GPU seconds of a job, without loading."""
        return sum(model.share * mean_n(model) * model.run_seconds for model in self.models)

    @property
    def shards_per_job(self) -> float:
        return sum(model.share * mean_n(model) for model in self.models)

    @property
    def seconds_per_shard(self) -> float:
        return self.seconds_per_job / self.shards_per_job

    def shard_share(self, model: ModelLoad) -> float:
        """Return the share of the shards that a model has."""
        return model.share * mean_n(model) / self.shards_per_job

    def peak_rate(self, gpus: int, load: float) -> float:
        """Return the jobs per second whose runs take `load` of the time of so many GPUs."""
        return gpus * load / self.seconds_per_job

    def draw_jobs(self, traffic: Traffic, rng: random.Random) -> Iterator[JobDraw]:
        """Yield the jobs that arrive, in order."""
        at = 0.0
        while True:
            at += rng.expovariate(traffic.peak_rate)
            if at >= traffic.seconds:
                return
            if rng.random() * traffic.peak_rate < traffic.rate(at):
                model = self.models[_draw(self._model_shares, rng)]
                account = _draw(self._account_shares, rng)
                yield JobDraw(at, account, model, draw_n(model, rng))

    def restrict(self, models: Sequence[ModelLoad]) -> Workload:
        """Return a workload of some of the models, in the same proportions."""
        total = sum(model.share for model in models)
        scaled = [
            ModelLoad(m.id, m.kind, m.share / total, m.run_seconds, m.load_seconds, m.vram) for m in models
        ]
        return Workload(scaled, self.account_count)


def load_models(catalog: Catalog) -> list[ModelLoad]:
    """Return the models of the mix with the estimates of their manifests."""
    weights = [rank**-MODEL_SKEW for rank in range(1, len(MODEL_RANKS) + 1)]
    return [
        _load_model(catalog[name], weight / sum(weights))
        for name, weight in zip(MODEL_RANKS, weights, strict=True)
    ]


def _load_model(model: Model, share: float) -> ModelLoad:
    estimate = model.manifest.estimate_for(None)
    run_seconds = model.estimate_run_seconds(model.example_params())
    return ModelLoad(
        model.id, model.manifest.kind, share, run_seconds, estimate.load_seconds, estimate.vram_bytes
    )


def mean_n(model: ModelLoad) -> float:
    """Return the mean number of results of a job."""
    return 1.0 if model.is_video else sum(number**-N_TAIL for number in range(1, MAX_N + 1))


def draw_n(model: ModelLoad, rng: random.Random) -> int:
    """Draw the number of results of a job: a Pareto distribution, cut off at the most that is allowed."""
    if model.is_video:
        return 1
    return min(MAX_N, int(rng.paretovariate(N_TAIL)))


def draw_run_seconds(model: ModelLoad, rng: random.Random) -> float:
    """Draw the seconds of one run; the mean is the estimate."""
    return model.run_seconds * rng.lognormvariate(-(RUN_NOISE**2) / 2, RUN_NOISE)


def to_shard_specs(job: JobDraw, job_id: str) -> list[ShardSpec]:
    """Return what the scheduler knows about the shards of a job."""
    return [
        ShardSpec(
            shard_id=f"{job_id}-{index}",
            job_id=job_id,
            account_id=f"account-{job.account}",
            model=job.model.id,
            run_seconds=job.model.run_seconds,
            load_seconds=job.model.load_seconds,
            vram=job.model.vram,
        )
        for index in range(job.n)
    ]


def _draw(cumulated: Sequence[float], rng: random.Random) -> int:
    return min(bisect(cumulated, rng.random() * cumulated[-1]), len(cumulated) - 1)
