"""Offers usable graphs of other people to a real ComfyUI with node packs, and counts those that it accepts.

    .venv/bin/python -m scripts.validate_imports DETAILS FOLDER --comfyui-dir DIR [--count N]

DETAILS is what `scripts.measure_imports` wrote about the graphs in FOLDER. Their weights and inputs are empty
files in the folders that the imports name. Nothing is run: a prompt is removed once it is accepted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from comfy_instances.fleet.local import LocalFleet
from comfy_instances.fleet.protocol import wait_until_ready
from comfy_instances.install.packs.install import require_installation
from comfy_instances.process.installed_packs import load_all_packs
from comfy_instances.process.restart_policy import RestartPolicy
from orchestrator.app.pack_choice import load_installed_nodes
from orchestrator.catalog.import_export import import_workflow, read_workflow_file
from orchestrator.catalog.model import Model
from orchestrator.cli.authoring.node_facts import load_node_facts
from scripts.measure_imports import SUFFIXES, TODAY

STARTUP_SECONDS = 600.0
INPUT_SUFFIXES = (*SUFFIXES[1:], ".jpg", ".jpeg", ".gif", ".wav", ".mp3")


@dataclass(frozen=True, slots=True)
class Prompt:
    """A graph as a request would send it."""

    file: Path
    graph: dict[str, Any]
    #: Its weight files, below `models/`.
    weights: tuple[str, ...]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("details", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--comfyui-dir", type=Path, required=True)
    parser.add_argument("--count", type=int, default=150, help="graphs, taken at random")
    arguments = parser.parse_args()
    rows = json.loads(arguments.details.read_text("utf-8"))
    usable = [row for row in rows if row["state"] == "usable" and row["has_pack_nodes"]]
    chosen = random.Random(0).sample(usable, min(arguments.count, len(usable)))
    files = [file for row in chosen for file in find_file(arguments.folder / row["source"], row["file"])]
    prompts = list(render(files, arguments.comfyui_dir))
    rejected = asyncio.run(offer(prompts, arguments.comfyui_dir))
    print(f"{len(prompts) - len(rejected)} of {len(prompts)} graphs are accepted")
    for line in rejected:
        print(f"  {line}")


def find_file(source: Path, name: str) -> list[Path]:
    """Return the first file of this name."""
    return [file for file in sorted(source.rglob("*")) if file.name == name][:1]


def render(files: list[Path], comfyui_dir: Path) -> Iterator[Prompt]:
    """Yield the graph of each file with the defaults of its parameters."""
    facts = load_node_facts()
    installed = load_installed_nodes(comfyui_dir)
    pack_facts = {name: entry for name, entry in installed.facts.items() if name not in facts}
    for file in files:
        found = read_workflow_file(file.read_bytes())
        imported = import_workflow(
            found.graph,
            id="measured",
            facts=facts,
            today=TODAY,
            comfyui_version="0.33.0",
            prompt=found.prompt,
            pack_facts=pack_facts,
            versions=installed.versions,
        )
        texts = imported.files
        model = Model.parse(texts["model.toml"], texts["graph.json"], file, texts.get("nodes.json", "{}"))
        graph = model.render_graph(model.example_params(), filename_prefix="x")
        yield Prompt(file, graph, tuple(weight.path for weight in model.manifest.weights))


async def offer(prompts: list[Prompt], comfyui_dir: Path) -> list[str]:
    """Send the graphs to a server with all packs; return the rejections, one line each."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        weights = {path for prompt in prompts for path in prompt.weights}
        await asyncio.to_thread(touch_all, directory / "models", weights)
        fleet = LocalFleet.comfyui(
            require_installation(comfyui_dir),
            directory=directory / "instances",
            models_dir=directory / "models",
            policy=RestartPolicy(startup_seconds=STARTUP_SECONDS),
            choose_packs=load_all_packs,
        )
        await fleet.start()
        try:
            await wait_until_ready(fleet, timeout_seconds=STARTUP_SECONDS)
            [info] = fleet.instances()
            inputs = {path for prompt in prompts for path in list_inputs(prompt.graph)}
            await asyncio.to_thread(touch_all, directory / "instances" / info.id / "input", inputs)
            async with aiohttp.ClientSession(info.url) as session:
                return [line for prompt in prompts for line in await offer_one(session, prompt)]
        finally:
            await fleet.stop()


async def offer_one(session: aiohttp.ClientSession, prompt: Prompt) -> list[str]:
    """Return why a graph is rejected; nothing if it is accepted."""
    async with session.post("/prompt", json={"prompt": prompt.graph}) as response:
        answer = await response.json()
        if response.status == 200:
            async with session.post("/queue", json={"clear": True}), session.post("/interrupt"):
                return []
    errors = [
        f"{node['class_type']}: {error['type']}: {error.get('details', '')[:120]}"
        for node in answer.get("node_errors", {}).values()
        for error in node["errors"]
    ]
    return [f"{prompt.file.name}: {'; '.join(errors[:3]) or answer['error']['message']}"]


def list_inputs(graph: dict[str, Any]) -> Iterator[str]:
    """Yield the names of input files that a graph has."""
    for node in graph.values():
        for value in node["inputs"].values():
            if isinstance(value, str) and value.lower().endswith(INPUT_SUFFIXES):
                yield value


def touch_all(folder: Path, names: set[str]) -> None:
    """Create empty files; names that lead out of the folder are left out."""
    root = folder.resolve()
    for name in names:
        file = (root / name).resolve()
        if file.is_relative_to(root):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()


if __name__ == "__main__":
    main()
