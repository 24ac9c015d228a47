"""Account statements: opening balance, entries, closing balance; also as CSV."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from pricing.ledger import EntryKind, LedgerEntry, balance_change
from pricing.money import format_usd

_CSV_COLUMNS = ("at", "kind", "change_usd", "balance_usd", "job_id", "reference")


@dataclass(frozen=True, kw_only=True, slots=True)
class Statement:
    """An account's entries of a period, in micro-dollars; `closing` is `opening` plus all changes."""

    account_id: str
    #: Start (inclusive) and end (exclusive).
    since: datetime
    until: datetime
    #: Available plus held balance before the first entry.
    opening: int
    #: Oldest first.
    entries: Sequence[LedgerEntry]

    @property
    def closing(self) -> int:
        return self.opening + sum(self.balance_change(entry) for entry in self.entries)

    @property
    def totals(self) -> Mapping[EntryKind, int]:
        """Sum of the amounts moved, by kind."""
        totals: Counter[EntryKind] = Counter()
        for entry in self.entries:
            totals[entry.kind] += entry.micros
        return dict(totals)

    @property
    def net_charges(self) -> int:
        """Return the charges of the period less refunds."""
        return self.totals.get(EntryKind.CAPTURE, 0) - self.totals.get(EntryKind.REFUND, 0)

    def balance_change(self, entry: LedgerEntry) -> int:
        """Return what an entry adds to the balance; holds and releases add nothing."""
        return balance_change(entry)

    def to_csv(self) -> str:
        """Return every entry with the balance after it."""
        rows, balance = [], self.opening
        for entry in self.entries:
            balance += self.balance_change(entry)
            rows.append(
                (
                    entry.at.isoformat(),
                    entry.kind.value,
                    format_usd(self.balance_change(entry)),
                    format_usd(balance),
                    entry.job_id or "",
                    entry.reference or "",
                )
            )
        return format_csv(_CSV_COLUMNS, rows)


def format_csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Format rows as CSV (RFC 4180). An apostrophe escapes text that a spreadsheet would run as a formula."""
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(header)
    writer.writerows([_escape_formula(cell) for cell in row] for row in rows)
    return file.getvalue()


def _escape_formula(cell: object) -> object:
    if isinstance(cell, str) and cell.startswith(("=", "+", "@", "\t", "\r")):
        return f"'{cell}"
    if isinstance(cell, str) and cell.startswith("-") and not cell[1:].replace(".", "", 1).isdecimal():
        return f"'{cell}"
    return cell
