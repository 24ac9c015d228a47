"""What only the PostgreSQL store promises: transactions beside each other, and lost servers."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from orchestrator.errors import InsufficientBalance, InvalidRequest, ServiceError, ServiceUnavailable
from orchestrator.files.secret_box import KEY_FILE_NAME, SecretBox, SecretUnreadable
from orchestrator.jobs import create_shards
from orchestrator.jobs.objects import DeletionReason
from orchestrator.store import Store
from orchestrator.store.postgres.connections import ConnectionPool
from orchestrator.store.postgres.database import PostgresDatabase
from orchestrator.store.postgres.locks import SERVICE_LOCK, AdvisoryLock
from orchestrator.store.postgres.signals import format_events, parse_events
from orchestrator.store.postgres.store import PostgresStore, prepare_database
from orchestrator.store.signals import StoreEvent, StoreEventKind
from orchestrator.webhooks.sender import WebhookSender
from pricing.alerts import AlertMetric
from tests.support.commit_cutter import CommitCutter
from tests.support.polling import wait_until
from tests.support.postgres import PostgresCluster, database_url, shared_cluster, wait_for_connections
from tests.support.store_harness import (
    PICTURE,
    START,
    USAGE,
    StoreHarness,
    open_store,
    open_world,
    picture_of,
    populate,
)
from tests.support.webhook_receiver import receiving

WORKER = f"""
import asyncio, sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from orchestrator.files.secret_box import SecretBox
from orchestrator.store.postgres.store import PostgresStore
from tests.support.store_harness import keep_working, populate

async def main():
    store = PostgresStore(sys.argv[1], SecretBox(Path(sys.argv[2])), max_connections=3)
    world = await populate(store, 10**12)
    await keep_working(world)

asyncio.run(main())
"""


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[StoreHarness]:
    async with open_world("postgres", tmp_path) as world:
        yield world


@pytest.fixture(scope="module")
def cluster() -> Iterator[PostgresCluster]:
    """A cluster that tests stop, with few connections."""
    cluster = PostgresCluster("max_connections=13", "superuser_reserved_connections=3")
    try:
        cluster.start()
        prepare_database(cluster.create_database("template"))
        yield cluster
    finally:
        cluster.remove()


@asynccontextmanager
async def several(world: StoreHarness, directory: Path, number: int = 3) -> AsyncIterator[list[Store]]:
    """Open further stores, as other processes do; yield all of them."""
    async with AsyncExitStack() as stack:
        others = [open_store("postgres", directory) for _ in range(number)]
        for store in others:
            stack.push_async_callback(store.close)
        yield [world.store, *others]


async def outcomes(*calls: Awaitable[object]) -> Counter[str]:
    """Return how many calls at the same time succeeded, and which errors the others raised."""
    found = await asyncio.gather(*calls, return_exceptions=True)
    for one in found:
        assert not isinstance(one, BaseException) or isinstance(one, ServiceError), repr(one)
    return Counter(type(one).__name__ if isinstance(one, Exception) else "ok" for one in found)


# Several processes


async def test_one_idempotency_key_makes_one_job(world: StoreHarness, tmp_path: Path) -> None:
    async with several(world, tmp_path) as stores:
        jobs = [world.job(idempotency_key="same", request_digest="same") for _ in range(12)]
        added = await asyncio.gather(
            *(stores[n % len(stores)].add_job(job, create_shards(job, 1)) for n, job in enumerate(jobs))
        )
        assert sum(created for _, created in added) == 1
        assert len({record.job.id for record, _ in added}) == 1
    assert await world.wallet() == (990_000, 10_000)


async def test_the_same_job_added_twice_at_once_is_one_job(world: StoreHarness, tmp_path: Path) -> None:
    async with several(world, tmp_path) as stores:
        job = world.job()
        added = await asyncio.gather(*(store.add_job(job, create_shards(job, 2)) for store in stores))
        assert sum(created for _, created in added) == 1


async def test_no_more_is_accepted_than_can_be_paid(world: StoreHarness, tmp_path: Path) -> None:
    async with several(world, tmp_path) as stores:
        jobs = [world.job(300_000) for _ in range(12)]
        found = await outcomes(
            *(stores[n % len(stores)].add_job(job, create_shards(job, 1)) for n, job in enumerate(jobs))
        )
        assert found == {"ok": 3, InsufficientBalance.__name__: 9}


async def test_a_charge_is_refunded_once_at_most(world: StoreHarness, tmp_path: Path) -> None:
    record = await world.succeed()
    async with several(world, tmp_path) as stores:
        refunds = (
            store.refund(record.job.id, 6_000, f"refund {n}", world.now) for n, store in enumerate(stores)
        )
        assert await outcomes(*refunds) == {"ok": 1, "InvalidRequest": 3}
    assert await world.wallet() == (996_000, 0)


async def test_an_allowance_is_renewed_once(world: StoreHarness, tmp_path: Path) -> None:
    async with several(world, tmp_path) as stores:
        await asyncio.gather(
            *(store.renew_allowance(world.account.id, 500, START, world.now) for store in stores)
        )
    assert await world.wallet() == (1_000_500, 0)


async def test_a_shard_is_started_once_and_charged_once(world: StoreHarness, tmp_path: Path) -> None:
    record = await world.add()
    async with several(world, tmp_path) as stores:
        attempts = [replace(world.attempt(record), prompt_id=f"p{n}") for n in range(len(stores))]
        started = await asyncio.gather(
            *(store.start_attempt(attempt) for store, attempt in zip(stores, attempts, strict=True))
        )
        assert sum(started) == 1
        prompt = attempts[started.index(True)].prompt_id
        finished = await asyncio.gather(
            *(store.finish_shard(prompt, [PICTURE], USAGE, world.now) for store in stores)
        )
        assert all(one.job.is_finished for one in finished)
    assert await world.wallet() == (990_000, 0)


async def test_a_job_ends_in_one_way(world: StoreHarness, tmp_path: Path) -> None:
    async with several(world, tmp_path) as stores:
        for _ in range(5):
            record = await world.add()
            attempt = await world.start(record)
            ended = await asyncio.gather(
                stores[0].finish_shard(attempt.prompt_id, [picture_of(attempt)], USAGE, world.now),
                stores[1].cancel_job(record.job.id, world.now),
                stores[2].end_attempt(attempt.prompt_id, "stalled", None, world.now, retry=True),
            )
            now = await world.again(record)
            assert {one.job.status for one in ended[:2] if one.job.is_finished} == {now.job.status}
            assert await world.store.list_open_attempts() == []


async def test_limits_of_keys_and_alerts_hold_at_once(world: StoreHarness, tmp_path: Path) -> None:
    account = world.account.id
    async with several(world, tmp_path) as stores:
        keys = (
            store.add_key(account, f"{n:064}", "pk", "k", world.now, max_active=3)
            for n, store in enumerate(stores * 2, 1)
        )
        assert await outcomes(*keys) == {"ok": 2, InvalidRequest.__name__: 6}
        alerts = (
            store.add_alert(account, AlertMetric.BALANCE, 1, None, world.now, max_alerts=2)
            for store in stores * 2
        )
        assert await outcomes(*alerts) == {"ok": 2, InvalidRequest.__name__: 6}


async def test_a_spend_cap_holds_at_once(world: StoreHarness, tmp_path: Path) -> None:
    limits = replace(world.key.limits, day_cap=25_000)
    await world.store.set_key_limits(world.key.id, limits)
    async with several(world, tmp_path) as stores:
        jobs = [world.job(10_000) for _ in range(8)]
        found = await outcomes(
            *(stores[n % 4].add_job(job, create_shards(job, 1)) for n, job in enumerate(jobs))
        )
    assert found["ok"] == 2


async def test_no_job_names_an_object_condemned_meanwhile(world: StoreHarness, tmp_path: Path) -> None:
    async with several(world, tmp_path) as stores:
        for number in range(8):
            key, job = f"inputs/ab/{number}.png", world.job()
            added, condemned = await asyncio.gather(
                stores[1].add_job(job, create_shards(job, 1), [key]),
                stores[2].discard_files([key], DeletionReason.ORPHAN, world.now),
                return_exceptions=True,
            )
            assert isinstance(added, ServiceUnavailable) == (condemned == [key])
            if not isinstance(added, ServiceUnavailable):
                assert isinstance(added, tuple)
                await world.store.cancel_job(added[0].job.id, world.now)


async def test_much_at_once_keeps_the_books(world: StoreHarness, tmp_path: Path) -> None:
    """Holds, captures, releases, refunds and payments of two accounts in four processes, in any order."""
    other = await world.store.add_account("Bob", "free", START)
    await world.store.credit(other.id, 1_000_000, "opening", START)

    async def work(store: Store, number: int) -> None:
        account = (world.account.id, other.id)[number % 2]
        job = replace(world.job(1_000, id=f"much-{number}"), account_id=account)
        record, _ = await store.add_job(job, create_shards(job, 2))
        if number % 3 == 0:
            await store.cancel_job(job.id, world.now)
            return
        for index in range(2):
            attempt = await world.start(record, index)
            await store.finish_shard(attempt.prompt_id, [PICTURE], USAGE, world.now)
        await store.refund(job.id, 100, "kindness", world.now)
        await store.credit(account, 5, f"payment {number}", world.now)

    async with several(world, tmp_path) as stores:
        await asyncio.gather(*(work(stores[number % 4], number) for number in range(36)))
        assert await stores[1].audit_ledger() == []
        assert await stores[2].list_unfinished_jobs() == []


def work_until_killed(url: str, key_file: Path, lines: int) -> list[list[str]]:
    """Kill the worker -9 after so many answers of its store; all that it said until then."""
    command = [sys.executable, "-c", WORKER, url, str(key_file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        said = [worker.stdout.readline() for _ in range(lines)]
        worker.kill()
        said += [line for line in worker.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
    return [line.split() for line in said]


async def test_acknowledged_writes_survive_kill_9(tmp_path: Path) -> None:
    url = database_url(tmp_path)
    said = await asyncio.to_thread(work_until_killed, url, tmp_path / KEY_FILE_NAME, 21)
    store = open_store("postgres", tmp_path)
    try:
        for verb, job_id in said:
            record = await store.find_job(job_id)
            assert record is not None
            assert verb == "added" or record.job.is_finished
        assert await store.audit_ledger() == []
    finally:
        await store.close()


# Servers that are lost, full or read-only


@asynccontextmanager
async def on_cluster(cluster: PostgresCluster, name: str, directory: Path) -> AsyncIterator[StoreHarness]:
    url = cluster.create_database(name, "template")
    store = PostgresStore(url, SecretBox(directory / KEY_FILE_NAME), max_connections=4)
    try:
        yield await populate(store, 1_000_000)
    finally:
        await store.close()


@pytest.mark.slow
async def test_a_stopped_server_is_unavailable_and_a_started_one_serves_at_once(
    cluster: PostgresCluster, tmp_path: Path
) -> None:
    async with on_cluster(cluster, "restarted", tmp_path) as world:
        for how in (signal.SIGINT, signal.SIGQUIT):
            await world.add()
            await asyncio.to_thread(cluster.stop, how)
            with pytest.raises(ServiceUnavailable) as caught:
                await world.add()
            assert (caught.value.code, caught.value.retry_after) == ("store_unavailable", 5)
            with pytest.raises(ServiceUnavailable):
                await world.wallet()
            await asyncio.to_thread(cluster.start)
            await until_ok(world.wallet)
        # Every connection of the pool was dead; none of them makes a call fail.
        await asyncio.to_thread(cluster.restart)
        await until_ok(world.wallet)
        await asyncio.gather(*(world.add() for _ in range(8)))
        assert await world.store.audit_ledger() == []


@pytest.mark.slow
async def test_a_webhook_sender_outlives_a_stopped_server(
    cluster: PostgresCluster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It logs a line, no failed task, and delivers once the server runs again."""
    failures: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context["message"]))
    async with on_cluster(cluster, "sending", tmp_path) as world, receiving(200) as receiver:
        sender = WebhookSender(
            world.store, lambda: START, allow_private=True, poll_seconds=0.05, is_only_sender=False
        )
        await sender.start()
        try:
            await asyncio.to_thread(cluster.stop, signal.SIGQUIT)
            await wait_until(lambda: "due webhooks cannot be read now" in caplog.text)
            await asyncio.to_thread(cluster.start)
            await until_ok(world.wallet)
            await world.store.add_alert(world.account.id, AlertMetric.BALANCE, 2_000_000, receiver.url, START)
            await receiver.next()
        finally:
            await sender.stop()
    assert failures == []


async def until_ok(call: Callable[[], Awaitable[object]]) -> None:
    """Repeat a call until the store is available."""
    async with asyncio.timeout(30):
        while True:
            try:
                await call()
            except ServiceUnavailable:
                await asyncio.sleep(0.05)
            else:
                return


async def test_connections_that_ended_fail_no_call(cluster: PostgresCluster, tmp_path: Path) -> None:
    async with on_cluster(cluster, "disconnected", tmp_path) as world:
        await asyncio.gather(*(world.add() for _ in range(4)))
        cluster.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = 'disconnected'"
        )
        await asyncio.gather(*(world.add() for _ in range(4)))
        assert await world.wallet() == (920_000, 80_000)


async def test_a_commit_whose_answer_is_lost_is_looked_up(tmp_path: Path) -> None:
    """The connection ends before or after the server has committed: the caller learns what has happened."""
    url = database_url(tmp_path)
    async with CommitCutter(shared_cluster().port) as cutter:
        pool = ConnectionPool(url.replace(f":{shared_cluster().port}/", f":{cutter.port}/"), 2)
        try:
            cutter.cut_next("after")
            assert await pool.write(insert_account, "a") == "a"
            assert await pool.read(list_accounts) == ["a"]
            cutter.cut_next("before")
            with pytest.raises(ServiceUnavailable):
                await pool.write(insert_account, "b")
            assert await pool.read(list_accounts) == ["a"]
        finally:
            await pool.close()


def insert_account(db: PostgresDatabase, id: str) -> str:
    db.execute("INSERT INTO accounts (id, name, plan, created_at) VALUES (?, 'x', 'free', now())", (id,))
    return id


def list_accounts(db: PostgresDatabase) -> list[str]:
    return [row["id"] for row in db.execute("SELECT id FROM accounts ORDER BY id")]


async def test_a_read_only_server_refuses_writes_and_serves_reads(
    cluster: PostgresCluster, tmp_path: Path
) -> None:
    async with on_cluster(cluster, "read_only", tmp_path) as world:
        set_read_only = "ALTER DATABASE read_only SET default_transaction_read_only = {}"
        disconnect = (
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = 'read_only'"
        )
        cluster.execute(set_read_only.format("on"), disconnect)
        with pytest.raises(ServiceUnavailable):
            await world.add()
        assert await world.wallet() == (1_000_000, 0)
        cluster.execute(set_read_only.format("off"))
        await world.add()


async def test_fewer_connections_than_wanted_are_shared(cluster: PostgresCluster, tmp_path: Path) -> None:
    """The server allows three connections, two of them for wake-ups. Calls share the third, also if it is
    idle when the server refuses another one."""
    cluster.execute("CREATE ROLE app LOGIN CONNECTION LIMIT 3", "CREATE DATABASE crowded OWNER app")
    url = cluster.url("crowded").replace("pixel@", "app@")
    store = PostgresStore(url, SecretBox(tmp_path / KEY_FILE_NAME), max_connections=12)
    try:
        # Those for wake-ups. The one that looked at the schema counts until its process has ended.
        await wait_for_connections(cluster, "usename = 'app'", 2)
        world = await populate(store, 1_000_000)
        for _ in range(5):
            await asyncio.gather(
                *(world.add(price=10) for _ in range(6)), *(world.wallet() for _ in range(24))
            )
        assert await world.wallet() == (1_000_000 - 300, 300)
    finally:
        await store.close()


async def test_a_server_without_connections_is_unavailable(cluster: PostgresCluster, tmp_path: Path) -> None:
    async with on_cluster(cluster, "shut", tmp_path) as world:
        cluster.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = 'shut'")
        cluster.execute("ALTER DATABASE shut ALLOW_CONNECTIONS false")
        with pytest.raises(ServiceUnavailable):
            await world.add()
        cluster.execute("ALTER DATABASE shut ALLOW_CONNECTIONS true")
        await until_ok(world.wallet)


async def test_a_lock_is_held_by_one_process_and_passes_on(tmp_path: Path) -> None:
    url = database_url(tmp_path)
    first, second = AdvisoryLock(url, SERVICE_LOCK), AdvisoryLock(url, SERVICE_LOCK)
    assert first.try_acquire()
    assert first.try_acquire()
    assert not second.try_acquire()
    assert "server process" in second.describe_holder()
    first.release()
    assert second.try_acquire()
    second.release()


@pytest.mark.parametrize("text", ["nul \x00", "surrogate \udcff"])
async def test_text_that_cannot_be_stored_is_refused(world: StoreHarness, text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await world.store.add_account(text, "free", START)
    assert caught.value.code == "invalid_unicode"


async def test_a_digest_that_exists_already_is_no_passing_error(world: StoreHarness) -> None:
    with pytest.raises(psycopg.errors.UniqueViolation):
        await world.store.add_key(world.account.id, "0" * 64, "pk", "copy", world.now)


def test_a_secret_of_another_key_file_is_an_error_at_the_start(tmp_path: Path) -> None:
    url = database_url(tmp_path)

    async def add_secret() -> None:
        async with open_world("postgres", tmp_path) as world:
            await world.store.get_or_create_signing_secrets(world.account.id, "whsec_" + "s" * 40, START)

    asyncio.run(add_secret())
    with pytest.raises(SecretUnreadable):
        PostgresStore(url, SecretBox(tmp_path / "another-key"))


def test_notifications_carry_many_events_in_bounded_payloads() -> None:
    events = [StoreEvent(StoreEventKind.JOB_CHANGED, f"job-{number:030}") for number in range(1_000)]
    payloads = format_events([*events, *events], "me")
    assert all(len(payload.encode()) < 8_000 for payload in payloads)
    found = [event for payload in payloads for event in parse_events(payload.partition("\n")[2])]
    assert found == events
    assert format_events([], "me") == []
    assert parse_events("job_changed 1\nunknown_kind 2") == [StoreEvent(StoreEventKind.JOB_CHANGED, "1")]
