"""Shards that ran when their instance died: alone, one at a time, and not for a third time."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from orchestrator.execution.scheduler import (
    BlameInstance,
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
    Tick,
)
from orchestrator.execution.scheduler.instances import RETURN_GRACE_SECONDS
from orchestrator.jobs import FailureKind
from tests.support.repeats import tries

GONE = FailureKind.INSTANCE_GONE


def make_spec(shard: str, *, account: str = "a", **more: object) -> ShardSpec:
    return ShardSpec(
        shard_id=shard,
        job_id=shard.partition("-")[0],
        account_id=account,
        model="m",
        run_seconds=10.0,
        **more,  # type: ignore[arg-type]
    )


def scheduler(*instances: str, max_attempts: int = 3) -> Scheduler:
    made = Scheduler(max_attempts=max_attempts)
    for name in instances:
        made.handle(InstanceUp(instance_id=name), 0.0)
    return made


def runs(instructions: list[Instruction]) -> list[tuple[str, str]]:
    return [(i.shard_id, i.instance_id) for i in instructions if isinstance(i, RunShard)]


def add(to: Scheduler, *shards: str, **more: object) -> list[tuple[str, str]]:
    specs = [make_spec(shard, **more) for shard in shards]  # type: ignore[arg-type]
    return runs(to.handle(JobAdded(specs=specs), 0.0))


def die(to: Scheduler, instance: str, *shards: str, returns: bool = True) -> list[Instruction]:
    """The instance dies while it runs the first of `shards`, and is back at once; the others waited."""
    done = to.handle(InstanceDown(instance_id=instance, returns=True), 1.0)
    for shard in shards:
        done += to.handle(RunEnded(shard_id=shard, instance_id=instance), 1.0)
    for shard in shards:
        failed = ShardFailed(shard_id=shard, instance_id=instance, kind=GONE, has_run=shard == shards[0])
        done += to.handle(failed, 1.0)
    return done + (to.handle(InstanceUp(instance_id=instance), 1.0) if returns else [])


def finish(to: Scheduler, shard: str, instance: str) -> list[Instruction]:
    ended = to.handle(RunEnded(shard_id=shard, instance_id=instance, seconds=10.0), 2.0)
    return ended + to.handle(ShardDone(shard_id=shard), 2.0)


def held(to: Scheduler) -> dict[str, list[str]]:
    return {name: [one.spec.shard_id for one in i.assignments] for name, i in to.instances.items()}


def test_runs_a_suspect_alone_on_an_instance_that_is_kept_free() -> None:
    fleet = scheduler("g0", "g1")
    add(fleet, *(f"j{number}-0" for number in range(8)))
    first, behind = held(fleet)["g0"]
    die(fleet, "g0", first, behind)
    assert all(first not in shards for shards in held(fleet).values()), "it waits for an idle instance"
    fleet.handle(Tick(), 3.0)
    kept = next(name for name, shards in held(fleet).items() if name != "g0")
    for shard in list(held(fleet)[kept]):
        finish(fleet, shard, kept)
    assert held(fleet)[kept] == [first], "on the other instance, with nothing beside or behind it"
    assert len(held(fleet)["g0"]) == 2, "the others go on"


def test_a_neighbour_that_waited_behind_is_no_suspect() -> None:
    fleet = scheduler("g0")
    add(fleet, "j-0", "k-0")
    die(fleet, "g0", "j-0", "k-0")
    assert fleet.suspect_count == 1


def test_quarantines_a_shard_after_the_second_death() -> None:
    fleet = scheduler("g0", max_attempts=1)
    add(fleet, "j-0", "j-1")
    die(fleet, "g0", "j-0", "j-1")
    assert held(fleet) == {"g0": ["j-0"]}, "the other shard of the job waits for the outcome"
    assert FailJob(job_id="j", shard_id="j-0", kind=FailureKind.QUARANTINED) in die(fleet, "g0", "j-0")
    assert not fleet.has_shard("j-1")
    assert fleet.suspect_count == 0


def test_a_suspect_that_succeeds_clears_itself_and_its_job() -> None:
    fleet = scheduler("g0", "g1")
    add(fleet, "j-0", "j-1", "j-2", "j-3", "j-4", "j-5")
    first, behind = held(fleet)["g0"]
    die(fleet, "g0", first, behind)
    for shard in list(held(fleet)["g1"]):
        finish(fleet, shard, "g1")
    (where,) = [name for name, shards in held(fleet).items() if shards == [first]]
    done = finish(fleet, first, where)
    assert BlameInstance(instance_id="g0") in done
    assert fleet.suspect_count == 0
    waiting = [shards for shards in held(fleet).values() if shards]
    assert len(waiting) == 2, "the other shards of the job run again, side by side"


def test_a_neighbour_with_several_shards_survives_the_death_of_its_instance() -> None:
    """It was fetching an output, waited behind, or had just begun: whatever it was, it completes."""
    fleet = scheduler("g0", "g1")
    add(fleet, "good-0", "good-1", "good-2", "good-3", account="b")
    first, behind = held(fleet)["g0"]
    die(fleet, "g0", first, behind)
    left = {f"good-{number}" for number in range(4)}
    for _ in range(20):
        for name, shards in held(fleet).items():
            for shard in shards:
                assert not any(isinstance(i, FailJob) for i in finish(fleet, shard, name))
                left.discard(shard)
    assert not left


def test_the_next_suspect_starts_when_the_results_of_the_last_one_are_delivered() -> None:
    fleet = scheduler("g0")
    add(fleet, "j-0", deaths=1)
    add(fleet, "k-0", account="b", deaths=1)
    ended = RunEnded(shard_id="j-0", instance_id="g0", seconds=10.0)
    assert runs(fleet.handle(ended, 2.0)) == [], "its death would be taken for that of the shard before it"
    assert runs(fleet.handle(ShardDone(shard_id="j-0"), 3.0)) == [("k-0", "g0")]


def test_a_suspect_waits_for_an_instance_that_has_no_results_of_others() -> None:
    fleet = scheduler("g0", "g1")
    add(fleet, "j-0", "k-0")
    for shard, name in (("j-0", "g0"), ("k-0", "g1")):
        assert held(fleet)[name] == [shard]
        fleet.handle(RunEnded(shard_id=shard, instance_id=name, seconds=10.0), 2.0)
    assert add(fleet, "s-0", account="b", deaths=1) == []
    assert runs(fleet.handle(ShardDone(shard_id="k-0"), 3.0)) == [("s-0", "g1")]


def test_a_cancelled_or_failed_delivery_frees_the_instance_for_a_suspect() -> None:
    for end in (
        ShardFailed(shard_id="j-0", instance_id="g0", kind=FailureKind.STORE_UNAVAILABLE),
        ShardDone(shard_id="j-0"),
    ):
        fleet = scheduler("g0")
        add(fleet, "j-0")
        fleet.handle(RunEnded(shard_id="j-0", instance_id="g0", seconds=10.0), 2.0)
        fleet.handle(JobCancelled(job_id="j"), 2.0)
        assert add(fleet, "s-0", account="b", deaths=1) == []
        assert runs(fleet.handle(end, 3.0)) == [("s-0", "g0")]


def test_an_instance_is_not_blamed_where_another_shard_was_the_cause() -> None:
    """Both the shard that ran and the one whose results were delivered may have ended it."""
    fleet = scheduler("g0")
    add(fleet, "good-0", account="b")
    fleet.handle(RunEnded(shard_id="good-0", instance_id="g0", seconds=10.0), 1.0)
    add(fleet, "bad-0")
    fleet.handle(InstanceDown(instance_id="g0", returns=True), 2.0)
    fleet.handle(RunEnded(shard_id="bad-0", instance_id="g0"), 2.0)
    for shard in ("good-0", "bad-0"):
        fleet.handle(ShardFailed(shard_id=shard, instance_id="g0", kind=GONE), 2.0)
    assert runs(fleet.handle(InstanceUp(instance_id="g0"), 2.0)) == [("good-0", "g0")]
    assert not any(isinstance(one, BlameInstance) for one in finish(fleet, "good-0", "g0"))
    assert FailJob(job_id="bad", shard_id="bad-0", kind=FailureKind.QUARANTINED) in die(fleet, "g0", "bad-0")


def test_an_instance_is_blamed_once_for_the_shards_that_it_lost_at_the_same_time() -> None:
    fleet = scheduler("g0")
    add(fleet, "j-0", account="b")
    fleet.handle(RunEnded(shard_id="j-0", instance_id="g0", seconds=10.0), 1.0)
    add(fleet, "k-0")
    fleet.handle(InstanceDown(instance_id="g0", returns=True), 2.0)
    fleet.handle(RunEnded(shard_id="k-0", instance_id="g0"), 2.0)
    for shard in ("j-0", "k-0"):
        fleet.handle(ShardFailed(shard_id=shard, instance_id="g0", kind=GONE), 2.0)
    fleet.handle(InstanceUp(instance_id="g0"), 2.0)
    done = [*finish(fleet, "j-0", "g0"), *finish(fleet, "k-0", "g0")]
    assert [one for one in done if isinstance(one, BlameInstance)] == [BlameInstance(instance_id="g0")]


def test_one_suspect_at_a_time_in_the_whole_fleet() -> None:
    fleet = scheduler("g0", "g1", "g2")
    add(fleet, "j-0", "k-0", "l-0")
    for name, shards in list(held(fleet).items()):
        die(fleet, name, *shards, returns=False)
    for name in ("g0", "g1", "g2"):
        fleet.handle(InstanceUp(instance_id=name), 2.0)
    assert sorted(map(len, held(fleet).values())) == [0, 0, 1]


def test_suspects_of_one_account_do_not_keep_those_of_another_waiting() -> None:
    fleet = scheduler("g0")
    for number in range(6):
        add(fleet, f"bad{number}-0", account="bad", deaths=1)
    add(fleet, "good-0", account="good", deaths=1)
    order = []
    for _ in range(3):
        (shard,) = held(fleet)["g0"]
        order.append(shard)
        die(fleet, "g0", shard)
    assert order[1] == "good-0"


def test_other_shards_of_its_account_do_not_starve_a_suspect() -> None:
    """They use up the limit of the account, again and again, while no instance is idle."""
    fleet = scheduler("g0", "g1")
    add(fleet, "o0-0", "o1-0", "o2-0", account="other")
    add(fleet, "a-0", account="limited", max_concurrency=1)
    add(fleet, "s-0", account="limited", max_concurrency=1, deaths=1)
    order: list[str] = []
    for number in range(20):
        add(fleet, f"o{number + 3}-0", account="other")
        add(fleet, f"b{number}-0", account="limited", max_concurrency=1)
        name = f"g{number % 2}"
        order.append(held(fleet)[name][0])
        finish(fleet, order[-1], name)
    assert "s-0" in order, order


def test_suspects_do_not_starve_ordinary_shards_of_the_only_instance() -> None:
    fleet = scheduler("g0")
    for number in range(6):
        add(fleet, f"bad{number}-0", account="bad", deaths=1)
    add(fleet, "good-0", account="good")
    order = []
    for _ in range(4):
        shard = held(fleet)["g0"][0]
        order.append(shard)
        finish(fleet, shard, "g0") if shard == "good-0" else die(fleet, "g0", shard)
    assert "good-0" in order[:2]


def test_deaths_are_remembered_over_a_restart_of_the_service() -> None:
    fleet = scheduler("g0")
    add(fleet, "j-0", deaths=1)
    assert FailJob(job_id="j", shard_id="j-0", kind=FailureKind.QUARANTINED) in die(fleet, "g0", "j-0")


def test_quarantines_at_once_what_an_earlier_process_could_not() -> None:
    fleet = scheduler("g0")
    spec = make_spec("j-0", deaths=2)
    done = fleet.handle(JobAdded(specs=[spec, make_spec("j-1")]), 0.0)
    assert done == [FailJob(job_id="j", shard_id="j-0", kind=FailureKind.QUARANTINED)]
    assert held(fleet) == {"g0": []}


def test_a_cancelled_suspect_frees_its_instance_when_its_run_has_ended() -> None:
    fleet = scheduler("g0")
    add(fleet, "j-0", deaths=1)
    add(fleet, "k-0", account="b")
    fleet.handle(JobCancelled(job_id="j"), 1.0)
    assert held(fleet) == {"g0": ["j-0"]}
    assert runs(fleet.handle(RunEnded(shard_id="j-0", instance_id="g0"), 2.0)) == [("k-0", "g0")]


def test_a_suspect_expires_like_any_other_shard() -> None:
    fleet = scheduler()
    add(fleet, "j-0", deaths=1, deadline=50.0)
    assert fleet.handle(Tick(), 50.0) == [FailJob(job_id="j", shard_id="j-0", kind=FailureKind.EXPIRED)]


def test_keeps_another_instance_free_if_the_first_one_goes_down() -> None:
    fleet = scheduler("g0", "g1")
    add(fleet, *(f"j{number}-0" for number in range(8)))
    add(fleet, "s-0", account="b", deaths=1)
    kept = next(name for name in ("g0", "g1") if not runs(fleet.handle(Tick(), 1.0)) and name)
    fleet.handle(InstanceDown(instance_id=kept), 1.0)
    other = "g1" if kept == "g0" else "g0"
    for shard in list(held(fleet)[other]):
        finish(fleet, shard, other)
    assert held(fleet)[other] == ["s-0"]


def test_a_blocked_shard_of_an_account_runs_while_another_job_of_it_is_held_back() -> None:
    fleet = scheduler("g0", "g1")
    add(fleet, "j-0", "j-1", max_concurrency=1)
    add(fleet, "k-0", max_concurrency=1)
    (name,) = [one for one, shards in held(fleet).items() if shards == ["j-0"]]
    fleet.handle(InstanceDown(instance_id=name), 1.0)
    add(fleet, *(f"x{number}-0" for number in range(4)), account="b")
    fleet.handle(RunEnded(shard_id="j-0", instance_id=name), 1.0)
    fleet.handle(ShardFailed(shard_id="j-0", instance_id=name, kind=GONE), 1.0)
    fleet.handle(InstanceUp(instance_id=name), 1.0)
    seen = {shard for shards in held(fleet).values() for shard in shards}
    for _ in range(10):
        for one, shards in held(fleet).items():
            for shard in shards[:1]:
                seen.update(shard for shard, _ in runs(finish(fleet, shard, one)))
    assert {"j-0", "j-1", "k-0"} <= seen


def test_runs_a_shard_alone_after_it_has_blocked_an_instance() -> None:
    fleet = scheduler("g0", max_attempts=3)
    add(fleet, "j-0", "j-1")
    add(fleet, "k-0", account="b")
    for _ in range(2):
        fleet.handle(RunEnded(shard_id="j-0", instance_id="g0"), 1.0)
        stalled = ShardFailed(shard_id="j-0", instance_id="g0", kind=FailureKind.STALLED)
        assert not any(isinstance(i, FailJob) for i in fleet.handle(stalled, 1.0))
        for shard in ("j-1", "k-0"):
            if shard in held(fleet)["g0"]:
                finish(fleet, shard, "g0")
        assert held(fleet)["g0"] == ["j-0"]
    fleet.handle(RunEnded(shard_id="j-0", instance_id="g0"), 1.0)
    assert FailJob(job_id="j", shard_id="j-0", kind=FailureKind.STALLED) in fleet.handle(stalled, 1.0)


def test_requests_may_wait_for_instances_that_return_by_themselves() -> None:
    fleet = scheduler("g0")
    fleet.handle(InstanceDown(instance_id="g0", returns=True), 10.0)
    assert not fleet.can_serve("m")
    assert fleet.expects_instance(11.0)
    assert fleet.expects_to_serve("m", 11.0)
    assert fleet.expected_wait_seconds("a", 11.0) == 0.0
    late = 10.0 + RETURN_GRACE_SECONDS
    fleet.handle(InstanceDown(instance_id="g0", returns=True), late - 1.0)
    assert not fleet.expects_instance(late)
    assert not fleet.expects_to_serve("m", late), "a repeated event does not prolong the time"
    assert fleet.expected_wait_seconds("a", late) == float("inf")


def test_requests_do_not_wait_for_an_instance_that_has_failed_or_drains() -> None:
    fleet = scheduler("g0")
    fleet.handle(InstanceDown(instance_id="g0", returns=True), 10.0)
    fleet.handle(InstanceDown(instance_id="g0"), 11.0)
    assert not fleet.expects_to_serve("m", 11.0)


class PoisonMachine(RuleBasedStateMachine):
    """Poison shards end whatever runs them; others succeed. Instances come back by themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.scheduler = scheduler("g0", "g1", "g2")
        self.down: set[str] = set()
        self.jobs = 0
        self.poison: set[str] = set()
        self.deaths: dict[str, int] = {}
        self.lost: dict[str, int] = {}
        self.failed: dict[str, FailureKind] = {}
        self.done: set[str] = set()
        #: Shards that have run, and whose results the instance still has.
        self.delivering: dict[str, list[str]] = {name: [] for name in ("g0", "g1", "g2")}
        #: By instance, how often it was killed from outside, and how often it was blamed for its end.
        self.kills: dict[str, int] = dict.fromkeys(self.delivering, 0)
        self.blames: dict[str, int] = dict.fromkeys(self.delivering, 0)

    def send(self, *events: object) -> None:
        for event in events:
            for instruction in self.scheduler.handle(event, 0.0):  # type: ignore[arg-type]
                match instruction:
                    case FailJob(job_id=job, kind=kind):
                        self.failed[job] = kind
                    case CancelShard():
                        pass
                    case BlameInstance(instance_id=name):
                        self.blames[name] += 1
                    case RunShard(shard_id=shard, instance_id=name):
                        assert name not in self.down
                        assert self.deaths.get(shard, 0) < 2, "no shard runs after its second death"

    @rule(
        account=st.sampled_from("abc"),
        count=st.integers(1, 4),
        is_poison=st.booleans(),
        limit=st.sampled_from([None, 1, 2]),
    )
    def submit(self, account: str, count: int, is_poison: bool, limit: int | None) -> None:
        self.jobs += 1
        shards = [f"j{self.jobs}-{index}" for index in range(count)]
        if is_poison:
            self.poison.update(shards)
        account += str(limit)
        self.send(JobAdded(specs=[make_spec(one, account=account, max_concurrency=limit) for one in shards]))

    @precondition(lambda self: any(held(self.scheduler).values()))
    @rule(data=st.data())
    def run_the_first_shard(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from([name for name, shards in held(self.scheduler).items() if shards]))
        self.step(name)

    @precondition(lambda self: any(held(self.scheduler).values()))
    @rule(data=st.data())
    def kill(self, data: st.DataObject) -> None:
        """An instance is killed from outside, at most once under each shard."""
        name = data.draw(st.sampled_from([name for name, shards in held(self.scheduler).items() if shards]))
        if not any(
            self.deaths.get(shard) for shard in (held(self.scheduler)[name][0], *self.delivering[name])
        ):
            self.kills[name] += 1
            self.end_instance(name)

    @precondition(lambda self: bool(self.down))
    @rule(data=st.data())
    def come_back(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.down)))
        self.down.discard(name)
        self.send(InstanceUp(instance_id=name))

    def step(self, name: str) -> None:
        shard = held(self.scheduler)[name][0]
        if shard in self.poison:
            self.end_instance(name)
        else:
            self.delivering[name].append(shard)
            self.send(RunEnded(shard_id=shard, instance_id=name, seconds=10.0))

    @precondition(lambda self: any(self.delivering.values()))
    @rule(data=st.data())
    def deliver(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from([name for name, shards in self.delivering.items() if shards]))
        self.deliver_first(name)

    def deliver_first(self, name: str) -> None:
        shard = self.delivering[name].pop(0)
        if self.scheduler.has_shard(shard):
            self.done.add(shard)
        self.send(ShardDone(shard_id=shard))

    def end_instance(self, name: str) -> None:
        """Every shard whose results are lost may be the cause, as may the one that runs."""
        shards, lost = held(self.scheduler)[name], self.delivering[name]
        self.delivering[name] = []
        for shard in (*shards[:1], *lost):
            self.deaths[shard] = self.deaths.get(shard, 0) + 1
        self.down.add(name)
        self.send(InstanceDown(instance_id=name, returns=True))
        for shard in shards:
            self.send(RunEnded(shard_id=shard, instance_id=name))
        for shard in shards:
            ran = shard == shards[0]
            self.send(ShardFailed(shard_id=shard, instance_id=name, kind=GONE, has_run=ran))
        for shard in lost:
            self.send(ShardFailed(shard_id=shard, instance_id=name, kind=GONE))

    @invariant()
    def a_suspect_is_alone(self) -> None:
        suspects = [shard for shard in self.deaths if self.scheduler.has_shard(shard)]
        assigned = [shards for shards in held(self.scheduler).values() if set(shards) & set(suspects)]
        assert len(assigned) <= 1, "one suspect at a time in the fleet"
        assert all(len(shards) == 1 for shards in assigned), "with nothing else on its instance"

    @invariant()
    def no_instance_is_blamed_for_poison(self) -> None:
        assert all(self.blames[name] <= self.kills[name] for name in self.kills)

    @invariant()
    def only_poison_is_quarantined(self) -> None:
        assert all(kind is FailureKind.QUARANTINED for kind in self.failed.values())
        assert all(f"{job}-0" in self.poison for job in self.failed)

    def teardown(self) -> None:
        """Every ordinary shard completes, and every poison job fails."""
        for _ in range(40 * self.jobs + 40):
            for name in sorted(self.down):
                self.down.discard(name)
                self.send(InstanceUp(instance_id=name))
            for name in list(held(self.scheduler)):
                if held(self.scheduler)[name]:
                    self.step(name)
                if self.delivering[name]:
                    self.deliver_first(name)
        assert not any(held(self.scheduler).values())
        assert len(self.scheduler.queue) == 0
        jobs = {shard.partition("-")[0] for shard in self.poison}
        assert self.failed.keys() == jobs
        assert self.scheduler.suspect_count == 0


TestPoison = pytest.mark.exhaustive(PoisonMachine.TestCase)
TestPoison.settings = settings(max_examples=tries(150), stateful_step_count=40, deadline=None)
