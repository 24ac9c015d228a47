from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta

import pytest

from pricing import ledger
from pricing.ledger import EntryKind
from pricing.statement import Statement, format_csv

START = datetime(2026, 3, 1, tzinfo=UTC)


def statement() -> Statement:
    hold, other = (
        ledger.hold_entry("a", "job-1", 300_000, START),
        ledger.hold_entry("a", "job-2", 200_000, START),
    )
    (capture,) = ledger.capture_entries(hold, 300_000, START)
    entries = [
        ledger.credit_entry("a", 1_000_000, "invoice 7", START),
        hold,
        other,
        capture,
        *ledger.capture_entries(other, 0, START),
        ledger.refund_entry(capture, 50_000, "sorry", START),
    ]
    until = START + timedelta(days=31)
    return Statement(account_id="a", since=START, until=until, opening=5_000, entries=entries)


def test_the_closing_balance_is_the_opening_balance_and_the_entries() -> None:
    assert (statement().closing, statement().net_charges) == (755_000, 250_000)


def test_totals_by_kind() -> None:
    assert statement().totals == {
        EntryKind.CREDIT: 1_000_000,
        EntryKind.HOLD: 500_000,
        EntryKind.CAPTURE: 300_000,
        EntryKind.RELEASE: 200_000,
        EntryKind.REFUND: 50_000,
    }


def test_csv_has_the_balance_after_each_entry() -> None:
    rows = list(csv.DictReader(io.StringIO(statement().to_csv())))
    assert [(row["kind"], row["change_usd"], row["balance_usd"], row["job_id"]) for row in rows] == [
        ("credit", "1.00", "1.005", ""),
        ("hold", "0.00", "1.005", "job-1"),
        ("hold", "0.00", "1.005", "job-2"),
        ("capture", "-0.30", "0.705", "job-1"),
        ("release", "0.00", "0.705", "job-2"),
        ("refund", "0.05", "0.755", "job-1"),
    ]


def test_an_empty_statement_closes_as_it_opened() -> None:
    empty = Statement(account_id="a", since=START, until=START, opening=7, entries=())
    assert (empty.closing, empty.net_charges, empty.to_csv().count("\n")) == (7, 0, 1)


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("=1+1", "'=1+1"),
        ("@sum", "'@sum"),
        ("-cmd", "'-cmd"),
        ("-1.50", "-1.50"),
        ('a "b", c', '"a ""b"", c"'),
        (5, "5"),
    ],
)
def test_csv_is_harmless_in_a_spreadsheet(cell: object, written: str) -> None:
    assert format_csv(("x",), [(cell,)]) == f"x\r\n{written}\r\n"
