"""Talks to Ray for the service: `python -m comfy_instances.fleet.ray.bridge ADDRESS NAMESPACE`.

A process of its own, because Ray ends a process that has lost its cluster for long, and because it takes its
memory only where it is used. Reads one request per line from standard input and answers each with one line on
standard output, both JSON: `{"op": ..., ...}`, then `{"ok": ...}` or `{"error": "..."}`.
"""

from __future__ import annotations

import ipaddress
import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import ray
from ray.autoscaler.sdk import request_resources
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from comfy_instances.fleet.ray.actor import InstanceActor

CARD_PREFIX = "accelerator_type:"
#: How long actors may take to say where they are, in seconds.
REPORT_SECONDS = 2.0
#: Time for a call that runs on the cluster.
CLUSTER_CALL_SECONDS = 15.0
#: Ray's share of a card's resource that an actor occupies; there is one unit per node, whatever its GPUs.
CARD_SHARE = 0.001
#: A call may come while an earlier one still waits.
CONCURRENCY = 8


def main(arguments: Sequence[str]) -> None:
    address, namespace = arguments
    # Only answers go to standard output, whatever Ray prints.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    connect(address, namespace)
    _answer(answers, {"ok": "connected"})
    for line in sys.stdin:
        request = json.loads(line)
        try:
            _answer(answers, {"ok": OPERATIONS[request.pop("op")](**request)})
        except Exception as error:
            _answer(answers, {"error": f"{type(error).__name__}: {error}"[:2000]})


def connect(address: str, namespace: str) -> None:
    """Connect to the cluster. Raises what Ray raises."""
    host = address.rpartition(":")[0].strip("[]")
    options: dict[str, Any] = {}
    if "://" not in address and _is_loopback(host):
        # Ray would replace it by an address of the network.
        options["_node_ip_address"] = host
    ray.init(
        address=address,
        namespace=namespace,
        log_to_driver=False,
        logging_level=logging.WARNING,
        configure_logging=False,
        **options,
    )


def get_state(skip: Sequence[str]) -> dict[str, Any]:
    """Return nodes, names of actors, and the reports of those that answer, except the ones in `skip`."""
    nodes = [
        {
            "id": row["NodeID"],
            "address": row["NodeManagerAddress"],
            "gpus": int(row["Resources"].get("GPU", 0)),
            "card": _card_of(row["Resources"]),
        }
        for row in ray.nodes()
        if row["Alive"]
    ]
    names = sorted(ray.util.list_named_actors())
    return {"nodes": nodes, "actors": names, "reports": _ask_for_reports([n for n in names if n not in skip])}


def create_actor(name: str, options: str, card: str | None, node: str | None) -> None:
    """Create the detached actor of one GPU, on the node `node` if that still has one free."""
    strategy: Any = "DEFAULT"
    if node is not None:
        strategy = NodeAffinitySchedulingStrategy(node, soft=True, _spill_on_unavailable=True)
    ray.remote(InstanceActor).options(
        name=name,
        lifetime="detached",
        num_gpus=1,
        num_cpus=0,
        resources={f"{CARD_PREFIX}{card}": CARD_SHARE} if card else {},
        max_restarts=-1,
        max_concurrency=CONCURRENCY,
        scheduling_strategy=strategy,
        get_if_exists=True,
    ).remote(options)


def kill_actor(name: str) -> None:
    """End an actor for good; one that does not exist is no error."""
    try:
        ray.kill(ray.get_actor(name), no_restart=True)
    except ValueError:
        return


def request_bundles(bundles: Sequence[dict[str, float]]) -> None:
    """Tell the autoscaler what the cluster should have room for in all, what runs there included."""
    wanted = list(bundles)
    if ray.util.client.ray.is_connected():
        # Only processes of the cluster itself reach the autoscaler.
        ray.get(ray.remote(num_cpus=0)(_request_resources).remote(wanted), timeout=CLUSTER_CALL_SECONDS)
    else:
        _request_resources(wanted)


def _request_resources(bundles: list[dict[str, float]]) -> None:
    request_resources(bundles=bundles)


OPERATIONS: dict[str, Callable[..., Any]] = {
    "state": get_state,
    "create": create_actor,
    "kill": kill_actor,
    "bundles": request_bundles,
}


def _ask_for_reports(names: Sequence[str]) -> dict[str, Any]:
    calls = {}
    for name in names:
        try:
            calls[ray.get_actor(name).report.remote()] = name
        except ValueError:
            continue  # it ended meanwhile
    done, _ = ray.wait(list(calls), num_returns=len(calls), timeout=REPORT_SECONDS) if calls else ([], [])
    reports = {}
    for call in done:
        try:
            report = ray.get(call)
        except Exception:
            continue  # it restarts, or is of a version that answers otherwise
        if isinstance(report, dict):
            reports[calls[call]] = report
    return reports


def _card_of(resources: dict[str, float]) -> str | None:
    cards = sorted(name.removeprefix(CARD_PREFIX) for name in resources if name.startswith(CARD_PREFIX))
    return cards[0] if cards else None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _answer(stream: Any, answer: dict[str, Any]) -> None:
    stream.write(json.dumps(answer) + "\n")
    stream.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
