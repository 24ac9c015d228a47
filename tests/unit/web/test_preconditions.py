"""Conditional requests of files: which ones send the file, a part of it, 304 or 412."""

from __future__ import annotations

import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from orchestrator.web.http.ranges import FileInfo, build_file_response

INFO = FileInfo(size=10, content_type="image/png", filename="a.png", etag="abc")
Headers = list[tuple[str, str]]


def status_of(headers: Headers, method: str = "GET") -> int:
    request = make_mocked_request(method, "/a", headers=CIMultiDict(headers))
    return build_file_response(request, INFO, b"0123456789").status


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([], 200),
        ([("If-None-Match", '"abc"')], 304),
        ([("If-None-Match", 'W/"abc"')], 304),
        ([("If-None-Match", '"x", W/"y" ,"abc"')], 304),
        ([("If-None-Match", '"x"'), ("If-None-Match", '"abc"')], 304),
        ([("If-None-Match", "*")], 304),
        ([("If-None-Match", '"x"')], 200),
        ([("If-None-Match", "abc")], 200),
        ([("If-None-Match", '"ABC"')], 200),
        ([("If-Match", '"abc"')], 200),
        ([("If-Match", '"x", "abc"')], 200),
        ([("If-Match", "*")], 200),
        ([("If-Match", 'W/"abc"')], 412),
        ([("If-Match", '"x"')], 412),
        ([("If-Match", '"x"'), ("If-None-Match", '"abc"')], 412),
        ([("If-Match", '"abc"'), ("If-None-Match", '"abc"')], 304),
        ([("If-Modified-Since", "Fri, 01 Jan 2100 00:00:00 GMT")], 200),
        ([("Range", "bytes=0-1"), ("If-None-Match", '"abc"')], 304),
        ([("Range", "bytes=99-"), ("If-None-Match", '"abc"')], 304),
        ([("Range", "bytes=99-"), ("If-Match", '"x"')], 412),
    ],
)
def test_conditions_decide_on_the_status(method: str, headers: Headers, status: int) -> None:
    assert status_of(headers, method) == status


@pytest.mark.parametrize(
    ("if_range", "status"),
    [
        ('"abc"', 206),
        ('W/"abc"', 200),
        ('"x"', 200),
        ("Fri, 01 Jan 2100 00:00:00 GMT", 200),
    ],
)
def test_sends_a_part_only_of_the_file_that_if_range_names(if_range: str, status: int) -> None:
    assert status_of([("Range", "bytes=0-1"), ("If-Range", if_range)]) == status


def test_head_ignores_ranges() -> None:
    assert status_of([("Range", "bytes=0-1")]) == 206
    assert status_of([("Range", "bytes=0-1")], "HEAD") == 200
    assert status_of([("Range", "bytes=99-")], "HEAD") == 200


def test_a_response_without_the_file_has_its_tag_and_how_long_it_may_be_kept() -> None:
    request = make_mocked_request("GET", "/a", headers={"If-None-Match": '"abc"'})
    response = build_file_response(request, INFO, b"0123456789")
    assert response.body is None
    assert (response.headers["ETag"], response.headers["Cache-Control"]) == ('"abc"', "private, max-age=3600")
