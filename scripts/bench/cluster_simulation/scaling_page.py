"""Writes the tables of `docs/scaling.md` from `results/simulate_cluster.json`.

    .venv/bin/python -m scripts.bench.cluster_simulation.scaling_page

`scripts.bench.simulate_cluster` does it too, when it saves its results.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.bench.cluster_simulation.workload import DAILY_SWING
from scripts.bench.report import RESULTS_DIR

PAGE = Path(__file__).resolve().parents[3] / "docs" / "scaling.md"
RESULTS_FILE = RESULTS_DIR / "simulate_cluster.json"
_TABLE = re.compile(r"(<!-- table (\w+) -->\n).*?(<!-- /table -->)", re.DOTALL)
#: GPUs of the largest box, and of the largest fleet that the page recommends.
BOX_GPUS, FLEET_GPUS = 16, 250
Document = Mapping[str, Any]


def main() -> None:
    PAGE.write_text(
        render_page(PAGE.read_text("utf-8"), json.loads(RESULTS_FILE.read_text("utf-8"))), "utf-8"
    )


def render_page(text: str, document: Document) -> str:
    """Return the page with the tables of a document of results. Raises KeyError for an unknown table."""
    return _TABLE.sub(lambda match: match[1] + _TABLES[match[2]](document) + match[3], text)


def markdown_table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table whose first column is text and whose others are numbers."""
    rule = ["---", *["---:"] * (len(titles) - 1)]
    return "".join(f"| {' | '.join(row)} |\n" for row in (titles, rule, *rows))


def _source(document: Document) -> str:
    result, machine = document["result"], document["machine"]
    inputs = result["inputs"]
    return markdown_table(
        ["what", "when and where"],
        [
            [
                "costs of a job",
                f"{inputs['measured_at']}, commit `{inputs['commit']}`,"
                f" {inputs['machine']['cores']} cores of {inputs['machine']['cpu']},"
                f" Python {inputs['machine']['python']}, {inputs['machine']['load']} processes wanted to run",
            ],
            ["simulation", f"{document['at']}, seed {result['seed']}, Python {machine['python']}"],
        ],
    )


def _limits(document: Document) -> str:
    rows = sorted(document["result"]["limits"], key=lambda row: row["gpus"])
    cells = [[r["part"], r["basis"], _rounded(r["gpus"]), _rounded(r["gpus_saturated"])] for r in rows]
    return markdown_table(["part", "basis", "GPUs at 70 %", "GPUs, saturated"], cells)


def _rates(document: Document) -> str:
    rows = document["result"]["rates"]
    titles = ["per second", *(f"{row['gpus']:,} GPUs" for row in rows)]
    names = [name for name in rows[0] if name != "gpus"]
    return markdown_table(
        titles, [[name.replace("_", " "), *(_short(row[name]) for row in rows)] for name in names]
    )


def _outcomes(name: str, *, loop: bool = False) -> Callable[[Document], str]:
    def render(document: Document) -> str:
        titles = ["case", "simulated", "shards", "busy", "loading", "median wait", "95 %", "99 %"]
        rows = []
        for row in document["result"][name]:
            waits = [f"{row[key]:.1f} s" for key in ("wait_p50", "wait_p95", "wait_p99")]
            cells = [row["case"], f"{row['simulated_seconds']:.0f} s", f"{row['shards']:,}"]
            cells += [f"{row['busy']:.0%}", f"{row['loading']:.1%}", *waits]
            rows.append([*cells, f"{row['loop_busy']:.0%}"] if loop else cells)
        return markdown_table([*titles, "loop busy"] if loop else titles, rows)

    return render


def _by_size(document: Document) -> str:
    """Return the shape for each size, and what each database and service of it has to do."""
    dollars = document["result"]["costs"]["dollars_per_hour"]
    titles = ["GPUs", "shape", "each database", "outputs through each service", "GPUs an hour"]
    rows = []
    for row in document["result"]["rates"]:
        fleets = -(-row["gpus"] // FLEET_GPUS)
        shape = f"{fleets} fleets of {row['gpus'] // fleets}" if fleets > 1 else "one cluster"
        cells = [f"{row['gpus']:,}", "one box or one cluster" if row["gpus"] <= BOX_GPUS else shape]
        cells.append(f"{_short(row['write_transactions'] / fleets)} transactions/s")
        cells.append(f"{_short(row['output_megabytes'] / fleets)} MB/s")
        rows.append([*cells, f"${row['gpus'] * dollars:,.0f}"])
    return markdown_table(titles, rows)


def _loads(document: Document) -> str:
    """Return the table of loads with the cost of a mean result, if the GPUs are there all day."""
    result = document["result"]
    busy = result["seconds_per_result"] * result["costs"]["dollars_per_hour"] / 3600
    titles = ["GPUs", "asked for at noon", "busy", "loading", "median wait", "95 %", "a mean result"]
    rows = [
        [
            str(row["gpus"]),
            f"{row['load']:.0%}",
            f"{row['busy']:.0%}",
            f"{row['loading']:.1%}",
            f"{row['wait_p50']:.1f} s",
            f"{row['wait_p95']:.1f} s",
            f"${busy / (row['load'] / (1 + DAILY_SWING)):.4f}",
        ]
        for row in result["loads"]
    ]
    return markdown_table(titles, rows)


def _costs(document: Document) -> str:
    costs = document["result"]["costs"]
    names = list(costs["utilisations"])
    titles = ["model", "GPU seconds", *(f"{name} ({costs['utilisations'][name]:.0%})" for name in names)]
    rows = [
        [row["model"], f"{row['run_seconds']:.1f}", *(f"${row[name]:.4f}" for name in names)]
        for row in costs["rows"]
    ]
    return markdown_table(titles, rows)


def _cards(document: Document) -> str:
    rows = [
        [f"{row['model']}, {row['gpu']}", f"{row['run_seconds']:.1f}", f"${row['dollars']:.4f}"]
        for row in document["result"]["cards"]
    ]
    return markdown_table(["model and card", "GPU seconds", "a result"], rows)


def _assumptions(document: Document) -> str:
    rows = [
        [f"`--{name.replace('_', '-')}`", f"{value:,.10g}"]
        for name, value in document["result"]["assumptions"].items()
    ]
    return markdown_table(["assumption", "value"], rows)


def _rounded(gpus: int) -> str:
    """Return a number with two digits that count: the inputs are no better."""
    digits = max(len(str(gpus)) - 2, 0)
    return f"{round(gpus, -digits):,}"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


_TABLES: Mapping[str, Callable[[Document], str]] = {
    "source": _source,
    "shapes": _by_size,
    "limits": _limits,
    "rates": _rates,
    "calibration": _outcomes("calibration"),
    "sizes": _outcomes("sizes"),
    "loads": _loads,
    "loop": _outcomes("loop", loop=True),
    "pooling": _outcomes("pooling"),
    "costs": _costs,
    "cards": _cards,
    "assumptions": _assumptions,
}


if __name__ == "__main__":
    main()
