"""Releases of packs that a registry has, and for which the repository has no tag."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfy_instances.install.packs.errors import PackError
from comfy_instances.install.packs.repository import resolve_ref
from tests.support.pack_comfyui import commit_files, make_pack


def numbered(version: str) -> dict[str, str]:
    return {"pyproject.toml": f'[project]\nname = "some-pack"\nversion = "{version}"\n'}


async def test_finds_the_commit_that_set_the_number_of_a_release(tmp_path: Path) -> None:
    repository = tmp_path / "some-pack"
    make_pack(repository, {"__init__.py": "", **numbered("1.0.0")})
    wanted = commit_files(repository, numbered("1.1.0"))
    commit_files(repository, {"pyproject.toml": numbered("1.1.0")["pyproject.toml"] + "# same\n"})
    commit_files(repository, {"other.py": ""})
    commit_files(repository, {"pyproject.toml": "no [toml"})
    newest = commit_files(repository, numbered("1.2.0"))
    origin = repository.as_uri()
    assert await resolve_ref(origin, "1.1.0") == wanted
    assert await resolve_ref(origin, "v1.1.0") == wanted
    assert await resolve_ref(origin, "1.2.0") == newest
    with pytest.raises(PackError, match=r"no branch, tag or release .* '1\.3\.0'"):
        await resolve_ref(origin, "1.3.0")
