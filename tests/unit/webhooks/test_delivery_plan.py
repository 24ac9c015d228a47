"""Which webhook messages are delivered next: fair between accounts, and nothing waits for a hanging host."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

from orchestrator.store import DueReceiver, MessageReceiver
from orchestrator.webhooks.delivery_plan import (
    FIRST_PAUSE,
    MAX_CONCURRENT_DELIVERIES,
    MAX_CONCURRENT_PER_ACCOUNT,
    MAX_CONCURRENT_PER_HOST,
    MAX_CONCURRENT_PER_RECEIVER,
    MAX_CONCURRENT_TO_FAILING,
    MAX_PAUSE,
    MAX_SLOW_DELIVERIES,
    MAX_SLOW_PER_HOST,
    SLOW_SECONDS,
    ReceiverBackoff,
    RunningDelivery,
    plan_deliveries,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def to(account_id: str, host: str = "hooks.test:443") -> MessageReceiver:
    return MessageReceiver(account_id, host)


def due(receiver: MessageReceiver, count: int, minutes_ago: float = 0) -> DueReceiver:
    return DueReceiver(receiver=receiver, due_at=NOW - timedelta(minutes=minutes_ago), count=count)


running = RunningDelivery


def failing(*receivers: MessageReceiver, times: int = 1) -> tuple[ReceiverBackoff, datetime]:
    """Return the state after that many failures of each receiver, and when their pause has ended."""
    backoff, now = ReceiverBackoff(), NOW
    for _ in range(times):
        for receiver in receivers:
            backoff.record_failure(receiver, now)
        now += MAX_PAUSE
    return backoff, now


def test_a_long_queue_of_one_account_takes_no_more_than_its_receivers_share() -> None:
    waiting = [due(to("A"), 310, minutes_ago=60), due(to("B"), 1), due(to("C"), 2)]
    plan = plan_deliveries(waiting, [], ReceiverBackoff(), NOW)
    assert plan == {to("A"): MAX_CONCURRENT_PER_RECEIVER, to("B"): 1, to("C"): 2}


def test_an_account_with_many_hosts_takes_no_more_than_its_share() -> None:
    hosts = [due(to("A", f"{number}.test:443"), 5, minutes_ago=60) for number in range(1000)]
    plan = plan_deliveries([*hosts, due(to("B"), 1)], [], ReceiverBackoff(), NOW)
    assert plan[to("B")] == 1
    assert plan.total() == MAX_CONCURRENT_PER_ACCOUNT + 1
    assert max(plan.values()) == 1


def test_the_last_free_place_goes_to_the_account_that_has_none() -> None:
    busy = [running(to("A", "a:1"))] * 3
    busy += [running(to(f"full {number}", f"{number}:1")) for number in range(60)]
    assert len(busy) == MAX_CONCURRENT_DELIVERIES - 1
    waiting = [due(to("A", "a:1"), 9, minutes_ago=60), due(to("B", "b:1"), 9)]
    assert plan_deliveries(waiting, busy, ReceiverBackoff(), NOW) == {to("B", "b:1"): 1}


def test_messages_in_flight_are_not_planned_again() -> None:
    assert plan_deliveries([due(to("A"), 2)], [running(to("A"))] * 2, ReceiverBackoff(), NOW) == Counter()
    assert plan_deliveries([due(to("A"), 3)], [running(to("A"))] * 2, ReceiverBackoff(), NOW) == {to("A"): 1}


def test_a_host_that_many_accounts_share_has_a_limit_and_each_account_its_turn() -> None:
    waiting = [due(to(f"account {number}"), 9) for number in range(30)]
    plan = plan_deliveries(waiting, [], ReceiverBackoff(), NOW)
    assert plan.total() == MAX_CONCURRENT_PER_HOST
    assert max(plan.values()) == 1


def test_receivers_of_an_account_take_turns() -> None:
    waiting = [due(to("A", "long:1"), 9, minutes_ago=9), due(to("A", "short:1"), 9)]
    plan = plan_deliveries(waiting, [], ReceiverBackoff(), NOW)
    assert plan == {to("A", "long:1"): 4, to("A", "short:1"): 4}


def test_a_receiver_that_did_not_respond_is_paused_and_then_tried_with_one_message() -> None:
    backoff = ReceiverBackoff()
    backoff.record_failure(to("A"), NOW)
    waiting = [due(to("A"), 310), due(to("B"), 1)]
    assert plan_deliveries(waiting, [], backoff, NOW) == {to("B"): 1}
    assert plan_deliveries(waiting, [], backoff, NOW + FIRST_PAUSE) == {to("A"): 1, to("B"): 1}
    backoff.record_response(to("A"))
    assert plan_deliveries(waiting, [], backoff, NOW)[to("A")] == MAX_CONCURRENT_PER_RECEIVER


def test_pauses_double_up_to_the_maximum_and_parallel_failures_count_once() -> None:
    backoff, now, pauses = ReceiverBackoff(), NOW, []
    for _ in range(7):
        for _ in range(3):
            backoff.record_failure(to("A"), now)
        pause = timedelta(0)
        while backoff.is_paused(to("A"), now + pause):
            pause += timedelta(seconds=5)
        pauses.append(pause.total_seconds())
        now += pause
    assert pauses == [5, 10, 20, 40, 60, 60, 60]


def test_failing_receivers_leave_room_for_the_others() -> None:
    broken = [to(f"account {number}", f"{number}.test:443") for number in range(40)]
    backoff, now = failing(*broken)
    waiting = [due(receiver, 9, minutes_ago=60) for receiver in broken]
    plan = plan_deliveries([*waiting, due(to("B"), 9)], [], backoff, now)
    assert plan.total() - plan[to("B")] == MAX_CONCURRENT_TO_FAILING
    assert plan[to("B")] == MAX_CONCURRENT_PER_RECEIVER


def test_a_clock_that_was_set_back_ends_pauses() -> None:
    backoff, _ = failing(to("A"), times=5)
    assert not backoff.is_paused(to("A"), NOW - timedelta(days=1))


def test_accounts_whose_receivers_hang_leave_room_for_the_others() -> None:
    """Eight accounts with eight hosts each take all places, until their deliveries count as slow."""
    receivers = [to(f"slow {n % 8}", f"host-{n}:443") for n in range(MAX_CONCURRENT_DELIVERIES)]
    waiting = [*(due(receiver, 2) for receiver in receivers), due(to("B"), 1)]
    for seconds, planned in ((0.0, {}), (SLOW_SECONDS, {to("B"): 1})):
        deliveries = [running(receiver, seconds) for receiver in receivers]
        assert plan_deliveries(waiting, deliveries, ReceiverBackoff(), NOW) == planned


def test_an_account_has_no_more_deliveries_because_they_are_slow() -> None:
    slow = [running(to("A", f"host-{n}:443"), SLOW_SECONDS) for n in range(MAX_CONCURRENT_PER_ACCOUNT)]
    assert plan_deliveries([due(to("A", "other:443"), 1)], slow, ReceiverBackoff(), NOW) == {}


def test_slow_deliveries_are_bounded_in_total_and_per_host() -> None:
    one_host = [running(to(f"{n}", f"one:{n}"), SLOW_SECONDS) for n in range(MAX_SLOW_PER_HOST)]
    waiting = [due(to("B", "one:443"), 1), due(to("B", "two:443"), 1)]
    assert plan_deliveries(waiting, one_host, ReceiverBackoff(), NOW) == {to("B", "two:443"): 1}
    many = [running(to(f"{n}", f"{n}:1"), SLOW_SECONDS) for n in range(MAX_SLOW_DELIVERIES)]
    assert plan_deliveries(waiting, many, ReceiverBackoff(), NOW) == {}


def test_the_ports_of_a_host_share_its_limit() -> None:
    ports = [due(to(f"{n // 8}", f"hooks.test:{n}"), 1) for n in range(40)]
    assert plan_deliveries(ports, [], ReceiverBackoff(), NOW).total() == MAX_CONCURRENT_PER_HOST
