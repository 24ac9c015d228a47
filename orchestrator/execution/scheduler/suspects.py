"""Runs the shards that may have ended their instance: alone on an instance, one at a time in the fleet.

A shard that ran when its instance died is a suspect, and so is one whose run made no progress, which is
interrupted or ended with its instance. While one waits, an instance is kept free for it: it
gets no further shards, and the suspect starts once the instance is idle, with the results of earlier shards
delivered; the next one starts when its own results are. The other waiting shards of its job are held back
until the suspect has succeeded, because they probably do the same. A suspect under which a second instance
dies is the cause, for nothing else was there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.execution.scheduler.events import ShardSpec
from orchestrator.execution.scheduler.instances import SLOTS_PER_INSTANCE, Death, Instance
from orchestrator.execution.scheduler.queue import FairQueue, QueuedShard

#: Deaths of instances under one shard after which it is quarantined.
MAX_DEATHS = 2


@dataclass(slots=True)
class SuspectLane:
    """Which suspect runs where, and which instance is kept free for the next one."""

    #: The ends of instances that ran a shard or had its results, by shard id.
    deaths: dict[str, list[Death]] = field(default_factory=dict)
    running_shard: str | None = None
    #: The instance on which a suspect runs, or that is kept free for one.
    instance_id: str | None = None
    #: Ordinary shards to start before the next suspect if only one instance is up.
    ordinary_turns: int = 0
    _last_account: str | None = None

    def is_suspect(self, shard_id: str) -> bool:
        """Whether an instance has died while it ran the shard."""
        return shard_id in self.deaths

    def is_guilty(self, shard_id: str) -> bool:
        """Whether so many instances have died that the shard must not run again."""
        return len(self.deaths.get(shard_id, ())) >= MAX_DEATHS

    def suspect(self, shard_id: str) -> None:
        """Run the shard alone from now on, because its run has blocked an instance."""
        self.deaths.setdefault(shard_id, [])

    def record_loss(self, shard_id: str, instance: Instance | None, *, has_run: bool) -> None:
        """Note that an instance died that had the shard, which may be the cause if its run had begun.

        The instance is None for one in an earlier process of the service.
        """
        death = instance.death if instance else Death()
        if has_run:
            death.candidates.add(shard_id)
            self.deaths.setdefault(shard_id, []).append(death)
        else:
            death.candidates.discard(shard_id)

    def acquit(self, shard_id: str) -> list[str]:
        """Forget a shard that has succeeded; return the instances whose deaths no other shard can explain."""
        died = self.deaths.pop(shard_id, [])
        for death in died:
            death.candidates.discard(shard_id)
        return [death.instance_id for death in died if death.instance_id and not death.candidates]

    def forget(self, shard_id: str) -> None:
        """Forget a shard that does not run again. It may have been the cause."""
        self.deaths.pop(shard_id, None)

    def is_open(self, instance: Instance) -> bool:
        """Whether ordinary shards may be assigned to the instance."""
        return instance.is_up and instance.has_free_slot and instance.id != self.instance_id

    def is_occupied(self, instances: Mapping[str, Instance]) -> bool:
        """Whether a suspect runs on its instance or has results there; frees the instance once it has not."""
        if self.running_shard is None:
            return False
        instance = instances.get(self.instance_id or "")
        if instance and instance.holds(self.running_shard):
            return True
        self.running_shard = self.instance_id = None
        self.ordinary_turns = SLOTS_PER_INSTANCE
        return False

    def choose_suspect(self, queue: FairQueue) -> QueuedShard | None:
        """Return the suspect to run next: the first one, of another account than the last if there is one."""
        waiting = queue.suspects()
        others = [entry for entry in waiting if entry.spec.account_id != self._last_account]
        return next(iter(others or waiting), None)

    def reserve(self, candidates: Sequence[Instance], now: float) -> Instance:
        """Keep one of the instances free and return it: an idle one, the one that is kept already, or the
        one that will be idle first."""
        idle = [instance for instance in candidates if instance.is_idle]
        kept = [instance for instance in candidates if instance.id == self.instance_id]
        chosen = min(
            idle or kept or candidates, key=lambda instance: (instance.busy_seconds(now), instance.id)
        )
        self.instance_id = chosen.id
        return chosen

    def start(self, spec: ShardSpec) -> None:
        """Note that a suspect was assigned to the reserved instance."""
        self.running_shard, self._last_account = spec.shard_id, spec.account_id
