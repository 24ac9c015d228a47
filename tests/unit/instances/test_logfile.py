"""The bounded log of a child."""

from __future__ import annotations

import logging
import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from comfy_instances.process.log_file import TAIL_LINES, RotatingLogFile


def test_rotates_and_keeps_no_more_than_asked(tmp_path: Path) -> None:
    output = RotatingLogFile(tmp_path / "log" / "output.log", max_bytes=100, backup_count=2)
    for number in range(40):
        output.write(b"%03d 123456789 123456789 12345\n" % number)  # three of them fit
    output.close()
    files = sorted((tmp_path / "log").iterdir())
    assert [file.name for file in files] == ["output.log", "output.log.1", "output.log.2"]
    assert [file.read_text()[:3] for file in files] == ["039", "036", "033"]
    assert all(file.stat().st_size <= 100 for file in files)


def test_goes_on_where_an_earlier_run_ended(tmp_path: Path) -> None:
    for line in (b"first\n", b"second\n"):
        output = RotatingLogFile(tmp_path / "output.log")
        output.write(line)
        output.close()
    assert (tmp_path / "output.log").read_text() == "first\nsecond\n"


def test_tail_is_bounded_and_clean(tmp_path: Path) -> None:
    output = RotatingLogFile(tmp_path / "output.log")
    for number in range(TAIL_LINES + 5):
        output.write(b"\x1b[32m[INFO]\x1b[0m line %d \xff\n" % number)
    assert output.tail(2) == [f"[INFO] line {number} \ufffd" for number in (TAIL_LINES + 3, TAIL_LINES + 4)]
    assert len(output.tail(10_000)) == TAIL_LINES
    assert output.tail(0) == []
    output.close()


def test_a_full_disk_costs_lines_only(caplog: pytest.LogCaptureFixture) -> None:
    output = RotatingLogFile(Path("/dev/full"))
    with caplog.at_level(logging.WARNING):
        output.write(b"lost on disk\n")
    assert "No space left" in caplog.text
    assert output.tail(1) == ["lost on disk"]
    output.close()


def test_a_failing_disk_costs_lines_and_two_log_lines(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    folder = tmp_path / "log"
    folder.write_text("a file in the place of the folder")
    output = RotatingLogFile(folder / "output.log")
    for number in range(100):
        output.write(b"lost %d\n" % number)
    folder.unlink()
    output.write(b"written\n")
    output.close()
    assert (folder / "output.log").read_text() == "written\n"
    assert output.tail(2) == ["lost 99", "written"]
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2, messages
    assert "failed and is repeated" in messages[0]
    assert "works again after 100 error(s)" in messages[1]


def test_a_full_disk_costs_lines_and_the_file_goes_on(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("needs /dev/full (Linux)")
    path = tmp_path / "output.log"
    path.symlink_to(full)
    output = RotatingLogFile(path)
    output.write(b"lost\n")
    path.unlink()
    output.write(b"written\n")
    output.close()
    assert path.read_text() == "written\n"


def test_control_characters_of_a_child_neither_end_lines_nor_reach_a_terminal(tmp_path: Path) -> None:
    output = RotatingLogFile(tmp_path / "folder" / "output.log")
    output.write("a\x1b[2Jb\x85c\u2028d\u202ee\x00\n".encode())
    output.write(b" 10%|#\r 20%|##\r\n")
    output.close()
    lines = [r"a\x1b[2Jb\x85c\u2028d\u202ee\x00", " 10%|#", " 20%|##"]
    assert output.tail(10) == lines
    assert (tmp_path / "folder" / "output.log").read_text().splitlines() == lines


def test_other_users_cannot_read_the_log(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        output = RotatingLogFile(tmp_path / "folder" / "output.log", max_bytes=10)
        output.write(b"first one\n")
        output.write(b"second one\n")
        output.close()
    finally:
        os.umask(before)
    files = sorted((tmp_path / "folder").iterdir())
    assert [(file.name, file.stat().st_mode & 0o777) for file in files] == [
        ("output.log", 0o600),
        ("output.log.1", 0o600),
    ]
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o700


def test_returns_the_lines_of_a_period_with_their_time(tmp_path: Path) -> None:
    output = RotatingLogFile(tmp_path / "output.log")
    output.write(b"before\n")
    since = datetime.now(UTC)
    output.write(b"got prompt\n")
    output.write(b"Prompt executed\n")
    until = datetime.now(UTC)
    while datetime.now(UTC) == until:
        pass  # two lines may be printed in the same microsecond
    output.write(b"after\n")
    output.close()
    found = output.tail(10, (since, until))
    assert [line.partition("  ")[2] for line in found] == ["got prompt", "Prompt executed"]
    assert all(re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3}  .+", line) for line in found)
    assert output.tail(1, (since, until)) == found[-1:]
    assert output.tail(10, (until + timedelta(hours=1), until + timedelta(hours=2))) == []
