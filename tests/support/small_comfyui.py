"""A repository that installs like ComfyUI and starts like it, and is very small.

Its `main.py` speaks as much of the protocol as a trial asks for, with the simulator's code doing the talking.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MAIN = f"""
import os, sys
sys.path[:0] = {[str(ROOT), *[path for path in sys.path if path.endswith("site-packages")]]!r}
keep, words = [], iter(sys.argv[1:])
for word in words:
    if word in ("--port", "--base-directory"):
        keep += [word, next(words)]
import runpy
sys.argv[1:] = keep
runpy.run_module("comfy_instances.simulator", run_name="__main__", alter_sys=False)
"""
REQUIREMENTS = "# nothing\n"
VOCABULARY = "comfy/text_encoders/some_tokenizer/vocab.json"


def git(directory: Path, *words: str) -> str:
    who = ("-c", "user.name=Somebody", "-c", "user.email=somebody@example.com")
    done = subprocess.run(["git", *who, "-C", directory, *words], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def make_upstream(directory: Path) -> Path:
    """A repository with two commits; the second is the one to install."""
    directory.mkdir()
    git(directory, "init", "--quiet")
    (directory / "old.py").write_text("# goes with the next commit\n")
    (directory / "main.py").write_text("raise SystemExit('too old')\n")
    git(directory, "add", ".")
    git(directory, "commit", "--quiet", "-m", "first")
    (directory / "old.py").unlink()
    (directory / "main.py").write_text(MAIN)
    (directory / "comfyui_version.py").write_text('__version__ = "0.33.0"\n')
    (directory / "requirements.txt").write_text(REQUIREMENTS)
    (directory / VOCABULARY).parent.mkdir(parents=True)
    (directory / VOCABULARY).write_text("{}")
    git(directory, "add", "--all")
    git(directory, "commit", "--quiet", "-m", "second")
    return directory


def make_index(directory: Path, *packages: str) -> str:
    """URL of a package index that has an empty wheel of each `name==version`."""
    for package in packages:
        name, _, version = package.partition("==")
        folder = directory / name
        folder.mkdir(parents=True)
        wheel = f"{name}-{version}-py3-none-any.whl"
        info = f"{name}-{version}.dist-info"
        with zipfile.ZipFile(folder / wheel, "w") as file:
            file.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
            file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            file.writestr(f"{info}/RECORD", "")
        (folder / "index.html").write_text(f'<a href="{wheel}">{wheel}</a>')
    return directory.as_uri()
