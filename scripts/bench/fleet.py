"""Measures how well the scheduler keeps 8 GPUs busy, compared with other policies and with an oracle.

    .venv/bin/python -m scripts.bench.fleet [--jobs 2000] [--seed 1] [--quick]

All policies run the same backlog of the shipped models in virtual time. The oracle knows every run time
exactly, keeps each model on as few GPUs as the work allows, and packs the longest runs first. The lower bound
is total work / 8: no loading, no gaps, perfect packing. It also measures the time of one decision and the
memory with 1 000 to 100 000 waiting shards.
"""

from __future__ import annotations

import argparse
import random
import resource
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

from orchestrator.catalog import Catalog, Model
from orchestrator.execution.scheduler import (
    InstanceUp,
    JobAdded,
    RunEnded,
    RunShard,
    Scheduler,
    ShardDone,
    ShardSpec,
)
from scripts.bench.report import save_results
from scripts.bench.virtual_fleet import PolicyResult, VirtualFleet, VirtualShard, draw_shards, measure_policy

ROOT = Path(__file__).resolve().parent.parent.parent
GPU_COUNT, GPU_MEMORY_BYTES = 8, 96 * 10**9
DOCUMENT_MODELS = [
    "flux-1-schnell",
    "flux-1-dev",
    "flux-2-dev",
    "sdxl-1.0",
    "4x-ultrasharp",
    "wan2.1-t2v-fast",
    "wan2.1-t2v-pro",
    "wan2.2-t2v-14b",
    "ltx2-t2v",
    "cogvideox-1.5-5b",
    "hunyuan-video-720p",
    "wan2.1-i2v-480p",
    "wan2.1-i2v-720p",
    "wan2.2-i2v-14b",
]
#: Relative frequency of each kind of request: many images, some upscales, few videos.
POPULARITY = {"image": 40, "upscale": 10, "video": 1, "i2v": 1}
ACCOUNT_COUNT = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="a tenth of the work")
    options = parser.parse_args()
    jobs = options.jobs // 10 if options.quick else options.jobs
    rng = random.Random(options.seed)
    shards = draw_shards(generate_workload(jobs, rng), rng)
    counts = (1000, 10_000) if options.quick else (1000, 10_000, 100_000)
    result = {
        "jobs": jobs,
        "policies": compare_policies(shards, options.seed),
        "four_images": measure_four_images(shards),
        "decisions": [measure_decision(count) for count in counts],
    }
    if not options.quick:
        save_results("fleet", result)


def generate_workload(count: int, rng: random.Random) -> list[ShardSpec]:
    """Return shard specs of the 14 models of the Pixel Factory document with their default parameters."""
    catalog = Catalog.load(ROOT / "workflows")
    models = [catalog[name] for name in DOCUMENT_MODELS]
    weights = [POPULARITY[model.kind.value] for model in models]
    return [
        build_shard_spec(model, index, f"account-{rng.randrange(ACCOUNT_COUNT)}")
        for index, model in enumerate(rng.choices(models, weights, k=count))
    ]


def build_shard_spec(model: Model, index: int, account: str) -> ShardSpec:
    estimate = model.manifest.estimate_for(None)
    return ShardSpec(
        shard_id=f"job{index}-0",
        job_id=f"job{index}",
        account_id=account,
        model=model.id,
        run_seconds=model.estimate_run_seconds(model.example_params()),
        load_seconds=estimate.load_seconds,
        vram=estimate.vram_bytes,
    )


Policy = Callable[[list[VirtualShard], int], VirtualFleet]


def compare_policies(shards: list[VirtualShard], seed: int) -> dict[str, dict[str, float]]:
    bound = sum(task.run for task in shards) / GPU_COUNT
    policies: dict[str, Policy] = {
        "oracle": run_oracle,
        "ours": run_scheduler,
        "fifo": run_fifo,
        "round robin": run_round_robin,
        "random": run_random,
    }
    outcomes = {name: measure_policy(policy(shards, seed)) for name, policy in policies.items()}
    best = outcomes["oracle"].busy
    print(f"{len(shards)} jobs on {GPU_COUNT} GPUs; lower bound {bound:.0f} s of virtual time")
    print("policy        makespan  /bound   busy  /oracle  loads     p95      gap")
    for name, found in outcomes.items():
        print(format_row(name, found, bound, best))
    return {
        name: {**asdict(found), "to_bound": found.makespan / bound, "to_oracle": found.busy / best}
        for name, found in outcomes.items()
    }


def format_row(name: str, result: PolicyResult, lower_bound: float, oracle_busy: float) -> str:
    ratios = f"{result.makespan / lower_bound:7.3f} {result.busy:6.1%} {result.busy / oracle_busy:8.3f}"
    times = f"{result.p95:6.0f}s {result.gap * 1e3:6.1f}ms"
    return f"{name:12} {result.makespan:8.0f}s {ratios} {result.loads:6d} {times}"


def run_scheduler(shards: list[VirtualShard], seed: int) -> VirtualFleet:
    """Run the scheduler of the service."""
    fleet, scheduler = VirtualFleet(GPU_COUNT, GPU_MEMORY_BYTES), Scheduler(max_attempts=1)
    by_shard = {task.spec.shard_id: task for task in shards}

    def handle_events(*events: InstanceUp | JobAdded | RunEnded | ShardDone) -> None:
        for event in events:
            for instruction in scheduler.handle(event, fleet.now):
                assert isinstance(instruction, RunShard)
                fleet.enqueue(int(instruction.instance_id), by_shard[instruction.shard_id])

    for card in range(GPU_COUNT):
        handle_events(InstanceUp(instance_id=str(card), vram=GPU_MEMORY_BYTES))
    handle_events(JobAdded(specs=[task.spec for task in shards]))
    while run := fleet.finish_next_run():
        shard = run.shard.spec.shard_id
        seconds = run.ended_at - run.started_at
        handle_events(
            RunEnded(shard_id=shard, instance_id=str(run.gpu_index), seconds=seconds),
            ShardDone(shard_id=shard),
        )
    return fleet


def run_fifo(shards: list[VirtualShard], seed: int) -> VirtualFleet:
    """Give the oldest shard to whichever GPU is free, whatever models it has loaded."""
    fleet, waiting = VirtualFleet(GPU_COUNT, GPU_MEMORY_BYTES), list(reversed(shards))
    for card in list(range(GPU_COUNT)) * 2:
        if waiting:
            fleet.enqueue(card, waiting.pop())
    while run := fleet.finish_next_run():
        if waiting:
            fleet.enqueue(run.gpu_index, waiting.pop())
    return fleet


def run_round_robin(shards: list[VirtualShard], seed: int) -> VirtualFleet:
    """Assign the shards in advance, to one GPU after the other."""
    return run_assignment(shards, [index % GPU_COUNT for index in range(len(shards))])


def run_random(shards: list[VirtualShard], seed: int) -> VirtualFleet:
    """Assign each shard to a random GPU."""
    rng = random.Random(seed)
    return run_assignment(shards, [rng.randrange(GPU_COUNT) for _ in shards])


def run_oracle(shards: list[VirtualShard], seed: int) -> VirtualFleet:
    """Assign whole models to the least loaded GPU, longest first; split models longer than a fair share."""
    by_model: dict[str, list[VirtualShard]] = defaultdict(list)
    for task in shards:
        by_model[task.spec.model].append(task)
    share = sum(task.run for task in shards) / GPU_COUNT
    loads, placed = [0.0] * GPU_COUNT, [list[VirtualShard]() for _ in range(GPU_COUNT)]
    chunks = [chunk for found in by_model.values() for chunk in split_into_chunks(found, share / 4)]
    for chunk in sorted(chunks, key=lambda chunk: -sum(task.run for task in chunk)):
        seconds = sum(task.run for task in chunk)
        model, load = chunk[0].spec.model, chunk[0].load
        card = min(
            range(GPU_COUNT),
            key=lambda card: loads[card] + (0 if any(t.spec.model == model for t in placed[card]) else load),
        )
        loads[card] += seconds + (0 if any(t.spec.model == model for t in placed[card]) else load)
        placed[card].extend(chunk)
    fleet = VirtualFleet(GPU_COUNT, GPU_MEMORY_BYTES)
    for card, found in enumerate(placed):
        for task in sorted(found, key=lambda task: task.spec.model):
            fleet.enqueue(card, task)
    while fleet.finish_next_run():
        pass
    return fleet


def split_into_chunks(shards: list[VirtualShard], max_seconds: float) -> list[list[VirtualShard]]:
    """Split shards into chunks of at most `max_seconds` seconds, longest shards first."""
    chunks: list[list[VirtualShard]] = []
    room = 0.0
    for task in sorted(shards, key=lambda task: -task.run):
        if not chunks or task.run > room:
            chunks.append([])
            room = max_seconds
        chunks[-1].append(task)
        room -= task.run
    return chunks


def run_assignment(shards: list[VirtualShard], gpu_indices: list[int]) -> VirtualFleet:
    fleet = VirtualFleet(GPU_COUNT, GPU_MEMORY_BYTES)
    for task, card in zip(shards, gpu_indices, strict=True):
        fleet.enqueue(card, task)
    while fleet.finish_next_run():
        pass
    return fleet


def measure_four_images(shards: list[VirtualShard]) -> float:
    """Return the time of four images of one job on four idle, warm GPUs, relative to one image."""
    template = next(task for task in shards if task.spec.model == "flux-1-schnell")

    def makespan(n: int) -> float:
        fleet, scheduler = VirtualFleet(4, GPU_MEMORY_BYTES), Scheduler(max_attempts=1)
        task = replace(template, run=template.spec.run_seconds)
        for gpu in fleet.gpus:
            gpu.load_model(task.spec)
            scheduler.handle(InstanceUp(instance_id=str(gpu.index), vram=GPU_MEMORY_BYTES), 0.0)
            scheduler.instances[str(gpu.index)].loaded_models[task.spec.model] = task.spec
        specs = [replace(task.spec, shard_id=f"j-{index}", job_id="j") for index in range(n)]
        for instruction in scheduler.handle(JobAdded(specs=specs), 0.0):
            assert isinstance(instruction, RunShard)
            fleet.enqueue(int(instruction.instance_id), task)
        while fleet.finish_next_run():
            pass
        return max(run.ended_at for run in fleet.runs)

    ratio = makespan(4) / makespan(1)
    print(f"n=4 on four idle GPUs: {ratio:.2f} times one image")
    return ratio


def measure_decision(waiting_shards: int) -> dict[str, float]:
    """Measure milliseconds per decision (a run ends, the next begins) and bytes per waiting shard."""
    rng = random.Random(waiting_shards)
    specs = generate_workload(waiting_shards, rng)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    scheduler = Scheduler(max_attempts=1)
    for card in range(GPU_COUNT):
        scheduler.handle(InstanceUp(instance_id=str(card), vram=GPU_MEMORY_BYTES), 0.0)
    scheduler.handle(JobAdded(specs=specs), 0.0)
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    times = []
    for index in range(400):
        gpu = scheduler.instances[str(index % GPU_COUNT)]
        shard = gpu.assignments[0].spec.shard_id
        begun = time.perf_counter()
        scheduler.handle(RunEnded(shard_id=shard, instance_id=gpu.id, seconds=1.0), float(index))
        times.append(time.perf_counter() - begun)
        scheduler.handle(ShardDone(shard_id=shard), float(index))
    median = sorted(times)[len(times) // 2] * 1e3
    print(
        f"{waiting_shards:7d} waiting: {median:.3f} ms per decision, "
        f"{memory / waiting_shards:.0f} bytes per shard"
    )
    return {"waiting": waiting_shards, "milliseconds": median, "bytes_per_shard": memory / waiting_shards}


if __name__ == "__main__":
    main()
