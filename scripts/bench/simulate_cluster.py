"""Simulates clusters of 10 to 10 000 GPUs with what was measured of this service, and what that costs.

    .venv/bin/python -m scripts.bench.simulate_cluster [--seed 1] [--gpu "RTX PRO 6000"] [--quick]

It reads `results/cluster_inputs.json` (`scripts.bench.measure_cluster_inputs`), the manifests (seconds per
run on the reference GPU, an RTX PRO 6000 with 96 GB) and `pricing/costs.toml` (dollars per GPU-hour).
Capacities that were not measured are assumptions; each has an option of its own (`--help`). The same seed
gives the same tables. Results are saved, and the tables of `docs/scaling.md` replaced. It needs `simpy`
(`pip install -e ".[bench]"`).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from datetime import date
from itertools import product
from pathlib import Path
from typing import Any

from orchestrator.catalog import Catalog
from orchestrator.settings import SHIPPED_WORKFLOWS_DIR
from pricing.costs import SHIPPED_COSTS, CostRates, MeteredUsage
from pricing.money import MICROS_PER_DOLLAR
from scripts.bench.cluster_simulation import scaling_page, scenarios
from scripts.bench.cluster_simulation.assumptions import Assumptions
from scripts.bench.cluster_simulation.capacity import Demand, find_limits, find_service_limits, rates
from scripts.bench.cluster_simulation.inputs import (
    INPUTS_FILE,
    ClusterInputs,
    InputsError,
    load_inputs,
    load_service_rates,
)
from scripts.bench.cluster_simulation.workload import DAILY_SWING, Workload, load_models
from scripts.bench.report import save_results

ACCOUNTS = 1000
#: Share of the work of `--quick`, which leaves the largest size out.
QUICK_SCALE = 0.02
#: A GPU for each profile for which manifests have estimates; the first is the reference.
CARDS = {"": "RTX PRO 6000", "hopper": "H100", "ada": "L40S"}
OUTCOME_COLUMNS = {
    "simulated_seconds": ("seconds", "{:.0f}"),
    "shards": ("shards", "{}"),
    "busy": ("busy", "{:.1%}"),
    "loading": ("loading", "{:.1%}"),
    "wait_p50": ("wait p50", "{:.1f} s"),
    "wait_p95": ("p95", "{:.1f} s"),
    "wait_p99": ("p99", "{:.1f} s"),
    "loop_busy": ("loop busy", "{:.1%}"),
    "left_over": ("left over", "{}"),
}


def main() -> None:
    options = parse_options()
    assumptions = Assumptions(**{f.name: getattr(options, f.name) for f in fields(Assumptions)})
    try:
        inputs = load_inputs(options.inputs)
    except InputsError as error:
        raise SystemExit(str(error)) from error
    catalog = Catalog.load(SHIPPED_WORKFLOWS_DIR)
    workload = Workload(load_models(catalog), ACCOUNTS)
    demand = Demand(workload, scenarios.PEAK_LOAD)
    study = scenarios.Study(workload, inputs, options.seed, QUICK_SCALE if options.quick else 1.0)
    print(
        f"Measured {inputs.measured_at} at commit {inputs.commit} on {inputs.machine['cpu']},"
        f" load {inputs.machine['load']}; {workload.seconds_per_shard:.1f} GPU seconds per result"
    )
    result: dict[str, Any] = {"seed": options.seed, "assumptions": asdict(assumptions)}
    result["inputs"] = {
        "measured_at": inputs.measured_at,
        "commit": inputs.commit,
        "machine": inputs.machine,
    }
    result["seconds_per_result"] = workload.seconds_per_shard
    result["workload"] = [asdict(model) for model in workload.models]
    result |= {"rates": print_rates(demand, inputs, assumptions)}
    result |= {"limits": print_limits(demand, inputs, assumptions)}
    for name, scenario in scenarios.ALL.items():
        begun = time.perf_counter()
        result[name] = print_outcomes(name, scenario(study))
        print(f"({time.perf_counter() - begun:.0f} s)")
    result["costs"] = print_costs(workload, gpu_dollars_per_hour(options.gpu), options.gpu)
    result["cards"] = print_cards(catalog)
    if not options.quick:
        save_results("simulate_cluster", result)
        scaling_page.main()


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="seconds of work, nothing is saved")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--inputs", type=Path, default=INPUTS_FILE, help="file of measurements (%(default)s)")
    parser.add_argument("--gpu", default="RTX PRO 6000", help="GPU of pricing/costs.toml (%(default)s)")
    for field in fields(Assumptions):
        flag = f"--{field.name.replace('_', '-')}"
        parser.add_argument(flag, type=float, default=field.default, help="assumption (%(default)g)")
    return parser.parse_args()


def gpu_dollars_per_hour(gpu: str) -> float:
    """Return what an hour of a GPU costs, by its name, as `pricing/costs.toml` says."""
    hour = MeteredUsage(day=date(2026, 1, 1), model="", device=gpu, gpu_seconds=3600.0)
    return float(CostRates.load(Path(str(SHIPPED_COSTS))).cost_of(hour) / MICROS_PER_DOLLAR)


def print_rates(demand: Demand, inputs: ClusterInputs, assumptions: Assumptions) -> list[dict[str, Any]]:
    """Print what clusters ask for at the highest rate of the day."""
    rows: list[dict[str, Any]] = [
        {"gpus": gpus, **rates(demand, inputs, assumptions, gpus)} for gpus in scenarios.SIZES
    ]
    print(f"\nPer second at the highest rate of the day ({demand.load:.0%} of the GPU time)")
    print_table([[name, *(f"{row[name]:,.1f}" for row in rows)] for name in rows[0]])
    return rows


def print_limits(demand: Demand, inputs: ClusterInputs, assumptions: Assumptions) -> list[dict[str, Any]]:
    """Print how many GPUs each part serves."""
    rows: list[dict[str, Any]] = [
        {
            "part": limit.part,
            "basis": limit.basis,
            "gpus": limit.max_gpus(assumptions.headroom),
            "gpus_saturated": limit.max_gpus(1.0),
        }
        for limit in [
            *find_service_limits(demand, load_service_rates()),
            *find_limits(demand, inputs, assumptions),
        ]
    ]
    print(f"\nGPUs that each part serves at {assumptions.headroom:.0%} of its capacity, and saturated")
    cells = [[r["part"], r["basis"], f"{r['gpus']:,}", f"{r['gpus_saturated']:,}"] for r in rows]
    print_table([["part", "basis", "GPUs", "saturated"], *cells])
    return rows


def print_outcomes(name: str, rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Print the rows of a scenario."""
    found = [dict(row) for row in rows]
    titles = ["case", *(title for title, _ in OUTCOME_COLUMNS.values())]
    cells = [
        [row["case"], *(form.format(row[key]) for key, (_, form) in OUTCOME_COLUMNS.items())] for row in found
    ]
    print(f"\n{name}")
    print_table([titles, *cells])
    return found


def print_costs(workload: Workload, dollars: float, gpu: str) -> dict[str, Any]:
    """Print the GPU cost of a result, if GPUs are there for the peak or follow the day."""
    mean = scenarios.PEAK_LOAD / (1 + DAILY_SWING)
    utilisations = {"sized for the peak": mean, "following the day": scenarios.PEAK_LOAD, "always busy": 1.0}
    rows = scenarios.list_costs(workload.models, dollars, utilisations)
    print(f"\nDollars of GPU time per result, {gpu} at ${dollars:.2f} an hour")
    titles = ["model", "GPU s", *(f"{name} ({share:.0%})" for name, share in utilisations.items())]
    cells = [
        [row["model"], f"{row['run_seconds']:.1f}", *(f"{row[name]:.5f}" for name in utilisations)]
        for row in rows
    ]
    print_table([titles, *cells])
    return {"gpu": gpu, "dollars_per_hour": dollars, "utilisations": utilisations, "rows": rows}


def print_cards(catalog: Catalog) -> list[dict[str, Any]]:
    """Print the cost on other cards, of the models whose manifests say how long these take."""
    rows: list[dict[str, Any]] = []
    for model, (profile, gpu) in product(catalog, CARDS.items()):
        if "hopper" in model.manifest.resources.profiles and "ada" in model.manifest.resources.profiles:
            seconds = model.estimate_run_seconds(model.example_params(), profile or None)
            dollars = gpu_dollars_per_hour(gpu)
            cost = seconds * dollars / 3600
            rows.append({"model": model.id, "gpu": gpu, "run_seconds": seconds, "dollars": cost})
    print("\nDollars of GPU time per result on other cards, always busy")
    cells = [[row["model"], row["gpu"], f"{row['run_seconds']:.1f}", f"{row['dollars']:.5f}"] for row in rows]
    print_table([["model", "GPU", "GPU s", "dollars"], *cells])
    return rows


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows with aligned columns, the first to the left."""
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    for row in rows:
        first, *rest = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join([row[0].ljust(len(first)), *rest]))


if __name__ == "__main__":
    main()
