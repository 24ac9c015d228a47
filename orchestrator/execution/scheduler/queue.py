"""The waiting shards: weighted fair queueing between accounts, one heap per model.

Each shard gets a tag when it arrives (start-time fair queueing, Goyal, Vin and Cheng 1996):

    start(shard)  = max(virtual time, finish of the account's previous shard)
    finish(shard) = start + run seconds / weight

and lower tags go first. Virtual time is the start tag of what was taken last. An account with 10 000
shards so pushes its own later tags far away, while one that comes with a single shard starts at the
present. All operations are O(log n).
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from orchestrator.execution.scheduler.events import Work


@dataclass(order=True, slots=True)
class Entry:
    """A waiting shard in its model's heap."""

    tag: float
    order: int
    work: Work = field(compare=False)
    #: Time at which it began to wait, in the clock of the events.
    since: float = field(compare=False, default=0.0)
    #: Seconds of later shards that went first, because their models were in memory.
    passed: float = field(compare=False, default=0.0)
    taken: bool = field(compare=False, default=False)


@dataclass(slots=True)
class Lane:
    """One account: its last finish tag, what it runs, and what its limit holds back."""

    finish: float = 0.0
    running: int = 0
    waiting: int = 0
    #: Seconds of waiting work on the reference card.
    seconds: float = 0.0
    parked: list[Entry] = field(default_factory=list)


class FairQueue:
    """Waiting shards, by model, in fair order."""

    def __init__(self) -> None:
        self._heaps: dict[str, list[Entry]] = {}
        self._retries: list[Entry] = []
        self._lanes: dict[str, Lane] = {}
        self._entries: dict[str, Entry] = {}
        self._waiting: dict[str, int] = {}
        self._seconds: dict[str, float] = {}
        self._virtual = 0.0
        self._order = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, shard_id: str) -> bool:
        return shard_id in self._entries

    def depths(self) -> dict[str, int]:
        """Number of waiting shards by model."""
        return {model: count for model, count in self._waiting.items() if count}

    def oldest(self) -> dict[str, float]:
        """When the first waiting shard of each model began to wait, in the clock of the events."""
        found: dict[str, float] = {}
        for entry in self._entries.values():  # in the order in which they came
            found.setdefault(entry.work.model, entry.since)
            if len(found) == len(self._waiting):
                break
        return found

    def backlog(self, model: str) -> float:
        """Seconds of waiting work of a model on the reference card."""
        return self._seconds.get(model, 0.0)

    @property
    def total_backlog(self) -> float:
        """Seconds of all waiting work on the reference card."""
        return sum(self._seconds.values())

    def place_of(self, shards: Collection[str]) -> tuple[int, list[Work]] | None:
        """How many shards go before the first of these, and all work up to the last of these, that last;
        None where none of them waits. O(n): for those who ask, not for decisions."""
        own = [self._entries[shard_id] for shard_id in shards if shard_id in self._entries]
        if not own:
            return None
        first, last = min(own), max(own)
        until_last = [entry.work for entry in self._entries.values() if entry < last]
        return sum(entry < first for entry in self._entries.values()), [*until_last, last.work]

    def ahead_of(self, account_id: str) -> float:
        """Seconds of work that a fair queue runs before a new shard of the account."""
        own = self._lanes.get(account_id, Lane()).seconds
        return own + sum(min(lane.seconds, own) for name, lane in self._lanes.items() if name != account_id)

    def add(self, work: Work, now: float) -> None:
        lane = self._lanes.setdefault(work.account_id, Lane())
        tag = max(self._virtual, lane.finish)
        lane.finish = tag + work.run_seconds / work.weight
        self._insert(Entry(tag, self._next(), work, now))

    def put_back(self, work: Work, now: float) -> None:
        """Waits again after a failed attempt, ahead of everything that has not run yet.

        Such shards stand beside the heaps, for they may have to wait for another instance and must
        not hold up those behind them meanwhile. There are never more than the fleet has slots.
        """
        entry = Entry(self._virtual, -self._next(), work, now)
        self._count(entry)
        self._retries.append(entry)

    def heads(self) -> Iterator[Entry]:
        """Every eligible retry, and the first eligible shard of each version of a model."""
        self._retries = [entry for entry in self._retries if not entry.taken]
        yield from (entry for entry in self._retries if self._allowed(entry))
        for needs in list(self._heaps):
            head = self._head(needs)
            if head is not None:
                yield head

    def take(self, entry: Entry) -> Work:
        """Removes a head that is about to run and counts it against its account's limit."""
        self._forget(entry)
        self._virtual = max(self._virtual, entry.tag)
        self._lanes[entry.work.account_id].running += 1
        return entry.work

    def remove(self, shard_id: str) -> Work | None:
        """Takes a waiting shard out for good; None if it does not wait."""
        entry = self._entries.get(shard_id)
        if entry is None:
            return None
        self._forget(entry)
        self._unpark(entry.work.account_id)
        return entry.work

    def ended(self, account_id: str) -> None:
        """A run of the account is over: one that its limit held back may go."""
        self._lanes[account_id].running -= 1
        self._unpark(account_id)

    def _next(self) -> int:
        self._order += 1
        return self._order

    def _insert(self, entry: Entry) -> None:
        self._count(entry)
        heapq.heappush(self._heaps.setdefault(entry.work.needs, []), entry)

    def _count(self, entry: Entry) -> None:
        work = entry.work
        lane = self._lanes.setdefault(work.account_id, Lane())
        lane.waiting += 1
        lane.seconds += work.run_seconds
        self._entries[work.shard_id] = entry
        self._waiting[work.model] = self._waiting.get(work.model, 0) + 1
        self._seconds[work.model] = self._seconds.get(work.model, 0.0) + work.run_seconds

    def _forget(self, entry: Entry) -> None:
        """Heaps drop a taken entry when it comes to their top."""
        work = entry.work
        entry.taken = True
        del self._entries[work.shard_id]
        lane = self._lanes[work.account_id]
        lane.waiting -= 1
        lane.seconds -= work.run_seconds
        self._waiting[work.model] -= 1
        self._seconds[work.model] -= work.run_seconds
        if not self._waiting[work.model]:
            del self._waiting[work.model], self._seconds[work.model]

    def _allowed(self, entry: Entry) -> bool:
        limit = entry.work.concurrency
        return limit is None or self._lanes[entry.work.account_id].running < limit

    def _head(self, needs: str) -> Entry | None:
        heap = self._heaps[needs]
        while heap:
            entry = heap[0]
            if not entry.taken and self._allowed(entry):
                return entry
            heapq.heappop(heap)
            if not entry.taken:
                heapq.heappush(self._lanes[entry.work.account_id].parked, entry)
        del self._heaps[needs]
        return None

    def _unpark(self, account_id: str) -> None:
        """Lets one shard that a limit held back into its heap; forgets an account at rest."""
        lane = self._lanes[account_id]
        while lane.parked:
            entry = heapq.heappop(lane.parked)
            if not entry.taken:
                heapq.heappush(self._heaps.setdefault(entry.work.needs, []), entry)
                return
        if not lane.waiting and not lane.running and lane.finish <= self._virtual:
            del self._lanes[account_id]
