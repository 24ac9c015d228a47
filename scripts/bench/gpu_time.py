"""How long saving results keeps a real ComfyUI from its next prompt: python -m scripts.bench.gpu_time

Each graph makes a photograph-like image, "samples" for a second, and ends in one of four ways:

    nothing    an output node that does nothing
    file       SaveImage (or SaveVideo), fetched by `/view` and put into object storage
    socket     SaveImageWebsocket, put into object storage
    delivery   the node of our pack, which encodes in threads and stores by a presigned request

Two prompts are queued at any time, as the service does, or one (`--depth 1`). Blocked time is the run time of
a prompt by the server's clock, less that of "nothing"; the gap is the time from `execution_success` to the
next `execution_start`. `node_ms_per_prompt` is what the pack's node itself takes of the graph's thread.
Prints JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import psutil

from comfy_instances.process.child import find_free_port
from comfy_instances.protocol.delivery import DeliveredFile, DeliveryState, replace_savers
from comfy_instances.session.deliveries import UploadGrant
from comfy_instances.session.session import InstanceSession, SessionSettings
from orchestrator.storage.embedded_server import EmbeddedS3
from orchestrator.storage.object_store import ObjectStore
from scripts.bench.gpu_time_nodes import NODES_SOURCE

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 240.0
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


CASES = (
    Case("1024x1024", 1024, 1024, 1, 16),
    Case("2048x2048", 2048, 2048, 1, 6),
    Case("4 of 1024x1024", 1024, 1024, 4, 6),
    Case("81 frames of 832x480", 832, 480, 81, 2, is_video=True),
)


def build_graph(case: Case, way: str, number: int, seconds: float) -> dict[str, Any]:
    """Return the graph of one prompt; each samples anew, from the same image."""
    photo = {"width": case.width, "height": case.height, "count": case.count}
    graph: dict[str, Any] = {
        "photo": {"class_type": "BenchPhoto", "inputs": photo},
        "sample": {
            "class_type": "BenchSampling",
            "inputs": {"images": ["photo", 0], "seconds": seconds, "nonce": number},
        },
    }
    source = ["sample", 0]
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


class Bench:
    """Runs prompts of one way and collects what they took."""

    def __init__(self, session: InstanceSession, store: ObjectStore, http: aiohttp.ClientSession) -> None:
        self._session, self._store, self._http = session, store, http
        self._bytes, self._node_seconds = 0, 0.0

    async def run_case(self, case: Case, way: str, seconds: float, depth: int) -> dict[str, Any]:
        """Run all prompts, `depth` of them in the queue; return the figures."""
        await self._run_prompt(case, way, -1, 0.0, asyncio.Semaphore(1), [])  # fills caches
        self._bytes, self._node_seconds = 0, 0.0
        slots, timings = asyncio.Semaphore(depth), list[tuple[str, float, float]]()
        cpu, started = cpu_seconds(), time.monotonic()
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
            "gap_ms": round(statistics.median(gaps(history)), 1),
            "mean_gap_ms": round(statistics.fmean(gaps(history)), 1),
            "node_ms_per_prompt": round(1000 * self._node_seconds / case.prompts, 2),
            "cpu_seconds_per_prompt": round((cpu_seconds() - cpu) / case.prompts, 3),
            "megabytes_per_prompt": round(self._bytes / case.prompts / 1e6, 2),
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
        row["throughput_share"] = round(row["prompts_per_minute"] / nothing["prompts_per_minute"], 3)


async def wait_until_up(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the server answers. Raises RuntimeError with the end of its log."""
    deadline = time.monotonic() + START_SECONDS
    async with aiohttp.ClientSession(url) as http:
        while time.monotonic() < deadline and process.poll() is None:
            try:
                async with http.get("/system_stats") as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientError:
                await asyncio.sleep(0.2)
    text = await asyncio.to_thread(log.read_text)
    raise RuntimeError(f"ComfyUI did not start: {text[-2000:]}")


def start_comfyui(folder: Path, base: Path, port: int, more: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start the installed ComfyUI with our pack and the nodes of this benchmark."""
    nodes = base / "custom_nodes"
    nodes.mkdir(parents=True)
    (nodes / "pixel_factory").symlink_to(ROOT / "custom_nodes" / "pixel_factory")
    (nodes / "websocket_image_save.py").symlink_to(
        folder / "source" / "custom_nodes" / "websocket_image_save.py"
    )
    (nodes / "bench_nodes.py").write_text(NODES_SOURCE)
    command = [str(folder / "venv" / "bin" / "python"), str(folder / "source" / "main.py")]
    command += ["--disable-auto-launch", "--disable-api-nodes", "--disable-metadata"]
    command += ["--database-url", "sqlite:///:memory:", "--port", str(port), "--base-directory", str(base)]
    return subprocess.Popen(
        [*command, *more], stdout=(base / "log").open("wb"), stderr=subprocess.STDOUT, env=os.environ
    )


async def run(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Run all cases in all ways."""
    with tempfile.TemporaryDirectory(prefix="gpu-time-") as directory:
        base, port = Path(directory) / "comfyui", find_free_port()
        url = f"http://127.0.0.1:{port}"
        process = start_comfyui(options.comfyui, base, port, options.more)
        server = EmbeddedS3(Path(directory) / "s3")
        try:
            await server.start()
            await wait_until_up(url, process, base / "log")
            return await run_cases(url, server, options)
        finally:
            process.kill()
            process.wait()
            await server.stop()


async def run_cases(url: str, server: EmbeddedS3, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Run the chosen cases against a server that is up."""
    rows: list[dict[str, Any]] = []
    async with (
        ObjectStore(server.bucket_config("bench")) as store,
        # A busy machine must not be taken for a lost socket.
        InstanceSession(url, settings=SessionSettings(silence_s=120.0)) as session,
        aiohttp.ClientSession(url) as http,
    ):
        await store.ensure_bucket()
        await session.wait_connected(30)
        bench = Bench(session, store, http)
        for case in CASES:
            if options.case and options.case not in case.name:
                continue
            for way in WAYS:
                if way == "socket" and case.is_video:
                    continue
                rows.append(await bench.run_case(case, way, options.seconds, options.depth))
                print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    add_shares(rows)
    return rows


def read_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    home = Path(os.environ.get("PIXELFACTORY_COMFYUI_DIR", Path.home() / ".local/share/pixelfactory/comfyui"))
    parser.add_argument("--comfyui", type=Path, default=home, help="folder of an installed ComfyUI")
    parser.add_argument("--depth", type=int, default=2, help="prompts in the queue")
    parser.add_argument("--seconds", type=float, default=1.0, help="simulated sampling of each prompt")
    parser.add_argument("--case", default="", help="only cases with this text in their name")
    parser.add_argument("more", nargs="*", default=["--cpu"], help="options of ComfyUI, after --")
    return parser.parse_args(arguments)


def main() -> None:
    options = read_options()
    rows = asyncio.run(run(options))
    settings: Mapping[str, Any] = {
        "depth": options.depth,
        "seconds": options.seconds,
        "comfyui": options.more,
    }
    print(json.dumps({**settings, "processors": os.cpu_count(), "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
