"""Inputs of node classes that are read from the source of a pack, and from its history."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from comfy_instances.install.packs.errors import PackError
from comfy_instances.install.packs.input_history import read_input_history
from comfy_instances.install.packs.input_reading import SourceReader
from comfy_instances.install.packs.repository import PackAddress
from tests.support.pack_comfyui import commit_files, make_pack

SOURCE = '''
import folder_paths
from .types import any_typ
METHODS = ["soft", "hard"]
SIZE = ("INT", {"default": 8, "min": 1})
WILD = AnyType("*")

class Blur:
    """Text that
begins at the left."""

    RETURN_TYPES = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls):
        files = [name for name in folder_paths.get_filename_list("loras")]
        return {
            "required": {
                "image": ("IMAGE",),
                "method": (METHODS, {"default": "soft"}),
                "size": SIZE,
                "lora": (files, ),
                "sampler": (comfy.samplers.KSampler.SAMPLERS,),
            },
            "optional": {"anything": (WILD,), "other": (IO.ANY,), "text": ("STRING", {"forceInput": True})},
            "hidden": {"id": "UNIQUE_ID"},
        }

    def run(self, image):
        return {"required": {}}

NODE_CLASS_MAPPINGS = {"TheirBlur": Blur, "TheirSame": {"class": Blur, "name": "Same"}}
'''
BLUR = {
    "required": {
        "image": ["IMAGE"],
        "method": [["soft", "hard"], {"default": "soft"}],
        "size": ["INT", {"default": 8, "min": 1}],
        "lora": ["COMBO"],
        "sampler": ["COMBO"],
    },
    "optional": {"anything": ["*"], "other": ["*"], "text": ["STRING", {"forceInput": True}]},
}


def blur(body: str) -> str:
    head = "class Blur:\n    @classmethod\n    def INPUT_TYPES(cls):\n"
    return f"{head}{body}\n\nNODE_CLASS_MAPPINGS = {{'B': Blur}}\n"


def test_reads_what_is_written_out() -> None:
    found = SourceReader().read(SOURCE)
    assert found.inputs == {"Blur": [{"input": BLUR, "output": []}]}
    assert found.names.items() >= {"TheirBlur": {"Blur"}, "TheirSame": {"Blur"}}.items()


@pytest.mark.parametrize(
    "body",
    [
        "        return make_inputs()",
        "        return {'required': {'a': kinds['a']}}",
        "        return {'required': {'a': (imported_type,)}}",
        "        return {'required': {name: ('INT',)}}",
        "        found = {'required': {}}\n        found['required']['a'] = ('INT',)\n        return found",
        "        found = {'required': {}}\n        found.update(more)\n        return found",
        "        if cls.old:\n            return {}\n        return {'required': {'a': ('INT',)}}",
        "        return {'required': {'a': ('INT', {'forceInput': cls.linked})}}",
    ],
)
def test_what_is_computed_is_not_read(body: str) -> None:
    assert SourceReader().read(blur(body)).inputs == {"Blur": [None]}


def test_a_class_of_the_newer_kind_and_one_in_a_branch_are_seen() -> None:
    text = "try:\n    class Blur(io.ComfyNode):\n        @classmethod\n        def define_schema(cls): ...\n"
    text += "except ImportError:\n"
    text += "    class Blur:\n        @classmethod\n        def INPUT_TYPES(cls):\n            return {}\n"
    assert SourceReader().read(text).inputs == {"Blur": [None, {"input": {}, "output": []}]}


def test_a_file_that_is_not_python_says_nothing() -> None:
    found = SourceReader().read("class Blur:\n  def INPUT_TYPES(:\n")
    assert (found.inputs, found.names) == ({}, {})


def test_names_are_those_of_the_same_file() -> None:
    reader = SourceReader()
    body = "        return {'required': {'a': KIND}}"
    for kind in ("('INT',)", "('FLOAT',)"):
        found = reader.read(f"KIND = {kind}\n{blur(body)}")
        [entry] = found.inputs["Blur"]
        assert entry == {"input": {"required": {"a": [kind[2:-3]]}}, "output": []}
    assert reader.read(f"KIND = ('INT',)\nKIND = ('FLOAT',)\n{blur(body)}").inputs == {"Blur": [None]}


async def test_a_history_has_each_layout_once(tmp_path: Path) -> None:
    def version(inputs: str, default: int = 1) -> dict[str, str]:
        body = f"        return {{'required': {{{inputs}}}}}\n        # {default}"
        computed = "class Made:\n    @classmethod\n    def INPUT_TYPES(cls):\n        return made()\n"
        return {
            "nodes.py": computed + blur(body.rpartition("\n")[0]).replace("'B': Blur", "'B': Blur, 'M': Made")
        }

    repository = tmp_path / "some-pack"
    make_pack(repository, {"__init__.py": "", **version("'a': ('INT',)")})
    commit_files(repository, version("'b': ('FLOAT',), 'a': ('INT',)"))
    commit_files(repository, {"README.md": "more"})
    head = commit_files(repository, version("'a': ('INT', {'min': 0})"))
    found = await read_input_history(PackAddress(str(repository)), None)
    assert (found["pack"], found["commit"]) == ("some-pack", head)

    def names(entry: dict[str, Any]) -> list[str]:
        return list(entry["input"]["required"])

    assert sorted(map(names, found["layouts"]["B"])) == [["a"], ["b", "a"]]
    # One of its versions cannot be read.
    assert "M" not in found["layouts"]
    with pytest.raises(PackError, match="cannot read the history"):
        await read_input_history(PackAddress(str(repository), "no-such-branch"), None)
