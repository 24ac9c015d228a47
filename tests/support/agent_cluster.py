"""A cluster without Ray: agents as child processes, on nodes that a test adds and removes.

It is the far end of a Ray fleet. Like Ray it places actors, starts them again and says where they are; the
agents and everything that the fleet says to them are real.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from comfy_instances.fleet.ray.agent import Agent
from comfy_instances.fleet.ray.connection import RayUnavailable
from comfy_instances.fleet.ray.values import AgentOptions, AgentReport, ClusterState, RayNode
from comfy_instances.tasks import spawn
from tests.support.polling import wait_until


@dataclass
class PlacedAgent:
    """An actor: where it runs, and its process."""

    options: AgentOptions
    card: str | None
    node_id: str | None
    process: asyncio.subprocess.Process | None = None
    report: AgentReport | None = None


@dataclass
class AgentCluster:
    """A `Cluster`."""

    nodes: dict[str, RayNode] = field(default_factory=dict)
    agents: dict[str, PlacedAgent] = field(default_factory=dict)
    #: Bundles that were requested from the autoscaler.
    bundles: list[list[Mapping[str, float]]] = field(default_factory=list)
    is_reachable: bool = True

    def add_node(self, node_id: str, card: str | None = None, gpus: int = 1) -> None:
        self.nodes[node_id] = RayNode(id=node_id, address="127.0.0.1", gpus=gpus, card=card)

    async def remove_node(self, node_id: str) -> None:
        """Lose a node with everything on it."""
        del self.nodes[node_id]
        for agent in self.agents.values():
            if agent.node_id == node_id:
                await self._end(agent)
                agent.node_id = None

    async def kill_agent(self, name: str) -> None:
        """Kill the process of an actor; the cluster starts it again."""
        await self._end(self.agents[name])

    async def get_state(self, skip: Collection[str]) -> ClusterState:
        self._require_reachable()
        for agent in self.agents.values():
            await self._keep_running(agent)
        reports = {
            name: agent.report for name, agent in self.agents.items() if agent.report and name not in skip
        }
        return ClusterState(nodes=tuple(self.nodes.values()), actors=tuple(self.agents), reports=reports)

    async def create_actor(self, options: AgentOptions, card: str | None, node_id: str | None) -> None:
        self._require_reachable()
        self.agents.setdefault(options.name, PlacedAgent(options, card, node_id))

    async def kill_actor(self, name: str) -> None:
        self._require_reachable()
        agent = self.agents.pop(name, None)
        if agent is not None:
            await self._end(agent)

    async def request_bundles(self, bundles: Sequence[Mapping[str, float]]) -> None:
        self._require_reachable()
        self.bundles.append(list(bundles))

    async def close(self) -> None:
        """Leave the actors as they are."""

    async def end(self) -> None:
        """End all actors."""
        for agent in self.agents.values():
            await self._end(agent)

    def _require_reachable(self) -> None:
        if not self.is_reachable:
            raise RayUnavailable("the head is down")

    async def _keep_running(self, agent: PlacedAgent) -> None:
        if agent.process is not None and agent.process.returncode is not None:
            agent.process = agent.report = None
        if agent.node_id is None:
            agent.node_id = self._find_free_node(agent.card)
        if agent.process is None and agent.node_id is not None:
            command = (sys.executable, "-m", "tests.support.agent_cluster", agent.node_id)
            agent.process = await asyncio.create_subprocess_exec(
                *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
            )
            assert agent.process.stdin is not None
            assert agent.process.stdout is not None
            agent.process.stdin.write(agent.options.to_json().encode() + b"\n")
            line = await agent.process.stdout.readline()
            agent.report = AgentReport.from_json(json.loads(line))

    def _find_free_node(self, card: str | None) -> str | None:
        used = Counter(agent.node_id for agent in self.agents.values())
        fitting = (node for node in self.nodes.values() if card in (None, node.card))
        return next((node.id for node in fitting if used[node.id] < node.gpus), None)

    async def _end(self, agent: PlacedAgent) -> None:
        if agent.process is not None:
            with contextlib.suppress(ProcessLookupError):
                agent.process.kill()
            await agent.process.wait()
        agent.process = agent.report = None


@asynccontextmanager
async def running_cluster(*nodes: str) -> AsyncIterator[AgentCluster]:
    """A cluster of nodes with one GPU each, whose card is `SIMULATED`."""
    cluster = AgentCluster()
    for node_id in nodes:
        cluster.add_node(node_id, "SIMULATED")
    try:
        yield cluster
    finally:
        await cluster.end()


def agent_options(base_dir: Path, **changes: object) -> AgentOptions:
    """Options of simulated instances."""
    options = AgentOptions(name="", namespace="tests", base_dir=str(base_dir), simulate=True)
    return replace(options, **changes)  # type: ignore[arg-type]


async def pull_when_allowed(
    models_dir: Path, files: Sequence[Mapping[str, Any]], on_file: Callable[[str, int], None]
) -> None:
    """A weight puller: makes the files once there is a file `go`."""
    await wait_until((models_dir / "go").exists)
    for row in files:
        target = models_dir / str(row["path"])
        await asyncio.to_thread(target.parent.mkdir, parents=True, exist_ok=True)
        await asyncio.to_thread(target.write_bytes, b"weights")
        on_file(str(row["path"]), 7)


async def run_agent(node_id: str) -> None:
    """Run one agent, whose options come as a line on standard input; its report goes to standard output."""
    options = AgentOptions.from_json(sys.stdin.readline())
    agent = Agent(options, address="127.0.0.1", node_id=node_id)
    life = spawn(agent.run(), "agent", awaited=True)
    await agent.listens.wait()
    print(json.dumps(agent.report.to_json()), flush=True)
    await life


if __name__ == "__main__":
    asyncio.run(run_agent(sys.argv[1]))
