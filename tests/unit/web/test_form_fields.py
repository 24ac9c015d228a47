"""Fields of multipart forms, in the ways in which clients write lists and objects."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.web.http.form_fields import collect_form_fields
from orchestrator.web.http.multipart import FormField


def fields(*pairs: tuple[str, str | bytes]) -> dict[str, Any]:
    return collect_form_fields(FormField(name, value) for name, value in pairs)


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([("image", b"1")], {"image": b"1"}),
        ([("image[]", b"1")], {"image": [b"1"]}),
        ([("image[]", b"1"), ("image[]", b"2")], {"image": [b"1", b"2"]}),
        ([("image", b"1"), ("image", b"2")], {"image": [b"1", b"2"]}),
        ([("image", b"1"), ("image[]", b"2")], {"image": [b"1", b"2"]}),
        ([("image[]", b"1"), ("image", b"2")], {"image": [b"1", b"2"]}),
        ([("image[1]", b"2"), ("image[0]", b"1")], {"image": [b"1", b"2"]}),
        ([("images[0][image_url]", "u")], {"images": [{"image_url": "u"}]}),
        ([("images[0][image_url][url]", "u")], {"images": [{"image_url": {"url": "u"}}]}),
        ([("image[url]", "u")], {"image": {"url": "u"}}),
        ([("prompt", "a"), ("prompt", "b")], {"prompt": ["a", "b"]}),
        ([("prompt", "a"), ("size", ""), ("n", "")], {"prompt": "a"}),
        ([("prompt", ""), ("negative_prompt", "")], {"prompt": ""}),
        ([("image", b"")], {"image": b""}),
        ([("a[b", "1"), ("[c]", "2")], {"a[b": "1", "[c]": "2"}),
        ([("a[b][c][d][e][f]", "3")], {"a[b][c][d][e][f]": "3"}),
    ],
)
def test_reads_lists_and_objects(pairs: list[tuple[str, str | bytes]], expected: dict[str, Any]) -> None:
    assert fields(*pairs) == expected


@pytest.mark.parametrize(
    "pairs",
    [
        [("image", "a"), ("image[url]", "u")],
        [("image[0]", "a"), ("image[url]", "u")],
        [("image[100]", "a")],
        [("image[a]", "1"), ("image[a][b]", "2"), ("image[a][b]", "2")],
    ],
)
def test_rejects_a_field_that_is_a_list_and_an_object(pairs: list[tuple[str, str | bytes]]) -> None:
    with pytest.raises(ValueError, match=r"both a list|too large"):
        fields(*pairs)
