"""Weighted fair queueing of waiting shards between accounts, with one heap per model and its LoRAs.

Each shard gets a tag when it arrives (start-time fair queueing, Goyal, Vin and Cheng 1996):

    start(shard)  = max(virtual time, finish of the account's previous shard)
    finish(shard) = start + run seconds / weight

Shards with lower start tags go first. Virtual time is the start tag of the shard that was dequeued last. The
tags of an account with 10 000 shards therefore lie far in the future, while the single shard of another
account starts at the current virtual time. All operations are O(log n).
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from orchestrator.execution.scheduler.events import ShardSpec


@dataclass(order=True, slots=True)
class QueuedShard:
    """A waiting shard in the heap of those with its requirements."""

    start_tag: float
    sequence: int
    spec: ShardSpec = field(compare=False)
    #: When it was queued, in the clock of the events.
    queued_at: float = field(compare=False, default=0.0)
    #: Seconds of later shards that were started first because their models were loaded.
    skipped_seconds: float = field(compare=False, default=0.0)
    is_removed: bool = field(compare=False, default=False)


def _place(queued: QueuedShard) -> tuple[float, int]:
    """Return what shards are ordered by: much faster to compare than the objects."""
    return queued.start_tag, queued.sequence


@dataclass(slots=True)
class AccountQueue:
    """Queue state of one account."""

    #: Finish tag of its latest shard.
    finish_tag: float = 0.0
    running_count: int = 0
    waiting_count: int = 0
    #: Waiting shards that run alone. One unit of the concurrency limit is kept for the next of them.
    suspect_count: int = 0
    #: Run seconds of its waiting shards on the reference GPU.
    waiting_seconds: float = 0.0
    #: Waiting shards beyond its concurrency limit.
    blocked: list[QueuedShard] = field(default_factory=list)


class FairQueue:
    """The waiting shards in fair order."""

    def __init__(self) -> None:
        self._heaps: dict[tuple[str, ...], list[QueuedShard]] = {}
        self._retries: list[QueuedShard] = []
        #: Shards that run alone, by shard id, in the order in which they are to run.
        self._suspects: dict[str, QueuedShard] = {}
        #: Waiting shards of jobs that are held back, by job id.
        self._held: dict[str, list[QueuedShard]] = {}
        self._accounts: dict[str, AccountQueue] = {}
        self._queued: dict[str, QueuedShard] = {}
        self._waiting_counts: dict[str, int] = {}
        self._waiting_seconds: dict[str, float] = {}
        self._virtual_time = 0.0
        self._last_sequence = 0
        self._change_count = 0

    def __len__(self) -> int:
        return len(self._queued)

    def __contains__(self, shard_id: str) -> bool:
        return shard_id in self._queued

    def depth_by_model(self) -> dict[str, int]:
        """Return the number of waiting shards by model."""
        return {model: count for model, count in self._waiting_counts.items() if count}

    def oldest_by_model(self) -> dict[str, float]:
        """Return when the oldest waiting shard of each model was queued, in the clock of the events."""
        oldest: dict[str, float] = {}
        for entry in self._queued.values():  # in the order of arrival
            oldest.setdefault(entry.spec.model, entry.queued_at)
            if len(oldest) == len(self._waiting_counts):
                break
        return oldest

    def waiting(self) -> list[QueuedShard]:
        """Return all waiting shards, in the order of their arrival."""
        return list(self._queued.values())

    def running_count(self, account_id: str) -> int:
        """Return how many shards of an account run."""
        account = self._accounts.get(account_id)
        return account.running_count if account else 0

    def backlog_seconds(self, model: str) -> float:
        """Return the run seconds of a model's waiting shards on the reference GPU."""
        return self._waiting_seconds.get(model, 0.0)

    @property
    def total_backlog_seconds(self) -> float:
        """Run seconds of all waiting shards on the reference GPU."""
        return sum(self._waiting_seconds.values())

    @property
    def change_count(self) -> int:
        """Grows whenever a shard begins or ceases to wait."""
        return self._change_count

    def in_order(self, shards: Collection[str] | None = None) -> list[QueuedShard]:
        """Return the waiting ones of `shards`, or all, in fair order."""
        if shards is None:
            return sorted(self._queued.values(), key=_place)
        return sorted((self._queued[id] for id in shards if id in self._queued), key=_place)

    def seconds_ahead_of(self, account_id: str) -> float:
        """Return the run seconds that the fair queue starts before a new shard of the account."""
        own = self._accounts.get(account_id, AccountQueue()).waiting_seconds
        return own + sum(
            min(account.waiting_seconds, own)
            for name, account in self._accounts.items()
            if name != account_id
        )

    def enqueue(self, spec: ShardSpec, now: float) -> None:
        """Add a new shard behind the other shards of its account."""
        account = self._accounts.setdefault(spec.account_id, AccountQueue())
        tag = max(self._virtual_time, account.finish_tag)
        account.finish_tag = tag + spec.run_seconds / spec.fair_share_weight
        self._push(QueuedShard(tag, self._next_sequence(), spec, now))

    def requeue(self, spec: ShardSpec, now: float) -> None:
        """Add a shard again after a failed attempt, ahead of all shards that have not run yet.

        Retries are kept apart from the heaps: a retry may have to wait for another instance and must not
        block the shards behind it. There are never more of them than the fleet has slots.
        """
        entry = QueuedShard(self._virtual_time, -self._next_sequence(), spec, now)
        self._register(entry)
        self._retries.append(entry)

    def enqueue_suspect(self, spec: ShardSpec, now: float) -> None:
        """Add a shard that must run alone; it is returned by `suspects` and not by `heads`."""
        entry = QueuedShard(self._virtual_time, self._next_sequence(), spec, now)
        self._register(entry)
        self._suspects[spec.shard_id] = entry
        self._accounts[spec.account_id].suspect_count += 1

    def suspects(self) -> list[QueuedShard]:
        """Return the waiting suspects that are within the limit of their account, first come first."""
        return [entry for entry in self._suspects.values() if self._is_within_limit(entry)]

    def hold_job(self, job_id: str) -> None:
        """Keep the waiting shards of a job back until `release_job`; its suspects are not affected."""
        self._held.setdefault(job_id, [])

    def release_job(self, job_id: str) -> None:
        """Let the shards of a held job wait for an instance again, in their earlier order."""
        for entry in self._held.pop(job_id, ()):
            if not entry.is_removed:
                heapq.heappush(self._heaps.setdefault(entry.spec.requirements, []), entry)

    def heads(self) -> Iterator[QueuedShard]:
        """Return every eligible retry, and the first eligible shard of each version of a model."""
        self._retries = [entry for entry in self._retries if not entry.is_removed]
        yield from (
            entry
            for entry in self._retries
            if entry.spec.job_id not in self._held and self._is_within_limit(entry)
        )
        for requirements in list(self._heaps):
            head = self._head(requirements)
            if head is not None:
                yield head

    def dequeue(self, queued: QueuedShard) -> ShardSpec:
        """Remove a head that is about to run, and count it against its account's concurrency limit."""
        self._unregister(queued)
        self._virtual_time = max(self._virtual_time, queued.start_tag)
        self._accounts[queued.spec.account_id].running_count += 1
        return queued.spec

    def remove(self, shard_id: str) -> ShardSpec | None:
        """Remove a waiting shard permanently. Returns None if it does not wait."""
        entry = self._queued.get(shard_id)
        if entry is None:
            return None
        self._unregister(entry)
        self._unblock_next(entry.spec.account_id)
        return entry.spec

    def release_concurrency(self, account_id: str) -> None:
        """Count down the running shards of the account, and unblock one that its limit held back."""
        self._accounts[account_id].running_count -= 1
        self._unblock_next(account_id)

    def _next_sequence(self) -> int:
        self._last_sequence += 1
        return self._last_sequence

    def _push(self, queued: QueuedShard) -> None:
        self._register(queued)
        heapq.heappush(self._heaps.setdefault(queued.spec.requirements, []), queued)

    def _register(self, queued: QueuedShard) -> None:
        spec = queued.spec
        self._change_count += 1
        account = self._accounts.setdefault(spec.account_id, AccountQueue())
        account.waiting_count += 1
        account.waiting_seconds += spec.run_seconds
        self._queued[spec.shard_id] = queued
        self._waiting_counts[spec.model] = self._waiting_counts.get(spec.model, 0) + 1
        self._waiting_seconds[spec.model] = self._waiting_seconds.get(spec.model, 0.0) + spec.run_seconds

    def _unregister(self, queued: QueuedShard) -> None:
        """Mark an entry as removed; it leaves its heap when it reaches the top."""
        spec = queued.spec
        queued.is_removed = True
        self._change_count += 1
        del self._queued[spec.shard_id]
        account = self._accounts[spec.account_id]
        account.suspect_count -= self._suspects.pop(spec.shard_id, None) is not None
        account.waiting_count -= 1
        account.waiting_seconds -= spec.run_seconds
        self._waiting_counts[spec.model] -= 1
        self._waiting_seconds[spec.model] -= spec.run_seconds
        if not self._waiting_counts[spec.model]:
            del self._waiting_counts[spec.model], self._waiting_seconds[spec.model]

    def _is_within_limit(self, queued: QueuedShard) -> bool:
        limit, account = queued.spec.max_concurrency, self._accounts[queued.spec.account_id]
        is_kept = account.suspect_count > 0 and queued.spec.shard_id not in self._suspects
        return limit is None or account.running_count + is_kept < limit

    def _head(self, requirements: tuple[str, ...]) -> QueuedShard | None:
        heap = self._heaps[requirements]
        while heap:
            entry = heap[0]
            is_held = entry.spec.job_id in self._held
            if not entry.is_removed and not is_held and self._is_within_limit(entry):
                return entry
            heapq.heappop(heap)
            if entry.is_removed:
                continue
            if is_held:
                self._held[entry.spec.job_id].append(entry)
                self._unblock_next(entry.spec.account_id)
            else:
                heapq.heappush(self._accounts[entry.spec.account_id].blocked, entry)
        del self._heaps[requirements]
        return None

    def _unblock_next(self, account_id: str) -> None:
        """Move one blocked shard back into its heap; delete the account's state if nothing waits or runs."""
        account = self._accounts[account_id]
        while account.blocked:
            entry = heapq.heappop(account.blocked)
            if not entry.is_removed and entry.spec.job_id in self._held:
                self._held[entry.spec.job_id].append(entry)
            elif not entry.is_removed:
                heapq.heappush(self._heaps.setdefault(entry.spec.requirements, []), entry)
                return
        if (
            not account.waiting_count
            and not account.running_count
            and account.finish_tag <= self._virtual_time
        ):
            del self._accounts[account_id]
