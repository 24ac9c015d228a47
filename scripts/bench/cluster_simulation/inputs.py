"""Reads what was measured (`results/cluster_inputs.json`) and turns it into costs of jobs and shards."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.bench.cluster_simulation.decision_cost import DecisionCost, fit_cost
from scripts.bench.report import RESULTS_DIR

INPUTS_FILE = RESULTS_DIR / "cluster_inputs.json"
#: Results of `scripts.bench.stores`.
STORES_FILE = RESULTS_DIR / "stores.json"
#: Kinds of writes that deliver webhook messages.
WEBHOOK_WRITES = ("claim_messages", "record_delivery_attempt")


class InputsError(ValueError):
    """The file of measurements is missing or incomplete."""


@dataclass(frozen=True, slots=True)
class PerJob:
    """A cost that has a part per job and a part per result."""

    job: float
    shard: float

    def of(self, n: float) -> float:
        """Return the cost of a job with `n` results."""
        return self.job + self.shard * n


@dataclass(frozen=True, kw_only=True, slots=True)
class ClusterInputs:
    """Measured costs. Times are CPU seconds, of results of one megapixel with `TYPICAL_STEPS` steps."""

    measured_at: str
    machine: Mapping[str, Any]
    commit: str
    #: Time of the thread of the event loop, of all threads of the service, and of the S3 server.
    loop: PerJob
    process: PerJob
    s3_server: PerJob
    #: Writing transactions and their SQL statements, and reading ones.
    writes: PerJob
    statements: PerJob
    reads: PerJob
    #: Messages of an instance per shard and per step, and their bytes.
    messages: PerJob
    message_bytes: PerJob
    #: Requests to S3 per shard.
    s3_requests: float
    #: Bytes of an output of one megapixel of a simulated instance.
    simulated_output_bytes: float
    #: Writing transactions and time of the event loop that one webhook message adds.
    webhook_writes: float
    webhook_loop: float
    #: Inverse of the distribution of the seconds of an attempt whose GPU takes no time.
    overhead: Sequence[float]
    decision: DecisionCost
    #: CPU seconds of the writing thread, and of PostgreSQL's server, per transaction.
    sqlite_cpu: float
    postgres_cpu: float | None
    #: Jobs per second of three transactions that one store did on that machine.
    sqlite_jobs_per_second: float
    postgres_jobs_per_second: float | None


#: Steps of a typical image, and its size in megapixels.
TYPICAL_STEPS = 20
_REFERENCE_STEPS, _MANY_STEPS = 4, 40
_SMALL_MEGAPIXELS, _LARGE_MEGAPIXELS = 256 * 256 / 1e6, 1024 * 1024 / 1e6


def load_inputs(file: Path = INPUTS_FILE) -> ClusterInputs:
    """Read a file of measurements. Raises InputsError naming the file and the way out."""
    try:
        return parse_inputs(json.loads(file.read_text("utf-8")))
    except FileNotFoundError as error:
        raise InputsError(
            f"{file} does not exist; run `python -m scripts.bench.measure_cluster_inputs`"
        ) from error
    except (KeyError, TypeError, ValueError) as error:
        raise InputsError(
            f"{file} lacks measurements ({error!r}); run `python -m scripts.bench.measure_cluster_inputs`"
        ) from error


def parse_inputs(data: Mapping[str, Any]) -> ClusterInputs:
    """Turn the content of a file into costs. Raises KeyError, TypeError or ValueError for missing parts."""
    result = data["result"]
    batches: Mapping[str, Any] = result["service"]
    postgres = result.get("postgres")
    return ClusterInputs(
        measured_at=data["at"],
        machine=data["machine"],
        commit=result["commit"],
        loop=_typical(batches, "process", "event loop"),
        process=_typical(batches, "process", "all threads"),
        s3_server=_typical(batches, "process", "S3 server"),
        writes=_per_job(batches, lambda batch: _total(batch, "writes", "count")),
        statements=_per_job(batches, lambda batch: _total(batch, "writes", "statements")),
        reads=_per_job(batches, lambda batch: _total(batch, "reads", "count")),
        messages=_per_step(batches, "count"),
        message_bytes=_per_step(batches, "bytes"),
        s3_requests=_total(batches["image"], "s3", "count"),
        simulated_output_bytes=_total(batches["large"], "s3", "sent") / _LARGE_MEGAPIXELS,
        webhook_writes=sum(
            row["count"] for name, row in batches["webhook"]["writes"].items() if name in WEBHOOK_WRITES
        ),
        webhook_loop=max(
            _cpu(batches["webhook"], "process", "event loop")
            - _cpu(batches["image"], "process", "event loop"),
            0.0,
        ),
        overhead=batches["alone"]["wall_attempt"],
        decision=fit_cost(result["decisions"]),
        sqlite_cpu=_total(batches["image"], "commits", "cpu") / _total(batches["image"], "commits", "writes"),
        postgres_cpu=_store_cpu(postgres),
        sqlite_jobs_per_second=result["sqlite"]["64 at once"]["jobs_per_second"],
        postgres_jobs_per_second=postgres["64 at once"]["jobs_per_second"] if postgres else None,
    )


def load_service_rates(file: Path = STORES_FILE) -> dict[str, float]:
    """Return jobs per second from end to end on one machine that did everything, by what they were stored in.

    Empty without a file: the stores have not been compared. Raises InputsError for a file of another kind.
    """
    try:
        data = json.loads(file.read_text("utf-8"))
        machine, (row,) = data["machine"], data["result"]["end_to_end"]
        where = f"all on {machine['cores']} cores, load {machine['load']}"
        return {
            f"{where}, {name}": float(row[f"{key}_per_second"])
            for name, key in (("SQLite", "sqlite"), ("PostgreSQL", "postgres"))
        }
    except FileNotFoundError:
        return {}
    except (KeyError, TypeError, ValueError) as error:
        raise InputsError(
            f"{file} lacks measurements ({error!r}); run `python -m scripts.bench.stores`"
        ) from error


def _total(batch: Mapping[str, Any], kind: str, amount: str) -> float:
    """Return the sum over all names of a kind, per job."""
    return float(sum(row.get(amount, 0.0) for row in batch[kind].values()))


def _cpu(batch: Mapping[str, Any], kind: str, name: str) -> float:
    return float(batch[kind][name]["cpu"])


def split_cost(one: float, several: float, n: float) -> PerJob:
    """Return the parts per job and per result, from jobs with one and with `n` results."""
    shard = max((several - one) / (n - 1), 0.0)
    return PerJob(max(one - shard, 0.0), shard)


def _per_job(batches: Mapping[str, Any], read: Any) -> PerJob:
    return split_cost(read(batches["image"]), read(batches["four_images"]), batches["four_images"]["n"])


def _typical(batches: Mapping[str, Any], kind: str, name: str) -> PerJob:
    """Return the time of a job whose results have one megapixel and `TYPICAL_STEPS` steps."""
    small = _per_job(batches, lambda batch: _cpu(batch, kind, name))
    reference = _cpu(batches["image"], kind, name)
    per_step = (_cpu(batches["steps"], kind, name) - reference) / (_MANY_STEPS - _REFERENCE_STEPS)
    per_megapixel = (_cpu(batches["large"], kind, name) - reference) / (_LARGE_MEGAPIXELS - _SMALL_MEGAPIXELS)
    more = max(per_step, 0.0) * (TYPICAL_STEPS - _REFERENCE_STEPS)
    more += max(per_megapixel, 0.0) * (1 - _SMALL_MEGAPIXELS)
    return PerJob(small.job, small.shard + more)


def _per_step(batches: Mapping[str, Any], amount: str) -> PerJob:
    """Return what a prompt sends, and what each of its steps adds, as the parts of a `PerJob`."""
    few, many = (_total(batches[name], "messages", amount) for name in ("image", "steps"))
    step = (many - few) / (_MANY_STEPS - _REFERENCE_STEPS)
    return PerJob(few - step * _REFERENCE_STEPS, step)


def _store_cpu(postgres: Mapping[str, Any] | None) -> float | None:
    """Return the server's CPU seconds per transaction, without connections, when it is busy."""
    if postgres is None:
        return None
    return float(postgres["64 at once"]["cpu_us_per_job"] / postgres["transactions_per_job"] / 1e6)
