"""The benchmarks run; what they measure is judged by a person, on a quiet machine."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from orchestrator.storage.embedded_server import EmbeddedS3
from scripts.bench import gpu_time, throughput
from scripts.bench.gpu_time_flux import BusyMeter
from tests.support.comfyui_server import installed_comfyui

ROOT = Path(__file__).resolve().parents[2]


def run_benchmark(module: str, *words: str, timeout: float, **environment: str) -> CompletedProcess[str]:
    """Run a module of `scripts/bench`, for up to `timeout` seconds."""
    command = [sys.executable, "-m", f"scripts.bench.{module}", *words]
    given = {**os.environ, **environment}
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=timeout, cwd=ROOT, env=given
    )


@pytest.mark.slow
def test_decisions_are_measured_for_every_fleet() -> None:
    done = run_benchmark("decisions", "--quick", timeout=280)
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    assert [(row[0], row[2]) for row in rows] == [(n, w) for n in ("8", "32", "64") for w in ("100", "1000")]
    assert all(float(row[4]) > 0 for row in rows)


@pytest.mark.slow
def test_abuse_benchmark_compares_images_with_and_without_misuse() -> None:
    done = run_benchmark("abuse", "--quick", timeout=300)
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["quiet", "misused", "ratio"]
    assert re.search(r"ratio of medians \d+\.\d+ ", done.stdout)


@pytest.mark.slow
def test_cluster_simulation_answers_every_question() -> None:
    done = run_benchmark("simulate_cluster", "--quick", "--postgres-transactions", "2500", timeout=300)
    assert done.returncode == 0, done.stderr
    titles = [text.splitlines()[0] for text in done.stdout.split("\n\n")[1:]]
    assert [title.split()[0] for title in titles] == [
        "Per",
        "GPUs",
        "calibration",
        "sizes",
        "loads",
        "loop",
        "pooling",
        "Dollars",
        "Dollars",
    ]
    assert "PostgreSQL, 2500 transactions/s" in done.stdout
    assert "images and videos apart" in done.stdout


@pytest.mark.slow
def test_images_through_the_service_are_compared_with_a_relay() -> None:
    words = ("--quick", "--callers", "1", "--warm-up", "1", "--ways", "service, url", "relay")
    done = run_benchmark("throughput", *words, timeout=200)
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"callers  ([a-z, ]+?) +([\d.]+)/s .* (service|relay) ([\d.]+)", done.stdout)
    assert [(way, process) for way, _, process, _ in rows] == [
        ("service, url", "service"),
        ("relay", "relay"),
    ]
    assert all(float(rate) > 0 and float(cpu) > 0 for _, rate, _, cpu in rows)


@pytest.mark.slow
def test_a_share_of_busy_instances_is_of_the_ways_that_were_chosen() -> None:
    words = ("--quick", "--job-seconds", "0.3", "--ways", "service, url")
    done = run_benchmark("throughput", *words, timeout=200)
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"^([a-z, ]+?) +([\d.]+)/s +([\d.]+) of the bare client$", done.stdout, re.MULTILINE)
    assert [way for way, *_ in rows] == ["bare client", "service, url"]
    assert all(float(rate) > 0 and float(share) > 0 for _, rate, share in rows)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--callers", "4"), "--callers: with --job-seconds there are two for each instance; leave it out"),
        (("--ways", "floor"), "--ways: floor runs no prompt, which --job-seconds is for; leave it out"),
        (("--seconds", "-1"), "--seconds: must be above 0 (got -1)"),
        (("--warm-up", "-1"), "--warm-up: must be 0 or more (got -1)"),
        (("--callers", "0"), "--callers: must be 1 or more (got 0)"),
    ],
)
def test_says_what_busy_instances_do_not_go_with(
    words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        throughput.read_options(("--job-seconds", "1", *words))
    assert said in capsys.readouterr().err


@pytest.mark.slow
def test_sampling_with_a_network_needs_a_gpu_and_says_so() -> None:
    done = run_benchmark("gpu_time", "--flux", "bf16,nvfp4", timeout=120, CUDA_VISIBLE_DEVICES="")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("--flux needs an NVIDIA GPU")
    assert "--small" in done.stderr


@pytest.mark.slow
def test_a_kind_of_weights_that_fails_is_a_row_and_loses_none_before_it(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    words = ("--flux", "fp8", "--small", "--results", str(file), "--comfyui", str(tmp_path))
    options = gpu_time.read_options(words)
    results = gpu_time.Results(options, None, "")
    results.add(2, [{"case": "FLUX.1 bf16", "run_ms": 950.0}])
    nowhere = gpu_time.Bed("", EmbeddedS3(tmp_path / "s3"), BusyMeter(None))
    asyncio.run(gpu_time.run_flux(nowhere, tmp_path / "models", options, results))
    first, second = json.loads(file.read_text())["rows"]
    assert first == {"depth": 2, "case": "FLUX.1 bf16", "run_ms": 950.0}
    assert (second["case"], "non-zero exit status" in second["failed"]) == ("fp8", True)


@pytest.mark.comfyui
@pytest.mark.slow
def test_a_small_network_samples_in_all_ways_on_the_cpu() -> None:
    """Everything of the measurement on a GPU but the speed."""
    if installed_comfyui() is None:
        pytest.skip("no ComfyUI is installed")
    words = ("--flux", "bf16,nvfp4", "--small", "--prompts", "2", "--steps", "1", "--depth", "1")
    done = run_benchmark("gpu_time", *words, timeout=900, CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 0, done.stderr[-3000:]
    rows = json.loads(done.stdout)["rows"]
    ways = ("nothing", "file", "socket", "delivery")
    expected = [(f"FLUX.1 {kind}", way) for kind in ("bf16", "nvfp4") for way in ways]
    assert [(row["case"], row["way"]) for row in rows] == expected
    assert all(row["megabytes_per_prompt"] > 0 for row in rows if row["way"] != "nothing")
    assert {row["gpu_busy_share"] for row in rows} == {None}
