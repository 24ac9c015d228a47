"""The instance guard withholds instances until their node facts were read again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from comfy_instances.protocol.errors import InstanceGone
from orchestrator.execution.instances.instance_guard import (
    MAX_BACKOFF_SECONDS,
    InstanceGuard,
    verification_backoff,
)
from tests.support.polling import wait_until


@dataclass
class ReloadableFleet:
    """A fleet of one instance, which fails to send its node facts as often as a test wants."""

    facts: Mapping[str, Any] = field(default_factory=dict)
    failures: int = 0
    reads: int = 0

    def node_facts(self, instance_id: str) -> Mapping[str, Any]:
        return self.facts

    async def reload_node_facts(self, instance_id: str) -> None:
        self.reads += 1
        if self.reads <= self.failures:
            raise InstanceGone("connection refused")
        self.facts = {}

    def __getattr__(self, name: str) -> Callable[..., Any]:
        raise AssertionError(f"unexpected use of {name}")


@dataclass
class FleetRunner:
    """A runner that only has a fleet."""

    fleet: ReloadableFleet

    def __getattr__(self, name: str) -> Callable[..., Any]:
        raise AssertionError(f"unexpected use of {name}")


def make_guard(
    fleet: ReloadableFleet, backoff: Callable[[int], float] = verification_backoff
) -> InstanceGuard:
    runner = FleetRunner(fleet)
    return InstanceGuard(runner, lambda: None, backoff=backoff)  # type: ignore[arg-type]


async def test_withholds_an_instance_until_its_node_facts_were_read_again() -> None:
    fleet = ReloadableFleet()
    guard = make_guard(fleet)
    assert not guard.is_withheld("g0")
    guard.suspend_until_verified("g0")
    assert guard.is_withheld("g0")
    assert guard.has_withheld
    await wait_until(lambda: not guard.is_withheld("g0"))
    assert fleet.reads == 1
    assert not guard.has_withheld


async def test_repeats_the_read_while_the_instance_does_not_respond() -> None:
    fleet = ReloadableFleet(failures=3)
    guard = make_guard(fleet, backoff=lambda failures: 0.0)
    guard.suspend_until_verified("g0")
    await wait_until(lambda: not guard.is_withheld("g0"))
    assert fleet.reads == 4


async def test_releases_an_instance_when_the_fleet_itself_read_the_node_facts() -> None:
    fleet = ReloadableFleet(failures=1000)
    guard = make_guard(fleet)
    guard.suspend_until_verified("g0")
    fleet.facts = {}
    assert not guard.is_withheld("g0")
    await guard.stop()


async def test_two_lost_attempts_cause_one_read() -> None:
    fleet = ReloadableFleet()
    guard = make_guard(fleet)
    guard.suspend_until_verified("g0")
    guard.suspend_until_verified("g0")
    await wait_until(lambda: not guard.is_withheld("g0"))
    assert fleet.reads == 1


async def test_waits_longer_after_each_attempt_that_lost_its_instance_before_it_ran() -> None:
    fleet = ReloadableFleet()
    guard = make_guard(fleet)
    guard.suspend_until_verified("g0")
    await wait_until(lambda: not guard.is_withheld("g0"))
    guard.suspend_until_verified("g0")
    await asyncio.sleep(0.01)
    assert guard.is_withheld("g0"), "the second read waits for the backoff"
    fleet.facts = {}
    guard.record_run("g0")
    assert not guard.is_withheld("g0")
    guard.suspend_until_verified("g0")
    await wait_until(lambda: not guard.is_withheld("g0"))
    await guard.stop()


def test_backoff_doubles_up_to_a_limit() -> None:
    assert [verification_backoff(failures) for failures in range(5)] == [0.0, 0.25, 0.5, 1.0, 2.0]
    assert verification_backoff(100) == MAX_BACKOFF_SECONDS
