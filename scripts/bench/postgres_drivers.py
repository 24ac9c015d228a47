"""Compares drivers for PostgreSQL by a transaction like the store's: three reads, three writes, a commit.

    .venv/bin/python -m scripts.bench.postgres_drivers [--transactions 2000] [--concurrency 1 8]

The store's operations are plain functions, so a driver is called from threads. asyncpg has no such calls; it
is measured in one event loop, which the operations could not use, and behind a loop in each thread, which
they could. A temporary cluster is started, without flushes to disk, so that the drivers are what is compared.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg

from scripts.bench.report import save_results
from tests.support.postgres import PostgresCluster

TABLE = "CREATE TABLE rows (id BIGINT PRIMARY KEY, name TEXT, body JSON NOT NULL, at TIMESTAMPTZ)"
BODY = '{"prompt": "' + "a red fox in a snowy forest, golden hour, highly detailed" * 4 + '"}'
#: Reads and writes of one transaction.
STATEMENTS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--transactions", type=int, default=2000)
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 8])
    options = parser.parse_args()
    cluster = PostgresCluster()
    results = []
    try:
        cluster.start()
        for concurrency in options.concurrency:
            for name, measure in drivers():
                cluster.execute("DROP TABLE IF EXISTS rows", TABLE)
                begun, cpu = time.perf_counter(), time.process_time()
                measure(cluster.url(), options.transactions, concurrency)
                seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
                rate, cost = options.transactions / seconds, cpu / options.transactions * 1e6
                print(
                    f"{concurrency:3} at once  {name:34} {rate:7.0f} transactions/s {cost:6.0f} us CPU each"
                )
                row = {"driver": name, "at_once": concurrency, "transactions_per_second": round(rate)}
                results.append({**row, "cpu_us_each": round(cost)})
    finally:
        cluster.remove()
    save_results("postgres_drivers", {"transactions": options.transactions, "rows": results})


def drivers() -> Iterator[tuple[str, Callable[[str, int, int], None]]]:
    """Yield the drivers that are installed."""
    yield (
        "psycopg, threads",
        lambda url, count, n: run_in_threads(count, n, lambda: PsycopgWorker(url, False)),
    )
    yield (
        "psycopg, threads, writes batched",
        lambda url, count, n: run_in_threads(count, n, lambda: PsycopgWorker(url, True)),
    )
    if importlib.util.find_spec("asyncpg"):
        yield "asyncpg, one loop", run_asyncpg
        yield (
            "asyncpg, a loop in each thread",
            lambda url, count, n: run_in_threads(count, n, lambda: AsyncpgWorker(url)),
        )


def run_in_threads(count: int, concurrency: int, make: Callable[[], Any]) -> None:
    numbers, lock = iter(range(count)), threading.Lock()

    def work() -> None:
        worker = make()
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                worker.close()
                return
            worker.run(number)

    with ThreadPoolExecutor(concurrency) as threads:
        for future in [threads.submit(work) for _ in range(concurrency)]:
            future.result()


class PsycopgWorker:
    """One connection of psycopg; `batched` sends the writes without waiting for each."""

    def __init__(self, url: str, batched: bool) -> None:
        self._connection = psycopg.connect(url)
        self._batched = batched

    def run(self, number: int) -> None:
        connection = self._connection
        for offset in range(STATEMENTS):
            connection.execute("SELECT * FROM rows WHERE id = %s", (number - offset,)).fetchone()
        if self._batched:
            with connection.pipeline():
                self._write(number)
        else:
            self._write(number)
        connection.commit()

    def _write(self, number: int) -> None:
        for offset in range(STATEMENTS):
            values = (number * STATEMENTS + offset, "name", BODY)
            self._connection.execute("INSERT INTO rows VALUES (%s, %s, %s, now())", values)

    def close(self) -> None:
        self._connection.close()


async def asyncpg_transaction(connection: Any, number: int) -> None:
    async with connection.transaction():
        for offset in range(STATEMENTS):
            await connection.fetchrow("SELECT * FROM rows WHERE id = $1", number - offset)
        for offset in range(STATEMENTS):
            query = "INSERT INTO rows VALUES ($1, $2, $3, now())"
            await connection.execute(query, number * STATEMENTS + offset, "name", BODY)


def run_asyncpg(url: str, count: int, concurrency: int) -> None:
    import asyncpg  # type: ignore[import-not-found, import-untyped, unused-ignore]

    async def work(numbers: Iterator[int]) -> None:
        connection = await asyncpg.connect(url)
        for number in numbers:
            await asyncpg_transaction(connection, number)
        await connection.close()

    async def run() -> None:
        numbers = iter(range(count))
        await asyncio.gather(*(work(numbers) for _ in range(concurrency)))

    asyncio.run(run())


class AsyncpgWorker:
    """One connection of asyncpg with a loop of its own; each call is waited for, as the operations do."""

    def __init__(self, url: str) -> None:
        import asyncpg

        self._loop = asyncio.new_event_loop()
        self._connection = self._call(asyncpg.connect(url))

    def _call(self, work: Any) -> Any:
        return self._loop.run_until_complete(work)

    def run(self, number: int) -> None:
        connection = self._connection
        self._call(connection.execute("BEGIN"))
        for offset in range(STATEMENTS):
            self._call(connection.fetchrow("SELECT * FROM rows WHERE id = $1", number - offset))
        for offset in range(STATEMENTS):
            query = "INSERT INTO rows VALUES ($1, $2, $3, now())"
            self._call(connection.execute(query, number * STATEMENTS + offset, "name", BODY))
        self._call(connection.execute("COMMIT"))

    def close(self) -> None:
        self._call(self._connection.close())
        self._loop.close()


if __name__ == "__main__":
    main()
