"""Order, cache, queue: which node runs when, and which need not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfy_instances.simulator.execution.cache import compute_signatures
from comfy_instances.simulator.execution.execution_order import ExecutionOrder
from comfy_instances.simulator.execution.progress import ProgressThrottle
from comfy_instances.simulator.execution.prompt_queue import (
    HISTORY_LIMIT,
    PromptQueue,
    PromptResult,
    QueuedPrompt,
)
from comfy_instances.simulator.faults import EXECUTION_FAULTS, ArmedFaults, Fault
from tests.unit.simulator.simulator_bench import ExecutorHarness, node

DONE = PromptResult(outputs={}, meta={}, success=True, messages=[("execution_success", {})])


def order_of(
    graph: dict[str, list[str]], outputs: set[str], cached: frozenset[str] = frozenset()
) -> list[str]:
    """The order in which nodes run, of a graph given by what each node needs."""
    full = {
        key: {"inputs": {str(i): [source, 0] for i, source in enumerate(sources)}}
        for key, sources in graph.items()
    }
    order = ExecutionOrder(full, outputs.__contains__, lambda *_: False, cached.__contains__)
    for output in sorted(outputs):
        order.add_node(output)
    ran = []
    while (node_id := order.next_node()) is not None:
        ran.append(node_id)
        order.complete_node(node_id)
    return ran


def test_outputs_come_as_soon_as_they_can() -> None:
    graph: dict[str, list[str]] = {
        "load": [], "sample": ["load"], "decode": ["sample"], "save": ["decode"],
        "up": ["decode"], "save up": ["up"],
    }  # fmt: skip
    assert order_of(graph, {"save", "save up"}) == ["load", "sample", "decode", "save", "up", "save up"]


def test_only_what_is_needed_runs() -> None:
    graph: dict[str, list[str]] = {"a": [], "b": [], "c": ["b"], "out": ["a"]}
    assert order_of(graph, {"out"}) == ["a", "out"]
    assert order_of(graph, {"out"}, cached=frozenset({"a"})) == ["out"]


@given(st.data())
def test_every_node_runs_after_all_that_it_needs(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 12))
    graph = {
        str(i): data.draw(st.lists(st.sampled_from([str(j) for j in range(i)]), max_size=4)) if i else []
        for i in range(size)
    }
    ran = order_of(graph, {str(size - 1)})
    assert len(ran) == len(set(ran))
    for index, node_id in enumerate(ran):
        assert set(graph[node_id]) <= set(ran[:index])


def signed(graph: dict[str, Any], **states: Any) -> dict[str, str]:
    return compute_signatures(graph, states.get)


def test_signatures_follow_what_goes_in_not_the_ids() -> None:
    graph = {"a": node("A", x=1), "b": node("B", image=["a", 0], y=2)}
    renamed = {"q": node("B", image=["p", 0], y=2), "p": node("A", x=1)}
    assert signed(graph)["b"] == signed(renamed)["q"]
    for changed in (
        graph | {"a": node("A", x=2)},
        graph | {"b": node("B", image=["a", 1], y=2)},
        graph | {"a": node("C", x=1)},
    ):
        assert signed(changed)["b"] != signed(graph)["b"]
    assert signed(graph, a="file changed")["b"] != signed(graph)["b"]


def test_signatures_of_graphs_with_circles_and_loose_ends_end() -> None:
    graph = {"a": node("A", x=["b", 0]), "b": node("B", x=["a", 0]), "c": node("C", x=["gone", 0])}
    assert set(signed(graph)) == {"a", "b", "c"}


def prompt(number: float, prompt_id: str) -> QueuedPrompt:
    extra = {"create_time": 0}
    return QueuedPrompt(number=number, prompt_id=prompt_id, graph={}, extra_data=extra, outputs=[])


def test_the_queue_runs_by_number_and_reports_each_change() -> None:
    changes: list[int] = []
    queue = PromptQueue(lambda: changes.append(queue.remaining))
    for number, prompt_id in ((0, "a"), (1, "b"), (-2, "front"), (3, "c")):
        queue.put(prompt(number, prompt_id))
    assert queue.delete("b")
    assert not queue.delete("b")
    ran = []
    while (running := queue.start_next()) is not None:
        ran.append(running.prompt_id)
        queue.finish(DONE)
    assert ran == ["front", "a", "c"]
    assert list(queue.history) == ran
    assert (changes[-1], queue.remaining) == (0, 0)


def test_the_same_prompt_twice_runs_twice() -> None:
    queue = PromptQueue(lambda: None)
    ran = []
    for _ in range(2):
        queue.put(prompt(0, "a"))
    while (running := queue.start_next()) is not None:
        ran.append(running.prompt_id)
        queue.finish(DONE)
    assert ran == ["a", "a"]


def test_the_history_forgets_the_oldest() -> None:
    queue = PromptQueue(lambda: None)
    for index in range(HISTORY_LIMIT + 5):
        queue.put(prompt(index, str(index)))
        queue.start_next()
        queue.finish(DONE)
    assert len(queue.history) == HISTORY_LIMIT + 1
    assert next(iter(queue.history)) == "4"


@pytest.mark.parametrize(
    ("limits", "found"),
    [
        ({}, ["0", "1", "2", "3"]),
        ({"max_items": 2}, ["2", "3"]),
        ({"max_items": 2, "offset": 0}, ["0", "1"]),
        ({"offset": 3}, ["3"]),
        ({"max_items": 9}, ["0", "1", "2", "3"]),
    ],
)
def test_pages_of_the_history(limits: dict[str, int], found: list[str]) -> None:
    queue = PromptQueue(lambda: None)
    for index in range(4):
        queue.put(prompt(index, str(index)))
        queue.start_next()
        queue.finish(DONE)
    assert list(queue.list_history(**limits)) == found


def test_faults_strike_in_the_order_they_were_armed_and_are_used_up() -> None:
    faults = ArmedFaults()
    faults.arm(Fault.NODE_ERROR, 2)
    faults.arm(Fault.REJECT, 1)
    faults.arm(Fault.HANG, 1)
    assert faults.consume(Fault.REJECT) is Fault.REJECT
    struck = [faults.consume(*EXECUTION_FAULTS) for _ in range(4)]
    assert struck == [Fault.NODE_ERROR, Fault.NODE_ERROR, Fault.HANG, None]


def test_quick_steps_are_not_all_reported() -> None:
    times = iter([0.0, 0.01, 0.02, 0.2, 0.21, 0.22, 0.5])
    throttle = ProgressThrottle(lambda: next(times))
    steps = [(1, False), (2, False), (3, True), (4, False), (5, False), (6, False), (7, False)]
    told = [value for value, shown in steps if throttle.should_send(value, 7, has_preview=shown)]
    assert told == [1, 3, 4, 7]


def test_tiny_steps_are_not_reported() -> None:
    throttle = ProgressThrottle(iter(range(100)).__next__)
    assert [value for value in range(1, 9) if throttle.should_send(value, 1000, has_preview=False)] == [1, 6]


def test_a_file_that_changed_is_read_again(bench: ExecutorHarness) -> None:
    graph = {
        "1": node("LoadImage", image="start.png"),
        "2": node("SaveImage", images=["1", 0], filename_prefix="read"),
    }
    first = bench.saved_paths(bench.run_graph(graph))
    again = bench.saved_paths(bench.run_graph(graph))
    start = bench.folders.input / "start.png"
    start.write_bytes(bench.saved_paths(bench.run_graph({
        "1": node("EmptyImage", width=8, height=8, batch_size=1, color=7),
        "2": node("SaveImage", images=["1", 0], filename_prefix="other"),
    }))[0].read_bytes())  # fmt: skip
    changed = bench.saved_paths(bench.run_graph(graph))
    names = [[path.name for path in paths] for paths in (first, again, changed)]
    assert names == [["read_00001_.png"], ["read_00001_.png"], ["read_00002_.png"]]


def test_results_are_kept_from_one_prompt_to_the_next_only(bench: ExecutorHarness) -> None:
    def graph(color: int) -> dict[str, Any]:
        return {
            "1": node("EmptyImage", width=8, height=8, batch_size=1, color=color),
            "2": node("SaveImage", images=["1", 0], filename_prefix="kept"),
        }

    cached = []
    for color in (1, 1, 2, 1):
        bench.run_graph(graph(color))
        cached.append(bench.event_sink.events_of_type("execution_cached")[0]["nodes"])
    assert cached == [[], ["1", "2"], [], []]


def test_a_prompt_without_a_client_is_kept_in_the_history_only(tmp_path: Path) -> None:
    bench = ExecutorHarness(tmp_path)
    graph = {
        "1": node("EmptyImage", width=8, height=8, batch_size=1, color=0),
        "2": node("SaveImage", images=["1", 0], filename_prefix="quiet"),
    }
    outcome = bench.run_graph(graph, client_id=None)
    assert {event for event, _ in bench.event_sink.events} == {"progress_state"}
    assert [event for event, _ in outcome.messages] == [
        "execution_start",
        "execution_cached",
        "execution_success",
    ]
