"""What the operations book, and that no order of them can make or lose money."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from pricing import ledger
from pricing.ledger import Balance, EntryKind, LedgerEntry

NOW = datetime(2026, 1, 1, tzinfo=UTC)
AMOUNTS = st.integers(1, 10**9)


def test_a_charge_is_held_captured_and_refunded() -> None:
    credit = ledger.credit_entry("a", 1_000, "invoice 7", NOW)
    hold = ledger.hold_entry("a", "job", 300, NOW)
    assert ledger.sum_balances([credit, hold]) == {"funding": -1_000, "wallet:a": 700, "held:a": 300}
    (capture,) = ledger.capture_entries(hold, 300, NOW)
    refund = ledger.refund_entry(capture, 100, "sorry", NOW)
    assert ledger.sum_balances([credit, hold, capture, refund]) == {
        "funding": -1_000,
        "wallet:a": 800,
        "held:a": 0,
        "revenue": 200,
    }


def test_a_hold_is_captured_up_to_its_amount_and_the_rest_released() -> None:
    entries = ledger.capture_entries(ledger.hold_entry("a", "job", 300, NOW), 120, NOW)
    assert [(entry.key, entry.kind, entry.micros) for entry in entries] == [
        ("capture:job", EntryKind.CAPTURE, 120),
        ("release:job", EntryKind.RELEASE, 180),
    ]


@pytest.mark.parametrize("captured", [-1, 301])
def test_no_more_than_the_hold_is_captured(captured: int) -> None:
    with pytest.raises(ValueError, match="cannot capture"):
        ledger.capture_entries(ledger.hold_entry("a", "job", 300, NOW), captured, NOW)


@pytest.mark.parametrize("micros", [0, -5])
def test_an_entry_moves_something(micros: int) -> None:
    with pytest.raises(ValueError, match="positive"):
        ledger.credit_entry("a", micros, "x", NOW)


def test_the_same_reference_of_two_accounts_is_two_keys() -> None:
    assert ledger.credit_entry("a", 1, "x", NOW).key != ledger.credit_entry("b", 1, "x", NOW).key


def test_a_gift_that_expires_goes_back_where_it_came_from() -> None:
    entries = [ledger.grant_entry("a", 100, "2026-01", NOW), ledger.expire_entry("a", 60, "2026-01", NOW)]
    assert ledger.sum_balances(entries) == {"promotions": -40, "wallet:a": 40}


def test_the_total_is_what_is_available_and_what_is_held() -> None:
    assert Balance(available=4, held=3).total == 7


class LedgerMachine(RuleBasedStateMachine):
    """Any sequence of operations, against a plain model of each wallet."""

    holds: Bundle[LedgerEntry] = Bundle("holds")
    captures: Bundle[LedgerEntry] = Bundle("captures")

    @initialize()
    def open(self) -> None:
        self.entries: list[LedgerEntry] = []
        self.wallets = {"a": 0, "b": 0}
        self.earned = 0

    @rule(account=st.sampled_from("ab"), micros=AMOUNTS)
    def credit(self, account: str, micros: int) -> None:
        self.entries.append(ledger.credit_entry(account, micros, str(len(self.entries)), NOW))
        self.wallets[account] += micros

    @rule(target=holds, account=st.sampled_from("ab"), micros=AMOUNTS)
    def hold(self, account: str, micros: int) -> LedgerEntry:
        entry = ledger.hold_entry(account, f"job-{len(self.entries)}", micros, NOW)
        self.entries.append(entry)
        self.wallets[account] -= micros
        return entry

    @rule(target=captures, hold=consumes(holds), share=st.floats(0, 1))
    def settle(self, hold: LedgerEntry, share: float) -> LedgerEntry:
        captured = int(hold.micros * share)
        entries = ledger.capture_entries(hold, captured, NOW)
        self.entries.extend(entries)
        self.wallets[hold.account_id] += hold.micros - captured
        self.earned += captured
        return entries[0]

    @rule(capture=consumes(captures))
    def refund(self, capture: LedgerEntry) -> None:
        if capture.kind is EntryKind.CAPTURE:
            self.entries.append(ledger.refund_entry(capture, capture.micros, str(len(self.entries)), NOW))
            self.wallets[capture.account_id] += capture.micros
            self.earned -= capture.micros

    @invariant()
    def books_balance(self) -> None:
        balances = ledger.sum_balances(self.entries)
        assert sum(balances.values()) == 0
        assert balances.get(ledger.REVENUE, 0) == self.earned
        for account, expected in self.wallets.items():
            assert balances.get(ledger.wallet_account(account), 0) == expected

    @invariant()
    def no_key_is_used_twice(self) -> None:
        assert len({entry.key for entry in self.entries}) == len(self.entries)


TestBooks = pytest.mark.exhaustive(LedgerMachine.TestCase)
