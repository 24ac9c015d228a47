"""The installation against a real repository, environment and start, of something very small."""

from __future__ import annotations

import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from comfy_instances.install.git_checkout import checkout_source, list_changed_files
from comfy_instances.install.install import InstallError, InstallRequest, InstallStep, install_comfyui
from comfy_instances.install.lock import ComfyUILock, TorchPin
from comfy_instances.install.status import check_installation
from comfy_instances.process.installation import find_installation
from tests.support.small_comfyui import MAIN, REQUIREMENTS, VOCABULARY, git, make_upstream


class RecordingInstallReporter:
    """A reporter that remembers."""

    def __init__(self) -> None:
        self.steps: list[InstallStep] = []
        self.notes: list[str] = []
        self.lines: list[str] = []

    def on_step(self, step: InstallStep) -> None:
        self.steps.append(step)

    def on_note(self, text: str) -> None:
        self.notes.append(text)

    def on_output(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture
def upstream(tmp_path: Path) -> Path:
    return make_upstream(tmp_path / "upstream")


@pytest.fixture
def lock(upstream: Path) -> ComfyUILock:
    return ComfyUILock(
        url=str(upstream),
        tag="v0.33.0",
        version="0.33.0",
        commit=git(upstream, "rev-parse", "HEAD"),
        requirements_sha256=sha256(REQUIREMENTS.encode()).hexdigest(),
        may_lack=("comfy/text_encoders/*_tokenizer/*",),
        torch={"cpu": TorchPin(("pip",)), "cuda": TorchPin(("pip",))},
    )


@pytest.fixture
def wish(tmp_path: Path) -> InstallRequest:
    return InstallRequest(directory=tmp_path / "comfyui", startup_seconds=60)


def lose(upstream: Path, path: str) -> None:
    """Take the content of a file out of the repository."""
    digest = git(upstream, "rev-parse", f"HEAD:{path}")
    (upstream / ".git" / "objects" / digest[:2] / digest[2:]).unlink()


@pytest.mark.slow
async def test_from_nothing_then_again_then_to_another_commit(
    upstream: Path, lock: ComfyUILock, wish: InstallRequest, tmp_path: Path
) -> None:
    pack = tmp_path / "some_pack"
    pack.mkdir()
    wish = replace(wish, node_packs=(pack,))
    assert (await check_installation(wish.directory, lock)).drift == ("not installed",)
    log = RecordingInstallReporter()
    outcome = await install_comfyui(wish, lock, log)
    assert log.steps == list(InstallStep)
    assert log.notes == []
    assert outcome.installation == find_installation(wish.directory)
    assert outcome.smoke_test.version == "0.33.0"
    assert "SaveImage" in outcome.smoke_test.object_info
    assert outcome.installation.python != Path(sys.executable)
    assert [path.name for path in outcome.installation.node_packs] == ["some_pack"]
    status = await check_installation(wish.directory, lock)
    assert (status.commit, status.drift) == (lock.commit, ())

    await install_comfyui(wish, lock, log)
    assert log.notes == []

    (wish.directory / "source" / "main.py").write_text("# changed by hand\n")
    assert (await check_installation(wish.directory, lock)).drift == ("changed files: main.py",)
    with pytest.raises(InstallError, match=r"local changes \(main\.py\)"):
        await install_comfyui(wish, lock, log)

    git(wish.directory / "source", "checkout", "--", "main.py")
    first = git(upstream, "rev-parse", "HEAD~1")
    with pytest.raises(InstallError, match="requirements"):
        await install_comfyui(replace(wish, ref=first), lock, log)
    assert (wish.directory / "source" / "old.py").exists()
    assert not (wish.directory / "source" / "comfy").exists()
    status = await check_installation(wish.directory, lock)
    assert status.commit == first
    assert "version None instead of 0.33.0" in status.drift
    assert f"commit {first} instead of {lock.commit}" in status.drift


async def test_a_source_with_a_hole_that_does_not_matter(
    upstream: Path, lock: ComfyUILock, wish: InstallRequest
) -> None:
    lose(upstream, VOCABULARY)
    directory = wish.directory / "source"
    for _ in range(2):
        checkout = await checkout_source(directory, origin=lock.url, ref=lock.commit, may_lack=lock.may_lack)
        assert (checkout.commit, checkout.missing_files) == (lock.commit, (VOCABULARY,))
    assert (directory / "main.py").read_text() == MAIN
    assert not (directory / VOCABULARY).exists()
    assert await list_changed_files(directory) == []


async def test_a_hole_at_two_paths_with_odd_names(
    upstream: Path, lock: ComfyUILock, wish: InstallRequest
) -> None:
    holes = ("comfy/text_encoders/one_tokenizer/a & b.json", 'comfy/text_encoders/two_tokenizer/"ä".json')
    for hole in holes:
        (upstream / hole).parent.mkdir(parents=True)
        (upstream / hole).write_text("the same content twice")
    git(upstream, "add", "-A")
    git(upstream, "commit", "-qm", "two files")
    lose(upstream, holes[0])
    commit = git(upstream, "rev-parse", "HEAD")
    checkout = await checkout_source(
        wish.directory / "source", origin=lock.url, ref=commit, may_lack=lock.may_lack
    )
    assert checkout.missing_files == holes
    assert await list_changed_files(wish.directory / "source") == []


async def test_checks_out_again_where_a_submodule_was_not_fetched(
    upstream: Path, lock: ComfyUILock, wish: InstallRequest
) -> None:
    git(upstream, "update-index", "--add", "--cacheinfo", f"160000,{lock.commit},front/end")
    git(upstream, "commit", "-qm", "a submodule")
    directory = wish.directory / "source"
    for ref in (git(upstream, "rev-parse", "HEAD"), lock.commit, git(upstream, "rev-parse", "HEAD")):
        await checkout_source(directory, origin=lock.url, ref=ref, may_lack=lock.may_lack)
        (directory / "front" / "end").mkdir(parents=True, exist_ok=True)
    assert (directory / "main.py").read_text() == MAIN


async def test_a_source_with_a_hole_that_matters(
    upstream: Path, lock: ComfyUILock, wish: InstallRequest
) -> None:
    lose(upstream, "main.py")
    with pytest.raises(InstallError, match=r"incomplete; missing files \(1\): main\.py"):
        await install_comfyui(wish, lock, RecordingInstallReporter())


async def test_a_source_that_is_not_there(lock: ComfyUILock, wish: InstallRequest, tmp_path: Path) -> None:
    with pytest.raises(InstallError, match="--source"):
        await install_comfyui(
            replace(wish, origin=str(tmp_path / "nowhere")), lock, RecordingInstallReporter()
        )


async def test_a_directory_that_is_no_repository(
    lock: ComfyUILock, wish: InstallRequest, tmp_path: Path
) -> None:
    with pytest.raises(InstallError, match="has no commit"):
        await install_comfyui(replace(wish, origin=str(tmp_path)), lock, RecordingInstallReporter())


async def test_a_torch_that_is_not_understood(lock: ComfyUILock, wish: InstallRequest) -> None:
    with pytest.raises(InstallError, match="torch==VERSION"):
        await install_comfyui(replace(wish, torch="rocm"), lock, RecordingInstallReporter())
