"""An installed ComfyUI that is very small and loads node packs, and repositories and wheels to load.

Its `main.py` imports the packs of the whitelist as the real one does and reports them in `/object_info`; the
simulator speaks the rest of the protocol.
"""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
import venv
import zipfile
from collections.abc import Mapping
from pathlib import Path

from comfy_instances.process.installation import venv_python
from tests.support.small_comfyui import ROOT, git

#: Core nodes of this ComfyUI, without those of our own pack.
CORE_NODES = ("KSampler", "SaveImage")
TORCH_VERSION = "2.11.0"
MAIN = f"""
import importlib.util, logging, os, sys, types
nodes = types.ModuleType("nodes")
nodes.NODE_CLASS_MAPPINGS = {{
    name: type(name, (), {{"__module__": "nodes"}}) for name in {CORE_NODES!r}
}}
sys.modules["nodes"] = nodes
keep, words, base, allowed = [], list(sys.argv[1:]), "", []
folder_paths = types.ModuleType("folder_paths")
folder_paths.models_dir = words[words.index("--models-directory") + 1]
folder_paths.folder_names_and_paths = {{}}
sys.modules["folder_paths"] = folder_paths
if "--whitelist-custom-nodes" in words:
    at = words.index("--whitelist-custom-nodes") + 1
    while at < len(words) and not words[at].startswith("--"):
        allowed.append(words[at])
        at += 1
for name in ("--port", "--base-directory"):
    keep += [name, words[words.index(name) + 1]]
base = keep[3]
core, modules = set(nodes.NODE_CLASS_MAPPINGS), {{}}
folder = os.path.join(base, "custom_nodes")
for name in sorted(os.listdir(folder)):
    path = os.path.join(folder, name)
    if name not in allowed or not os.path.isdir(path):
        continue
    try:
        spec = importlib.util.spec_from_file_location(path, os.path.join(path, "__init__.py"))
        module = importlib.util.module_from_spec(spec)
        sys.modules[path] = module
        spec.loader.exec_module(module)
        for key, cls in module.NODE_CLASS_MAPPINGS.items():
            if key not in core:
                nodes.NODE_CLASS_MAPPINGS[key] = cls
                modules[key] = "custom_nodes." + name
    except Exception as error:
        print(f"Cannot import {{path}} module for custom nodes: {{error}}", flush=True)
        print(f"   0.0 seconds (IMPORT FAILED): {{path}}", flush=True)
sys.path[:0] = {[str(ROOT), *[path for path in sys.path if path.endswith("site-packages")]]!r}
from aiohttp import web
from comfy_instances.simulator.server import info_routes

async def object_info(self, request):
    facts = self._instance.facts
    found = {{name: info_routes._format_node_info(name, facts[name]) for name in core}}
    for key, module in modules.items():
        cls = nodes.NODE_CLASS_MAPPINGS[key]
        found[key] = {{
            "input": cls.INPUT_TYPES(), "input_order": {{}}, "output": [], "output_name": [],
            "output_is_list": [], "output_node": False, "category": "", "python_module": module,
        }}
    return web.json_response(found)

info_routes.InfoRoutes.object_info = object_info
sys.argv[1:] = keep
import runpy
runpy.run_module("comfy_instances.simulator", run_name="__main__", alter_sys=False)
"""
#: A pack with one class, `THE_NAME`.
PACK = """
class Node:
    RETURN_TYPES = ()
    FUNCTION = "run"
    CATEGORY = "a pack"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"text": ("STRING", {"default": "a"}), "file": ([],)}}

NODE_CLASS_MAPPINGS = {"THE_NAME": Node}
"""


def install_small_comfyui(directory: Path, wheels: Path) -> Path:
    """Install it as `comfyui install` does, with a torch that is an empty package."""
    source = directory / "source"
    source.mkdir(parents=True)
    git(source, "init", "--quiet")
    (source / "main.py").write_text(MAIN)
    (source / "comfyui_version.py").write_text('__version__ = "0.33.0"\n')
    git(source, "add", ".")
    git(source, "commit", "--quiet", "-m", "first")
    venv.create(directory / "venv", with_pip=True)
    make_wheel(wheels, "torch", TORCH_VERSION)
    pip = [str(venv_python(directory / "venv")), "-m", "pip", "--disable-pip-version-check", "--quiet"]
    found = ["--no-index", "--find-links", str(wheels)]
    subprocess.run([*pip, "install", *found, f"torch=={TORCH_VERSION}"], check=True, capture_output=True)
    (directory / "node-facts.json").write_text(json.dumps({name: {} for name in CORE_NODES}))
    return directory


def make_pack(directory: Path, files: Mapping[str, str]) -> str:
    """A repository with one commit, which is returned."""
    directory.mkdir(parents=True)
    git(directory, "init", "--quiet", "--initial-branch", "main")
    return commit_files(directory, files)


def commit_files(directory: Path, files: Mapping[str, str]) -> str:
    for name, text in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)
    git(directory, "add", ".")
    git(directory, "commit", "--quiet", "-m", "change")
    return git(directory, "rev-parse", "HEAD")


def pack_with(class_name: str, *, before: str = "") -> str:
    """The source of a pack with a class of this name."""
    return before + PACK.replace("THE_NAME", class_name)


def make_wheel(
    directory: Path, name: str, version: str, *, requires: tuple[str, ...] = (), files: Mapping[str, str] = {}
) -> None:
    """A wheel with these files and requirements."""
    directory.mkdir(parents=True, exist_ok=True)
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    lines = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"]
    lines += [f"Requires-Dist: {requirement}\n" for requirement in requires]
    contents = {
        **files,
        f"{info}/METADATA": "".join(lines),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(directory / f"{module}-{version}-py3-none-any.whl", "w") as wheel:
        for path, text in contents.items():
            wheel.writestr(path, text)
        rows = [f"{path},{_hash(text)},{len(text.encode())}\n" for path, text in contents.items()]
        wheel.writestr(f"{info}/RECORD", "".join([*rows, f"{info}/RECORD,,\n"]))


def _hash(text: str) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest())
    return f"sha256={digest.decode().rstrip('=')}"
