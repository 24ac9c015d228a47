"""Which connection gives way, how long a body may take, and how often clients fill the log."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.web.server.connection_table import ConnectionState, ConnectionTable, client_network
from orchestrator.web.server.limits import ServerLimits
from orchestrator.web.server.quiet_log import QuietLog


def table(max_connections: int = 4, max_per_address: int | None = 3) -> ConnectionTable[str]:
    return ConnectionTable(max_connections, max_per_address)


def test_admits_connections_up_to_the_limits() -> None:
    connections = table()
    assert [connections.admit(name, "a") for name in "123"] == [None] * 3
    assert connections.admit("4", "b") is None
    assert len(connections) == 4


def test_closes_the_oldest_connection_of_the_address_that_never_sent_a_request() -> None:
    connections = table()
    connections.admit("other", "b")
    for name in "123":
        connections.admit(name, "a")
    assert connections.admit("4", "a") == "1"
    assert connections.admit("5", "a") == "2"
    assert len(connections) == 4


def test_closes_idle_connections_only_if_all_have_sent_a_request() -> None:
    connections = table()
    for name in "123":
        connections.admit(name, "a")
    for name in "12":
        connections.move(name, ConnectionState.ACTIVE)
    connections.move("1", ConnectionState.IDLE)
    assert connections.admit("4", "a") == "3"
    connections.move("4", ConnectionState.ACTIVE)
    assert connections.admit("5", "a") == "1"


def test_refuses_the_newcomer_if_all_have_a_request_in_progress() -> None:
    connections = table()
    for name in "123":
        connections.admit(name, "a")
        connections.move(name, ConnectionState.ACTIVE)
    assert connections.admit("4", "a") == "4"
    assert connections.admit("5", "b") is None
    connections.remove("2")
    assert connections.admit("6", "a") is None


def test_closes_a_connection_of_another_address_at_the_limit_in_total() -> None:
    connections = table(max_connections=2)
    connections.admit("1", "a")
    connections.admit("2", "b")
    assert connections.admit("3", "c") == "1"


def test_knows_no_limit_per_address_behind_a_proxy() -> None:
    connections = table(max_connections=100, max_per_address=None)
    assert {connections.admit(str(number), "proxy") for number in range(100)} == {None}


def test_ignores_connections_that_are_closed_already() -> None:
    connections = table()
    connections.admit("1", "a")
    connections.remove("1")
    connections.remove("1")
    connections.move("1", ConnectionState.IDLE)
    assert (len(connections), connections.count(ConnectionState.IDLE)) == (0, 0)


@given(
    st.lists(st.tuples(st.sampled_from(["open", "active", "idle", "close"]), st.integers(0, 9)), max_size=60)
)
def test_counts_stay_true_whatever_happens(steps: list[tuple[str, int]]) -> None:
    connections: ConnectionTable[int] = ConnectionTable(5, 3)
    alive: set[int] = set()
    for number, (step, choice) in enumerate(steps):
        chosen = sorted(alive)[choice % len(alive)] if alive else -1
        if step == "open":
            alive.add(number)
            alive.discard(-1 if (closed := connections.admit(number, str(choice % 2))) is None else closed)
        elif step == "close":
            connections.remove(chosen)
            alive.discard(chosen)
        else:
            connections.move(chosen, ConnectionState(step))
        assert len(connections) == len(alive) <= 5
        assert sum(connections.count(state) for state in ConnectionState) == len(alive)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("local", "local"),
    ],
)
def test_takes_a_network_of_ipv6_for_one_client(address: str, network: str) -> None:
    assert client_network(address) == network


def test_allows_a_body_more_time_the_more_has_arrived() -> None:
    limits = ServerLimits(body_seconds=30, body_bytes_per_second=1000)
    assert (limits.allowed_body_seconds(0), limits.allowed_body_seconds(60_000)) == (30, 90)


def test_checks_short_limits_more_often() -> None:
    assert ServerLimits().check_interval_seconds == 1
    assert ServerLimits(header_seconds=0.4).check_interval_seconds == pytest.approx(0.1)


def test_logs_one_line_a_second_and_counts_the_others(caplog: pytest.LogCaptureFixture) -> None:
    now = [100.0]
    log = QuietLog(logging.getLogger("clients"), lambda: now[0])
    assert [log.write("bad client %s", name) for name in "abc"] == [True, False, False]
    now[0] += 1.0
    assert log.write("bad client %s", "d")
    now[0] += 1.0
    assert log.write("bad client %s", "e")
    assert [record.getMessage() for record in caplog.records] == [
        "bad client a",
        "bad client d (2 more like this were not logged)",
        "bad client e",
    ]
