"""What `gpu_time` runs: cases, their graphs in each way, and the measurement of one."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from uuid import uuid4

import aiohttp
import psutil

from comfy_instances.protocol.delivery import DeliveredFile, DeliveryState, replace_savers
from comfy_instances.session.deliveries import UploadGrant
from comfy_instances.session.session import InstanceSession
from orchestrator.storage.object_store import ObjectStore
from scripts.bench.gpu_time_flux import BusyMeter
from scripts.bench.gpu_time_weights import POOLED_WIDTH, TEXT_WIDTH, VAE_FILE

WAYS = ("nothing", "file", "socket", "delivery")


@dataclass(frozen=True)
class Case:
    """What is made, and how many prompts are run."""

    name: str
    width: int
    height: int
    count: int
    prompts: int
    is_video: bool = False
    #: File of a network that samples, in place of the simulation.
    network: str = ""
    steps: int = 4


def build_graph(case: Case, way: str, number: int, seconds: float) -> dict[str, Any]:
    """Return the graph of one prompt; each samples anew."""
    graph = _network_graph(case, number) if case.network else _simulated_graph(case, number, seconds)
    source = ["images", 0]
    if case.is_video:
        graph["video"] = {"class_type": "CreateVideo", "inputs": {"images": source, "fps": 16.0}}
        source = ["video", 0]
    if way == "nothing":
        end = {"class_type": "BenchSink", "inputs": {"value": source}}
    elif way == "socket":
        end = {"class_type": "SaveImageWebsocket", "inputs": {"images": source}}
    elif case.is_video:
        inputs = {"video": source, "filename_prefix": "bench", "format": "mp4", "codec": "h264"}
        end = {"class_type": "SaveVideo", "inputs": inputs}
    else:
        end = {"class_type": "SaveImage", "inputs": {"images": source, "filename_prefix": "bench"}}
    graph["end"] = end
    return replace_savers(graph, ["end"]) if way == "delivery" else graph


def _simulated_graph(case: Case, number: int, seconds: float) -> dict[str, Any]:
    """Return the nodes that make the same image each time, after some time."""
    photo = {"width": case.width, "height": case.height, "count": case.count}
    sampling = {"images": ["photo", 0], "seconds": seconds, "nonce": number}
    return {
        "photo": {"class_type": "BenchPhoto", "inputs": photo},
        "images": {"class_type": "BenchSampling", "inputs": sampling},
    }


def _network_graph(case: Case, number: int) -> dict[str, Any]:
    """Return the nodes that sample with a network and decode with its VAE."""
    sampler: dict[str, Any] = {
        "model": ["network", 0],
        "positive": ["text", 0],
        "negative": ["text", 0],
        "latent_image": ["latent", 0],
        "seed": number,
        "steps": case.steps,
        "cfg": 1.0,
        "denoise": 1.0,
        "sampler_name": "euler",
        "scheduler": "simple",
    }
    text = {"width": TEXT_WIDTH, "pooled_width": POOLED_WIDTH}
    latent = {"width": case.width, "height": case.height, "batch_size": case.count}
    loader = {"unet_name": case.network, "weight_dtype": "default"}
    return {
        "network": {"class_type": "UNETLoader", "inputs": loader},
        "vae": {"class_type": "VAELoader", "inputs": {"vae_name": VAE_FILE.rpartition("/")[2]}},
        "text": {"class_type": "BenchText", "inputs": text},
        "latent": {"class_type": "EmptySD3LatentImage", "inputs": latent},
        "sample": {"class_type": "KSampler", "inputs": sampler},
        "images": {"class_type": "VAEDecode", "inputs": {"samples": ["sample", 0], "vae": ["vae", 0]}},
    }


class Bench:
    """Runs prompts of one way and collects what they took."""

    def __init__(
        self, session: InstanceSession, store: ObjectStore, http: aiohttp.ClientSession, meter: BusyMeter
    ) -> None:
        self._session, self._store, self._http, self._meter = session, store, http, meter
        self._bytes, self._node_seconds = 0, 0.0

    async def run_case(self, case: Case, way: str, seconds: float, depth: int) -> dict[str, Any]:
        """Run all prompts, `depth` of them in the queue; return the figures."""
        await self._run_prompt(case, way, -1, 0.0, asyncio.Semaphore(1), [])  # fills caches
        self._bytes, self._node_seconds = 0, 0.0
        slots, timings = asyncio.Semaphore(depth), list[tuple[str, float, float]]()
        cpu, started = cpu_seconds(), time.monotonic()
        async with self._meter.measure():
            await asyncio.gather(
                *(self._run_prompt(case, way, n, seconds, slots, timings) for n in range(case.prompts))
            )
        took = time.monotonic() - started
        history = await self._read_history([prompt_id for prompt_id, _, _ in timings])
        return {
            "case": case.name,
            "way": way,
            "run_ms": round(statistics.median(run for _, run, _ in timings) * 1000, 1),
            "latency_ms": round(statistics.median(latency for _, _, latency in timings) * 1000, 1),
            "prompts_per_minute": round(60 * case.prompts / took, 2),
            "steady_prompts_per_minute": round(steady_rate(history), 2),
            "gap_ms": round(statistics.median(gaps(history)), 1),
            "mean_gap_ms": round(statistics.fmean(gaps(history)), 1),
            "longest_gap_ms": max(gaps(history)),
            "node_ms_per_prompt": round(1000 * self._node_seconds / case.prompts, 2),
            "cpu_seconds_per_prompt": round((cpu_seconds() - cpu) / case.prompts, 3),
            "megabytes_per_prompt": round(self._bytes / case.prompts / 1e6, 2),
            "gpu_busy_share": self._meter.busy_share,
        }

    async def _run_prompt(
        self,
        case: Case,
        way: str,
        number: int,
        seconds: float,
        slots: asyncio.Semaphore,
        timings: list[tuple[str, float, float]],
    ) -> None:
        prompt_id = str(uuid4())
        graph = build_graph(case, way, number + time.time_ns() % 10**9, seconds)
        async with slots:
            started = time.monotonic()
            result = await self._session.run_prompt(prompt_id, graph)
        if way == "delivery":
            await self._collect(prompt_id)
        else:
            for item in result.outputs:
                data = await self._session.fetch_file(item.file) if item.file else item.data
                if data is not None:
                    self._bytes += len(data)
                    await self._store.put(f"outputs/{uuid4().hex}", data, "image/png")
        timings.append((prompt_id, result.gpu_seconds, time.monotonic() - started))

    async def _collect(self, prompt_id: str) -> None:
        async def grant(file: DeliveredFile) -> UploadGrant:
            url, headers = self._store.presign_upload(
                f"outputs/{uuid4().hex}", content_type=file.content_type, md5=file.md5, lifetime=60
            )
            return UploadGrant(url, headers)

        for file in await self._session.deliveries.collect(prompt_id, grant):
            if file.state is not DeliveryState.STORED:
                raise RuntimeError(f"not stored: {file}")
            self._bytes += file.size
            self._node_seconds += file.timings.get("blocked", 0.0)
        await self._session.deliveries.release(prompt_id)

    async def _read_history(self, prompt_ids: Sequence[str]) -> list[tuple[float, float]]:
        """Return the start and the end of each prompt in milliseconds, in order."""
        spans = []
        for prompt_id in prompt_ids:
            async with self._http.get(f"/history/{prompt_id}") as response:
                entry = (await response.json())[prompt_id]
            times = {name: data["timestamp"] for name, data in entry["status"]["messages"]}
            spans.append((times["execution_start"], times["execution_success"]))
        return sorted(spans)


def steady_rate(spans: Sequence[tuple[float, float]]) -> float:
    """Return the prompts a minute from the end of the first to that of the last.

    What a prompt needs after its end, such as the encoding of the last result, is not in it: in a longer run
    it happens beside the next prompts.
    """
    return 60_000 * (len(spans) - 1) / (spans[-1][1] - spans[0][1])


def gaps(spans: Sequence[tuple[float, float]]) -> list[float]:
    """Return the milliseconds from the end of each prompt to the start of the next one."""
    return [later[0] - earlier[1] for earlier, later in pairwise(spans)]


def cpu_seconds() -> float:
    """Return the processor time of this process and its children."""
    me = psutil.Process()
    total = 0.0
    for process in (me, *me.children(recursive=True)):
        times = process.cpu_times()
        total += times.user + times.system
    return total


def add_shares(rows: list[dict[str, Any]]) -> None:
    """Add what each way costs against "nothing" of the same case."""
    base = {row["case"]: row for row in rows if row["way"] == "nothing"}
    for row in rows:
        nothing = base[row["case"]]
        row["blocked_ms"] = round(row["run_ms"] - nothing["run_ms"], 1)
        for share, rate in (
            ("throughput_share", "prompts_per_minute"),
            ("steady_share", "steady_prompts_per_minute"),
        ):
            row[share] = round(row[rate] / nothing[rate], 3)
