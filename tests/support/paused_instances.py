"""Instances that stand still for a moment, so that a test meets the service at a known point of its work."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil

from tests.support.processes import child_processes, find_processes
from tests.support.service import ServiceProcess


@contextmanager
def paused_instances(service: ServiceProcess) -> Iterator[list[psutil.Process]]:
    """Stop the processes of all simulated instances while the block runs: no prompt ends meanwhile.

    Blocks should take a second or two; the service gives up instances that are silent for longer.
    """
    instances = instance_processes(service)
    for instance in instances:
        instance.send_signal(signal.SIGSTOP)
    try:
        yield instances
    finally:
        for instance in instances:
            with suppress(psutil.NoSuchProcess):
                instance.send_signal(signal.SIGCONT)


def instance_processes(service: ServiceProcess) -> list[psutil.Process]:
    """The processes of the service's simulated instances."""
    assert service.process is not None
    children = child_processes(service.process.pid)
    instances = list(find_processes("comfy_instances.simulator", children))
    assert instances, "the service has no simulated instances"
    return instances
