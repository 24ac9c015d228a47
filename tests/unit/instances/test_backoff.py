"""The pause between two attempts, which everything that retries shares."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from comfy_instances.backoff import backoff_delay


def test_starts_with_the_first_pause_and_doubles_up_to_the_longest() -> None:
    assert [backoff_delay(failures, 0.25, 30.0) for failures in range(1, 10)] == [
        0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0,
    ]  # fmt: skip
    assert backoff_delay(0, 0.25, 30.0) == 0.25


@given(st.integers(0, 10**9), st.floats(0.001, 10), st.floats(10, 1000))
def test_never_shrinks_and_never_exceeds_the_longest(failures: int, first: float, longest: float) -> None:
    delay = backoff_delay(failures, first, longest)
    assert first <= delay <= longest
    assert delay <= backoff_delay(failures + 1, first, longest)
