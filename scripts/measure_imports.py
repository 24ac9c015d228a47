"""Measures how many graphs of other people become usable models, and what the others lack.

    .venv/bin/python -m scripts.measure_imports FOLDER... [--comfyui-dir DIR] [--map FILE] [--details FILE]

Each sub-folder of FOLDER is one source. A file counts once, however often it occurs. With the packs of DIR,
an installation of ComfyUI, their nodes are known. FILE is the `extension-node-map.json` of ComfyUI-Manager,
which names packs of classes that no installed pack has.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

from orchestrator.app.pack_choice import load_installed_nodes
from orchestrator.catalog.import_export import (
    ImportedModel,
    InvalidWorkflow,
    import_report,
    import_workflow,
    read_workflow_file,
)
from orchestrator.catalog.import_export.importer import find_known_pack
from orchestrator.catalog.import_export.pack_versions import NO_VERSIONS, KnownVersions
from orchestrator.catalog.publishing.installed_nodes import InstalledNodes
from orchestrator.cli.authoring.node_facts import load_node_facts

#: Part of the error for a graph whose savers may be nodes without facts.
UNKNOWN_SAVERS = "give the facts of the unknown classes"
SUFFIXES = (".json", ".png", ".webp", ".mp4", ".webm")
#: Files of a source, largest first in the number of graphs, that are shown.
SHOWN_ROWS = 40
TODAY = date(2026, 1, 1)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the import of one graph says."""

    source: str
    file: str
    #: `usable`, `needs packs`, `other values`, `refused` or `no graph`.
    state: str
    #: Packs that have the missing classes, and the classes that no table names.
    packs: tuple[str, ...] = ()
    #: What the author reads, one line each.
    reasons: tuple[str, ...] = ()
    #: Whether the graph uses classes that ComfyUI does not have.
    has_pack_nodes: bool = False
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Known:
    """What an import knows."""

    facts: Mapping[str, Any]
    pack_facts: Mapping[str, Any]
    pack_by_class: Mapping[str, str]
    versions: KnownVersions = NO_VERSIONS


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--comfyui-dir", type=Path, help="ComfyUI whose installed packs are known")
    parser.add_argument("--map", type=Path, help="extension-node-map.json of ComfyUI-Manager")
    parser.add_argument("--details", type=Path, help="file for the outcome of each graph, as JSON")
    arguments = parser.parse_args()
    files = [(source.name, file) for source, file in find_files(arguments.folders)]
    with multiprocessing.Pool(2, _prepare, (arguments.comfyui_dir, arguments.map)) as pool:
        outcomes = unique(pool.map(_measure, files, chunksize=8))
    if arguments.details:
        arguments.details.write_text(json.dumps([asdict(each) for each in outcomes], indent=1), "utf-8")
    print_summary([each for each in outcomes if each.state != "no graph"])


def find_files(folders: list[Path]) -> Iterator[tuple[Path, Path]]:
    """Yield each file that may hold a graph, with the sub-folder that it comes from."""
    for folder in folders:
        for source in sorted(path for path in folder.iterdir() if path.is_dir()):
            for file in sorted(source.rglob("*")):
                if file.is_file() and file.suffix.lower() in SUFFIXES:
                    yield source, file


def unique(outcomes: list[Outcome]) -> list[Outcome]:
    """Return the outcomes without repetitions of a graph."""
    by_digest = {each.digest or f"{each.source}/{each.file}": each for each in reversed(outcomes)}
    return list(reversed(by_digest.values()))


def measure_file(source: str, file: Path, known: Known) -> Outcome:
    """Import the graph of a file and return what the import says."""
    try:
        found = read_workflow_file(file.read_bytes())
    except InvalidWorkflow as error:
        return Outcome(source, file.name, "no graph", reasons=(str(error),))
    text = json.dumps(found.graph, sort_keys=True)
    digest = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]
    classes = {str(name) for name in _class_names(found.graph)}
    has_pack_nodes = any(
        name in known.pack_facts or name in known.pack_by_class for name in classes - known.facts.keys()
    )

    def outcome(state: str, packs: Iterator[str] | tuple[str, ...], reasons: list[str]) -> Outcome:
        return Outcome(
            source, file.name, state, tuple(sorted(set(packs))), tuple(reasons), has_pack_nodes, digest
        )

    try:
        model = import_workflow(
            found.graph,
            id="measured",
            facts=known.facts,
            today=TODAY,
            comfyui_version="0.33.0",
            prompt=found.prompt,
            pack_facts=known.pack_facts,
            versions=known.versions,
        )
    except InvalidWorkflow as error:
        # Nodes without facts may save something.
        unknown = classes - known.facts.keys() - known.pack_facts.keys()
        savers = {_pack_of(name, "", known) for name in unknown} if UNKNOWN_SAVERS in str(error) else set()
        return outcome("needs packs" if savers else "refused", tuple(savers), [str(error)])
    if model.usable:
        return outcome("usable", (), [])
    if model.unknown_classes:
        packs = (_pack_of(name, pack, known) for name, pack in model.unknown_classes.items())
        return outcome("needs packs", packs, _explain(model))
    return outcome("other values", (), _explain(model))


def _class_names(graph: Mapping[str, Any]) -> Iterator[Any]:
    nodes = graph.get("nodes")
    rows = nodes if isinstance(nodes, list) else list(graph.values())
    for row in rows:
        if isinstance(row, dict):
            yield row.get("type") or row.get("class_type")


def _pack_of(name: str, pack: str, known: Known) -> str:
    found = find_known_pack(name, pack)
    return found.id if found else known.pack_by_class.get(name, f"unknown: {name}")


def _explain(model: ImportedModel) -> list[str]:
    report = import_report(model)
    return [row["text"] for row in report["problems"] if not row["warning"]]


def print_summary(outcomes: list[Outcome]) -> None:
    """Print the figures: states, by source, packs by the graphs that need them, and other reasons."""
    _print_rows("all graphs", Counter(each.state for each in outcomes), len(outcomes))
    with_packs = [each for each in outcomes if each.has_pack_nodes]
    _print_rows("graphs with nodes of packs", Counter(each.state for each in with_packs), len(with_packs))
    print("\nby source (usable of all)")
    for source in sorted({each.source for each in outcomes}):
        rows = [each for each in outcomes if each.source == source]
        print(f"  {sum(each.state == 'usable' for each in rows):4} of {len(rows):4}  {source}")
    needing = [each for each in outcomes if each.packs]
    named = Counter(pack for each in needing for pack in each.packs)
    alone = Counter(each.packs[0] for each in needing if len(each.packs) == 1)
    print("\nmissing packs (graphs that need it, graphs that need nothing else)")
    for pack, count in named.most_common(SHOWN_ROWS):
        print(f"  {count:4} {alone[pack]:4}  {pack}")
    print("\nother reasons")
    first = Counter(
        each.reasons[0][:110]
        for each in outcomes
        if each.state in ("other values", "refused") and each.reasons
    )
    for reason, count in first.most_common(SHOWN_ROWS):
        print(f"  {count:4}  {reason}")
    silent = [each for each in outcomes if each.state != "usable" and not each.reasons]
    print(f"\n{len(silent)} not usable without a reason")


def _print_rows(title: str, counts: Counter[str], total: int) -> None:
    shown = ", ".join(f"{count} {state}" for state, count in counts.most_common())
    share = 100 * counts["usable"] / total if total else 0.0
    print(f"{title}: {total}, {share:.0f} % usable ({shown})")


_known: list[Known] = []


def _prepare(comfyui_dir: Path | None, node_map: Path | None) -> None:
    installed = load_installed_nodes(comfyui_dir) if comfyui_dir else InstalledNodes()
    facts = load_node_facts()
    pack_facts = {name: entry for name, entry in installed.facts.items() if name not in facts}
    by_class = read_node_map(node_map) if node_map else {}
    _known.append(Known(facts, pack_facts, by_class, installed.versions))


def _measure(item: tuple[str, Path]) -> Outcome:
    return measure_file(*item, _known[0])


@cache
def read_node_map(file: Path) -> dict[str, str]:
    """Return the pack of each class; of several, the one that has the fewest classes."""
    rows = json.loads(file.read_text("utf-8"))
    found: dict[str, str] = {}
    for url, (classes, _) in sorted(rows.items(), key=lambda row: -len(row[1][0])):
        found |= dict.fromkeys(classes, url.removeprefix("https://github.com/"))
    return found


if __name__ == "__main__":
    main()
