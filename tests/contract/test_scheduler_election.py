"""One scheduler leads a PostgreSQL database, and an earlier one cannot write any more."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from orchestrator.files.data_directory import DataDirectoryInUse
from orchestrator.store.postgres.connections import TERM_LOCK, TermEnded, connect
from orchestrator.store.postgres.leadership import Candidate, leading_alone, wait_to_lead
from orchestrator.store.postgres.locks import SERVICE_LOCK, AdvisoryLock
from orchestrator.store.postgres.store import PostgresStore
from tests.support.polling import wait_until
from tests.support.postgres import database_url
from tests.support.store_harness import StoreHarness, open_world

NewCandidate = Callable[..., Candidate]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[StoreHarness]:
    async with open_world("postgres", tmp_path) as world:
        yield world


@pytest.fixture
def url(world: StoreHarness, tmp_path: Path) -> str:
    return database_url(tmp_path)


@pytest.fixture
def candidate(url: str) -> Iterator[NewCandidate]:
    """Make candidates whose connections end with the test."""
    made: list[Candidate] = []

    def make(own_url: str | None = None) -> Candidate:
        made.append(Candidate(url, own_url))
        return made[-1]

    yield make
    for one in made:
        one.release()


def make_lease_run_out(url: str) -> None:
    with closing(connect(url)) as connection:
        connection.execute("UPDATE scheduler_leader SET renewed_at = now() - interval '1 minute'")


async def test_one_leads_until_it_ends_and_each_term_is_later(url: str, candidate: NewCandidate) -> None:
    first, second = candidate("http://first"), candidate("http://second")
    assert first.try_to_lead()
    assert not second.try_to_lead()
    assert first.renew()
    first.release()
    await wait_until(second.try_to_lead)
    assert first.term is not None
    assert second.term is not None
    assert second.term == first.term + 1
    assert not first.renew()
    second.release()


async def test_the_address_of_the_leader_is_known_to_all(
    world: StoreHarness, url: str, candidate: NewCandidate
) -> None:
    assert isinstance(world.store, PostgresStore)
    assert await world.store.find_scheduler_url() is None
    assert candidate("http://10.0.0.5:8090").try_to_lead()
    assert await world.store.find_scheduler_url() == "http://10.0.0.5:8090"


async def test_writes_of_an_earlier_leader_are_refused(
    world: StoreHarness, url: str, candidate: NewCandidate
) -> None:
    """Also where it does not know yet that another one leads."""
    first, second, ended = candidate(), candidate(), asyncio.Event()
    loop = asyncio.get_running_loop()
    assert first.try_to_lead()
    assert first.term is not None
    assert isinstance(world.store, PostgresStore)

    def tell() -> None:
        loop.call_soon_threadsafe(ended.set)

    world.store.require_term(first.term, tell)
    record = await world.add()
    assert await world.store.cancel_job(record.job.id, world.now)
    waiting = await world.add()
    make_lease_run_out(url)
    assert second.try_to_lead()
    with pytest.raises(TermEnded):
        await world.store.cancel_job(waiting.job.id, world.now)
    async with asyncio.timeout(20):
        await ended.wait()
    found = await world.store.find_job(waiting.job.id)
    assert found is not None
    assert not found.job.is_finished
    with pytest.raises(psycopg.OperationalError):
        first.renew()  # its connection was ended
    assert not first.renew()


async def test_a_lease_that_is_renewed_is_left_alone(url: str, candidate: NewCandidate) -> None:
    first, second = candidate(), candidate()
    assert first.try_to_lead()
    make_lease_run_out(url)
    assert first.renew()
    assert not second.try_to_lead()


async def test_an_election_ends_what_a_leader_that_stands_still_was_writing(
    url: str, candidate: NewCandidate
) -> None:
    """Its transaction was begun, and its process is stopped: it must not be committed later."""
    first, second = candidate(), candidate()
    assert first.try_to_lead()
    with closing(connect(url)) as writing:
        writing.execute(b"BEGIN")
        writing.execute("SELECT pg_advisory_xact_lock_shared(%s, hashtext(current_schema()))", (TERM_LOCK,))
        writing.execute("INSERT INTO ended_sessions (id, expires_at) VALUES ('late', now())")
        make_lease_run_out(url)
        assert await asyncio.to_thread(second.try_to_lead)
        with pytest.raises(psycopg.OperationalError):
            writing.execute(b"COMMIT")
    with closing(connect(url)) as reading:
        assert reading.execute("SELECT id FROM ended_sessions").fetchall() == []


async def test_a_lock_that_no_scheduler_has_is_waited_for(url: str, candidate: NewCandidate) -> None:
    """A transfer between databases renews no lease."""
    lock, waiting = AdvisoryLock(url, SERVICE_LOCK), candidate()
    assert lock.try_acquire()
    make_lease_run_out(url)
    assert not waiting.try_to_lead()
    assert lock.is_held()
    lock.release()
    await wait_until(waiting.try_to_lead)


async def test_a_second_service_names_the_first(url: str, candidate: NewCandidate) -> None:
    leader = candidate()
    assert leader.try_to_lead()
    holder = leader.describe_leader()
    stopping = asyncio.Event()

    async def renew() -> None:
        while not stopping.is_set():
            await asyncio.to_thread(leader.renew)
            await asyncio.sleep(0.2)

    renewing = asyncio.create_task(renew())

    def lead() -> None:
        with leading_alone(url, lambda: None):
            raise AssertionError("two lead")

    with pytest.raises(DataDirectoryInUse) as caught:
        await asyncio.to_thread(lead)
    assert holder.partition(",")[0] in str(caught.value)
    stopping.set()
    await renewing


async def test_a_leader_whose_lock_another_one_took_is_told_so(url: str, candidate: NewCandidate) -> None:
    lost = asyncio.Event()
    loop = asyncio.get_running_loop()

    def lead() -> None:
        with leading_alone(url, tell):
            loop.call_soon_threadsafe(leading.set)
            released.wait(60)

    def tell() -> None:
        loop.call_soon_threadsafe(lost.set)

    leading, released = asyncio.Event(), threading.Event()
    thread = asyncio.create_task(asyncio.to_thread(lead))
    await leading.wait()
    other = AdvisoryLock(url, SERVICE_LOCK)

    def take() -> bool:
        with closing(connect(url)) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'pixelfactory leader' AND datname = current_database()"
            )
        return other.try_acquire()

    await wait_until(take)
    async with asyncio.timeout(30):
        await lost.wait()
    released.set()
    await thread
    other.release()


async def test_a_standby_leads_once_the_leader_has_ended(url: str, candidate: NewCandidate) -> None:
    first, second, stopping = candidate(), candidate(), threading.Event()
    assert first.try_to_lead()
    waiting = asyncio.create_task(asyncio.to_thread(wait_to_lead, second, stopping))
    await asyncio.sleep(0)
    first.release()
    assert await waiting
    stopping.set()
    assert not await asyncio.to_thread(wait_to_lead, candidate(), stopping)
