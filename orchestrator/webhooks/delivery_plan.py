"""Decide which webhook messages to deliver next, fairly between accounts and receivers (pure).

A receiver is a host and port that one account sends to. Two accounts with the same host are two receivers: a
path that hangs for one of them is no reason to delay the other. A delivery that lasts long leaves its place
to others, so that a few accounts whose receivers hang cannot hold all of them.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from heapq import heapify, heappop, heappush

from orchestrator.store.values import DueReceiver, MessageReceiver

#: Concurrent deliveries: in total, of one account, to one host, and to one receiver. An account has room for
#: its other receivers while one of them hangs, and other accounts have the rest.
MAX_CONCURRENT_DELIVERIES = 64
MAX_CONCURRENT_PER_ACCOUNT, MAX_CONCURRENT_PER_HOST, MAX_CONCURRENT_PER_RECEIVER = 8, 16, 4
#: After how many seconds a delivery counts as slow, and how many slow ones there may be, in total and to one
#: host. They still count for their account and receiver.
SLOW_SECONDS, MAX_SLOW_DELIVERIES, MAX_SLOW_PER_HOST = 2.0, 256, 64
#: Concurrent deliveries to receivers that did not respond to their last one, in total.
MAX_CONCURRENT_TO_FAILING = 16
#: Pause before the next delivery to a receiver that did not respond; it doubles up to the maximum.
FIRST_PAUSE, MAX_PAUSE = timedelta(seconds=5), timedelta(seconds=60)
#: Number of failing receivers to remember.
MAX_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class _Failures:
    count: int
    paused_until: datetime


class ReceiverBackoff:
    """The receivers that did not respond to their last delivery, and how long each one is left alone.

    Until such a receiver responds again, one of its messages at a time is tried, and the others wait.
    """

    def __init__(self) -> None:
        self._failures: OrderedDict[MessageReceiver, _Failures] = OrderedDict()

    def record_response(self, receiver: MessageReceiver) -> None:
        """End the pauses of a receiver: it has responded, with whatever status."""
        self._failures.pop(receiver, None)

    def record_failure(self, receiver: MessageReceiver, now: datetime) -> None:
        """Pause a receiver that has not responded. Failures of parallel deliveries count as one."""
        if self.is_paused(receiver, now):
            return
        count = self._failures[receiver].count if receiver in self._failures else 0
        pause = min(FIRST_PAUSE * 2 ** min(count, 10), MAX_PAUSE)
        self._failures[receiver] = _Failures(count + 1, now + pause)
        self._failures.move_to_end(receiver)
        if len(self._failures) > MAX_REMEMBERED:
            self._failures.popitem(last=False)

    def is_failing(self, receiver: MessageReceiver) -> bool:
        """Whether the receiver has not responded to its last delivery."""
        return receiver in self._failures

    def is_paused(self, receiver: MessageReceiver, now: datetime) -> bool:
        """Whether nothing is delivered to the receiver at present."""
        failures = self._failures.get(receiver)
        # A pause that is longer than the maximum was set before the clock was set back.
        return failures is not None and now < failures.paused_until <= now + MAX_PAUSE


@dataclass(frozen=True, slots=True)
class RunningDelivery:
    """A delivery in progress, and for how many seconds it has been."""

    receiver: MessageReceiver
    seconds: float = 0.0


@dataclass(slots=True)
class _Load:
    """The deliveries in progress, and those that the plan adds.

    In total and by host, slow ones are counted apart.
    """

    backoff: ReceiverBackoff
    total: int = 0
    slow: int = 0
    failing: int = 0
    by_account: Counter[str] = field(default_factory=Counter)
    by_host: Counter[str] = field(default_factory=Counter)
    slow_by_host: Counter[str] = field(default_factory=Counter)
    by_receiver: Counter[MessageReceiver] = field(default_factory=Counter)

    def add(self, receiver: MessageReceiver, seconds: float = 0.0) -> None:
        if seconds < SLOW_SECONDS:
            self.total += 1
            self.by_host[_host_name(receiver)] += 1
        else:
            self.slow += 1
            self.slow_by_host[_host_name(receiver)] += 1
        self.failing += self.backoff.is_failing(receiver)
        self.by_account[receiver.account_id] += 1
        self.by_receiver[receiver] += 1

    def is_full(self) -> bool:
        return self.total >= MAX_CONCURRENT_DELIVERIES or self.slow >= MAX_SLOW_DELIVERIES

    def has_room(self, receiver: MessageReceiver) -> bool:
        failing, host = self.backoff.is_failing(receiver), _host_name(receiver)
        return (
            self.by_host[host] < MAX_CONCURRENT_PER_HOST
            and self.slow_by_host[host] < MAX_SLOW_PER_HOST
            and self.by_receiver[receiver] < (1 if failing else MAX_CONCURRENT_PER_RECEIVER)
            and not (failing and self.failing >= MAX_CONCURRENT_TO_FAILING)
        )


def _host_name(receiver: MessageReceiver) -> str:
    """Return the host of a receiver without the port: all its ports are one machine."""
    return receiver.host.rpartition(":")[0]


def plan_deliveries(
    due: Sequence[DueReceiver], running: Iterable[RunningDelivery], backoff: ReceiverBackoff, now: datetime
) -> Counter[MessageReceiver]:
    """Return how many messages of each receiver to deliver now, in addition to those `running`.

    `due` also counts the messages that are being delivered. Accounts with the fewest deliveries come first,
    then those whose messages are due longest; within an account its receivers take turns.
    """
    load = _Load(backoff)
    for delivery in running:
        load.add(delivery.receiver, delivery.seconds)
    waiting = _group_by_account(due, load, now)
    order = [(load.by_account[id], queue[0][0], id) for id, queue in waiting.items()]
    heapify(order)
    plan: Counter[MessageReceiver] = Counter()
    while order and not load.is_full():
        _, due_at, account_id = heappop(order)
        receiver = _next_receiver(waiting[account_id], load)
        if receiver is None or load.by_account[account_id] >= MAX_CONCURRENT_PER_ACCOUNT:
            continue
        load.add(receiver)
        plan[receiver] += 1
        heappush(order, (load.by_account[account_id], due_at, account_id))
    return plan


#: Per receiver of an account: since when its oldest message is due, and how many are not in flight.
_Queue = deque[tuple[datetime, MessageReceiver, int]]


def _group_by_account(due: Sequence[DueReceiver], load: _Load, now: datetime) -> dict[str, _Queue]:
    queues: dict[str, _Queue] = {}
    for entry in sorted(due, key=lambda entry: (load.by_receiver[entry.receiver], entry.due_at)):
        waiting = entry.count - load.by_receiver[entry.receiver]
        if waiting > 0 and not load.backoff.is_paused(entry.receiver, now):
            queue = queues.setdefault(entry.receiver.account_id, deque())
            queue.append((entry.due_at, entry.receiver, waiting))
    return queues


def _next_receiver(queue: _Queue, load: _Load) -> MessageReceiver | None:
    """Take the next receiver with room; it comes last in the queue if it has further messages."""
    while queue:
        due_at, receiver, waiting = queue.popleft()
        if load.has_room(receiver):
            if waiting > 1:
                queue.append((due_at, receiver, waiting - 1))
            return receiver
    return None
