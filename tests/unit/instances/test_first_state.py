"""What a trial start waits for."""

from __future__ import annotations

import asyncio

import pytest

from comfy_instances.fleet.fleet_base import FleetBase
from comfy_instances.fleet.protocol import InstanceInfo, InstanceState
from comfy_instances.install.smoke_test import wait_for_first_state


def starting() -> FleetBase:
    info = InstanceInfo(
        id="cpu-0", url="", state=InstanceState.STARTING, simulated=False, device="cpu", adopted=False
    )
    return FleetBase([info])


@pytest.mark.parametrize(
    "reason",
    ["another server responds on port 8190", "exited with status 1: [Errno 98] Address already in use"],
)
async def test_a_start_whose_port_is_taken_is_repeated(reason: str) -> None:
    fleet = starting()
    waiting = asyncio.ensure_future(wait_for_first_state(fleet))
    await asyncio.sleep(0)
    fleet.update_state("cpu-0", InstanceState.DOWN, detail=reason)
    fleet.update_state("cpu-0", InstanceState.STARTING, detail=reason)
    fleet.update_state("cpu-0", InstanceState.READY, detail=None)
    assert (await waiting).state is InstanceState.READY


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (InstanceState.DOWN, "exited with status 1"),
        (InstanceState.FAILED, "another server responds on port 1"),
    ],
)
async def test_any_other_failure_ends_the_trial(state: InstanceState, reason: str) -> None:
    fleet = starting()
    waiting = asyncio.ensure_future(wait_for_first_state(fleet))
    await asyncio.sleep(0)
    fleet.update_state("cpu-0", state, detail=reason)
    assert (await waiting).detail == reason
