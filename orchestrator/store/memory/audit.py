"""The ledger rules of `store.sql.audit` as functions of the tables; each yields (subject, detail)."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping

from orchestrator.billing.charging import OPEN_SHARD_STATUSES
from orchestrator.billing.values import AuditViolation
from orchestrator.jobs import JobStatus, ShardStatus
from orchestrator.store.memory.tables import MemoryTables
from pricing.ledger import REVENUE, EntryKind, sum_balances

Findings = Iterator[tuple[str, str]]


def audit_ledger(tables: MemoryTables) -> list[AuditViolation]:
    """Return every violation of every rule; an empty list if all hold."""
    return [
        AuditViolation(rule=rule, subject=subject, detail=detail)
        for rule, check in AUDIT_CHECKS.items()
        for subject, detail in check(tables)
    ]


def _job_sums(tables: MemoryTables) -> dict[str, Counter[EntryKind]]:
    """Return the sums of each job's entries by kind."""
    sums: dict[str, Counter[EntryKind]] = defaultdict(Counter)
    for entry in tables.entries.values():
        if entry.job_id is not None:
            sums[entry.job_id][entry.kind] += entry.micros
    return sums


def _open_hold(sums: Counter[EntryKind]) -> int:
    return sums[EntryKind.HOLD] - sums[EntryKind.CAPTURE] - sums[EntryKind.RELEASE]


def _balances_sum_to_zero(tables: MemoryTables) -> Findings:
    if total := sum(tables.balances.values()):
        yield "ledger", f"all accounts together hold {total}"


def _balances_equal_entries(tables: MemoryTables) -> Findings:
    booked = sum_balances(tables.entries.values())
    for account in sorted({*booked, *tables.balances}):
        if tables.balances[account] != booked.get(account, 0):
            yield account, f"balance {tables.balances[account]}, entries {booked.get(account, 0)}"


def _no_wallet_below_zero(tables: MemoryTables) -> Findings:
    for account, micros in tables.balances.items():
        if micros < 0 and account.startswith(("wallet:", "held:")):
            yield account, f"holds {micros}"


def _captured_at_most_held(tables: MemoryTables) -> Findings:
    for job_id, sums in _job_sums(tables).items():
        if _open_hold(sums) < 0:
            held, captured, released = (
                sums[kind] for kind in (EntryKind.HOLD, EntryKind.CAPTURE, EntryKind.RELEASE)
            )
            yield job_id, f"held {held}, captured {captured}, released {released}"


def _refunded_at_most_captured(tables: MemoryTables) -> Findings:
    for job_id, sums in _job_sums(tables).items():
        if sums[EntryKind.REFUND] > sums[EntryKind.CAPTURE]:
            yield job_id, f"captured {sums[EntryKind.CAPTURE]}, refunded {sums[EntryKind.REFUND]}"


def _unfinished_job_is_held(tables: MemoryTables) -> Findings:
    sums = _job_sums(tables)
    for job in tables.jobs.values():
        held = _open_hold(sums.get(job.id, Counter()))
        if job.finished_at is None and job.price != held:
            yield job.id, f"{job.status}, price {job.price}, held {held}"


def _finished_job_has_no_open_hold(tables: MemoryTables) -> Findings:
    for job_id, sums in _job_sums(tables).items():
        job = tables.jobs[job_id]
        if job.finished_at is not None and _open_hold(sums):
            yield job_id, f"{job.status}, still held {_open_hold(sums)}"


def _only_success_is_charged(tables: MemoryTables) -> Findings:
    sums = _job_sums(tables)
    for job in tables.jobs.values():
        captured = sums.get(job.id, Counter())[EntryKind.CAPTURE]
        if captured != (job.price if job.status is JobStatus.SUCCEEDED else 0):
            yield job.id, f"{job.status}, price {job.price}, captured {captured}"


def _charged_job_has_outputs(tables: MemoryTables) -> Findings:
    for job in tables.jobs.values():
        shards = tables.shards.get(job.id, ())
        empty = sum(not shard.outputs for shard in shards if shard.status is not ShardStatus.CANCELLED)
        if job.status is JobStatus.SUCCEEDED and empty:
            yield job.id, f"{empty} shards without outputs"


def _job_has_shards(tables: MemoryTables) -> Findings:
    for job in tables.jobs.values():
        if not tables.shards.get(job.id):
            yield job.id, job.status.value


def _finished_job_has_no_open_shard(tables: MemoryTables) -> Findings:
    for job in tables.jobs.values():
        for shard in tables.shards.get(job.id, ()):
            if job.finished_at is not None and shard.status in OPEN_SHARD_STATUSES:
                yield job.id, f"{job.status}, shard {shard.id} {shard.status}"


def _usage_equals_captures(tables: MemoryTables) -> Findings:
    used: Counter[str] = Counter()
    captured: Counter[str] = Counter()
    for row in tables.usage.values():
        used[row.account_id] += row.micros
    for entry in tables.entries.values():
        captured[entry.account_id] += entry.micros if entry.kind is EntryKind.CAPTURE else 0
    for account_id in sorted({*used, *captured}):
        if used[account_id] != captured[account_id]:
            yield account_id, f"usage {used[account_id]}, captured {captured[account_id]}"


def _meters_equal_revenue(tables: MemoryTables) -> Findings:
    metered = sum(row.revenue for row in tables.metered.values())
    if metered != tables.balances[REVENUE]:
        yield REVENUE, f"metered {metered}, booked {tables.balances[REVENUE]}"


AUDIT_CHECKS: Mapping[str, Callable[[MemoryTables], Findings]] = {
    "balances_sum_to_zero": _balances_sum_to_zero,
    "balances_equal_entries": _balances_equal_entries,
    "no_wallet_below_zero": _no_wallet_below_zero,
    "captured_at_most_held": _captured_at_most_held,
    "refunded_at_most_captured": _refunded_at_most_captured,
    "unfinished_job_is_held": _unfinished_job_is_held,
    "finished_job_has_no_open_hold": _finished_job_has_no_open_hold,
    "only_success_is_charged": _only_success_is_charged,
    "charged_job_has_outputs": _charged_job_has_outputs,
    "job_has_shards": _job_has_shards,
    "finished_job_has_no_open_shard": _finished_job_has_no_open_shard,
    "usage_equals_captures": _usage_equals_captures,
    "meters_equal_revenue": _meters_equal_revenue,
}
