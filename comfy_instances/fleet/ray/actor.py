"""The Ray actor of one GPU: an agent in a thread of the actor's process. Runs on the nodes only.

The process ends with its agent, so that Ray starts both again.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from typing import Any

import ray

from comfy_instances.fleet.ray.agent import Agent
from comfy_instances.fleet.ray.values import AgentOptions

log = logging.getLogger(__name__)
#: Exit status of a process whose agent has failed.
AGENT_FAILED = 70


class InstanceActor:
    """Has an agent, and says where it is."""

    def __init__(self, options: str) -> None:
        """`options` are `AgentOptions` as JSON. Fails in no foreseeable way: Ray would not try again."""
        context = ray.get_runtime_context()
        # Its folders are for this user only.
        os.umask(0o077)
        self._agent: Agent | None = None
        self._arguments = (options, ray.util.get_node_ip_address(), context.get_node_id())
        threading.Thread(target=self._run, name="agent", daemon=True).start()

    def report(self) -> dict[str, Any] | None:
        """Return the agent's report; None while it is starting."""
        report = self._agent.report if self._agent is not None else None
        return report.to_json() if report is not None and report.url else None

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception:
            log.exception("the agent has failed")
        finally:
            os._exit(AGENT_FAILED)

    async def _serve(self) -> None:
        options, address, node_id = self._arguments
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        self._agent = Agent(
            AgentOptions.from_json(options), address=address, node_id=node_id, visible_gpus=visible
        )
        await self._agent.run()
