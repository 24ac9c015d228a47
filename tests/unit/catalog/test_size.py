from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.catalog import parse_size
from orchestrator.errors import InvalidRequest
from tests.support.drafts import unhurried


@unhurried
@given(st.integers(0, 99999), st.integers(0, 99999))
def test_a_size_is_read(width: int, height: int) -> None:
    assert parse_size(f"{width}x{height}") == (width, height)


@pytest.mark.parametrize("text", ["1024X768", "1024*768", "1024 x 768", "1024\u00d7768"])
def test_other_signs_for_times_are_read(text: str) -> None:
    assert parse_size(text) == (1024, 768)


NO_SIZES = ["", "axb", "1024", "1024x", "x768", "1024x768x3", " 1024x768", "1024x768\n", "-8x8"]


@pytest.mark.parametrize("text", [*NO_SIZES, "1e3x8", "٣x٣", "1" * 5000 + "x8", None, 1024, [1024, 768]])
def test_rejects_other_files(text: object) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_size(text)
    assert (caught.value.code, caught.value.param) == ("invalid_size", "size")
