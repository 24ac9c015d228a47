"""What was stored a moment ago is at hand, within a fixed size."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.storage.recent_cache import RecentObjectCache


def test_the_newest_objects_are_at_hand() -> None:
    recent = RecentObjectCache(capacity_bytes=10, max_object_bytes=8)
    recent.put("a", b"aaaa")
    recent.put("b", b"bbbb")
    recent.put("c", b"cccc")
    assert [recent.get(key) for key in "abc"] == [None, b"bbbb", b"cccc"]


def test_large_and_dropped_entries_are_not_cached() -> None:
    recent = RecentObjectCache(capacity_bytes=10, max_object_bytes=3)
    recent.put("large", b"1234")
    recent.put("small", b"12")
    recent.delete("small")
    recent.delete("nobody")
    assert recent.get("large") is recent.get("small") is None


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.binary(max_size=12))))
def test_it_never_holds_more_than_its_size(objects: list[tuple[str, bytes]]) -> None:
    recent = RecentObjectCache(capacity_bytes=20, max_object_bytes=10)
    latest: dict[str, bytes] = {}
    for key, data in objects:
        recent.put(key, data)
        if len(data) <= 10:
            latest[key] = data
    held = {key: found for key in "abcdef" if (found := recent.get(key)) is not None}
    assert sum(map(len, held.values())) <= 20
    assert all(latest[key] == data for key, data in held.items())
