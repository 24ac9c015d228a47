"""How long saving results keeps a real ComfyUI from its next prompt: python -m scripts.bench.gpu_time

Each graph makes a photograph-like image, "samples" for a second, and ends in one of four ways:

    nothing    an output node that does nothing
    file       SaveImage (or SaveVideo), fetched by `/view` and put into object storage
    socket     SaveImageWebsocket, put into object storage
    delivery   the node of our pack, which encodes in threads and stores by a presigned request

Two prompts are queued at any time, as the service does, and then one (`--depth 1`). Blocked time is the run
time of a prompt by the clock of the server, less that of "nothing"; the gap is the time from
`execution_success` to the next `execution_start`. `node_ms_per_prompt` is what the node of the pack itself
takes of the thread of the graph.

`--flux bf16,fp8,nvfp4` samples with a network of the size of FLUX.1 and random weights instead, on a GPU, and
adds how busy NVML finds it. The files are written and quantized first: 24 GB, and those of one other kind.

A machine with a GPU uses it, unless `-- --cpu` says otherwise. Prints JSON; a run of all cases also writes it
to results/gpu_time.json (on a GPU gpu_time_card.json, with a network gpu_time_flux.json), and any run to the
file of `--results`. It is written after each case, so that one that fails loses none before it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp

from comfy_instances.hardware.gpus import Gpu
from comfy_instances.protocol.errors import InstanceError
from comfy_instances.session.session import InstanceSession, SessionSettings
from orchestrator.storage.embedded_server import EmbeddedS3
from orchestrator.storage.object_store import ObjectStore
from scripts.bench.gpu_time_flux import (
    FULL,
    KINDS,
    SMALL,
    BusyMeter,
    find_gpu,
    kind_file,
    make_kind,
    make_weights,
    reason_to_skip,
)
from scripts.bench.gpu_time_nodes import NODES_SOURCE
from scripts.bench.gpu_time_runs import WAYS, Bench, Case, add_shares
from scripts.bench.real_instance import run_comfyui
from scripts.bench.report import save_results

#: The node that sends pictures over the socket comes with ComfyUI.
SOCKET_NODE = "websocket_image_save.py"
DEPTHS = (2, 1)
CASES = (
    Case("1024x1024", 1024, 1024, 1, 16),
    Case("2048x2048", 2048, 2048, 1, 16),
    Case("4 of 1024x1024", 1024, 1024, 4, 16),
    Case("81 frames of 832x480", 832, 480, 81, 3, is_video=True),
)
#: Pixels of the width and height of the network's images, of full size and small.
NETWORK_PIXELS, SMALL_PIXELS = 1024, 64


@dataclass
class Results:
    """The rows so far, written after each case."""

    options: argparse.Namespace
    gpu: Gpu | None
    #: Name in the folder of results; empty for a run of some cases.
    name: str
    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, depth: int | None, rows: Sequence[dict[str, Any]]) -> None:
        """Add the rows of a case and write all."""
        self.rows += [row if depth is None else {"depth": depth, **row} for row in rows]
        if self.name:
            save_results(self.name, self.to_json())
        if self.options.results:
            self.options.results.write_text(json.dumps(self.to_json(), indent=1))

    def to_json(self) -> dict[str, Any]:
        """Return what is written."""
        found = {"seconds": self.options.seconds, "comfyui": self.options.more, "rows": self.rows}
        return found if self.gpu is None else {**found, "gpu": self.gpu.name}


@dataclass(frozen=True)
class Bed:
    """A ComfyUI and an object storage that are up."""

    url: str
    server: EmbeddedS3
    meter: BusyMeter


async def run(options: argparse.Namespace, meter: BusyMeter, results: Results) -> None:
    """Run all cases in all ways."""
    with tempfile.TemporaryDirectory(prefix="gpu-time-", dir=options.work) as directory:
        base = Path(directory) / "comfyui"
        models = base / "models"
        if options.flux:
            await asyncio.to_thread(make_weights, options.comfyui, models, SMALL if options.small else FULL)
        by_socket = options.comfyui / "source" / "custom_nodes" / SOCKET_NODE
        nodes = {SOCKET_NODE: by_socket.read_text(), "bench_nodes.py": NODES_SOURCE}
        server = EmbeddedS3(Path(directory) / "s3")
        with run_comfyui(options.comfyui, base, ["--disable-metadata", *options.more], nodes) as instance:
            bed = Bed(instance.url, server, meter)
            try:
                await server.start()
                await (
                    run_flux(bed, models, options, results)
                    if options.flux
                    else run_simulated(bed, options, results)
                )
            finally:
                await server.stop()


async def run_simulated(bed: Bed, options: argparse.Namespace, results: Results) -> None:
    """Run the chosen cases with simulated sampling."""
    cases = [
        replace(case, prompts=min(case.prompts, options.prompts))
        for case in CASES
        if options.case in case.name
    ]
    for depth in options.depths:
        for case in cases:
            results.add(depth, await run_case(bed, case, options, options.seconds, depth))


async def run_flux(bed: Bed, models: Path, options: argparse.Namespace, results: Results) -> None:
    """Run the network in each kind of weights, which exists only meanwhile. A kind that fails is a row."""
    pixels = SMALL_PIXELS if options.small else NETWORK_PIXELS
    for kind in options.flux:
        if reason := reason_to_skip(kind, bed.meter.gpu):
            results.add(None, [{"case": kind, "skipped": reason}])
            continue
        try:
            name = await asyncio.to_thread(make_kind, options.comfyui, models, kind)
            case = Case(
                f"FLUX.1 {kind}", pixels, pixels, 1, options.prompts, network=name, steps=options.steps
            )
            for depth in options.depths:
                results.add(depth, await run_case(bed, case, options, 0.0, depth))
        except (subprocess.CalledProcessError, InstanceError) as error:
            results.add(None, [{"case": kind, "failed": f"{type(error).__name__}: {error}"}])
        finally:
            if kind != "bf16":
                (models / "diffusion_models" / kind_file(kind)).unlink(missing_ok=True)


async def run_case(
    bed: Bed, case: Case, options: argparse.Namespace, seconds: float, depth: int
) -> list[dict[str, Any]]:
    """Run a case in all ways, with `depth` prompts queued."""
    rows: list[dict[str, Any]] = []
    async with (
        ObjectStore(bed.server.bucket_config("bench")) as store,
        # A busy machine must not be taken for a lost socket.
        InstanceSession(bed.url, settings=SessionSettings(silence_s=120.0)) as session,
        aiohttp.ClientSession(bed.url) as http,
    ):
        await store.ensure_bucket()
        await session.wait_connected(30)
        bench = Bench(session, store, http, bed.meter)
        for way in options.ways:
            if way == "socket" and case.is_video:
                continue
            rows.append(await bench.run_case(case, way, seconds, depth))
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    add_shares(rows)
    return rows


def read_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    home = Path(os.environ.get("PIXELFACTORY_COMFYUI_DIR", Path.home() / ".local/share/pixelfactory/comfyui"))
    parser.add_argument("--comfyui", type=Path, default=home, help="folder of an installed ComfyUI")
    parser.add_argument("--depth", type=int, help="prompts in the queue (default: first 2, then 1)")
    parser.add_argument("--seconds", type=float, default=1.0, help="simulated sampling of each prompt")
    parser.add_argument("--case", default="", help="only cases with this text in their name")
    parser.add_argument("--flux", default="", help="kinds of weights of a network, such as bf16,fp8,nvfp4")
    parser.add_argument(
        "--ways", default=",".join(WAYS), help="such as nothing,delivery; the first is nothing"
    )
    parser.add_argument("--results", type=Path, help="file for the results, also those of some cases")
    parser.add_argument("--steps", type=int, default=4, help="of the network")
    parser.add_argument("--prompts", type=int, default=16, help="in each way, at most")
    parser.add_argument("--small", action="store_true", help="a network that a CPU runs, to try the program")
    parser.add_argument("--work", type=Path, help="folder for files: 64 GB with a network of full size")
    parser.add_argument("more", nargs="*", help="options of ComfyUI, after --")
    options = parser.parse_args(arguments)
    options.flux = [kind for kind in options.flux.split(",") if kind]
    if unknown := set(options.flux) - set(KINDS):
        parser.error(f"--flux: unknown {', '.join(sorted(unknown))}; known are {', '.join(KINDS)}")
    options.ways = options.ways.split(",")
    if options.ways[0] != WAYS[0] or set(options.ways) - set(WAYS):
        parser.error(f"--ways: must be {WAYS[0]}, then any of {', '.join(WAYS[1:])}")
    options.depths = (options.depth,) if options.depth else DEPTHS
    return options


def main() -> None:
    options = read_options()
    may_use_cpu = options.small or not options.flux
    gpu = None if may_use_cpu and "--cpu" in options.more else find_gpu(may_use_cpu=may_use_cpu)
    if gpu is None and "--cpu" not in options.more:
        options.more = ["--cpu", *options.more]
    name = "gpu_time_flux" if options.flux else "gpu_time" if gpu is None else "gpu_time_card"
    is_whole = not (options.case or options.depth or options.small) and options.ways == [*WAYS]
    results = Results(options, gpu, name if is_whole else "")
    asyncio.run(run(options, BusyMeter(gpu), results))
    print(json.dumps(results.to_json(), indent=1))


if __name__ == "__main__":
    main()
