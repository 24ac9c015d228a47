"""Background tasks: named after what they do, and no failure of theirs stays unobserved."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from comfy_instances.tasks import keep_running, spawn, task_kind


@pytest.fixture
async def reported() -> AsyncIterator[list[dict[str, Any]]]:
    """What reaches the loop's exception handler."""
    contexts: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: contexts.append(context))
    yield contexts
    loop.set_exception_handler(None)


async def fail() -> None:
    raise ValueError("broken")


async def test_reports_the_failure_of_a_task(reported: list[dict[str, Any]]) -> None:
    task = spawn(fail(), "webhook delivery", "7")
    await asyncio.wait({task})
    await asyncio.sleep(0)
    (context,) = reported
    assert str(context["exception"]) == "broken"
    assert context["task_name"] == "webhook delivery: 7"
    assert "webhook delivery: 7" in context["message"]


async def test_does_not_report_what_its_starter_awaits(reported: list[dict[str, Any]]) -> None:
    with pytest.raises(ValueError, match="broken"):
        await spawn(fail(), "prompt", awaited=True)
    assert reported == []


async def test_reports_neither_results_nor_cancellations(reported: list[dict[str, Any]]) -> None:
    task = spawn(asyncio.sleep(0, 5), "sleep")
    assert await task == 5
    forever = spawn(asyncio.sleep(3600), "sleep")
    forever.cancel()
    await asyncio.wait({forever})
    await asyncio.sleep(0)
    assert reported == []


async def test_a_group_holds_its_tasks_until_they_end(reported: list[dict[str, Any]]) -> None:
    group: set[asyncio.Task[None]] = set()
    task = spawn(fail(), "attempt", "shard-1", group=group)
    assert group == {task}
    await asyncio.wait({task})
    await asyncio.sleep(0)
    assert group == set()
    assert len(reported) == 1


@pytest.mark.parametrize(
    ("name", "kind"), [("attempt: job_1-0", "attempt"), ("reconciler", "reconciler"), ("Task-12", "other")]
)
def test_the_kind_of_a_task_names_no_ids(name: str, kind: str) -> None:
    assert task_kind(name) == kind


async def test_a_loop_is_started_again_after_each_failure(reported: list[dict[str, Any]]) -> None:
    runs = 0

    async def run() -> None:
        nonlocal runs
        runs += 1
        if runs < 4:
            raise OSError(f"run {runs}")

    await keep_running(run, "model watcher", first_pause=0)
    assert runs == 4
    assert [str(context["exception"]) for context in reported] == ["run 1", "run 2", "run 3"]
    assert {context["task_name"] for context in reported} == {"model watcher"}
