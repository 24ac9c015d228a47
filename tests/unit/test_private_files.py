"""Secret files: private from their creation, replaced atomically, and checked when they are read."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from orchestrator.files.atomic_files import write_atomically
from orchestrator.files.private_files import (
    load_or_create_secret,
    write_output_file,
    write_private,
)
from orchestrator.secret_strength import MIN_SECRET_LENGTH
from orchestrator.settings import SettingsError


def test_writes_a_file_that_only_its_owner_reads(tmp_path: Path) -> None:
    write_private(tmp_path / "secret", "text")
    assert (tmp_path / "secret").read_text() == "text"
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600


def test_replaces_a_public_file_by_a_private_one(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("old")
    file.chmod(0o644)
    write_private(file, "new")
    assert (file.read_text(), file.stat().st_mode & 0o777) == ("new", 0o600)
    assert list(tmp_path.iterdir()) == [file], "no draft is left"


def test_keeps_the_old_content_when_writing_fails(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        write_private(file, "a lone surrogate: \udc80")
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file], "no draft is left"


def test_creates_a_secret_once_and_returns_it_again(tmp_path: Path) -> None:
    file = tmp_path / "data" / "secret"
    first = load_or_create_secret(file)
    assert len(first) >= 32
    assert load_or_create_secret(file) == first
    assert file.stat().st_mode & 0o777 == 0o600


def test_creates_one_secret_for_concurrent_starts(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(load_or_create_secret, [tmp_path / "secret"] * 8))
    assert len(found) == 1


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"x" * (MIN_SECRET_LENGTH - 1),
        b"\0" * 43,
        b"\xff" * 43,
        "\u200b".encode() * 50,
        b"half of it" + b"\0" * 33,
    ],
)
def test_rejects_an_empty_short_or_damaged_secret(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "secret"
    file.write_bytes(data)
    with pytest.raises(SettingsError) as refused:
        load_or_create_secret(file)
    assert str(file) in str(refused.value)
    assert "delete the file" in str(refused.value)
    assert file.read_bytes() == data


def test_results_of_commands_are_private_unless_the_file_existed(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        (tmp_path / "old.csv").touch(0o644)
        for name in ("old.csv", "new.csv"):
            write_output_file(tmp_path / name, b"rows")
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {"old.csv": 0o644, "new.csv": 0o600}


def test_a_link_in_the_place_of_a_draft_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("kept")
    (tmp_path / "file.new").symlink_to(victim)
    with write_atomically(tmp_path / "file") as file:
        file.write(b"new")
    assert (victim.read_text(), (tmp_path / "file").read_bytes()) == ("kept", b"new")
