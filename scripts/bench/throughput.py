"""Measures how many images per second the service passes on when instances cost nothing.

    .venv/bin/python -m scripts.bench.throughput [--quick] [--old-way] [--seconds 8] [--pin]
    .venv/bin/python -m scripts.bench.throughput --job-seconds 1

32 null instances (`null_instances.py`) answer every prompt at once with a picture of 64 kB or 1.5 MB. 1, 16
and 128 callers ask for an image each, and for the next one when they have it, as base64 or as a URL. For each
combination: images per second, percentiles of their latency, and CPU milliseconds per image of every process,
and of every thread of service or relay. In the same run, as references: a bare websocket client at the null
instances; a floor, which does per image what cannot be left out: two transactions that are flushed to disk,
and one PUT to the same S3 server; and a relay (`relay.py`), which talks to callers and instances as the
service does, and does nothing else.

With `--pin` the processes of service and relay have one core, and everything else the others. With
`--job-seconds` each prompt takes so long, and two callers for each instance keep it busy: images per second
of each way as a share of those of the bare client.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from PIL import Image

from scripts.bench.report import save_results
from scripts.bench.throughput_ways import Make, bare_caller, floor_caller, relay_caller, service_caller
from scripts.child_servers import ServerProcess, create_api_key, run_server, run_service, run_simulator

INSTANCES = 32
CALLERS = (1, 16, 128)
WAYS = ("service, b64_json", "service, url", "relay", "bare client", "floor")
#: What is measured where instances are busy, unless other ways are chosen; the first is the reference.
BUSY_WAYS = ("bare client", "service, url", "service, b64_json")
#: Side of a square picture of noise, by what its file has: PNG cannot compress noise.
PICTURES = {"64 kB": 146, "1.5 MB": 707}
WARM_UP_SECONDS = 2.0
#: Processes of the null instances; one would limit what many callers get.
NULL_PROCESSES = 4


@dataclass(frozen=True, slots=True)
class Sample:
    """CPU seconds of processes, and of the threads of the service, at one time."""

    processes: Mapping[str, float]
    threads: Mapping[str, float]


@dataclass(slots=True)
class Measured:
    """The seconds of each image, and what their making cost."""

    seconds: list[float] = field(default_factory=list)
    elapsed: float = 0.0
    before: Sample | None = None
    after: Sample | None = None

    def row(self) -> dict[str, Any]:
        """Return the figures of the table."""
        ordered = sorted(self.seconds)
        count = len(ordered)

        def percentile(share: float) -> float:
            return round(ordered[min(count - 1, int(share * count))] * 1000, 1)

        found: dict[str, Any] = {
            "images": count,
            "per_second": round(count / self.elapsed, 1),
            "p50_ms": percentile(0.5),
            "p95_ms": percentile(0.95),
            "p99_ms": percentile(0.99),
        }
        if self.before and self.after:
            found["cpu_ms"] = _per_image(self.before.processes, self.after.processes, count)
            found["threads_cpu_ms"] = _per_image(self.before.threads, self.after.threads, count)
        return found


def _per_image(before: Mapping[str, float], after: Mapping[str, float], count: int) -> dict[str, float]:
    spent = {name: (after[name] - before.get(name, 0.0)) * 1000 / count for name in after}
    return {
        name: round(ms, 2) for name, ms in sorted(spent.items(), key=lambda item: -item[1]) if ms >= 0.005
    }


def sample(service: int, measured: int, null: Sequence[int]) -> Sample:
    """Return the CPU seconds so far of service or relay, S3 server, null instances and this process.

    `measured` is the id of the process of the service or the relay. The S3 server is a child of `service`.
    """
    process = psutil.Process(measured)
    processes = {
        "service" if measured == service else "relay": _cpu_seconds(process),
        "S3": sum(_cpu_seconds(child) for child in psutil.Process(service).children(recursive=True)),
        "instances": sum(_cpu_seconds(psutil.Process(pid)) for pid in null),
        "callers": _cpu_seconds(psutil.Process()),
    }
    threads: defaultdict[str, float] = defaultdict(float)
    for thread in process.threads():
        name = Path(f"/proc/{measured}/task/{thread.id}/comm").read_text().strip()
        threads["loop" if thread.id == measured else name] += thread.user_time + thread.system_time
    return Sample(processes, threads)


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


async def drive(
    make: Make,
    callers: int,
    seconds: float,
    take_sample: Callable[[], Sample] | None = None,
    warm_up: float = WARM_UP_SECONDS,
) -> Measured:
    """Have callers make images one after the other; those count that end in the time after the warm-up."""
    found = Measured(elapsed=seconds)
    started = time.monotonic() + warm_up
    ends = started + seconds

    async def call(number: int) -> None:
        while (begun := time.monotonic()) < ends:
            await make(number)
            if started <= (ended := time.monotonic()) < ends:
                found.seconds.append(ended - begun)

    async def take_samples() -> None:
        await asyncio.sleep(started - time.monotonic())
        found.before = take_sample() if take_sample else None
        await asyncio.sleep(ends - time.monotonic())
        found.after = take_sample() if take_sample else None

    await asyncio.gather(take_samples(), *(call(number) for number in range(callers)))
    if not found.seconds:
        raise RuntimeError(f"no image has ended in {seconds:g} s: give --seconds a larger number")
    return found


def make_picture(path: Path, side: int) -> bytes:
    """Write a PNG of noise and return it."""
    image = Image.frombytes("RGB", (side, side), random.Random(side).randbytes(side * side * 3))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    path.write_bytes(buffer.getvalue())
    return buffer.getvalue()


@contextmanager
def run_null_instances(
    facts_from: str, picture: Path, *, old_way: bool, job_seconds: float = 0.0
) -> Iterator[tuple[list[int], list[str]]]:
    """Run the null instances; yields the ids of their processes, and their URLs."""
    count = INSTANCES // NULL_PROCESSES
    command = [sys.executable, "-m", "scripts.bench.null_instances", "--facts-from", facts_from]
    command += ["--count", str(count), "--picture", str(picture), "--job-seconds", str(job_seconds)]
    command += ["--old-way"] if old_way else []
    with ExitStack() as stack:
        processes = [
            stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE))
            for _ in range(NULL_PROCESSES)
        ]
        for process in processes:
            stack.callback(process.terminate)
        ports = [
            port for process in processes if process.stdout for port in process.stdout.readline().split()
        ]
        if len(ports) != count * NULL_PROCESSES:
            raise RuntimeError("the null instances did not start")
        yield [process.pid for process in processes], [f"http://127.0.0.1:{int(port)}" for port in ports]


def pin_to_one_core(service: int, relay: int | None) -> None:
    """Give the processes of service and relay one core, and all children and this process the others."""
    first, *others = sorted(os.sched_getaffinity(0))
    for child in psutil.Process(service).children(recursive=True):
        set_affinity(child.pid, others)
    set_affinity(os.getpid(), others)
    set_affinity(service, [first])
    if relay is not None:
        set_affinity(relay, [first])


def set_affinity(pid: int, cores: Sequence[int]) -> None:
    """Give all threads of a process these cores; later threads and children inherit them."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), cores)


def find_s3(data: Path) -> dict[str, str]:
    """Return endpoint and credentials of the S3 server that the service has started."""
    ports = json.loads((data / "s3" / "ports.json").read_text())
    (identity, *_) = json.loads((data / "s3" / "identities.json").read_text())["identities"]
    (credentials, *_) = identity["credentials"]
    return {
        "endpoint": f"http://127.0.0.1:{ports['s3']}",
        "access_key": credentials["accessKey"],
        "secret_key": credentials["secretKey"],
    }


@dataclass(frozen=True, slots=True)
class Bed:
    """A service with null instances that are up, and a relay if it is measured."""

    service: ServerProcess
    relay: ServerProcess | None
    key: str
    s3: Mapping[str, str]
    null_pids: Sequence[int]
    urls: list[str]
    picture: bytes
    directory: Path

    def ways(self, callers: int) -> dict[str, AbstractAsyncContextManager[Make]]:
        """Return what makes an image, by name."""
        ways: dict[str, AbstractAsyncContextManager[Make]] = {
            "service, b64_json": service_caller(self.service.url, self.key, "b64_json"),
            "service, url": service_caller(self.service.url, self.key, "url"),
            "bare client": bare_caller(self.urls, callers),
            "floor": floor_caller(self.directory, self.s3, self.picture),
        }
        if self.relay is not None:
            ways["relay"] = relay_caller(self.relay.url)
        return ways

    def sampler(self, way: str) -> Callable[[], Sample] | None:
        """Return what samples the CPU while this way is measured; None for a way within this process."""
        relay = self.relay.pid if self.relay else None
        measured = {"service": self.service.pid, "relay": relay}.get(way.partition(",")[0])
        return partial(sample, self.service.pid, measured, self.null_pids) if measured else None


@contextmanager
def run_bed(options: argparse.Namespace, side: int, directory: Path) -> Iterator[Bed]:
    """Run the service and its instances, whose pictures have this side."""
    picture_file = directory / f"picture-{side}.png"
    picture = make_picture(picture_file, side)
    with ExitStack() as stack:
        simulator = stack.enter_context(run_simulator(directory / f"simulator-{side}"))
        null_pids, urls = stack.enter_context(
            run_null_instances(
                simulator.url, picture_file, old_way=options.old_way, job_seconds=options.job_seconds
            )
        )
        data = directory / f"service-{side}"
        environment = {
            "PIXELFACTORY_DATA_DIR": str(data),
            "PIXELFACTORY_LOG_LEVEL": "WARNING",
            "PIXELFACTORY_MODELS_DIR": str(directory / "weights"),
        }
        service = stack.enter_context(
            run_service("--instances", ",".join(urls), log=data / "log", environment=environment)
        )
        key, s3 = create_api_key(data), find_s3(data)
        relay = None
        if "relay" in options.ways:
            command = [sys.executable, "-m", "scripts.bench.relay", "--instances", ",".join(urls)]
            access = {f"RELAY_S3_{name.upper()}": value for name, value in s3.items()}
            log = directory / f"relay-{side}.log"
            relay = stack.enter_context(run_server(command, "/readyz", log=log, environment=access))
        if options.pin:
            for pid in null_pids:
                set_affinity(pid, sorted(os.sched_getaffinity(0))[1:])
            pin_to_one_core(service.pid, relay.pid if relay else None)
        yield Bed(service, relay, key, s3, null_pids, urls, picture, directory)


async def measure(options: argparse.Namespace, kind: str, bed: Bed) -> dict[str, Any]:
    """Return the rows of one size of pictures."""
    rows: dict[str, Any] = {}
    for callers in options.callers:
        for name in options.ways:
            async with bed.ways(callers)[name] as make:
                row = (await drive(make, callers, options.seconds, bed.sampler(name), options.warm_up)).row()
            rows[f"{kind}, {callers} callers, {name}"] = row
            print_row(f"{kind:>7} {callers:>4} callers  {name:18}", row)
    return rows


async def measure_share(options: argparse.Namespace, kind: str, bed: Bed) -> dict[str, Any]:
    """Return the images per second of each way, and their ratio to those of the bare client.

    Instances are always busy, because each has a prompt that waits.
    """
    callers, counts = 2 * len(bed.urls), {}
    for name in dict.fromkeys((BUSY_WAYS[0], *options.ways)):
        async with bed.ways(callers)[name] as make:
            measured = await drive(make, callers, options.seconds, warm_up=options.warm_up)
        counts[name] = len(measured.seconds)
    bare = counts[BUSY_WAYS[0]]
    found = {
        name: {"per_second": round(count / options.seconds, 2), "share": round(count / bare, 3)}
        for name, count in counts.items()
    }
    for name, row in found.items():
        print(f"{name:18} {row['per_second']:7.2f}/s  {row['share']:.3f} of the bare client", flush=True)
    return {kind: {"job_seconds": options.job_seconds, "callers": callers, **found}}


def print_row(title: str, row: Mapping[str, Any]) -> None:
    cpu = "  ".join(f"{name} {ms:g}" for name, ms in row.get("cpu_ms", {}).items())
    print(
        f"{title} {row['per_second']:7.1f}/s  p50 {row['p50_ms']:7.1f}  p95 {row['p95_ms']:7.1f}"
        f"  p99 {row['p99_ms']:7.1f} ms  {'CPU ms per image: ' + cpu if cpu else ''}",
        flush=True,
    )


def read_options(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the options, with what is measured where the command line does not say it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--quick", action="store_true", help="2 seconds of each and small pictures unless given, not saved"
    )
    parser.add_argument("--old-way", action="store_true", help="instances without the node pack")
    parser.add_argument("--pin", action="store_true", help="service and relay on one core")
    parser.add_argument("--job-seconds", type=float, default=0.0, help="that a prompt takes (%(default)s)")
    parser.add_argument("--seconds", type=float, help="of each combination, above 0 (8)")
    parser.add_argument(
        "--warm-up",
        type=float,
        help=f"seconds before it ({WARM_UP_SECONDS:g}; three jobs with --job-seconds)",
    )
    parser.add_argument(
        "--callers", type=int, nargs="+", help=f"how many, 1 or more {CALLERS}; not with --job-seconds"
    )
    parser.add_argument(
        "--pictures", nargs="+", choices=PICTURES, help="sizes of files (both; 1.5 MB with --job-seconds)"
    )
    parser.add_argument(
        "--ways", nargs="+", choices=WAYS, help="of making images (all; without relay and floor if busy)"
    )
    options = parser.parse_args(words)
    if options.pin and len(os.sched_getaffinity(0)) < 2:
        parser.error("--pin: service and relay, and everything else, need a core each; this machine has one")
    for name in ("job_seconds", "warm_up"):
        if (getattr(options, name) or 0) < 0:
            parser.error(f"--{name.replace('_', '-')}: must be 0 or more (got {getattr(options, name):g})")
    if options.seconds is not None and options.seconds <= 0:
        parser.error(f"--seconds: must be above 0 (got {options.seconds:g})")
    if min(options.callers or (1,)) < 1:
        parser.error(f"--callers: must be 1 or more (got {min(options.callers)})")
    is_busy = options.job_seconds > 0
    if is_busy and options.callers:
        parser.error("--callers: with --job-seconds there are two for each instance; leave it out")
    if is_busy and "floor" in (options.ways or ()):
        parser.error("--ways: floor runs no prompt, which --job-seconds is for; leave it out")
    usual = ["64 kB"] if options.quick else ["1.5 MB"] if is_busy else [*PICTURES]
    options.pictures = options.pictures or usual
    options.ways = options.ways or (BUSY_WAYS if is_busy else WAYS)
    options.callers = options.callers or CALLERS
    options.seconds = options.seconds or (2.0 if options.quick else 8.0)
    if options.warm_up is None:
        options.warm_up = 3 * options.job_seconds if is_busy else WARM_UP_SECONDS
    return options


def main() -> None:
    options = read_options()
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as directory:
        for kind in options.pictures:
            with run_bed(options, PICTURES[kind], Path(directory)) as bed:
                measure_kind = measure_share if options.job_seconds else measure
                rows |= asyncio.run(measure_kind(options, kind, bed))
    if not options.quick:
        name = "throughput" + "_old_way" * options.old_way + "_one_core" * options.pin
        name += "_busy" * bool(options.job_seconds)
        save_results(name, {"instances": INSTANCES, "cores": os.cpu_count(), "rows": rows})


if __name__ == "__main__":
    main()
