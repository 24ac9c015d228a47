"""Ports for child processes: free, different each time, and not those of outgoing connections."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

from comfy_instances.process.child import find_free_port
from tests.support.ports import find_lasting_port, reserve_port
from tests.support.service import ROOT

CHOOSE = "from comfy_instances.process.child import find_free_port as f; print(*[f() for _ in range(50)])"


def test_ports_are_not_those_of_outgoing_connections() -> None:
    """One of these could take the port before the child listens there."""
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    ports = [find_free_port() for _ in range(50)]
    assert len(set(ports)) == 50
    assert first < 32_768 or max(ports) < first


def test_processes_that_start_together_choose_different_ports() -> None:
    running = [subprocess.Popen([sys.executable, "-c", CHOOSE], stdout=subprocess.PIPE) for _ in range(3)]
    chosen = [set(process.communicate()[0].split()) for process in running]
    assert [len(ports) for ports in chosen] == [50, 50, 50]
    assert len(set.union(*chosen)) == 150


def test_a_port_of_a_test_is_not_chosen_by_another_worker() -> None:
    """Between the choice and the start of a server its port is free."""
    port = find_lasting_port()
    assert not reserve_port(port)
    code = f"from tests.support.ports import reserve_port; print(reserve_port({port}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_port_in_use_is_passed_over() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken = int(listener.getsockname()[1])
        assert find_free_port(preferred=taken) != taken
    assert find_free_port(preferred=taken) == taken
