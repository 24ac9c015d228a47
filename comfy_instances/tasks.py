"""Helpers for asyncio tasks: the loop's clock, and background tasks whose failures are reported.

`spawn` starts every task of this code base. A failure goes to the event loop's exception handler, which also
gets the failures of tasks that were not awaited. The service installs a handler that logs and counts them;
without one asyncio logs them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Coroutine
from typing import Any, TypeVar

from comfy_instances.backoff import backoff_delay

T = TypeVar("T")
log = logging.getLogger(__name__)

#: Separates the kind of a task in its name from what it works on, as in `webhook: message 7`.
NAME_SEPARATOR = ": "
#: Pause after a failure of a loop that is started again, in seconds: the first one and the longest.
FIRST_RESTART_SECONDS, MAX_RESTART_SECONDS = 0.1, 30.0


def loop_time() -> float:
    """Return the monotonic clock of the running event loop, in seconds."""
    return asyncio.get_running_loop().time()


def spawn(
    coroutine: Coroutine[Any, Any, T],
    kind: str,
    subject: str | None = None,
    *,
    group: set[asyncio.Task[T]] | None = None,
    awaited: bool = False,
) -> asyncio.Task[T]:
    """Start a task that is named after its kind and what it works on.

    `group` holds the task until it ends. With `awaited` its starter awaits it and gets its exception;
    otherwise a failure is reported.
    """
    name = kind if subject is None else f"{kind}{NAME_SEPARATOR}{subject}"
    task = asyncio.get_running_loop().create_task(coroutine, name=name)
    if group is not None:
        group.add(task)
        task.add_done_callback(group.discard)
    if not awaited:
        task.add_done_callback(report_failure)
    return task


async def end_tasks(tasks: Collection[asyncio.Task[Any]], seconds: float) -> None:
    """Wait up to `seconds` for tasks to end by themselves, then cancel the others and wait for their ends.

    Tasks that join `tasks` meanwhile are cancelled too.
    """
    if tasks:
        await asyncio.wait(set(tasks), timeout=seconds)
    late = [task for task in tasks if not task.done()]
    for task in late:
        task.cancel()
    await asyncio.gather(*late, return_exceptions=True)


def report_failure(task: asyncio.Task[Any]) -> None:
    """Pass the exception of a task to the loop's exception handler. Use it as a done callback."""
    if not task.cancelled() and (error := task.exception()) is not None:
        report_error(error, task.get_name(), task=task)


def report_error(error: BaseException, name: str, **context: Any) -> None:
    """Pass an exception that ends no task, such as one step of a loop, to the loop's exception handler."""
    message = f"background task {name} failed"
    asyncio.get_running_loop().call_exception_handler(
        {"message": message, "exception": error, "task_name": name, **context}
    )


def task_kind(name: str) -> str:
    """Return the kind of a task by its name; `other` for a task that `spawn` did not start."""
    return "other" if name.startswith("Task-") else name.partition(NAME_SEPARATOR)[0]


async def keep_running(
    run: Callable[[], Awaitable[None]], name: str, *, first_pause: float = FIRST_RESTART_SECONDS
) -> None:
    """Await `run` again and again after each failure, with a growing pause; return when it returns."""
    failures = 0
    while True:
        try:
            return await run()
        except Exception as error:
            failures += 1
            report_error(error, name)
        await asyncio.sleep(backoff_delay(failures, first_pause, MAX_RESTART_SECONDS))
