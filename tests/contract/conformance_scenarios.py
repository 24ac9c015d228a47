"""What is asked of the simulator and of a real ComfyUI alike. Each scenario returns what is to be equal.

Every scenario works with names and prompts of its own, so that all can share one server.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from tests.contract.conformance_client import client
from tests.contract.conformance_files import uploads, videos, views
from tests.contract.conformance_graphs import emptied
from tests.contract.conformance_models import interrupted_sampler, sampled_film, samplers, upscaled
from tests.contract.conformance_refusals import (
    descriptions,
    origins,
    oversized,
    refused_bodies,
    refused_graphs,
)
from tests.contract.conformance_runs import (
    cached_second_run,
    failing_node,
    free_forgets,
    happy_path,
    history,
    interrupt,
    partial_run,
    queue,
    switches,
)
from tests.contract.conformance_sockets import (
    pictures_over_the_socket,
    socket_lost_and_found,
    taken_over,
    two_clients,
)

Scenario = Callable[[str], Awaitable[Any]]

SCENARIOS: dict[str, Scenario] = {
    scenario.__name__: scenario
    for scenario in (
        happy_path, cached_second_run, free_forgets, refused_graphs, refused_bodies, failing_node, interrupt,
        queue, socket_lost_and_found, two_clients, taken_over, uploads, views, history,
        pictures_over_the_socket, videos, switches, partial_run, oversized, origins, descriptions,
        upscaled, samplers, interrupted_sampler, sampled_film,
    )
}  # fmt: skip


async def play(name: str, url: str) -> Any:
    """A scenario's result, as JSON would hand it back. The server's cache is emptied before."""
    async with client(url) as user:
        await user.post("/free", {"free_memory": True})
        await emptied(user)
    return json.loads(json.dumps(await SCENARIOS[name](url)))
