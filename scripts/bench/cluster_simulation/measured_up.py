"""Runs `pixelfactory up` and counts what it does for its jobs.

    python -m scripts.bench.cluster_simulation.measured_up REPORT_FILE [OPTION...]

On SIGUSR1 the counts since the start are written to the file, as `{what: {name: {"count": ..., ...}}}`:
operations of the store with their SQL statements and CPU seconds, commits, events of the scheduler, requests
to S3 and messages of instances with their bytes, and published events. CPU seconds are those of the thread
that did it.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import urllib3

from comfy_instances.protocol import message_parser
from comfy_instances.protocol.messages import Message
from comfy_instances.session import websocket
from orchestrator.execution.scheduler import Event, Instruction, Scheduler
from orchestrator.jobs.events import EventHub
from orchestrator.store.sqlite.connection import ConnectionPool

Tally = dict[str, dict[str, float]]


class Counters:
    """What was done, by kind and name."""

    def __init__(self) -> None:
        self._tallies: dict[str, Tally] = defaultdict(dict)

    def add(self, kind: str, name: str, **amounts: float) -> None:
        row = self._tallies[kind].setdefault(name, {"count": 0})
        row["count"] += 1
        for key, amount in amounts.items():
            row[key] = row.get(key, 0) + amount

    def write(self, file: Path) -> None:
        """Replace the report; readers see the old or the new one."""
        draft = file.with_suffix(".new")
        draft.write_text(json.dumps(self._tallies))
        draft.replace(file)


def main() -> None:
    report, counters = Path(sys.argv[1]), Counters()
    count_store_operations(counters)
    count_scheduler_events(counters)
    count_s3_requests(counters)
    count_messages(counters)
    signal.signal(signal.SIGUSR1, lambda *_: counters.write(report))
    # Imported afterwards: the modules of the service take functions by name.
    from orchestrator.cli.main import main as run_command

    sys.argv = ["pixelfactory", "up", *sys.argv[2:]]
    run_command()


def operation_name() -> str:
    """Return the name of the store's method that awaits the calling coroutine."""
    frame = sys._getframe(2)
    while frame.f_code.co_name in ("_write", "_read", "_change") and frame.f_back:
        frame = frame.f_back
    return frame.f_code.co_name


def count_store_operations(counters: Counters) -> None:
    """Count reads, writes with their SQL statements, and commits, which several writes share."""

    def measured(kind: str, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(connection: Any, *arguments: Any) -> Any:
            statements = 0

            def count_statement(text: str) -> None:
                nonlocal statements
                # Those of triggers are comments.
                statements += not text.startswith("--")

            connection.set_trace_callback(count_statement)
            begun = time.thread_time()
            try:
                return function(connection, *arguments)
            finally:
                cpu = time.thread_time() - begun
                connection.set_trace_callback(None)
                counters.add(kind, name, statements=statements, cpu=cpu)

        return call

    write, read, commit_batch = ConnectionPool.write, ConnectionPool.read, ConnectionPool._commit_batch

    async def counted_write(self: ConnectionPool, function: Callable[..., Any], *arguments: Any) -> Any:
        return await write(self, measured("writes", operation_name(), function), *arguments)

    async def counted_read(self: ConnectionPool, function: Callable[..., Any], *arguments: Any) -> Any:
        return await read(self, measured("reads", operation_name(), function), *arguments)

    def counted_commit(self: ConnectionPool, batch: list[Any]) -> None:
        cpu, wall = time.thread_time(), time.perf_counter()
        commit_batch(self, batch)
        seconds = {"cpu": time.thread_time() - cpu, "wall": time.perf_counter() - wall}
        counters.add("commits", "commit", writes=len(batch), **seconds)

    vars_ = {"write": counted_write, "read": counted_read, "_commit_batch": counted_commit}
    for name, function in vars_.items():
        setattr(ConnectionPool, name, function)


def count_scheduler_events(counters: Counters) -> None:
    """Count events and instructions of the scheduler, and its CPU time."""
    handle, publish = Scheduler.handle, EventHub.publish

    def counted_handle(self: Scheduler, event: Event, now: float) -> list[Instruction]:
        begun = time.thread_time()
        instructions = handle(self, event, now)
        counters.add("scheduler", type(event).__name__, cpu=time.thread_time() - begun)
        return instructions

    def counted_publish(self: EventHub, job_id: str, event: Any) -> None:
        counters.add("published", type(event).__name__)
        publish(self, job_id, event)

    setattr(Scheduler, "handle", counted_handle)  # noqa: B010 - mypy refuses assignments to methods
    setattr(EventHub, "publish", counted_publish)  # noqa: B010


def count_s3_requests(counters: Counters) -> None:
    """Count HTTP requests of the S3 client with the bytes of their bodies."""
    urlopen = urllib3.PoolManager.urlopen

    def counted_urlopen(self: urllib3.PoolManager, method: str, url: str, **named: Any) -> Any:
        response = urlopen(self, method, url, **named)
        headers: Mapping[str, str] = response.headers
        received = 0 if method == "HEAD" else int(headers.get("content-length", 0))
        sent = named.get("headers", {}).get("Content-Length") or len(named.get("body") or b"")
        counters.add("s3", method, sent=int(sent), received=received)
        return response

    setattr(urllib3.PoolManager, "urlopen", counted_urlopen)  # noqa: B010


def count_messages(counters: Counters) -> None:
    """Count messages on the sockets of instances."""

    def counted_parse(frame: str | bytes) -> Message:
        message = message_parser.parse_frame(frame)
        counters.add("messages", type(message).__name__, bytes=len(frame))
        return message

    setattr(websocket, "parse_frame", counted_parse)  # noqa: B010


if __name__ == "__main__":
    main()
