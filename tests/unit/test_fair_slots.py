"""Slots that accounts share: limits in total and per account, turns, and queues that are full."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field

import pytest

from orchestrator.fair_slots import RETRY_AFTER_SECONDS, FairSlots, SlowUses, TooManyWaiting
from tests.support.polling import wait_until


@dataclass
class Users:
    """Uses of slots that go on until they are told to end."""

    slots: FairSlots
    running: list[str] = field(default_factory=list)
    _ends: dict[str, list[asyncio.Event]] = field(default_factory=dict)

    def start(self, account_id: str) -> asyncio.Task[None]:
        return asyncio.create_task(self._use(account_id))

    async def _use(self, account_id: str) -> None:
        async with self.slots.slot(account_id):
            end = asyncio.Event()
            self._ends.setdefault(account_id, []).append(end)
            self.running.append(account_id)
            try:
                await end.wait()
            finally:
                self.running.remove(account_id)

    async def end(self, account_id: str) -> None:
        self._ends[account_id].pop(0).set()
        await settle()


async def settle() -> None:
    """Let all tasks run until they wait."""
    for _ in range(10):
        await asyncio.sleep(0)


async def end_all(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_an_account_gets_no_more_than_its_slots() -> None:
    users = Users(FairSlots("uses", 4, per_account=2, max_waiting=9))
    tasks = [users.start(id) for id in "AAAAB"]
    await settle()
    assert Counter(users.running) == {"A": 2, "B": 1}
    await users.end("A")
    assert Counter(users.running) == {"A": 2, "B": 1}
    await end_all(*tasks)


async def test_a_free_slot_goes_to_the_account_with_the_fewest() -> None:
    users = Users(FairSlots("uses", 3, per_account=3, max_waiting=9))
    tasks = [users.start(id) for id in "AAAAAA"]
    await settle()
    tasks += [users.start(id) for id in "BC"]
    await settle()
    assert Counter(users.running) == {"A": 3}
    await users.end("A")
    await users.end("A")
    assert Counter(users.running) == {"A": 1, "B": 1, "C": 1}
    await users.end("B")
    assert Counter(users.running) == {"A": 2, "C": 1}
    await end_all(*tasks)


async def test_accounts_with_equally_many_slots_take_turns() -> None:
    users = Users(FairSlots("uses", 1, per_account=1, max_waiting=9))
    tasks = [users.start(id) for id in "AAABBB"]
    await settle()
    order = []
    while users.running:
        order += users.running
        await users.end(users.running[0])
    assert order == list("AABABB"), "the first A had its slot before B came"
    await asyncio.gather(*tasks)


async def test_rejects_a_use_if_the_accounts_queue_is_full_and_serves_others() -> None:
    users = Users(FairSlots("uses", 2, per_account=1, max_waiting=2))
    tasks = [users.start(id) for id in "AAA"]
    await settle()
    with pytest.raises(TooManyWaiting, match="Too many uses of this account") as caught:
        await users.start("A")
    assert (caught.value.status, caught.value.retry_after) == (429, RETRY_AFTER_SECONDS)
    tasks.append(users.start("B"))
    await settle()
    assert Counter(users.running) == {"A": 1, "B": 1}
    await end_all(*tasks)


async def test_cancelled_uses_give_back_their_slot_and_their_place_in_the_queue() -> None:
    users = Users(FairSlots("uses", 1, per_account=1, max_waiting=1))
    first, second = users.start("A"), users.start("A")
    await settle()
    await end_all(second)
    third = users.start("A")
    await settle()
    await end_all(first)
    assert users.running == ["A"]
    await end_all(third)
    async with asyncio.timeout(10), users.slots.slot("A"):
        assert users.running == []


async def test_a_use_that_is_cancelled_while_it_gets_its_slot_gives_it_back() -> None:
    slots = FairSlots("uses", 1, per_account=1, max_waiting=1)
    waiting = Users(slots)
    async with slots.slot("A"):
        second = waiting.start("B")
        await settle()
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    async with asyncio.timeout(10), slots.slot("C"):
        assert waiting.running == []


async def test_uses_that_last_long_leave_their_slots_to_other_accounts() -> None:
    users = Users(FairSlots("uses", 2, per_account=1, max_waiting=9, slow=SlowUses(0.1, maximum=2)))
    tasks = [users.start(id) for id in "ABC"]
    await settle()
    assert users.running == ["A", "B"]
    await wait_until(lambda: users.running == ["A", "B", "C"])
    # A is slow and gets no second slot. There may be no third slow one, so C and D keep theirs.
    tasks += [users.start(id) for id in "ADE"]
    await asyncio.sleep(0.5)
    assert users.running == ["A", "B", "C", "D"]
    await users.end("B")
    await wait_until(lambda: Counter(users.running) == Counter("ACDE"))
    await users.end("A")
    await wait_until(lambda: Counter(users.running) == Counter("ACDE"))
    await end_all(*tasks)


async def test_slots_without_a_rule_for_slow_uses_are_held_until_the_end() -> None:
    users = Users(FairSlots("uses", 1, per_account=1, max_waiting=9))
    tasks = [users.start(id) for id in "AB"]
    await asyncio.sleep(0.05)
    assert users.running == ["A"]
    await end_all(*tasks)
