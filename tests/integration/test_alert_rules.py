"""Prometheus itself evaluates the alert rules: each fires for what it is about, and not on a good service."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.deploy_files import DEPLOY, rules
from tests.support.deployment import find_tool

GPU = 'instance_id="gpu-0"'


@dataclass(frozen=True)
class Case:
    """Series of a service, in Prometheus' notation for tests, and whether an alert fires at a minute."""

    alert: str
    series: dict[str, str]
    fires: bool = True
    minutes: int = 60
    labels: dict[str, str] = field(default_factory=dict)


CASES = [
    Case(
        "OutOfMemory",
        {f'pixelfactory_attempt_failures_total{{{GPU},kind="out_of_memory"}}': "0+1x60"},
        labels={"instance_id": "gpu-0"},
    ),
    Case(
        "OutOfMemory", {f'pixelfactory_attempt_failures_total{{{GPU},kind="stalled"}}': "0+1x60"}, fires=False
    ),
    # Models stay loaded by design, so a full GPU is healthy.
    Case(
        "OutOfMemory",
        {
            f"pixelfactory_instance_vram_used_bytes{{{GPU}}}": "99x60",
            f"pixelfactory_instance_vram_total_bytes{{{GPU}}}": "100x60",
            f'pixelfactory_attempt_failures_total{{{GPU},kind="out_of_memory"}}': "1x60",
        },
        fires=False,
    ),
    Case(
        "DiskAlmostFull",
        {"pixelfactory_disk_free_bytes": "90e9x60", "pixelfactory_disk_total_bytes": "1e12x60"},
    ),
    Case(
        "DiskAlmostFull",
        {"pixelfactory_disk_free_bytes": "1e9x60", "pixelfactory_disk_total_bytes": "4e9x60"},
    ),
    Case(
        "DiskAlmostFull",
        {"pixelfactory_disk_free_bytes": "200e9x60", "pixelfactory_disk_total_bytes": "1e12x60"},
        fires=False,
    ),
    Case("DatabaseLogLarge", {"pixelfactory_database_wal_bytes": "2e9x60"}),
    Case("DatabaseLogLarge", {"pixelfactory_database_wal_bytes": "4e6x60"}, fires=False),
    Case("WebhooksLate", {"pixelfactory_oldest_webhook_seconds": "0+60x60"}),
    Case("WebhooksLate", {"pixelfactory_oldest_webhook_seconds": "20x60"}, fires=False),
    Case("ObjectStoreErrors", {'pixelfactory_object_store_errors_total{kind="unavailable"}': "0+2x60"}),
    Case(
        "ObjectStoreErrors", {'pixelfactory_object_store_errors_total{kind="rejected"}': "3x60"}, fires=False
    ),
    Case("LedgerViolated", {"pixelfactory_ledger_violations": "0x30 1x30"}),
    Case("LedgerViolated", {"pixelfactory_ledger_violations": "0x60"}, fires=False),
    Case(
        "NegativeMargin",
        {
            'pixelfactory_day_cost_usd{model="wan"}': "0+0.2x60",
            'pixelfactory_day_revenue_usd{model="wan"}': "0+0.1x60",
        },
        labels={"model": "wan"},
    ),
    Case(
        "NegativeMargin",
        {
            'pixelfactory_day_cost_usd{model="wan"}': "0+0.1x60",
            'pixelfactory_day_revenue_usd{model="wan"}': "0+0.2x60",
        },
        fires=False,
    ),
    Case("JobsStuck", {"pixelfactory_jobs_stuck": "0x30 1x30", "pixelfactory_oldest_job_seconds": "0x60"}),
    Case("JobsStuck", {"pixelfactory_jobs_stuck": "0x60", "pixelfactory_oldest_job_seconds": "21000+60x60"}),
    Case(
        "JobsStuck",
        {"pixelfactory_jobs_stuck": "0x60", "pixelfactory_oldest_job_seconds": "300x60"},
        fires=False,
    ),
    Case("NoInstanceReady", {f'pixelfactory_instance_state{{{GPU},state="ready"}}': "0x60"}),
    Case("NoInstanceReady", {f'pixelfactory_instance_state{{{GPU},state="ready"}}': "1x60"}, fires=False),
    Case(
        "InstanceFailed",
        {f'pixelfactory_instance_state{{{GPU},state="failed"}}': "1x60"},
        labels={"instance_id": "gpu-0", "state": "failed"},
    ),
    Case(
        "WorkWaitsLong", {'pixelfactory_oldest_wait_seconds{model="wan"}': "0+60x60"}, labels={"model": "wan"}
    ),
    Case(
        "JobsFail",
        {
            'pixelfactory_jobs_finished_total{model="wan",status="failed"}': "0+1x60",
            'pixelfactory_jobs_finished_total{model="wan",status="succeeded"}': "0+9x60",
        },
        labels={"model": "wan"},
    ),
    Case(
        "JobsFail",
        {
            'pixelfactory_jobs_finished_total{model="wan",status="failed"}': "0x60",
            'pixelfactory_jobs_finished_total{model="wan",status="succeeded"}': "0+9x60",
        },
        fires=False,
    ),
    Case("PixelFactoryDown", {'up{job="pixelfactory"}': "0x60"}, labels={"job": "pixelfactory"}),
]


def promtool() -> str:
    found = find_tool("promtool")
    if found is None:
        pytest.skip("needs promtool: apt install prometheus")
    return found


def to_promtool(case: Case) -> dict[str, Any]:
    rule = next(one for one in rules() if one["alert"] == case.alert)
    alert: dict[str, Any] = {"eval_time": f"{case.minutes}m", "alertname": case.alert, "exp_alerts": []}
    if case.fires:
        # The words are the rule's own; how numbers in them are written is Prometheus' business.
        alert["exp_alerts"] = [{"exp_labels": {**rule["labels"], **case.labels}}]
    series = [{"series": name, "values": values} for name, values in case.series.items()]
    return {"interval": "1m", "input_series": series, "alert_rule_test": [alert]}


def without_annotations(directory: Path) -> Path:
    """The rules without their annotations, whose texts contain measured values."""
    document = yaml.safe_load((DEPLOY / "alerts.yml").read_text())
    for group in document["groups"]:
        for rule in group["rules"]:
            del rule["annotations"]
    file = directory / "alerts.yml"
    file.write_text(yaml.safe_dump(document))
    return file


@pytest.mark.slow
def test_alerts_fire_for_what_they_are_about(tmp_path: Path) -> None:
    tests = {
        "rule_files": [str(without_annotations(tmp_path))],
        "evaluation_interval": "1m",
        "tests": [to_promtool(case) for case in CASES],
    }
    file = tmp_path / "tests.yml"
    file.write_text(yaml.safe_dump(tests))
    done = subprocess.run(
        [promtool(), "test", "rules", str(file)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_notices_an_alert_that_does_not_fire(tmp_path: Path) -> None:
    wrong = Case("DatabaseLogLarge", {"pixelfactory_database_wal_bytes": "4e6x60"})
    tests = {
        "rule_files": [str(without_annotations(tmp_path))],
        "evaluation_interval": "1m",
        "tests": [to_promtool(wrong)],
    }
    file = tmp_path / "tests.yml"
    file.write_text(yaml.safe_dump(tests))
    done = subprocess.run(
        [promtool(), "test", "rules", str(file)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode != 0
    assert "DatabaseLogLarge" in done.stdout + done.stderr


def test_every_new_alert_is_tested_both_ways() -> None:
    tested = {case.alert: {one.fires for one in CASES if one.alert == case.alert} for case in CASES}
    both = {True, False}
    new = ["OutOfMemory", "DiskAlmostFull", "DatabaseLogLarge", "WebhooksLate"]
    new += ["ObjectStoreErrors", "LedgerViolated", "NegativeMargin", "JobsStuck"]
    assert {name: tested.get(name) for name in new} == dict.fromkeys(new, both)
