"""A small mix of models and made-up measurements for the tests of the cluster simulation."""

from __future__ import annotations

from typing import Any

from orchestrator.catalog import ModelKind
from scripts.bench.cluster_simulation.workload import ModelLoad, Workload

IMAGE = ModelLoad("image", ModelKind.IMAGE, 0.75, 4.0, 10.0, 30 * 10**9)
VIDEO = ModelLoad("video", ModelKind.VIDEO, 0.25, 100.0, 20.0, 60 * 10**9)
WORKLOAD = Workload([IMAGE, VIDEO], 50)


def batch(n: int = 1, steps: int = 4, megapixels: float = 0.065536, **more: Any) -> dict[str, Any]:
    """A batch whose jobs cost 2 + 3 n ms of the event loop, and more for steps and pixels."""
    loop = 2.0 + n * (3.0 + 0.1 * steps + 5.0 * megapixels)
    return {
        "jobs": 10,
        "n": n,
        "process": {name: {"cpu": loop / 1e3} for name in ("event loop", "all threads", "S3 server")},
        "writes": {"add_job": {"count": 1, "statements": 10}, "finish": {"count": n, "statements": 5 * n}},
        "reads": {"find_key": {"count": 1}},
        "commits": {"commit": {"count": 1, "writes": 1 + n, "cpu": 0.001 * (1 + n)}},
        "messages": {"any": {"count": n * (6 + 2 * steps), "bytes": n * (100 + 50 * steps)}},
        "s3": {"PUT": {"count": n, "sent": 2e6 * megapixels}},
        "wall_attempt": [0.01, 0.02, 0.05],
        **more,
    }


def document() -> dict[str, Any]:
    rows = [
        {
            "instances": size,
            "heads": heads,
            "slot_us": 3 + size * (0.1 + 5 * heads),
            "no_slot_us": 3 + 0.1 * size,
        }
        for size in (8, 100)
        for heads in (1, 16)
    ]
    webhook = batch(writes={"add_job": {"count": 1}, "record_delivery_attempt": {"count": 1.5}})
    webhook["process"]["event loop"]["cpu"] += 0.004
    return {
        "at": "2026-01-01T00:00:00+00:00",
        "machine": {"cpu": "any", "cores": 2, "load": 0.1},
        "result": {
            "commit": "abc",
            "service": {
                "alone": batch(),
                "image": batch(),
                "four_images": batch(n=4),
                "steps": batch(steps=40),
                "large": batch(megapixels=1.048576),
                "webhook": webhook,
            },
            "decisions": rows,
            "sqlite": {"transactions_per_job": 3, "64 at once": {"jobs_per_second": 90}},
            "postgres": {
                "transactions_per_job": 3,
                "64 at once": {"jobs_per_second": 60, "cpu_us_per_job": 3000},
            },
        },
    }
