"""When an instance is restarted for changed node packs, and in which order."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from comfy_instances.fleet.pack_changes import PackChanges, RestartTurn
from comfy_instances.process.launch import LaunchSpec


class Machine:
    """What the next starts would load; `broken` while that cannot be read."""

    def __init__(self) -> None:
        self.command: tuple[str, ...] = ("old",)
        self.broken = False

    def refresh(self, spec: LaunchSpec) -> LaunchSpec:
        if self.broken:
            raise OSError("the record cannot be read")
        return replace(spec, command=self.command)


def spec(id: str) -> LaunchSpec:
    return LaunchSpec(id=id, command=("old",), directory=Path(id), simulated=False, device="cpu")


async def test_one_instance_after_the_other_is_restarted() -> None:
    machine, turn = Machine(), RestartTurn()
    one, two = (PackChanges(machine.refresh, turn, 0.0) for _ in range(2))
    assert not await one.check(spec("a"))
    assert not await two.check(spec("b"))
    machine.command = ("new",)
    assert await one.check(spec("a"))
    assert not await two.check(spec("b"))
    assert two.is_outdated
    changed = await one.next_spec(spec("a"))
    assert changed.command == ("new",)
    # Its turn lasts until it is ready with the new packs.
    assert not await two.check(spec("b"))
    assert not await one.check(changed)
    assert await two.check(spec("b"))


async def test_nothing_is_restarted_while_the_record_cannot_be_read() -> None:
    machine = Machine()
    changes = PackChanges(machine.refresh, RestartTurn(), 0.0)
    machine.broken = True
    assert not await changes.check(spec("a"))
    machine.broken, machine.command = False, ("new",)
    assert await changes.check(spec("a"))
    machine.command = ("old",)
    assert not await changes.check(spec("a"))


async def test_an_instance_without_packs_is_never_outdated() -> None:
    changes = PackChanges(None, RestartTurn(), 0.0)
    assert not await changes.check(spec("a"))
    assert await changes.next_spec(spec("a")) == spec("a")
