"""Faults of a campaign: what is killed, stopped, filled, cut or misconfigured, and for how long."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

import aiohttp
import psutil

from comfy_instances.simulator.faults import Fault
from scripts.bench.campaign.rig import Rig

#: Seconds by which the clock is wrong. Receivers accept signatures that are up to five minutes old.
_CLOCK_OFFSETS = (-240.0, -5.0, 0.0, 5.0, 240.0)
#: Faults after which a run hangs.
SLOW_FAULTS = (Fault.HOLD_NODE, Fault.HOLD_STEP)
_FILLER_CHUNK = bytes(1 << 20)


class FaultInjector:
    """Injects one fault at a time into a rig."""

    def __init__(self, rig: Rig, rng: random.Random, tmpfs: Path | None) -> None:
        self._rig, self._rng, self._tmpfs = rig, rng, tmpfs
        #: Faults that found nothing to act on, such as an instance that was being restarted.
        self.missed = 0

    async def inject(self, kind: str) -> None:
        if kind in set(Fault):
            await self._arm(kind)
        else:
            await self.faults[kind](self)

    async def end(self) -> None:
        """Take back whatever lasts: armed faults, the receiver's mode, the clock."""
        self._rig.receiver.mode = "ok"
        await self._rig.receiver.start()
        self._rig.shift_clock(0)
        for kind in Fault:
            await self._arm(kind, count=0)

    async def _arm(self, kind: str, count: int | None = None) -> None:
        """Arm a fault of the simulator: on one instance, or with `count` 0 disarm it on all."""
        with suppress(aiohttp.ClientError, TimeoutError, OSError, KeyError):
            rows = (await self._rig.admin("/admin/v1/instances"))["instances"]
            chosen = rows if count == 0 else self._rng.sample(rows, 1)
            # Runs that hang one after the other would keep their jobs for minutes.
            counts = (1,) if kind in SLOW_FAULTS else (1, 1, 2)
            fault = {"kind": kind, "count": self._rng.choice(counts) if count is None else count}
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=3)) as http:
                for row in chosen:
                    async with http.post(f"{row['url']}/simulator/faults", json=fault) as response:
                        await response.read()
            return
        self.missed += count is None

    async def kill_instance(self) -> None:
        self._signal(self._rig.instances(), signal.SIGKILL)

    async def stop_instance(self) -> None:
        await self._pause(self._rig.instances(), self._rng.uniform(0.3, 6))

    async def kill_s3(self) -> None:
        self._signal(self._rig.s3_servers(), signal.SIGKILL)

    async def stop_s3(self) -> None:
        await self._pause(self._rig.s3_servers(), self._rng.uniform(0.3, 4))

    async def kill_service(self) -> None:
        await self._rig.stop(signal.SIGKILL)
        await self._rig.start()

    async def restart_service(self) -> None:
        await self._rig.stop(signal.SIGTERM)
        await self._rig.start()

    async def stop_service(self) -> None:
        """All threads of the orchestrator stand still, as in a virtual machine that is moved."""
        await self._pause([psutil.Process(self._rig.pid)], self._rng.uniform(0.3, 3))

    async def receiver_away(self) -> None:
        await self._rig.receiver.stop()
        await asyncio.sleep(self._rng.uniform(0.5, 3))
        await self._rig.receiver.start()

    async def receiver_hangs(self) -> None:
        await self._receiver_mode("hang")

    async def receiver_fails(self) -> None:
        await self._receiver_mode("error")

    async def _receiver_mode(self, mode: str) -> None:
        self._rig.receiver.mode = mode
        await asyncio.sleep(self._rng.uniform(0.5, 3))
        self._rig.receiver.mode = "ok"

    async def fill_disk(self) -> None:
        """Use up the file system of the data directory for some seconds."""
        if self._tmpfs is None:
            self.missed += 1
            return
        filler = self._tmpfs / "filler"
        try:
            await asyncio.to_thread(_fill, filler)
            await asyncio.sleep(self._rng.uniform(0.5, 3))
        finally:
            filler.unlink(missing_ok=True)

    async def move_clock(self) -> None:
        self._rig.shift_clock(self._rng.choice(_CLOCK_OFFSETS))

    def _signal(self, processes: list[psutil.Process], number: signal.Signals) -> psutil.Process | None:
        if not processes:
            self.missed += 1
            return None
        chosen = self._rng.choice(sorted(processes, key=lambda process: process.pid))
        with suppress(psutil.NoSuchProcess):
            chosen.send_signal(number)
            return chosen
        return None

    async def _pause(self, processes: list[psutil.Process], seconds: float) -> None:
        stopped = self._signal(processes, signal.SIGSTOP)
        await asyncio.sleep(seconds)
        if stopped is not None:
            with suppress(psutil.NoSuchProcess):
                stopped.send_signal(signal.SIGCONT)

    #: By kind, besides those of the simulator.
    faults: ClassVar[Mapping[str, Callable[..., Awaitable[None]]]] = {
        "kill_instance": kill_instance,
        "stop_instance": stop_instance,
        "kill_s3": kill_s3,
        "stop_s3": stop_s3,
        "kill_service": kill_service,
        "restart_service": restart_service,
        "stop_service": stop_service,
        "receiver_away": receiver_away,
        "receiver_hangs": receiver_hangs,
        "receiver_fails": receiver_fails,
        "fill_disk": fill_disk,
        "move_clock": move_clock,
    }


def _fill(filler: Path) -> None:
    descriptor = os.open(filler, os.O_WRONLY | os.O_CREAT)
    try:
        with suppress(OSError):
            while os.write(descriptor, _FILLER_CHUNK):
                pass
    finally:
        os.close(descriptor)


FAULTS = (*FaultInjector.faults, *(fault.value for fault in Fault))
#: Without runs that hang, which are interrupted only after minutes.
QUICK_FAULTS = tuple(kind for kind in FAULTS if kind not in SLOW_FAULTS)


def draw_faults(count: int, rng: random.Random, kinds: Sequence[str] = FAULTS) -> list[str]:
    """Return the kinds of `count` faults: all kinds in turn, each round in an order of its own."""
    drawn: list[str] = []
    while len(drawn) < count:
        drawn += rng.sample(kinds, len(kinds))
    return drawn[:count]
