"""What was stored a moment ago is at hand, within a fixed size."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.media.recent import Recent


def test_the_newest_objects_are_at_hand() -> None:
    recent = Recent(capacity=10, largest=8)
    recent.keep("a", b"aaaa")
    recent.keep("b", b"bbbb")
    recent.keep("c", b"cccc")
    assert [recent.get(key) for key in "abc"] == [None, b"bbbb", b"cccc"]


def test_what_is_too_large_or_dropped_is_not() -> None:
    recent = Recent(capacity=10, largest=3)
    recent.keep("large", b"1234")
    recent.keep("small", b"12")
    recent.drop("small")
    recent.drop("nobody")
    assert recent.get("large") is recent.get("small") is None


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.binary(max_size=12))))
def test_it_never_holds_more_than_its_size(objects: list[tuple[str, bytes]]) -> None:
    recent = Recent(capacity=20, largest=10)
    latest: dict[str, bytes] = {}
    for key, data in objects:
        recent.keep(key, data)
        if len(data) <= 10:
            latest[key] = data
    held = {key: found for key in "abcdef" if (found := recent.get(key)) is not None}
    assert sum(map(len, held.values())) <= 20
    assert all(latest[key] == data for key, data in held.items())
