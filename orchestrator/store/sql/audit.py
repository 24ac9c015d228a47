"""The rules of the ledger, each as a query that returns its violations."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.store.sql.database import Database
from orchestrator.store.sql.wallet import BLOCK_SIZE, CHANGE
from orchestrator.store.values import AuditViolation

#: Sums over the entries of each job.
_JOB_SUMS = """
    SELECT job_id,
        sum(micros) FILTER (WHERE kind = 'hold') AS held,
        coalesce(sum(micros) FILTER (WHERE kind = 'capture'), 0) AS captured,
        coalesce(sum(micros) FILTER (WHERE kind = 'release'), 0) AS released,
        coalesce(sum(micros) FILTER (WHERE kind = 'refund'), 0) AS refunded
    FROM entries WHERE job_id IS NOT NULL GROUP BY job_id"""

#: Sums over the entries of each ledger account.
_ACCOUNT_SUMS = """
    SELECT account, sum(micros) AS micros FROM (
        SELECT target AS account, micros FROM entries
        UNION ALL SELECT source, -micros FROM entries
    ) AS moved GROUP BY account"""

_BLOCK_COLUMNS = "account_id, block, micros, first_at, last_at"
#: The rows that the table `entry_blocks` has to have.
_BLOCKS = f"""
    SELECT account_id, id / {BLOCK_SIZE} AS block, {CHANGE} AS micros, min(at) AS first_at, max(at) AS last_at
    FROM entries WHERE kind NOT IN ('hold', 'release') GROUP BY account_id, id / {BLOCK_SIZE}"""

#: Rule -> query for (subject, detail) of its violations.
AUDIT_QUERIES: Mapping[str, str] = {
    "balances_sum_to_zero": """
        SELECT 'ledger' AS subject, 'all accounts together hold ' || sum(micros) AS detail
        FROM balances HAVING sum(micros) <> 0""",
    "balances_equal_entries": f"""
        SELECT account AS subject, 'balance ' || kept || ', entries ' || booked AS detail FROM (
            SELECT account, sum(kept) AS kept, sum(booked) AS booked FROM (
                SELECT account, micros AS kept, 0 AS booked FROM balances
                UNION ALL SELECT account, 0, micros FROM ({_ACCOUNT_SUMS}) AS sums
            ) AS both_sides GROUP BY account
        ) AS accounts WHERE kept <> booked
        UNION ALL SELECT DISTINCT account_id, 'block ' || block || ' differs from its entries' FROM (
            SELECT {_BLOCK_COLUMNS} FROM entry_blocks UNION ALL {_BLOCKS}
        ) AS kept_and_booked GROUP BY {_BLOCK_COLUMNS} HAVING count(*) <> 2""",
    "no_wallet_below_zero": """
        SELECT account AS subject, 'holds ' || micros AS detail FROM balances
        WHERE micros < 0 AND (account LIKE 'wallet:%' OR account LIKE 'held:%')""",
    "captured_at_most_held": f"""
        SELECT job_id AS subject,
            'held ' || coalesce(held, 0) || ', captured ' || captured || ', released ' || released AS detail
        FROM ({_JOB_SUMS}) AS sums WHERE captured + released > coalesce(held, 0)""",
    "refunded_at_most_captured": f"""
        SELECT job_id AS subject, 'captured ' || captured || ', refunded ' || refunded AS detail
        FROM ({_JOB_SUMS}) AS sums WHERE refunded > captured""",
    "unfinished_job_is_held": f"""
        SELECT id AS subject,
            status || ', price ' || price || ', held ' || coalesce(held - captured - released, 0) AS detail
        FROM jobs LEFT JOIN ({_JOB_SUMS}) AS sums ON job_id = id
        WHERE finished_at IS NULL AND price <> coalesce(held - captured - released, 0)""",
    "finished_job_has_no_open_hold": f"""
        SELECT id AS subject, status || ', still held ' || (held - captured - released) AS detail
        FROM jobs JOIN ({_JOB_SUMS}) AS sums ON job_id = id
        WHERE finished_at IS NOT NULL AND held <> captured + released""",
    "only_success_is_charged": f"""
        SELECT id AS subject,
            status || ', price ' || price || ', captured ' || coalesce(captured, 0) AS detail
        FROM jobs LEFT JOIN ({_JOB_SUMS}) AS sums ON job_id = id
        WHERE coalesce(captured, 0) <> CASE status WHEN 'succeeded' THEN price ELSE 0 END""",
    "charged_job_has_outputs": """
        SELECT jobs.id AS subject, count(*) || ' shards without outputs' AS detail
        FROM jobs JOIN shards ON job_id = jobs.id
        WHERE jobs.status = 'succeeded' AND shards.status <> 'cancelled' AND CAST(outputs AS TEXT) = '[]'
        GROUP BY jobs.id""",
    "job_has_shards": """
        SELECT id AS subject, status AS detail FROM jobs
        WHERE NOT EXISTS (SELECT 1 FROM shards WHERE job_id = jobs.id)""",
    "finished_job_has_no_open_shard": """
        SELECT jobs.id AS subject, jobs.status || ', shard ' || shards.id || ' ' || shards.status AS detail
        FROM jobs JOIN shards ON job_id = jobs.id
        WHERE finished_at IS NOT NULL AND shards.status IN ('waiting', 'running')""",
    "usage_equals_captures": """
        SELECT account_id AS subject, 'usage ' || sum(used) || ', captured ' || sum(captured) AS detail FROM (
            SELECT account_id, micros AS used, 0 AS captured FROM usage_days
            UNION ALL SELECT account_id, 0, micros FROM entries WHERE kind = 'capture'
        ) AS both_sides GROUP BY account_id HAVING sum(used) <> sum(captured)""",
    "meters_equal_revenue": """
        SELECT 'revenue' AS subject, 'metered ' || metered || ', booked ' || booked AS detail FROM (
            SELECT (SELECT coalesce(sum(revenue), 0) FROM meter_days) AS metered,
                (SELECT coalesce(sum(micros), 0) FROM balances WHERE account = 'revenue') AS booked
        ) AS both_sides WHERE metered <> booked""",
}


def audit_ledger(db: Database) -> list[AuditViolation]:
    """Return every violation of every rule; an empty list if all hold."""
    return [
        AuditViolation(rule=rule, subject=str(row["subject"]), detail=str(row["detail"]))
        for rule, query in AUDIT_QUERIES.items()
        for row in db.execute(query)
    ]
