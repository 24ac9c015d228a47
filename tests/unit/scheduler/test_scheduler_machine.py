"""Invariants of the scheduler under random sequences of events from callers and instances."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from orchestrator.execution.scheduler import (
    CancelShard,
    FailJob,
    InstanceDown,
    InstanceUp,
    Instruction,
    JobAdded,
    JobCancelled,
    RunEnded,
    RunShard,
    Scheduler,
    ShardDone,
    ShardFailed,
    ShardSpec,
)
from orchestrator.execution.scheduler.instances import SLOTS_PER_INSTANCE
from orchestrator.jobs import FailureKind

ACCOUNTS = st.sampled_from(["a", "b", "c"])
MODELS = st.sampled_from(["x", "y", "z"])
INSTANCES = ("g0", "g1", "g2")
KINDS = st.sampled_from(
    [
        FailureKind.NODE_FAILED,
        FailureKind.INSTANCE_GONE,
        FailureKind.OUT_OF_MEMORY,
        FailureKind.BAD_GRAPH,
    ]
)
LIMITS = {"a": None, "b": 1, "c": 3}


class SchedulerMachine(RuleBasedStateMachine):
    """Tracks waiting and running shards independently of the scheduler and compares."""

    def __init__(self) -> None:
        super().__init__()
        self.scheduler = Scheduler(max_attempts=3)
        self.now = 0.0
        self.jobs = 0
        self.up: set[str] = set()
        #: Shards on instances, in the order in which they were sent.
        self.running: dict[str, list[ShardSpec]] = {name: [] for name in INSTANCES}
        self.waiting: dict[str, ShardSpec] = {}
        self.specs: dict[str, ShardSpec] = {}
        self.finished_jobs: set[str] = set()

    def send(self, *events: object) -> None:
        for event in events:
            for instruction in self.scheduler.handle(event, self.now):  # type: ignore[arg-type]
                self.execute(instruction)

    def execute(self, instruction: Instruction) -> None:
        match instruction:
            case RunShard(shard_id=shard, instance_id=instance):
                assert instance in self.up
                self.running[instance].append(self.waiting.pop(shard))
            case CancelShard(shard_id=shard, instance_id=instance):
                assert shard in [spec.shard_id for spec in self.running[instance]]
            case FailJob(job_id=job):
                self.finish(job)

    def finish(self, job: str) -> None:
        self.finished_jobs.add(job)
        self.waiting = {shard: spec for shard, spec in self.waiting.items() if spec.job_id != job}

    @initialize(names=st.sets(st.sampled_from(INSTANCES)))
    def start_instances(self, names: set[str]) -> None:
        for name in names:
            self.up.add(name)
            self.send(InstanceUp(instance_id=name))

    @rule(account=ACCOUNTS, model=MODELS, count=st.integers(1, 4), seconds=st.floats(0.1, 100))
    def submit(self, account: str, model: str, count: int, seconds: float) -> None:
        self.jobs += 1
        specs = [
            ShardSpec(
                shard_id=f"j{self.jobs}-{index}",
                job_id=f"j{self.jobs}",
                account_id=account,
                model=model,
                run_seconds=seconds,
                load_seconds=20.0,
                max_concurrency=LIMITS[account],
            )
            for index in range(count)
        ]
        self.specs |= {spec.shard_id: spec for spec in specs}
        self.waiting |= {spec.shard_id: spec for spec in specs}
        self.send(JobAdded(specs=specs))

    @precondition(lambda self: any(self.running.values()))
    @rule(data=st.data(), kind=st.none() | KINDS, has_run=st.booleans(), seconds=st.floats(0.1, 300))
    def end_run(self, data: st.DataObject, kind: FailureKind | None, has_run: bool, seconds: float) -> None:
        instance = data.draw(st.sampled_from([name for name, held in self.running.items() if held]))
        spec = self.running[instance].pop(0)
        self.now += seconds
        ended = RunEnded(shard_id=spec.shard_id, instance_id=instance, seconds=None if kind else seconds)
        if spec.job_id in self.finished_jobs:
            self.send(ended)
        elif kind is None:
            self.send(ended, ShardDone(shard_id=spec.shard_id))
        else:
            self.send(ended)
            self.waiting[spec.shard_id] = spec
            self.send(ShardFailed(shard_id=spec.shard_id, instance_id=instance, kind=kind, has_run=has_run))

    @precondition(lambda self: self.jobs > 0)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        job = f"j{data.draw(st.integers(1, self.jobs))}"
        self.finish(job)
        self.send(JobCancelled(job_id=job))

    @rule(name=st.sampled_from(INSTANCES))
    def bring_up(self, name: str) -> None:
        self.up.add(name)
        self.send(InstanceUp(instance_id=name))

    @rule(name=st.sampled_from(INSTANCES), lost=st.booleans())
    def take_down(self, name: str, lost: bool) -> None:
        self.up.discard(name)
        self.send(InstanceDown(instance_id=name, memory_lost=lost))

    @invariant()
    def tracked_state_equals_scheduler_state(self) -> None:
        assert set(self.waiting) == {shard for shard in self.specs if shard in self.scheduler.queue}
        for name, held in self.running.items():
            instance = self.scheduler.instances.get(name)
            assert (
                [a.spec.shard_id for a in instance.assignments] == [w.shard_id for w in held]
                if instance
                else not held
            )

    @invariant()
    def no_instance_exceeds_its_slots(self) -> None:
        assert all(len(held) <= SLOTS_PER_INSTANCE for held in self.running.values())

    @invariant()
    def no_account_exceeds_its_limit(self) -> None:
        for account, limit in LIMITS.items():
            running = sum(spec.account_id == account for held in self.running.values() for spec in held)
            assert limit is None or running <= limit

    @invariant()
    def no_shard_waits_while_the_fleet_is_idle(self) -> None:
        idle = self.up and not any(self.running.values())
        assert not (idle and self.waiting)

    def teardown(self) -> None:
        """Check that every shard finishes once an instance is available."""
        self.bring_up("g0")
        for _ in range(10 * len(self.specs) + 10):
            for name, held in self.running.items():
                if held:
                    spec = held.pop(0)
                    self.send(
                        RunEnded(shard_id=spec.shard_id, instance_id=name), ShardDone(shard_id=spec.shard_id)
                    )
        assert not self.waiting
        assert not any(self.running.values())
        assert len(self.scheduler.queue) == 0


TestScheduler = pytest.mark.exhaustive(SchedulerMachine.TestCase)
TestScheduler.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
