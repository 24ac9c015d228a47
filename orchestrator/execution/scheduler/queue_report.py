"""What waits, by model, account and priority, and about how long: for status reports only."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from orchestrator.execution.scheduler.instances import Instance
from orchestrator.execution.scheduler.queue import FairQueue, QueuedShard


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueGroup:
    """The waiting shards with one model, account or priority."""

    key: str
    waiting: int
    #: Seconds since the oldest of them was queued.
    oldest_seconds: float
    #: Seconds that they would take on the reference GPU.
    work_seconds: float
    #: Seconds until a new one would start; None while no instance can run it.
    wait_seconds: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueReport:
    """The queue of a scheduler."""

    models: tuple[QueueGroup, ...]
    accounts: tuple[QueueGroup, ...]
    #: By the weight with which accounts share the fleet.
    priorities: tuple[QueueGroup, ...]


def report_queue(
    queue: FairQueue,
    instances: Iterable[Instance],
    wait_of_account: Callable[[str], float],
    now: float,
) -> QueueReport:
    """Return what waits. `wait_of_account` returns the seconds until a new shard of an account would"
    " start."""
    waiting, fleet = queue.waiting(), list(instances)
    return QueueReport(
        models=_group(
            waiting,
            lambda entry: entry.spec.model,
            lambda group: _wait_of_model(group, waiting, fleet, now),
            now,
        ),
        accounts=_group(
            waiting,
            lambda entry: entry.spec.account_id,
            lambda group: _finite(wait_of_account(group[0].spec.account_id)),
            now,
        ),
        priorities=_group(
            waiting,
            lambda entry: f"{entry.spec.fair_share_weight:g}",
            lambda group: _longest(
                [wait_of_account(entry.spec.account_id) for entry in _one_per_account(group)]
            ),
            now,
        ),
    )


def _group(
    waiting: Iterable[QueuedShard],
    key_of: Callable[[QueuedShard], str],
    wait_of: Callable[[list[QueuedShard]], float | None],
    now: float,
) -> tuple[QueueGroup, ...]:
    """Return the groups, the one with the most work first."""
    groups: dict[str, list[QueuedShard]] = {}
    for entry in waiting:
        groups.setdefault(key_of(entry), []).append(entry)
    found = [
        QueueGroup(
            key=key,
            waiting=len(group),
            oldest_seconds=max(now - entry.queued_at for entry in group),
            work_seconds=sum(entry.spec.run_seconds for entry in group),
            wait_seconds=wait_of(group),
        )
        for key, group in groups.items()
    ]
    return tuple(sorted(found, key=lambda group: (-group.work_seconds, group.key)))


def _wait_of_model(
    group: list[QueuedShard], waiting: Iterable[QueuedShard], instances: list[Instance], now: float
) -> float | None:
    """Return the seconds until everything that waits for the instances of a model has begun."""
    capable = [one for one in instances if one.is_up and one.serves(group[0].spec.required_model)]
    if not capable:
        return None
    busy = sum(instance.busy_seconds(now) for instance in capable)
    work = sum(
        entry.spec.run_seconds
        for entry in waiting
        if any(instance.serves(entry.spec.required_model) for instance in capable)
    )
    return (busy + work) / sum(instance.speed for instance in capable)


def _one_per_account(group: list[QueuedShard]) -> Iterable[QueuedShard]:
    return {entry.spec.account_id: entry for entry in group}.values()


def _longest(waits: list[float]) -> float | None:
    return _finite(max(waits))


def _finite(seconds: float) -> float | None:
    return None if seconds == float("inf") else seconds
