"""What a ComfyUI server keeps of its log, as lines with times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from comfy_instances.protocol.server_log import parse_server_log, select_lines

START = datetime(2026, 11, 27, 8, 0, tzinfo=UTC)


def entry(seconds: float, text: str) -> dict[str, str]:
    """As the server writes it: local time without a zone."""
    local = (START + timedelta(seconds=seconds)).astimezone().replace(tzinfo=None)
    return {"t": local.isoformat(), "m": text}


def test_pieces_of_a_line_are_joined_and_have_the_time_of_the_first() -> None:
    entries = [entry(0, "got "), entry(1, "prompt\nPrompt executed"), entry(2, " in 0.1 seconds\n")]
    assert parse_server_log({"entries": entries}) == [
        (START, "got prompt"),
        (START + timedelta(seconds=1), "Prompt executed in 0.1 seconds"),
    ]


def test_an_unfinished_line_is_kept_and_colours_are_not() -> None:
    entries = [entry(0, "\x1b[32m[INFO]\x1b[0m got prompt\n"), entry(1, "\r 50%|#####")]
    assert [text for _, text in parse_server_log({"entries": entries})] == ["[INFO] got prompt", " 50%|#####"]


def test_the_time_of_a_piece_counts_for_lines_that_begin_in_it() -> None:
    entries = [entry(0, "one\n"), entry(5, "two\nthree\n")]
    assert [at for at, _ in parse_server_log({"entries": entries})] == [
        START,
        START + timedelta(seconds=5),
        START + timedelta(seconds=5),
    ]


def test_lines_of_a_period_begin_with_their_times() -> None:
    lines = [(START + timedelta(seconds=number), f"line {number}") for number in range(10)]
    period = (START + timedelta(seconds=3), START + timedelta(seconds=5))
    assert select_lines(lines, 2, period) == ["08:00:04.000  line 4", "08:00:05.000  line 5"]
    assert select_lines(lines, 2, None) == ["line 8", "line 9"]
    assert select_lines(lines, 0, None) == []


@pytest.mark.parametrize("response", [{}, [], {"entries": [{}]}, {"entries": [{"t": "soon", "m": ""}]}])
def test_other_responses_are_errors(response: object) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        parse_server_log(response)
