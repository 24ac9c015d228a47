"""Fills a SQLite store with finished jobs, as many years of use would, in seconds instead of hours."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from orchestrator.store import Account, ApiKey
from orchestrator.store.sqlite import SqliteStore
from orchestrator.store.sqlite.database import SqliteDatabase, connect

START_TIME = datetime(2026, 1, 1, tzinfo=UTC)
#: Steps of SQLite's virtual machine between two counts.
RESOLUTION = 50
#: Seconds between two jobs.
JOB_INTERVAL = 30
#: Micro-dollars of a job.
PRICE = 10_000
MODELS = ("flux-1-schnell", "sdxl-1.0", "flux-1-dev", "qwen-image")
#: One job of this many has failed, and failed once before it succeeded.
FAILED_EVERY, RETRIED_EVERY = 500, 100

_NUMBERS = """
    WITH RECURSIVE numbers (n) AS (SELECT :first UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < :end)
"""
_AT = "strftime('%Y-%m-%dT%H:%M:%S.000000+00:00', :start + n * :interval, 'unixepoch')"
_DONE = "strftime('%Y-%m-%dT%H:%M:%S.000000+00:00', :start + n * :interval + 9, 'unixepoch')"
_FAILED = f"n % {FAILED_EVERY} = 7"
_RETRIED = f"n % {RETRIED_EVERY} = 3"
_MODEL = "CASE n % 4 " + " ".join(f"WHEN {n} THEN '{name}'" for n, name in enumerate(MODELS)) + " END"
_OUTPUT = "'outputs/' || printf('%02x', n % 256) || '/prompt-' || n || '/0.png'"
_STATEMENTS = (
    f"""INSERT INTO jobs (id, account_id, key_id, model, params, price, status, created_at, started_at,
            finished_at, error_code, error_message, request_digest)
        SELECT 'job-' || n, :account, :key, {_MODEL},
            json_object('prompt', 'a fox number ' || n || ' in a snowy forest at dusk', 'seed', n),
            {PRICE}, CASE WHEN {_FAILED} THEN 'failed' ELSE 'succeeded' END, {_AT}, {_AT}, {_DONE},
            CASE WHEN {_FAILED} THEN 'execution_failed' END, CASE WHEN {_FAILED} THEN 'It failed' END,
            'digest-' || n
        FROM numbers""",
    f"""INSERT INTO shards
            (id, job_id, position, params, status, outputs, gpu_seconds, attempts, run_ended_at)
        SELECT 'job-' || n || '/0', 'job-' || n, 0, json_object('seed', n),
            CASE WHEN {_FAILED} THEN 'failed' ELSE 'succeeded' END,
            CASE WHEN {_FAILED} THEN '[]' ELSE json_array(json_object(
                'key', {_OUTPUT}, 'content_type', 'image/png', 'size', 1000000,
                'sha256', printf('%064x', n), 'width', 1024, 'height', 1024
            )) END,
            1.5, 1, {_DONE}
        FROM numbers""",
    f"""INSERT INTO attempts
            (prompt_id, shard_id, number, instance_id, started_at, ended_at, outcome, detail)
        SELECT 'prompt-' || n, 'job-' || n || '/0', 2, 'gpu-' || (n % 8), {_AT}, {_DONE},
            CASE WHEN {_FAILED} THEN 'execution_failed' ELSE 'ok' END, NULL
        FROM numbers
        UNION ALL
        SELECT 'earlier-' || n, 'job-' || n || '/0', 1, 'gpu-' || (n % 8), {_AT}, {_DONE},
            'out_of_memory', 'detail'
        FROM numbers WHERE {_RETRIED}""",
    f"""INSERT INTO entries (key, kind, account_id, source, target, micros, at, job_id)
        SELECT 'hold:job-' || n, 'hold', :account, 'wallet:' || :account, 'held:' || :account,
            {PRICE}, {_AT}, 'job-' || n
        FROM numbers""",
    f"""INSERT INTO entries (key, kind, account_id, source, target, micros, at, job_id)
        SELECT CASE WHEN {_FAILED} THEN 'release:job-' ELSE 'capture:job-' END || n,
            CASE WHEN {_FAILED} THEN 'release' ELSE 'capture' END, :account, 'held:' || :account,
            CASE WHEN {_FAILED} THEN 'wallet:' || :account ELSE 'revenue' END, {PRICE}, {_DONE}, 'job-' || n
        FROM numbers""",
    f"""INSERT INTO output_files (key, job_id, finished_at)
        SELECT {_OUTPUT}, 'job-' || n, {_DONE} FROM numbers WHERE NOT {_FAILED}""",
    f"""INSERT INTO usage_days
            (day, account_id, key_id, model, simulated, jobs, outputs, micros, gpu_seconds)
        SELECT substr({_DONE}, 1, 10), :account, :key, {_MODEL}, 0, count(*), count(*),
            count(*) * {PRICE}, count(*) * 1.5
        FROM numbers WHERE NOT {_FAILED} GROUP BY 1, 4 ON CONFLICT DO UPDATE SET
            jobs = jobs + excluded.jobs, outputs = outputs + excluded.outputs,
            micros = micros + excluded.micros, gpu_seconds = gpu_seconds + excluded.gpu_seconds""",
    f"""INSERT INTO meter_days (day, model, device, shards, gpu_seconds, revenue)
        SELECT substr({_DONE}, 1, 10), {_MODEL}, 'A card', count(*), count(*) * 1.5, count(*) * {PRICE}
        FROM numbers WHERE NOT {_FAILED} GROUP BY 1, 2 ON CONFLICT DO UPDATE SET
            shards = shards + excluded.shards, gpu_seconds = gpu_seconds + excluded.gpu_seconds,
            revenue = revenue + excluded.revenue""",
)


@dataclass(frozen=True, slots=True)
class GrownStore:
    """A store with finished jobs: numbers from 0, each of the interval after the one before."""

    path: Path
    account: Account
    key: ApiKey
    jobs: int

    @property
    def ended_at(self) -> datetime:
        """When the last job was created."""
        return START_TIME + timedelta(seconds=self.jobs * JOB_INTERVAL)


Look = Callable[[SqliteDatabase, GrownStore], object]


@dataclass(frozen=True)
class Cost:
    """What a look at a store costs."""

    #: Of SQLite's virtual machine, to the next RESOLUTION.
    steps: int
    cpu_seconds: float


def measure(grown: GrownStore, look: Look) -> Cost:
    """Measure a function that looks at a store. It may write, which is rolled back."""
    counted = 0

    def count() -> None:
        nonlocal counted
        counted += 1

    with closing(connect(grown.path)) as db:
        db.execute("BEGIN IMMEDIATE")
        db.set_progress_handler(count, RESOLUTION)
        begun = time.thread_time()
        look(db, grown)
        spent = time.thread_time() - begun
        db.set_progress_handler(None, 0)
        db.execute("ROLLBACK")
    return Cost(counted * RESOLUTION, spent)


async def open_grown_store(path: Path, jobs: int) -> tuple[SqliteStore, GrownStore]:
    """Make a store in which one account has had so many jobs; its wallet has as much again."""
    store = SqliteStore(path)
    account = await store.add_account("Ada", "standard", START_TIME)
    key = await store.add_key(account.id, "0" * 64, "pk-Ab3d", "laptop", START_TIME)
    await store.credit(account.id, 2 * jobs * PRICE, "opening", START_TIME)
    fill(path, account.id, key.id, jobs)
    return store, GrownStore(path, account, key, jobs)


def fill(path: Path, account_id: str, key_id: str, jobs: int) -> None:
    """Insert jobs with all that belongs to them. The books are right: an audit finds nothing."""
    values = {
        "account": account_id,
        "key": key_id,
        "start": int(START_TIME.timestamp()),
        "interval": JOB_INTERVAL,
    }
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA synchronous = OFF")
        for first in range(0, jobs, 100_000):
            numbers = {"first": first, "end": min(jobs, first + 100_000)}
            db.execute("BEGIN IMMEDIATE")
            for statement in _STATEMENTS:
                db.execute(_NUMBERS + statement, values | numbers)
            db.execute("COMMIT")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
