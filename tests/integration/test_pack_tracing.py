"""A pack that keeps ComfyUI from starting is named, with where it does so, and without secrets."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from comfy_instances.install.packs.tracing import (
    Frame,
    PackFailure,
    PackTrace,
    hide_secrets,
    read_trace,
    write_tracer,
)
from comfy_instances.install.packs.trial import describe_failed_start
from tests.support.polling import wait_until_sync

#: Imports packs as ComfyUI does.
MAIN = """
import importlib.util, os, sys
for name in sorted(os.listdir("custom_nodes")):
    path = os.path.abspath(os.path.join("custom_nodes", name))
    try:
        spec = importlib.util.spec_from_file_location(path, os.path.join(path, "__init__.py"))
        module = importlib.util.module_from_spec(spec)
        sys.modules[path] = module
        spec.loader.exec_module(module)
    except Exception as error:
        print("Cannot import", error)
"""
GOOD = "import os\nassert 'PYTHONPATH' not in os.environ\n"


def start(directory: Path, source: str, *, after: str = GOOD, seconds: float = 600.0) -> PackTrace:
    """Import three packs, of which `source` is the second, in an interpreter that is traced."""
    for name, text in (("a-good", GOOD), ("b-bad", source), ("c-after", after)):
        folder = directory / "custom_nodes" / name
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text(text)
    (directory / "main.py").write_text(MAIN)
    environment = {**os.environ, **write_tracer(directory, seconds), "HF_TOKEN": "abcdefghijk"}
    process = subprocess.Popen(
        [sys.executable, "main.py"], cwd=directory, env=environment, stderr=subprocess.PIPE, text=True
    )
    if source.endswith("HANGS"):
        stacks = directory / "tracing" / "stacks.txt"
        wait_until_sync(lambda: stacks.exists() and "custom_nodes" in stacks.read_text(), 120)
        process.kill()
    _, errors = process.communicate(timeout=240)
    return read_trace(directory, errors.splitlines())


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import os\n\ndef leave():\n    os._exit(3)\n\nleave()\n", "line 4 in leave: os._exit(3)"),
        ("import sys\nsys.exit(0)\n", "b-bad/__init__.py, line 2 in <module>: SystemExit: 0"),
        ("import faulthandler\nfaulthandler._sigsegv()\n", "line 2 in <module>: Segmentation fault"),
        ("import time\ntime.sleep(3600)  # HANGS", "b-bad/__init__.py, line 2 in <module>"),
    ],
)
def test_names_the_pack_that_ends_or_delays_the_start(source: str, said: str, tmp_path: Path) -> None:
    trace = start(tmp_path, source, seconds=2.0 if source.endswith("HANGS") else 600.0)
    assert trace.unfinished is not None
    assert trace.unfinished.pack == "b-bad"
    text = describe_failed_start("exited with status 3", trace, ["a line of the log"])
    assert said in text
    assert "while it loaded b-bad" in text
    assert "packs remove b-bad" in text
    assert "a line of the log" not in text


def test_an_exception_has_its_place_and_others_go_on(tmp_path: Path) -> None:
    source = "import os\ndef f():\n    raise ValueError('bad ' + os.environ['HF_TOKEN'])\nf()\n"
    trace = start(tmp_path, source, after="import json\njson.loads('{')\n")
    assert trace.unfinished is None
    bad, after = trace.failures["b-bad"], trace.failures["c-after"]
    assert str(bad) == (
        "b-bad/__init__.py, line 4 in <module> > b-bad/__init__.py, line 3 in f: ValueError: bad ..."
    )
    assert str(after).startswith("c-after/__init__.py, line 2 in <module> > ... > json/decoder.py, line ")


def test_packs_that_load_are_not_blamed_for_a_later_end(tmp_path: Path) -> None:
    trace = start(tmp_path, GOOD)
    assert trace == PackTrace()
    text = describe_failed_start("exited with status 1", trace, ["one", "password=hunter2hunter2"])
    assert text == "ComfyUI does not start with these packs: exited with status 1 (one / password=...)"


def test_reads_a_trace_that_was_cut_off(tmp_path: Path) -> None:
    write_tracer(tmp_path, 1.0)
    (tmp_path / "tracing" / "trace.jsonl").write_text('["begin", "a", [], ""]\n["exi')
    assert read_trace(tmp_path, []).unfinished == PackFailure("a")
    assert read_trace(tmp_path / "absent", []) == PackTrace()


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer abcdef123456",
        "api_key='abcdef123456'",
        "token=abcdef123456",
        "https://ada:abcdef123456@example.com/x",
        "hf_abcdef123456",
        "sk-abcdef123456",
    ],
)
def test_hides_what_may_be_a_secret(text: str) -> None:
    assert "abcdef123456" not in hide_secrets(f"cannot load: {text}")


def test_a_path_of_another_program_is_shown_short() -> None:
    frame = Frame("/usr/lib/python3.11/json/decoder.py", 3, "decode")
    assert str(frame) == "json/decoder.py, line 3 in decode"


def test_a_message_without_a_secret_stays() -> None:
    text = "KeyError: 'model_name'; unexpected keyword argument 'tokenization_options'; unknown key encoder"
    assert hide_secrets(text) == text
