"""A fleet in a process of its own that runs out of descriptors for a while.

`python -m tests.support.descriptor_hog DIRECTORY local|local-alive|adopted [URL...]` prints one JSON object:
the states that the instances had without descriptors and afterwards. With `local`, they end meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil

from comfy_instances.fleet.adopted import AdoptedFleet
from comfy_instances.fleet.local import LocalFleet
from comfy_instances.fleet.protocol import Fleet, wait_until_ready
from comfy_instances.process.restart_policy import RestartPolicy
from tests.support.polling import wait_until

#: Descriptors that the process may have.
LIMIT = 96
POLICY = RestartPolicy(
    startup_seconds=10,
    probe_seconds=0.2,
    hang_timeout_seconds=0.5,
    stop_timeout_seconds=1,
    backoff_seconds=0.05,
    shortage_backoff_max_seconds=0.2,
    failures_allowed=2,
    cooldown_seconds=600,
)
GRAPH = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 255}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
}


@asynccontextmanager
async def without_descriptors() -> AsyncIterator[None]:
    """Take every descriptor, and each that becomes free, until the block ends."""
    taken: list[int] = []

    async def take_all() -> None:
        while True:
            with contextlib.suppress(OSError):
                while True:
                    taken.append(os.open("/dev/null", os.O_RDONLY))
            await asyncio.sleep(0.001)

    task = asyncio.create_task(take_all())
    await asyncio.sleep(0.05)
    try:
        yield
    finally:
        task.cancel()
        for descriptor in taken:
            os.close(descriptor)


def errors_of(fleet: Fleet) -> list[int]:
    return [info.supervision_errors for info in fleet.instances()]


async def use_up_descriptors(fleet: Fleet, victims: list[psutil.Process]) -> dict[str, Any]:
    """Let `victims` end while there are no descriptors, and wait until the fleet is whole again."""
    during: set[str] = set()
    unsubscribe = fleet.subscribe(lambda info: during.add(info.state.value))
    async with without_descriptors():
        for victim in victims:
            os.kill(victim.pid, signal.SIGKILL)  # psutil would need a descriptor
        if victims:
            await wait_until(lambda: all(errors > 5 for errors in errors_of(fleet)))
        else:
            await asyncio.sleep(3.0)
    unsubscribe()
    await wait_until_ready(fleet)
    for info in fleet.instances():
        await fleet.session(info.id).run_prompt(str(uuid.uuid4()), GRAPH)
    return {
        "during": sorted(during),
        "after": [info.state.value for info in fleet.instances()],
        "failures": [info.failures for info in fleet.instances()],
        "restarts": [info.restarts for info in fleet.instances()],
        "errors": errors_of(fleet),
    }


async def run(directory: Path, kind: str, urls: list[str]) -> dict[str, Any]:
    fleet: Fleet = (
        LocalFleet.simulated(2, directory=directory, policy=POLICY)
        if kind.startswith("local")
        else AdoptedFleet(urls, probe_seconds=0.2, poll_seconds=0.05)
    )
    await fleet.start()
    try:
        await wait_until_ready(fleet)
        victims = psutil.Process().children() if kind == "local" else []
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (LIMIT, hard))
        return await use_up_descriptors(fleet, victims)
    finally:
        await fleet.stop()


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run(Path(sys.argv[1]), sys.argv[2], sys.argv[3:]))))
