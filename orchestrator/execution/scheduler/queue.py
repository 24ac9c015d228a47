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

from orchestrator.execution.scheduler.events import ShardSpec


@dataclass(order=True, slots=True)
class QueuedShard:
    """A waiting shard in its model's heap."""

    start_tag: float
    sequence: int
    spec: ShardSpec = field(compare=False)
    #: Time at which it began to wait, in the clock of the events.
    queued_at: float = field(compare=False, default=0.0)
    #: Seconds of later shards that went first, because their models were in memory.
    skipped_seconds: float = field(compare=False, default=0.0)
    is_removed: bool = field(compare=False, default=False)


@dataclass(slots=True)
class AccountQueue:
    """One account: its last finish tag, what it runs, and what its limit holds back."""

    finish_tag: float = 0.0
    running_count: int = 0
    waiting_count: int = 0
    #: Seconds of waiting work on the reference card.
    waiting_seconds: float = 0.0
    blocked: list[QueuedShard] = field(default_factory=list)


class FairQueue:
    """Waiting shards, by model, in fair order."""

    def __init__(self) -> None:
        self._heaps: dict[str, list[QueuedShard]] = {}
        self._retries: list[QueuedShard] = []
        self._accounts: dict[str, AccountQueue] = {}
        self._queued: dict[str, QueuedShard] = {}
        self._waiting_counts: dict[str, int] = {}
        self._waiting_seconds: dict[str, float] = {}
        self._virtual_time = 0.0
        self._last_sequence = 0

    def __len__(self) -> int:
        return len(self._queued)

    def __contains__(self, shard_id: str) -> bool:
        return shard_id in self._queued

    def depth_by_model(self) -> dict[str, int]:
        """Number of waiting shards by model."""
        return {model: count for model, count in self._waiting_counts.items() if count}

    def oldest_by_model(self) -> dict[str, float]:
        """When the first waiting shard of each model began to wait, in the clock of the events."""
        found: dict[str, float] = {}
        for entry in self._queued.values():  # in the order in which they came
            found.setdefault(entry.spec.model, entry.queued_at)
            if len(found) == len(self._waiting_counts):
                break
        return found

    def backlog_seconds(self, model: str) -> float:
        """Seconds of waiting work of a model on the reference card."""
        return self._waiting_seconds.get(model, 0.0)

    @property
    def total_backlog_seconds(self) -> float:
        """Seconds of all waiting work on the reference card."""
        return sum(self._waiting_seconds.values())

    def find_position(self, shards: Collection[str]) -> tuple[int, list[ShardSpec]] | None:
        """How many shards go before the first of these, and all work up to the last of these, that last;
        None where none of them waits. O(n): for those who ask, not for decisions."""
        own = [self._queued[shard_id] for shard_id in shards if shard_id in self._queued]
        if not own:
            return None
        first, last = min(own), max(own)
        until_last = [entry.spec for entry in self._queued.values() if entry < last]
        return sum(entry < first for entry in self._queued.values()), [*until_last, last.spec]

    def seconds_ahead_of(self, account_id: str) -> float:
        """Seconds of work that a fair queue runs before a new shard of the account."""
        own = self._accounts.get(account_id, AccountQueue()).waiting_seconds
        return own + sum(
            min(lane.waiting_seconds, own) for name, lane in self._accounts.items() if name != account_id
        )

    def enqueue(self, spec: ShardSpec, now: float) -> None:
        lane = self._accounts.setdefault(spec.account_id, AccountQueue())
        tag = max(self._virtual_time, lane.finish_tag)
        lane.finish_tag = tag + spec.run_seconds / spec.fair_share_weight
        self._push(QueuedShard(tag, self._next_sequence(), spec, now))

    def requeue(self, spec: ShardSpec, now: float) -> None:
        """Waits again after a failed attempt, ahead of everything that has not run yet.

        Such shards stand beside the heaps, for they may have to wait for another instance and must
        not hold up those behind them meanwhile. There are never more than the fleet has slots.
        """
        entry = QueuedShard(self._virtual_time, -self._next_sequence(), spec, now)
        self._register(entry)
        self._retries.append(entry)

    def heads(self) -> Iterator[QueuedShard]:
        """Every eligible retry, and the first eligible shard of each version of a model."""
        self._retries = [entry for entry in self._retries if not entry.is_removed]
        yield from (entry for entry in self._retries if self._is_within_limit(entry))
        for needs in list(self._heaps):
            head = self._head(needs)
            if head is not None:
                yield head

    def dequeue(self, queued: QueuedShard) -> ShardSpec:
        """Removes a head that is about to run and counts it against its account's limit."""
        self._unregister(queued)
        self._virtual_time = max(self._virtual_time, queued.start_tag)
        self._accounts[queued.spec.account_id].running_count += 1
        return queued.spec

    def remove(self, shard_id: str) -> ShardSpec | None:
        """Takes a waiting shard out for good; None if it does not wait."""
        entry = self._queued.get(shard_id)
        if entry is None:
            return None
        self._unregister(entry)
        self._unblock_next(entry.spec.account_id)
        return entry.spec

    def release_concurrency(self, account_id: str) -> None:
        """A run of the account is over: one that its limit held back may go."""
        self._accounts[account_id].running_count -= 1
        self._unblock_next(account_id)

    def _next_sequence(self) -> int:
        self._last_sequence += 1
        return self._last_sequence

    def _push(self, queued: QueuedShard) -> None:
        self._register(queued)
        heapq.heappush(self._heaps.setdefault(queued.spec.required_model, []), queued)

    def _register(self, queued: QueuedShard) -> None:
        work = queued.spec
        lane = self._accounts.setdefault(work.account_id, AccountQueue())
        lane.waiting_count += 1
        lane.waiting_seconds += work.run_seconds
        self._queued[work.shard_id] = queued
        self._waiting_counts[work.model] = self._waiting_counts.get(work.model, 0) + 1
        self._waiting_seconds[work.model] = self._waiting_seconds.get(work.model, 0.0) + work.run_seconds

    def _unregister(self, queued: QueuedShard) -> None:
        """Heaps drop a taken entry when it comes to their top."""
        work = queued.spec
        queued.is_removed = True
        del self._queued[work.shard_id]
        lane = self._accounts[work.account_id]
        lane.waiting_count -= 1
        lane.waiting_seconds -= work.run_seconds
        self._waiting_counts[work.model] -= 1
        self._waiting_seconds[work.model] -= work.run_seconds
        if not self._waiting_counts[work.model]:
            del self._waiting_counts[work.model], self._waiting_seconds[work.model]

    def _is_within_limit(self, queued: QueuedShard) -> bool:
        limit = queued.spec.max_concurrency
        return limit is None or self._accounts[queued.spec.account_id].running_count < limit

    def _head(self, required_model: str) -> QueuedShard | None:
        heap = self._heaps[required_model]
        while heap:
            entry = heap[0]
            if not entry.is_removed and self._is_within_limit(entry):
                return entry
            heapq.heappop(heap)
            if not entry.is_removed:
                heapq.heappush(self._accounts[entry.spec.account_id].blocked, entry)
        del self._heaps[required_model]
        return None

    def _unblock_next(self, account_id: str) -> None:
        """Lets one shard that a limit held back into its heap; forgets an account at rest."""
        lane = self._accounts[account_id]
        while lane.blocked:
            entry = heapq.heappop(lane.blocked)
            if not entry.is_removed:
                heapq.heappush(self._heaps.setdefault(entry.spec.required_model, []), entry)
                return
        if not lane.waiting_count and not lane.running_count and lane.finish_tag <= self._virtual_time:
            del self._accounts[account_id]
