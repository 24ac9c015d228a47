"""How well the scheduler keeps 8 cards fed, against other policies and against an oracle.

    .venv/bin/python scripts/bench/fleet.py [--jobs 2000] [--seed 1] [--quick]

All policies run the same backlog of the shipped models in virtual time. The oracle knows every run time to
the microsecond, keeps each model on as few cards as the work allows, and packs the longest runs first; no
real policy can know that much. The lower bound is total work / 8: no loading, no gaps, perfect packing.
Also: the time of one decision and the memory with 1 000 to 100 000 waiting shards.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import resource
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

from orchestrator.catalog import Catalog, Model
from orchestrator.scheduler import InstanceUp, JobAdded, RunEnded, RunShard, Scheduler, ShardDone, Work
from scripts.bench.virtual_fleet import Outcome, Task, VirtualFleet, draw_tasks, outcome

ROOT = Path(__file__).resolve().parent.parent.parent
CARDS, MEMORY = 8, 96 * 10**9
DOCUMENT = [
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
#: How often each kind is asked for: many pictures, some enlargements, few films.
POPULARITY = {"image": 40, "upscale": 10, "video": 1, "i2v": 1}
ACCOUNTS = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="a tenth of the work")
    options = parser.parse_args()
    jobs = options.jobs // 10 if options.quick else options.jobs
    rng = random.Random(options.seed)
    tasks = draw_tasks(mixed_jobs(jobs, rng), rng)
    results = {"jobs": jobs, "policies": compare(tasks, options.seed)}
    results["four_pictures"] = four_pictures(tasks)
    results["decisions"] = [
        decision(count) for count in ((1000, 10_000) if options.quick else (1000, 10_000, 100_000))
    ]
    results["machine"] = {
        "cores": len(__import__("os").sched_getaffinity(0)),
        "python": platform.python_version(),
    }
    file = ROOT / "scripts/bench/results/fleet.json"
    file.write_text(json.dumps(results, indent=2) + "\n")


def mixed_jobs(count: int, rng: random.Random) -> list[Work]:
    """Works of the 14 models of the Pixel Factory document at their default parameters."""
    catalog = Catalog.load(ROOT / "workflows")
    models = [catalog[name] for name in DOCUMENT]
    weights = [POPULARITY[model.kind.value] for model in models]
    return [
        work(model, index, f"account-{rng.randrange(ACCOUNTS)}")
        for index, model in enumerate(rng.choices(models, weights, k=count))
    ]


def work(model: Model, index: int, account: str) -> Work:
    estimate = model.manifest.estimate_for(None)
    return Work(
        shard_id=f"job{index}-0",
        job_id=f"job{index}",
        account_id=account,
        model=model.id,
        run_seconds=model.run_seconds(model.example()),
        load_seconds=estimate.load_seconds,
        vram=estimate.vram_bytes,
    )


Policy = Callable[[list[Task], int], VirtualFleet]


def compare(tasks: list[Task], seed: int) -> dict[str, dict[str, float]]:
    bound = sum(task.run for task in tasks) / CARDS
    policies: dict[str, Policy] = {
        "oracle": oracle,
        "ours": ours,
        "fifo": first_in_first_out,
        "round robin": round_robin,
        "random": at_random,
    }
    outcomes = {name: outcome(policy(tasks, seed)) for name, policy in policies.items()}
    best = outcomes["oracle"].busy
    print(f"{len(tasks)} jobs on {CARDS} cards; lower bound {bound:.0f} s of virtual time")
    print("policy        makespan  /bound   busy  /oracle  loads     p95      gap")
    for name, found in outcomes.items():
        print(row(name, found, bound, best))
    return {
        name: {**asdict(found), "to_bound": found.makespan / bound, "to_oracle": found.busy / best}
        for name, found in outcomes.items()
    }


def row(name: str, found: Outcome, bound: float, best: float) -> str:
    ratios = f"{found.makespan / bound:7.3f} {found.busy:6.1%} {found.busy / best:8.3f}"
    times = f"{found.p95:6.0f}s {found.gap * 1e3:6.1f}ms"
    return f"{name:12} {found.makespan:8.0f}s {ratios} {found.loads:6d} {times}"


def ours(tasks: list[Task], seed: int) -> VirtualFleet:
    """The scheduler of the service."""
    fleet, scheduler = VirtualFleet(CARDS, MEMORY), Scheduler(max_attempts=1)
    by_shard = {task.work.shard_id: task for task in tasks}

    def feed(*events: InstanceUp | JobAdded | RunEnded | ShardDone) -> None:
        for event in events:
            for told in scheduler.handle(event, fleet.now):
                assert isinstance(told, RunShard)
                fleet.send(int(told.instance_id), by_shard[told.shard_id])

    for card in range(CARDS):
        feed(InstanceUp(instance_id=str(card), vram=MEMORY))
    feed(JobAdded(works=[task.work for task in tasks]))
    while run := fleet.step():
        shard = run.task.work.shard_id
        seconds = run.ended - run.begun
        feed(RunEnded(shard_id=shard, instance_id=str(run.card), seconds=seconds), ShardDone(shard_id=shard))
    return fleet


def first_in_first_out(tasks: list[Task], seed: int) -> VirtualFleet:
    """Whichever card is free takes the oldest: no thought of what it holds."""
    fleet, waiting = VirtualFleet(CARDS, MEMORY), list(reversed(tasks))
    for card in list(range(CARDS)) * 2:
        if waiting:
            fleet.send(card, waiting.pop())
    while run := fleet.step():
        if waiting:
            fleet.send(run.card, waiting.pop())
    return fleet


def round_robin(tasks: list[Task], seed: int) -> VirtualFleet:
    """Dealt out in advance, one card after the other."""
    return dealt(tasks, [index % CARDS for index in range(len(tasks))])


def at_random(tasks: list[Task], seed: int) -> VirtualFleet:
    rng = random.Random(seed)
    return dealt(tasks, [rng.randrange(CARDS) for _ in tasks])


def oracle(tasks: list[Task], seed: int) -> VirtualFleet:
    """Whole models to the least loaded card, longest first; a model longer than its fair share is split."""
    by_model: dict[str, list[Task]] = defaultdict(list)
    for task in tasks:
        by_model[task.work.model].append(task)
    share = sum(task.run for task in tasks) / CARDS
    loads, placed = [0.0] * CARDS, [list[Task]() for _ in range(CARDS)]
    chunks = [chunk for found in by_model.values() for chunk in split(found, share / 4)]
    for chunk in sorted(chunks, key=lambda chunk: -sum(task.run for task in chunk)):
        seconds = sum(task.run for task in chunk)
        model, load = chunk[0].work.model, chunk[0].load
        card = min(
            range(CARDS),
            key=lambda card: loads[card] + (0 if any(t.work.model == model for t in placed[card]) else load),
        )
        loads[card] += seconds + (0 if any(t.work.model == model for t in placed[card]) else load)
        placed[card].extend(chunk)
    fleet = VirtualFleet(CARDS, MEMORY)
    for card, found in enumerate(placed):
        for task in sorted(found, key=lambda task: task.work.model):
            fleet.send(card, task)
    while fleet.step():
        pass
    return fleet


def split(tasks: list[Task], limit: float) -> list[list[Task]]:
    """Chunks of at most `limit` seconds, longest tasks first."""
    chunks: list[list[Task]] = []
    room = 0.0
    for task in sorted(tasks, key=lambda task: -task.run):
        if not chunks or task.run > room:
            chunks.append([])
            room = limit
        chunks[-1].append(task)
        room -= task.run
    return chunks


def dealt(tasks: list[Task], cards: list[int]) -> VirtualFleet:
    fleet = VirtualFleet(CARDS, MEMORY)
    for task, card in zip(tasks, cards, strict=True):
        fleet.send(card, task)
    while fleet.step():
        pass
    return fleet


def four_pictures(tasks: list[Task]) -> float:
    """Seconds of four pictures of one job on four idle, warm cards, in units of one picture."""
    template = next(task for task in tasks if task.work.model == "flux-1-schnell")

    def makespan(n: int) -> float:
        fleet, scheduler = VirtualFleet(4, MEMORY), Scheduler(max_attempts=1)
        task = replace(template, run=template.work.run_seconds)
        for gpu in fleet.gpus:
            gpu.use(task.work)
            scheduler.handle(InstanceUp(instance_id=str(gpu.index), vram=MEMORY), 0.0)
            scheduler.cards[str(gpu.index)].held[task.work.model] = task.work
        works = [replace(task.work, shard_id=f"j-{index}", job_id="j") for index in range(n)]
        for told in scheduler.handle(JobAdded(works=works), 0.0):
            assert isinstance(told, RunShard)
            fleet.send(int(told.instance_id), task)
        while fleet.step():
            pass
        return max(run.ended for run in fleet.runs)

    ratio = makespan(4) / makespan(1)
    print(f"n=4 on four idle cards: {ratio:.2f} times one picture")
    return ratio


def decision(waiting: int) -> dict[str, float]:
    """Milliseconds of one decision (a run ends, the next begins), and bytes per waiting shard."""
    rng = random.Random(waiting)
    works = mixed_jobs(waiting, rng)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    scheduler = Scheduler(max_attempts=1)
    for card in range(CARDS):
        scheduler.handle(InstanceUp(instance_id=str(card), vram=MEMORY), 0.0)
    scheduler.handle(JobAdded(works=works), 0.0)
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    times = []
    for index in range(400):
        gpu = scheduler.cards[str(index % CARDS)]
        shard = gpu.assigned[0].work.shard_id
        begun = time.perf_counter()
        scheduler.handle(RunEnded(shard_id=shard, instance_id=gpu.id, seconds=1.0), float(index))
        times.append(time.perf_counter() - begun)
        scheduler.handle(ShardDone(shard_id=shard), float(index))
    median = sorted(times)[len(times) // 2] * 1e3
    print(f"{waiting:7d} waiting: {median:.3f} ms per decision, {memory / waiting:.0f} bytes per shard")
    return {"waiting": waiting, "milliseconds": median, "bytes_per_shard": memory / waiting}


if __name__ == "__main__":
    main()
