"""A Ray cluster on this machine: a head without GPU and nodes of one GPU each, by Ray's own utility.

It runs in a process of its own, as Ray starts and ends its programs from there. Each node has another
loopback address, as Ray would take 127.0.0.1 for an address of the network.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comfy_instances.process.child import find_free_port

HAS_RAY = importlib.util.find_spec("ray") is not None
HAS_RAY_CLIENT = HAS_RAY and importlib.util.find_spec("grpc") is not None
NO_RAY = "needs Ray: pip install -e '.[ray]'"
CARD = "SIMULATED"
STORE_BYTES = 80 * 2**20


@dataclass
class RayClusterProcess:
    """The cluster, from another process."""

    process: subprocess.Popen[str]
    address: str = ""
    #: Address of Ray's client server, through which programs outside of the cluster use it.
    client_address: str = ""

    def call(self, operation: str, *arguments: str) -> str:
        """Carry out an operation of `Nodes`, and return what it returns."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([operation, *arguments]) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, f"the cluster ended during {operation}"
        return str(json.loads(line))

    def add_node(self, card: str = CARD) -> str:
        """Add a node with one GPU, and return its address."""
        return self.call("add_node", card)

    def remove_node(self, address: str) -> None:
        """Lose a node with everything on it."""
        self.call("remove_node", address)

    def stop_head(self) -> None:
        """End the head's control service; nodes and actors go on."""
        self.call("stop_head")

    def start_head(self) -> None:
        self.call("start_head")


@contextmanager
def ray_cluster(*, redis: str | None = None) -> Iterator[RayClusterProcess]:
    """A cluster of a head and two nodes. With `redis` (HOST:PORT) the head can be started again."""
    # Paths of Ray's sockets must be short.
    with tempfile.TemporaryDirectory(prefix="pxray-", dir="/tmp", ignore_cleanup_errors=True) as directory:
        environment = {
            **os.environ,
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_TMPDIR": directory,
            "PYTHONWARNINGS": "ignore",
            **({"RAY_REDIS_ADDRESS": redis} if redis else {}),
        }
        with (Path(directory) / "log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.ray_cluster", directory],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment,
                start_new_session=True,
            )
            cluster = RayClusterProcess(process)
            try:
                cluster.address = cluster.call("get_address")
                cluster.client_address = cluster.call("get_client_address")
                yield cluster
            finally:
                _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)
    assert process.stdout is not None
    process.stdout.close()


class Nodes:
    """The cluster, in its own process."""

    def __init__(self, directory: str) -> None:
        from ray.cluster_utils import Cluster

        # Ray writes its address to this folder, which it expects to be there.
        folder = Path(directory) / "ray"
        folder.mkdir(exist_ok=True)
        self._hosts = (f"127.77.0.{number}" for number in range(1, 250))
        self._nodes: dict[str, Any] = {}
        self._client_port = find_free_port()
        head = {
            "ray_client_server_port": self._client_port,
            "num_cpus": 1,
            "num_gpus": 0,
            "include_dashboard": False,
            "temp_dir": str(folder),
        }
        self._cluster = Cluster(initialize_head=True, head_node_args={**head, **self._common()})
        for _ in range(2):
            self.add_node(CARD)

    def get_address(self) -> str:
        return str(self._cluster.address)

    def get_client_address(self) -> str:
        return f"ray://{self._cluster.address.rpartition(':')[0]}:{self._client_port}"

    def add_node(self, card: str) -> str:
        common = self._common()
        resources = {f"accelerator_type:{card}": 1}
        node = self._cluster.add_node(num_cpus=1, num_gpus=1, resources=resources, **common)
        self._nodes[common["node_ip_address"]] = node
        return str(common["node_ip_address"])

    def remove_node(self, address: str) -> str:
        self._cluster.remove_node(self._nodes.pop(address), allow_graceful=False)
        return ""

    def stop_head(self) -> str:
        self._cluster.head_node.kill_gcs_server()
        return ""

    def start_head(self) -> str:
        self._cluster.head_node.start_gcs_server()
        return ""

    def close(self) -> None:
        self._cluster.shutdown()

    def _common(self) -> dict[str, Any]:
        return {"node_ip_address": next(self._hosts), "object_store_memory": STORE_BYTES}


def main(directory: str) -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    nodes = Nodes(directory)
    for line in sys.stdin:
        operation, *arguments = json.loads(line)
        print(json.dumps(getattr(nodes, operation)(*arguments)), file=answers, flush=True)
    nodes.close()


if __name__ == "__main__":
    main(sys.argv[1])
