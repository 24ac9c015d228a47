"""Which NVIDIA GPUs this machine has, and how they are doing, by NVML. No driver means no GPUs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import pynvml

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Gpu:
    """One device that an instance can have to itself: a whole card, or one MIG slice of a card."""

    #: Place among the cards in PCI order.
    index: int
    #: `GPU-...` or `MIG-...`; what CUDA_VISIBLE_DEVICES takes without doubt about the order.
    uuid: str
    name: str
    pci_id: str
    #: CUDA compute capability, (12, 0) for Blackwell workstation cards.
    capability: tuple[int, int]
    #: Bytes; None where the device shares the memory of the machine and NVML does not say.
    memory_total: int | None
    memory_free: int | None
    mig: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class GpuStats:
    """How a card is doing now; None where it does not say."""

    utilisation: float | None  #: share of the last sample period with work on it, 0 to 1
    temperature: int | None  #: degrees Celsius
    power: float | None  #: watts
    memory_used: int | None  #: bytes


def discover_gpus(nvml: Any = pynvml, *, cuda_visible_devices: str | None = None) -> list[Gpu]:
    """All devices, in PCI order; [] where there is no NVIDIA driver.

    `cuda_visible_devices` is the operator's CUDA_VISIBLE_DEVICES: indices or UUIDs (or their beginnings),
    comma-separated.
    `nvml` has the functions of the module `pynvml`.
    """
    found: list[Gpu] = []
    with _nvml_session(nvml) as loaded:
        if loaded:
            for index in range(nvml.nvmlDeviceGetCount()):
                found.extend(_list_devices(nvml, index))
    return found if cuda_visible_devices is None else _filter_visible(found, cuda_visible_devices)


def read_gpu_stats(pci_id: str, nvml: Any = pynvml) -> GpuStats | None:
    """Utilisation, temperature and power of the card at `pci_id`; None where there is none."""
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
    """NVML for the time of the block; False where it can not be loaded."""
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
    """The card with this index, or its MIG slices where it is cut into some."""
    try:
        card = nvml.nvmlDeviceGetHandleByIndex(index)
        whole = _describe_device(nvml, card, card, index)
    except nvml.NVMLError as error:
        log.warning("GPU %d is left out, NVML can not describe it: %s", index, error)
        return []
    mode = _query_or_none(nvml, lambda: nvml.nvmlDeviceGetMigMode(card)[0])
    if mode != nvml.NVML_DEVICE_MIG_ENABLE:
        return [whole]
    slices = []
    for place in range(_query_or_none(nvml, lambda: nvml.nvmlDeviceGetMaxMigDeviceCount(card)) or 0):
        try:
            handle = nvml.nvmlDeviceGetMigDeviceHandleByIndex(card, place)
            slices.append(_describe_device(nvml, handle, card, index, mig=True))
        except nvml.NVMLError:
            continue  # no slice in this place
    return slices


def _describe_device(nvml: Any, handle: Any, card: Any, index: int, *, mig: bool = False) -> Gpu:
    """Raises NVMLError where the device does not say what it is."""
    memory = _query_or_none(nvml, lambda: nvml.nvmlDeviceGetMemoryInfo(handle))
    major, minor = nvml.nvmlDeviceGetCudaComputeCapability(card)
    return Gpu(
        index=index,
        uuid=_decode_text(nvml.nvmlDeviceGetUUID(handle)),
        name=_decode_text(nvml.nvmlDeviceGetName(handle)),
        pci_id=_decode_text(nvml.nvmlDeviceGetPciInfo(card).busId),
        capability=(major, minor),
        memory_total=None if memory is None else int(memory.total),
        memory_free=None if memory is None else int(memory.free),
        mig=mig,
    )


def _query_or_none(nvml: Any, query: Callable[[], T]) -> T | None:
    """The answer, or None where this device does not give it."""
    try:
        return query()
    except nvml.NVMLError:
        return None


def _decode_text(value: str | bytes) -> str:
    """Older NVML bindings answer in bytes."""
    return value.decode() if isinstance(value, bytes) else value


def _filter_visible(gpus: list[Gpu], cuda_visible_devices: str) -> list[Gpu]:
    """Those that CUDA_VISIBLE_DEVICES names, in its order; like CUDA, it ends at the first unknown name."""
    chosen: list[Gpu] = []
    for name in (part.strip() for part in cuda_visible_devices.split(",")):
        named = [gpu for gpu in gpus if _is_selected(gpu, name) and gpu not in chosen]
        if not named:
            break
        chosen.extend(named)
    return chosen


def _is_selected(gpu: Gpu, selector: str) -> bool:
    return (
        gpu.index == int(selector)
        if selector.isdecimal()
        else selector != "" and gpu.uuid.startswith(selector)
    )
