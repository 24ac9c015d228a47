"""What the instances of another process say of callers' own graphs: an API process asks the scheduler."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any, Protocol

from orchestrator.catalog.checks.graph_checks import GraphProblem
from orchestrator.errors import ServiceUnavailable
from orchestrator.execution.live.messages import GraphProblems, GraphQuestion, KnownClasses
from orchestrator.own_graphs.model import OwnGraphModel

GRAPH_PROBLEMS_PATH = "/internal/v1/graph-problems"
NODE_FACTS_PATH = "/internal/v1/node-facts"
#: How long node facts are kept before they are asked for again, in seconds: they are a megabyte.
FACTS_SECONDS = 30.0


class SchedulerQuestions(Protocol):
    """Asks the leading scheduler."""

    async def ask(self, path: str, body: str) -> bytes:
        """Return the answer. Raises ServiceUnavailable."""
        ...


class RemoteGraphs:
    """Asks the scheduler about its instances.

    While no scheduler answers, nothing is known: graphs are stored, and the next leader fails those that no
    instance can run.
    """

    def __init__(self, scheduler: SchedulerQuestions) -> None:
        self._scheduler = scheduler
        self._facts: Mapping[str, Any] | None = None
        self._read_at = float("-inf")
        self._reading = asyncio.Lock()

    async def find_problems(self, model: OwnGraphModel) -> Sequence[GraphProblem]:
        """Return why no ready instance can run a graph; nothing if one can, or if that is not known."""
        question = GraphQuestion(graph=model.graph, outputs=tuple(one.node for one in model.outputs))
        with suppress(ServiceUnavailable):
            answer = await self._scheduler.ask(GRAPH_PROBLEMS_PATH, question.model_dump_json())
            return GraphProblems.model_validate_json(answer).problems
        return ()

    async def node_facts(self) -> Mapping[str, Any] | None:
        """Return the node facts of an instance that is ready, at most some seconds old; None if unknown."""
        async with self._reading:
            if monotonic() - self._read_at > FACTS_SECONDS:
                with suppress(ServiceUnavailable):
                    answer = await self._scheduler.ask(NODE_FACTS_PATH, "{}")
                    known = await asyncio.to_thread(KnownClasses.model_validate_json, answer)
                    self._facts, self._read_at = known.classes, monotonic()
        return self._facts
