"""Builds the command lines and environments with which instances are launched. Pure."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from comfy_instances.hardware.gpus import Gpu
from comfy_instances.hardware.profiles import GpuProfile, select_gpu_profile
from comfy_instances.process.installation import Installation
from comfy_instances.process.installed_packs import PACK_ENVIRONMENT, PackChoice, PackSource, load_no_packs

GIB = 2**30
#: A simulator makes no TLS connections. Without this, the import of aiohttp reads all certificates of the
#: machine's authorities.
SIMULATOR_ENVIRONMENT = {"SSL_CERT_FILE": os.devnull}
#: Flags for every device. The supervisor adds `--port` and `--base-directory` at each start.
COMFYUI_FLAGS = (
    "--listen", "127.0.0.1",
    "--disable-auto-launch",
    "--disable-api-nodes",  # no nodes that send customer data to other companies
    "--disable-metadata",  # output files must not contain our graphs
    "--preview-method", "latent2rgb",  # cheap previews that need no weights
    "--max-upload-size", "4096",  # megabytes; LoRAs of callers are uploaded
    "--database-url", "sqlite:///:memory:",  # otherwise all instances share one file in the checkout
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class LaunchSpec:
    """How to launch one instance. The supervisor adds `--port` and `--base-directory` at each start."""

    id: str
    command: tuple[str, ...]
    #: The instance's base directory, with input, output, temp, user, custom_nodes and log.
    directory: Path
    simulated: bool
    #: Name of the GPU, `cpu` or `simulated`.
    device: str
    environment: Mapping[str, str] = field(default_factory=dict)
    vram_total: int | None = None
    profile: str | None = None
    pci_id: str | None = None
    #: Node packs (files or folders) that this instance loads.
    node_packs: tuple[Path, ...] = ()
    #: Managed packs that it loads, each from a copy of its own: packs write into their folders.
    copied_packs: tuple[PackSource, ...] = ()


def simulator_launch_specs(
    count: int, *, directory: Path, time_scale: float, vram_gb: int, models_dir: Path | None = None
) -> list[LaunchSpec]:
    """Return the specs of `count` simulators, each with its own directory under `directory`.

    They list the files in `models_dir`, and take those of any other name too, except LoRAs of callers.
    """
    options = ["--time-scale", f"{time_scale:g}", "--vram-gb", str(vram_gb)]
    if models_dir is not None:
        options += ["--models-directory", str(models_dir.resolve())]
    return [
        LaunchSpec(
            id=f"sim-{number}",
            command=(sys.executable, "-m", "comfy_instances.simulator", *options),
            directory=(directory / f"sim-{number}").resolve(),
            simulated=True,
            device="simulated",
            environment=SIMULATOR_ENVIRONMENT,
            vram_total=vram_gb * GIB,
        )
        for number in range(count)
    ]


def comfyui_launch_specs(
    installation: Installation,
    *,
    directory: Path,
    models_dir: Path,
    gpus: Sequence[Gpu | None],
    profiles: Sequence[GpuProfile],
    choose_packs: PackChoice = load_no_packs,
) -> list[LaunchSpec]:
    """Return one spec per GPU, a CPU instance for each None, and one CPU instance if `gpus` is empty.

    `choose_packs` names the managed packs that they load.
    """
    packs = installation.pack_sources(choose_packs(installation.packs.packs))
    return [
        _comfyui_launch_spec(
            installation,
            directory=directory / (f"cpu-{number}" if gpu is None else f"gpu-{number}"),
            models_dir=models_dir,
            gpu=gpu,
            profile=select_gpu_profile(gpu, profiles),
            packs=packs,
        )
        for number, gpu in enumerate(gpus or [None])
    ]


def build_comfyui_command(
    installation: Installation, models_dir: Path, profile: GpuProfile, copied_packs: Sequence[PackSource] = ()
) -> tuple[str, ...]:
    """Return ComfyUI's command line without port and base directory."""
    packs = [*(pack.name for pack in installation.node_packs), *(pack.name for pack in copied_packs)]
    allowed = ("--disable-all-custom-nodes", *(("--whitelist-custom-nodes", *packs) if packs else ()))
    models = ("--models-directory", str(models_dir.resolve()))
    return (
        str(installation.packs_python if copied_packs else installation.python),
        str(installation.main),
        *COMFYUI_FLAGS,
        *models,
        *profile.flags,
        *allowed,
    )


def gpu_visibility_env(gpu: Gpu | None) -> dict[str, str]:
    """Return the CUDA variables that limit a process to one GPU, or to none."""
    return {
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": "" if gpu is None else gpu.uuid,
    }


def _comfyui_launch_spec(
    installation: Installation,
    *,
    directory: Path,
    models_dir: Path,
    gpu: Gpu | None,
    profile: GpuProfile,
    packs: tuple[PackSource, ...],
) -> LaunchSpec:
    return LaunchSpec(
        id=directory.name,
        command=build_comfyui_command(installation, models_dir, profile, packs),
        directory=directory.resolve(),
        simulated=False,
        device="cpu" if gpu is None else gpu.name,
        environment={**gpu_visibility_env(gpu), **(PACK_ENVIRONMENT if packs else {})},
        vram_total=None if gpu is None else gpu.memory_total,
        profile=profile.name,
        pci_id=None if gpu is None else gpu.pci_id,
        node_packs=installation.node_packs,
        copied_packs=packs,
    )
