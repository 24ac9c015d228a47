"""Our node pack for a ComfyUI elsewhere: the zip, and what the pack finds out about a graph's origins."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest

from custom_nodes.pixel_factory.publishing.origins import read_git_origin, web_address
from tests.support.service import ROOT, pixelfactory
from tests.support.small_comfyui import git

PACK = ROOT / "custom_nodes" / "pixel_factory"


def test_export_writes_the_whole_pack_and_no_more(tmp_path: Path) -> None:
    output = tmp_path / "made" / "pack.zip"
    pixelfactory("packs", "export-ours", "-o", str(output), data_dir=tmp_path)
    with zipfile.ZipFile(output) as file:
        names = set(file.namelist())
        text = file.read("pixel_factory/__init__.py")
    tracked = git(ROOT, "ls-files", "custom_nodes/pixel_factory").splitlines()
    assert names >= {name.removeprefix("custom_nodes/") for name in tracked}
    assert all(name.startswith("pixel_factory/") and "__pycache__" not in name for name in names)
    assert text == (PACK / "__init__.py").read_bytes()
    first = hashlib.sha256(output.read_bytes()).digest()
    pixelfactory("packs", "export-ours", "-o", str(output), data_dir=tmp_path)
    assert hashlib.sha256(output.read_bytes()).digest() == first


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://github.com/owner/pack.git", "https://github.com/owner/pack.git"),
        ("https://someone:secret@github.com/owner/pack", "https://github.com/owner/pack"),
        ("git@github.com:owner/pack.git", "https://github.com/owner/pack.git"),
        ("ssh://git@github.com/owner/pack.git", "https://github.com/owner/pack.git"),
        ("/home/me/pack", ""),
        ("file:///home/me/pack", ""),
        ("", ""),
    ],
)
def test_names_a_repository_without_credentials(address: str, shown: str) -> None:
    assert web_address(address) == shown


def test_reads_url_and_commit_of_a_checkout(tmp_path: Path) -> None:
    pack = tmp_path / "pack"
    pack.mkdir()
    assert read_git_origin(pack) == ("", "")
    git(pack, "init", "--quiet")
    (pack / "nodes.py").write_text("")
    git(pack, "add", ".")
    git(pack, "commit", "--quiet", "-m", "first")
    git(pack, "remote", "add", "origin", "https://token:x@example.com/pack.git")
    commit = git(pack, "rev-parse", "HEAD")
    assert read_git_origin(pack) == ("https://example.com/pack.git", commit)
    git(pack, "pack-refs", "--all")
    assert read_git_origin(pack) == ("https://example.com/pack.git", commit)
    git(pack, "checkout", "--quiet", "--detach")
    assert read_git_origin(pack) == ("https://example.com/pack.git", commit)
    git(pack, "worktree", "add", "--quiet", str(tmp_path / "other"))
    assert read_git_origin(tmp_path / "other") == ("https://example.com/pack.git", commit)
    (pack / ".git" / "HEAD").write_text("nonsense")
    assert read_git_origin(pack) == ("https://example.com/pack.git", "")
