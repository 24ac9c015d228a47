"""The part of `gpu_time` that samples with a network: the files, and the busy share of the graphics card."""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from comfy_instances.hardware.gpus import Gpu, discover_gpus, read_gpu_stats
from scripts.bench.gpu_time_weights import NETWORK_FILE

ROOT = Path(__file__).resolve().parents[2]
KINDS = ("bf16", "fp8", "mxfp8", "nvfp4")
#: Kinds that only cards of this compute capability multiply.
FP4_KINDS = ("mxfp8", "nvfp4")
FP4_CAPABILITY = (10, 0)
#: Time between two readings of the load, in seconds. Drivers average over up to a second.
READ_SECONDS = 0.2


@dataclass(frozen=True)
class NetworkSize:
    """Columns and numbers of blocks."""

    width: int
    double: int
    single: int


FULL, SMALL = NetworkSize(3072, 19, 38), NetworkSize(256, 2, 2)


@dataclass
class BusyMeter:
    """Collects how busy a graphics card is."""

    gpu: Gpu | None
    readings: list[float] = field(default_factory=list)

    @asynccontextmanager
    async def measure(self) -> AsyncIterator[None]:
        """Read the load while the block runs."""
        self.readings.clear()
        task = asyncio.create_task(self._read())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _read(self) -> None:
        while self.gpu is not None:
            stats = await asyncio.to_thread(read_gpu_stats, self.gpu.pci_id)
            if stats is not None and stats.utilisation is not None:
                self.readings.append(stats.utilisation)
            await asyncio.sleep(READ_SECONDS)

    @property
    def busy_share(self) -> float | None:
        """The mean of the readings, 0 to 1; None without any."""
        return round(statistics.fmean(self.readings), 3) if self.readings else None


def find_gpu(*, may_use_cpu: bool) -> Gpu | None:
    """Return the first graphics card. Raises SystemExit if there is none and the CPU will not do."""
    gpus = discover_gpus(cuda_visible_devices=os.environ.get("CUDA_VISIBLE_DEVICES"))
    if gpus:
        return gpus[0]
    if may_use_cpu:
        return None
    raise SystemExit(
        "--flux needs an NVIDIA GPU, and NVML lists none: run it on a machine with one, or add --small, which"
        " tries everything but the speed on the CPU with a network of four blocks"
    )


def reason_to_skip(kind: str, gpu: Gpu | None) -> str:
    """Return why a kind of weights would not be measured at its speed on this card; empty if it would."""
    if kind in FP4_KINDS and gpu is not None and gpu.capability < FP4_CAPABILITY:
        major, minor = gpu.capability
        return f"{gpu.name} (compute capability {major}.{minor}) does not multiply {kind}"
    return ""


def make_weights(comfyui: Path, models: Path, size: NetworkSize) -> None:
    """Write the network in 16 bits and the VAE. Raises CalledProcessError."""
    source = comfyui / "source"
    subprocess.run(
        [
            *(str(comfyui / "venv" / "bin" / "python"), str(ROOT / "scripts/bench/gpu_time_weights.py")),
            *(str(models), str(size.width), str(size.double), str(size.single)),
        ],
        check=True,
        cwd=source,
        env={**os.environ, "PYTHONPATH": str(source)},
    )


def kind_file(kind: str) -> str:
    """Return the name of the network's file of a kind."""
    return Path(NETWORK_FILE).name if kind == "bf16" else f"bench_flux_{kind}.safetensors"


def make_kind(comfyui: Path, models: Path, kind: str) -> str:
    """Return the name of the network's file of a kind, which is quantized from the one in 16 bits.

    Raises CalledProcessError.
    """
    wide = models / NETWORK_FILE
    if kind == "bf16":
        return wide.name
    narrow = wide.with_name(kind_file(kind))
    words = ("weights", "quantize", str(wide), str(narrow), "--format", kind, "--overwrite")
    program = Path(sys.executable).with_name("pixelfactory")
    environment = {**os.environ, "PIXELFACTORY_COMFYUI_DIR": str(comfyui)}
    subprocess.run([str(program), *words], check=True, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    return narrow.name
