"""Calculates how many GPUs each part of a cluster serves, from costs per shard. Pure arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from scripts.bench.cluster_simulation.assumptions import Assumptions
from scripts.bench.cluster_simulation.inputs import ClusterInputs
from scripts.bench.cluster_simulation.workload import Workload

MAX_GPUS = 10**7


@dataclass(frozen=True, slots=True)
class Limit:
    """How far one part carries."""

    part: str
    #: Use of its capacity at a number of GPUs; 1 is saturated.
    use: Callable[[int], float]
    #: "measured" on the machine of the inputs, "benchmark" (jobs that were counted), or "assumed".
    basis: str

    def max_gpus(self, headroom: float) -> int:
        """Return the most GPUs at which no more than `headroom` of the capacity is used."""
        low, high = 0, MAX_GPUS
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.use(middle) <= headroom else (low, middle - 1)
        return low


@dataclass(frozen=True, slots=True)
class Demand:
    """What one GPU asks of the rest at the highest rate of the day, per second."""

    workload: Workload
    #: Share of its time that a GPU runs.
    load: float

    @property
    def jobs(self) -> float:
        return self.load / self.workload.seconds_per_job

    @property
    def shards(self) -> float:
        return self.jobs * self.workload.shards_per_job

    def output_bytes(self, assumptions: Assumptions) -> float:
        """Return the bytes of outputs that one GPU makes."""
        videos = sum(self.workload.shard_share(model) for model in self.workload.models if model.is_video)
        mean = videos * assumptions.video_bytes + (1 - videos) * assumptions.image_bytes
        return self.shards * mean


def find_limits(demand: Demand, inputs: ClusterInputs, assumptions: Assumptions) -> list[Limit]:
    """Return how far each part carries; the parts of our own first."""
    jobs, shards, n = demand.jobs, demand.shards, demand.workload.shards_per_job
    heads = len(demand.workload.models)
    output = demand.output_bytes(assumptions)
    webhooks = assumptions.webhook_share

    def decisions(waiting_models: int) -> Callable[[int], float]:
        def use(gpus: int) -> float:
            idle = 2 * inputs.decision.without_slot(gpus)
            return gpus * shards * (idle + inputs.decision.with_slot(gpus, waiting_models))

        return use

    writes = jobs * (inputs.writes.of(n) + webhooks * inputs.webhook_writes)
    loop = jobs * (inputs.loop.of(n) + webhooks * inputs.webhook_loop)
    found = [
        Limit(f"scheduler decisions alone, all {heads} models wait", decisions(heads), "measured"),
        Limit(f"event loop, all {heads} models wait", lambda g: g * loop + decisions(heads)(g), "measured"),
        Limit("event loop, one model waits", lambda g: g * loop + decisions(1)(g), "measured"),
        Limit("event loop without decisions", lambda gpus: gpus * loop, "measured"),
        Limit(
            "one process whose threads share a core", lambda g: g * jobs * inputs.process.of(n), "measured"
        ),
        Limit(
            "SQLite, CPU of the writing thread", lambda gpus: gpus * writes * inputs.sqlite_cpu, "measured"
        ),
        Limit("embedded S3 server, one core", lambda g: g * jobs * inputs.s3_server.of(n), "measured"),
    ]
    if (postgres_cpu := inputs.postgres_cpu) is not None:
        found.append(Limit("PostgreSQL, per core", lambda gpus: gpus * writes * postgres_cpu, "measured"))
    network, gigabits = assumptions.network_bytes, f"{assumptions.network_bytes * 8 / 1e9:g} Gbit/s"
    # A result comes from the instance and goes to S3.
    through = 2 * output + shards * message_bytes(inputs)
    return [
        *found,
        Limit(
            f"PostgreSQL, {assumptions.postgres_transactions:g} transactions/s",
            lambda gpus: gpus * writes / assumptions.postgres_transactions,
            "assumed",
        ),
        Limit(
            f"PostgreSQL, one capture per flush of {assumptions.postgres_flush * 1e3:g} ms",
            lambda gpus: gpus * jobs * assumptions.postgres_flush,
            "assumed",
        ),
        Limit(
            f"S3, {assumptions.s3_puts:g} PUT/s per prefix",
            lambda gpus: gpus * shards / assumptions.s3_puts,
            "assumed",
        ),
        Limit(f"network of the service, {gigabits}", lambda gpus: gpus * through / network, "assumed"),
        Limit(
            f"network of S3, {gigabits}",
            lambda gpus: gpus * output * (1 + assumptions.downloads) / network,
            "assumed",
        ),
    ]


def find_service_limits(demand: Demand, rates: Mapping[str, float]) -> list[Limit]:
    """Return how far whole services carry that have done so many jobs of one result per second."""
    return [
        Limit(name, lambda gpus, rate=rate: gpus * demand.shards / rate, "benchmark")  # type: ignore[misc]
        for name, rate in rates.items()
    ]


def message_bytes(inputs: ClusterInputs, steps: int = 20) -> float:
    """Return the bytes on an instance's websocket per shard."""
    return inputs.message_bytes.of(steps)


def rates(demand: Demand, inputs: ClusterInputs, assumptions: Assumptions, gpus: int) -> dict[str, float]:
    """Return what so many GPUs ask for per second."""
    jobs, n = gpus * demand.jobs, demand.workload.shards_per_job
    webhooks = jobs * assumptions.webhook_share
    writes = jobs * inputs.writes.of(n) + webhooks * inputs.webhook_writes
    return {
        "jobs": jobs,
        "shards": gpus * demand.shards,
        "write_transactions": writes,
        "sql_statements": jobs * inputs.statements.of(n),
        # Connections that wait for round trips at any moment.
        "busy_connections": jobs * inputs.statements.of(n) * assumptions.postgres_round_trip,
        "instance_messages": gpus * demand.shards * inputs.messages.of(20),
        "webhook_messages": webhooks,
        "s3_requests": gpus * demand.shards * inputs.s3_requests,
        "output_megabytes": gpus * demand.output_bytes(assumptions) / 1e6,
        "output_terabytes_per_day": gpus * demand.output_bytes(assumptions) * 86_400 / 1e12,
    }


def cost_per_result(run_seconds: float, dollars_per_hour: float, utilisation: float) -> float:
    """Return the dollars of GPU time of one result, idle time and loading included.

    Raises ValueError if `utilisation` is not above 0 and at most 1.
    """
    if not 0 < utilisation <= 1:
        raise ValueError(f"utilisation must be above 0 and at most 1 (got {utilisation:g})")
    return run_seconds / utilisation * dollars_per_hour / 3600
