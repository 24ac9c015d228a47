"""Lists the NVIDIA GPUs of this machine and reads their load through NVML. No driver means no GPUs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Gpu:
    """One device for one instance: a whole GPU, or one MIG slice of a GPU."""

    #: Index of the GPU in PCI order.
    index: int
    #: `GPU-...` or `MIG-...`; identifies the device in CUDA_VISIBLE_DEVICES whatever the order.
    uuid: str
    name: str
    pci_id: str
    #: CUDA compute capability; (12, 0) for Blackwell workstation GPUs.
    capability: tuple[int, int]
    #: Bytes; None if NVML does not report them, as for devices that share the machine's memory.
    memory_total: int | None
    memory_free: int | None
    mig: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class GpuStats:
    """The current load of a GPU; None for values that it does not report."""

    utilisation: float | None  #: busy share of the last sample period, 0 to 1
    temperature: int | None  #: degrees Celsius
    power: float | None  #: watts
    memory_used: int | None  #: bytes


def _import_nvml() -> Any:
    """Return the module, which fills three megabytes, where GPUs are looked for."""
    import pynvml

    return pynvml


def discover_gpus(nvml: Any = None, *, cuda_visible_devices: str | None = None) -> list[Gpu]:
    """Return all devices in PCI order; [] without an NVIDIA driver.

    `cuda_visible_devices` limits them as CUDA_VISIBLE_DEVICES does: comma-separated indices, UUIDs or
    prefixes of UUIDs. `nvml` has the functions of the module `pynvml`, and is that by default.
    """
    nvml = nvml or _import_nvml()
    found: list[Gpu] = []
    with _nvml_session(nvml) as loaded:
        if loaded:
            for index in range(nvml.nvmlDeviceGetCount()):
                found.extend(_list_devices(nvml, index))
    return found if cuda_visible_devices is None else _filter_visible(found, cuda_visible_devices)


def read_gpu_stats(pci_id: str, nvml: Any = None) -> GpuStats | None:
    """Return the load of the GPU at `pci_id`; None if there is no such GPU."""
    nvml = nvml or _import_nvml()
    with _nvml_session(nvml) as loaded:
        if not loaded:
            return None
        try:
            handle = nvml.nvmlDeviceGetHandleByPciBusId(pci_id)
        except nvml.NVMLError:
            return None
        rates = _query_or_none(nvml, lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu)
        milliwatts = _query_or_none(nvml, lambda: nvml.nvmlDeviceGetPowerUsage(handle))
        return GpuStats(
            utilisation=None if rates is None else rates / 100,
            temperature=_query_or_none(
                nvml, lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)
            ),
            power=None if milliwatts is None else milliwatts / 1000,
            memory_used=_query_or_none(nvml, lambda: nvml.nvmlDeviceGetMemoryInfo(handle).used),
        )


@contextmanager
def _nvml_session(nvml: Any) -> Iterator[bool]:
    """Initialise NVML for the block; yields False if that fails."""
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        log.debug("no NVIDIA driver: %s", error)
        yield False
        return
    try:
        yield True
    finally:
        nvml.nvmlShutdown()


def _list_devices(nvml: Any, index: int) -> list[Gpu]:
    """Return the GPU with this index, or its MIG slices if it is partitioned."""
    try:
        gpu = nvml.nvmlDeviceGetHandleByIndex(index)
        whole = _describe_device(nvml, gpu, gpu, index)
    except nvml.NVMLError as error:
        log.warning("GPU %d is not used because NVML cannot describe it: %s", index, error)
        return []
    mode = _query_or_none(nvml, lambda: nvml.nvmlDeviceGetMigMode(gpu)[0])
    if mode != nvml.NVML_DEVICE_MIG_ENABLE:
        return [whole]
    slices = []
    for slot in range(_query_or_none(nvml, lambda: nvml.nvmlDeviceGetMaxMigDeviceCount(gpu)) or 0):
        try:
            handle = nvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu, slot)
            slices.append(_describe_device(nvml, handle, gpu, index, mig=True))
        except nvml.NVMLError:
            continue  # the slot is empty
    return slices


def _describe_device(nvml: Any, handle: Any, gpu: Any, index: int, *, mig: bool = False) -> Gpu:
    """Read the properties of a device. Raises NVMLError if a required one is missing."""
    memory = _query_or_none(nvml, lambda: nvml.nvmlDeviceGetMemoryInfo(handle))
    major, minor = nvml.nvmlDeviceGetCudaComputeCapability(gpu)
    return Gpu(
        index=index,
        uuid=_decode_text(nvml.nvmlDeviceGetUUID(handle)),
        name=_decode_text(nvml.nvmlDeviceGetName(handle)),
        pci_id=_decode_text(nvml.nvmlDeviceGetPciInfo(gpu).busId),
        capability=(major, minor),
        memory_total=None if memory is None else int(memory.total),
        memory_free=None if memory is None else int(memory.free),
        mig=mig,
    )


def _query_or_none(nvml: Any, query: Callable[[], T]) -> T | None:
    """Return the result, or None if the device does not support the query."""
    try:
        return query()
    except nvml.NVMLError:
        return None


def _decode_text(value: str | bytes) -> str:
    """Return text; older NVML bindings return bytes."""
    return value.decode() if isinstance(value, bytes) else value


def _filter_visible(gpus: list[Gpu], cuda_visible_devices: str) -> list[Gpu]:
    """Return the GPUs that CUDA_VISIBLE_DEVICES selects, in its order. Like CUDA, stop at the first unknown
    selector."""
    visible: list[Gpu] = []
    for selector in (part.strip() for part in cuda_visible_devices.split(",")):
        selected = [gpu for gpu in gpus if _is_selected(gpu, selector) and gpu not in visible]
        if not selected:
            break
        visible.extend(selected)
    return visible


def _is_selected(gpu: Gpu, selector: str) -> bool:
    return (
        gpu.index == int(selector)
        if selector.isdecimal()
        else selector != "" and gpu.uuid.startswith(selector)
    )
