"""The shipped pin, the ways to choose PyTorch, and what counts as drift."""

from __future__ import annotations

import re
from dataclasses import replace
from fnmatch import fnmatch
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from comfy_instances.install.environment import select_torch_pin
from comfy_instances.install.lock import TorchPin, load_comfyui_lock
from comfy_instances.install.status import find_drift
from comfy_instances.process.installation import (
    Installation,
    find_installation,
    read_install_record,
    write_install_record,
)
from comfy_instances.protocol.node_facts import RECORDED_VERSION

LOCK = load_comfyui_lock()


def test_the_pin_is_whole() -> None:
    assert re.fullmatch(r"[0-9a-f]{40}", LOCK.commit)
    assert re.fullmatch(r"[0-9a-f]{64}", LOCK.requirements_sha256)
    assert LOCK.tag == f"v{LOCK.version}"
    assert LOCK.version == RECORDED_VERSION
    assert set(LOCK.torch) == {"cpu", "cuda"}
    for pin in LOCK.torch.values():
        assert [package.split("==")[0] for package in pin.packages] == ["torch", "torchvision", "torchaudio"]


@pytest.mark.parametrize(
    "path", ["main.py", "comfy/sd.py", "requirements.txt", "comfy_extras/nodes_video.py"]
)
def test_what_comfyui_needs_may_not_be_lacking(path: str) -> None:
    assert not any(fnmatch(path, pattern) for pattern in LOCK.may_lack)


@pytest.mark.parametrize(
    ("choice", "pin"),
    [
        ("cpu", LOCK.torch["cpu"]),
        ("cuda", LOCK.torch["cuda"]),
        ("torch==2.12.0 torchvision==0.27.0", TorchPin(("torch==2.12.0", "torchvision==0.27.0"))),
        ("torch==2.12.0 https://example.com/whl", TorchPin(("torch==2.12.0",), "https://example.com/whl")),
    ],
)
def test_choosing_torch(choice: str, pin: TorchPin) -> None:
    assert select_torch_pin(choice, LOCK.torch) == pin


@pytest.mark.parametrize("choice", ["", "rocm", "torch", "torch==1 https://a.example https://b.example"])
def test_choosing_torch_badly(choice: str) -> None:
    with pytest.raises(ValueError, match="torch==VERSION"):
        select_torch_pin(choice, LOCK.torch)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """What an install leaves behind, as far as it is looked at."""
    for path in ("source", "venv/bin"):
        (tmp_path / path).mkdir(parents=True)
    (tmp_path / "source" / "main.py").touch()
    (tmp_path / "source" / "comfyui_version.py").write_text(f'__version__ = "{LOCK.version}"\n')
    (tmp_path / "source" / "requirements.txt").write_text("torch\n")
    (tmp_path / "venv" / "bin" / "python").touch()
    return tmp_path


REQUIREMENTS = sha256(b"torch\n").hexdigest()
PINNED = replace(LOCK, requirements_sha256=REQUIREMENTS)
RECORD = {"requirements_sha256": REQUIREMENTS, "torch": list(LOCK.torch["cuda"].packages), "lacks": []}


def installed(directory: Path, record: dict[str, Any]) -> Installation:
    write_install_record(directory, record)
    install = find_installation(directory)
    assert install is not None
    return install


def test_no_drift(directory: Path) -> None:
    assert find_drift(installed(directory, RECORD), PINNED, LOCK.commit, []) == []


def test_all_kinds_of_drift(directory: Path) -> None:
    (directory / "source" / "comfyui_version.py").write_text('__version__ = "0.34.0"\n')
    record = {
        "requirements_sha256": "other",
        "torch": ["torch==1"],
        "lacks": ["comfy/x_tokenizer/vocab.json"],
    }
    found = find_drift(installed(directory, record), LOCK, "f" * 40, ["nodes.py"])
    assert found == [
        f"version 0.34.0 instead of {LOCK.version}",
        f"commit {'f' * 40} instead of {LOCK.commit}",
        "changed files: nodes.py",
        "requirements.txt differs from the pinned one",
        "requirements.txt has changed since the installation",
        f"PyTorch torch==1 instead of {', '.join(LOCK.torch['cuda'].packages)}",
        "missing file comfy/x_tokenizer/vocab.json",
    ]


def test_a_broken_record_is_no_record(directory: Path) -> None:
    (directory / "installed.json").write_text('{"commit": ')
    assert read_install_record(directory) == {}
    install = find_installation(directory)
    assert install is not None
    assert "no install record" in find_drift(install, PINNED, None, [])[0]


@pytest.mark.parametrize("missing", ["source/main.py", "venv/bin/python"])
def test_half_an_install_is_none(directory: Path, missing: str) -> None:
    (directory / missing).unlink()
    assert find_installation(directory) is None
