"""GPU discovery against an NVML that says what it is told to say."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest

from comfy_instances.hardware.gpus import Gpu, GpuStats, discover_gpus, read_gpu_stats

GB = 10**9
T = TypeVar("T")


class NvmlRefusal(Exception):
    """What this NVML raises."""


def said(value: T | None) -> T:
    """NVML's way to say that it does not know."""
    if value is None:
        raise NvmlRefusal("Not Supported")
    return value


@dataclass
class NvmlDevice:
    """One card in the machine. Attributes that are None are not supported by it."""

    name: str | bytes = "NVIDIA RTX PRO 6000 Blackwell Workstation Edition"
    uuid: str = "GPU-0"
    pci_id: str = "00000000:01:00.0"
    capability: tuple[int, int] = (12, 0)
    memory: tuple[int, int] | None = (102 * GB, 100 * GB)
    slices: list[NvmlDevice] | None = None
    utilisation: int | None = 40
    temperature: int | None = 61
    milliwatts: int | None = 312_500
    broken: bool = False


@dataclass
class Nvml:
    """The functions of the module `pynvml` that are used, over `cards`."""

    cards: list[NvmlDevice] = field(default_factory=list)
    driver: bool = True
    loaded: int = 0
    NVMLError = NvmlRefusal
    NVML_DEVICE_MIG_ENABLE = 1
    NVML_TEMPERATURE_GPU = 0

    def nvmlInit(self) -> None:
        if not self.driver:
            raise NvmlRefusal("NVML Shared Library Not Found")
        self.loaded += 1

    def nvmlShutdown(self) -> None:
        self.loaded -= 1

    def nvmlDeviceGetCount(self) -> int:
        return len(self.cards)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> NvmlDevice:
        if self.cards[index].broken:
            raise NvmlRefusal("GPU is lost")
        return self.cards[index]

    def nvmlDeviceGetHandleByPciBusId(self, pci_id: str) -> NvmlDevice:
        return said(next((card for card in self.cards if card.pci_id == pci_id), None))

    def nvmlDeviceGetName(self, card: NvmlDevice) -> str | bytes:
        return card.name

    def nvmlDeviceGetUUID(self, card: NvmlDevice) -> str:
        return card.uuid

    def nvmlDeviceGetPciInfo(self, card: NvmlDevice) -> Any:
        return SimpleNamespace(busId=card.pci_id)

    def nvmlDeviceGetCudaComputeCapability(self, card: NvmlDevice) -> list[int]:
        return list(card.capability)

    def nvmlDeviceGetMemoryInfo(self, card: NvmlDevice) -> Any:
        total, free = said(card.memory)
        return SimpleNamespace(total=total, free=free, used=total - free)

    def nvmlDeviceGetMigMode(self, card: NvmlDevice) -> list[int]:
        said(card.slices)
        return [1, 1]

    def nvmlDeviceGetMaxMigDeviceCount(self, card: NvmlDevice) -> int:
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, card: NvmlDevice, place: int) -> NvmlDevice:
        slices = card.slices or []
        return said(slices[place] if place < len(slices) else None)

    def nvmlDeviceGetUtilizationRates(self, card: NvmlDevice) -> Any:
        return SimpleNamespace(gpu=said(card.utilisation))

    def nvmlDeviceGetTemperature(self, card: NvmlDevice, sensor: int) -> int:
        assert sensor == self.NVML_TEMPERATURE_GPU
        return said(card.temperature)

    def nvmlDeviceGetPowerUsage(self, card: NvmlDevice) -> int:
        return said(card.milliwatts)


@pytest.fixture
def machine() -> Any:
    """A machine with two cards; afterwards NVML must have been shut down as often as it was begun."""
    nvml = Nvml(
        [
            NvmlDevice(),
            NvmlDevice(uuid="GPU-1", pci_id="00000000:41:00.0", name="NVIDIA H200", capability=(9, 0)),
        ]
    )
    yield nvml
    assert nvml.loaded == 0


def test_lists_gpus_in_order(machine: Nvml) -> None:
    first, second = discover_gpus(machine)
    assert first == Gpu(
        index=0,
        uuid="GPU-0",
        name="NVIDIA RTX PRO 6000 Blackwell Workstation Edition",
        pci_id="00000000:01:00.0",
        capability=(12, 0),
        memory_total=102 * GB,
        memory_free=100 * GB,
    )
    assert (second.index, second.name, second.capability) == (1, "NVIDIA H200", (9, 0))


def test_no_driver_means_no_gpus(machine: Nvml) -> None:
    machine.driver = False
    assert discover_gpus(machine) == []
    assert read_gpu_stats("00000000:01:00.0", machine) is None


def test_the_real_module_where_it_may_find_nothing() -> None:
    assert all(gpu.uuid for gpu in discover_gpus())


def test_a_lost_gpu_is_left_out(machine: Nvml) -> None:
    machine.cards[0].broken = True
    assert [gpu.uuid for gpu in discover_gpus(machine)] == ["GPU-1"]


def test_memory_shared_with_the_machine_is_not_known(machine: Nvml) -> None:
    machine.cards[0].memory = None
    assert discover_gpus(machine)[0].memory_total is None


def test_names_in_bytes(machine: Nvml) -> None:
    machine.cards[0].name = b"Tesla T4"
    assert discover_gpus(machine)[0].name == "Tesla T4"


def test_mig_slices_replace_their_gpu(machine: Nvml) -> None:
    small = NvmlDevice(name="NVIDIA RTX PRO 6000 MIG 2g.48gb", uuid="MIG-a", memory=(48 * GB, 47 * GB))
    machine.cards[0].slices = [small, NvmlDevice(name="NVIDIA RTX PRO 6000 MIG 2g.48gb", uuid="MIG-b")]
    found = discover_gpus(machine)
    assert [(gpu.uuid, gpu.mig) for gpu in found] == [("MIG-a", True), ("MIG-b", True), ("GPU-1", False)]
    assert found[0].memory_total == 48 * GB
    assert found[0].pci_id == "00000000:01:00.0"


@pytest.mark.parametrize(
    ("visible", "uuids"),
    [
        ("0,1", ["GPU-0", "GPU-1"]),
        ("1,0", ["GPU-1", "GPU-0"]),
        ("1", ["GPU-1"]),
        ("GPU-1", ["GPU-1"]),
        ("", []),
        ("-1", []),
        ("0,7,1", ["GPU-0"]),
        ("0,0", ["GPU-0"]),
    ],
)
def test_the_operator_may_hide_gpus(machine: Nvml, visible: str, uuids: list[str]) -> None:
    assert [gpu.uuid for gpu in discover_gpus(machine, cuda_visible_devices=visible)] == uuids


def test_reading(machine: Nvml) -> None:
    expected = GpuStats(utilisation=0.4, temperature=61, power=312.5, memory_used=2 * GB)
    assert read_gpu_stats("00000000:01:00.0", machine) == expected


def test_reads_a_gpu_with_few_values(machine: Nvml) -> None:
    card = machine.cards[1]
    card.utilisation = card.temperature = card.milliwatts = card.memory = None
    expected = GpuStats(utilisation=None, temperature=None, power=None, memory_used=None)
    assert read_gpu_stats(card.pci_id, machine) == expected
    assert read_gpu_stats("00000000:99:00.0", machine) is None
