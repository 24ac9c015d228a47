"""Starts ComfyUI once with a set of packs and nothing else, and finds out what each of them registers."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from comfy_instances.fleet.local import LocalFleet
from comfy_instances.fleet.protocol import InstanceState
from comfy_instances.hardware.gpus import Gpu
from comfy_instances.hardware.profiles import load_gpu_profiles
from comfy_instances.install.packs.errors import PackError
from comfy_instances.install.packs.tracing import PackTrace, hide_secrets, read_trace, write_tracer
from comfy_instances.install.packs.weight_folders import MODELS_FOLDER, find_file_folders, place_markers
from comfy_instances.install.smoke_test import wait_for_first_state
from comfy_instances.process.installation import Installation
from comfy_instances.process.installed_packs import PackSource, load_all_packs
from comfy_instances.process.launch import LaunchSpec, comfyui_launch_specs
from comfy_instances.process.restart_policy import RestartPolicy
from comfy_instances.protocol.errors import InstanceError
from comfy_instances.session.session import InstanceSession
from comfy_instances.tasks import loop_time

#: In a trial, weights are not downloaded either.
TRIAL_ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
#: Beginning of the names of our own pack's classes.
OWN_CLASS_PREFIX = "PixelFactory"
PROBE_CLASS = "PixelFactoryPackProbe"
PROBE_FOLDER = "pixelfactory_pack_probe"
#: A node pack that reports, when `/object_info` is read, which classes each pack declares and which class
#: of which pack is in use: ComfyUI says neither that a pack replaces another's class nor that it ignores one.
PROBE_SOURCE = f'''
import json, os, sys

def _pack(path):
    parts = os.path.abspath(path or "").split(os.sep)
    return parts[len(parts) - 1 - parts[::-1].index("custom_nodes") + 1] if "custom_nodes" in parts else ""

_FOLDER = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep

def _is_ours(path):
    return os.path.abspath(path or "").startswith(_FOLDER)

def _report():
    import nodes
    declared = {{}}
    for module in list(sys.modules.values()):
        try:
            file = getattr(module, "__file__", None)
            mapping = getattr(module, "NODE_CLASS_MAPPINGS", None)
        except Exception:
            continue
        if file and isinstance(mapping, dict) and _is_ours(file) and os.path.basename(file) == "__init__.py":
            if os.path.dirname(os.path.dirname(os.path.abspath(file))).endswith("custom_nodes"):
                declared.setdefault(_pack(file), []).extend(map(str, mapping))
    owners = {{}}
    for name, cls in nodes.NODE_CLASS_MAPPINGS.items():
        file = getattr(sys.modules.get(getattr(cls, "__module__", ""), None), "__file__", None)
        owners[str(name)] = _pack(file) if file and _is_ours(file) else ""
    import folder_paths
    rows = folder_paths.folder_names_and_paths.items()
    folders = {{str(name): [str(path) for path in row[0]] for name, row in rows}}
    types = _find_link_types(nodes)
    return {{"declared": declared, "owners": owners, "folders": folders, "link_types": types}}

def _find_link_types(nodes):
    # A class may declare a text that compares as it likes, of which /object_info has only the letters.
    classes = nodes.NODE_CLASS_MAPPINGS
    outputs = {{name: _try(lambda: list(cls.RETURN_TYPES)) for name, cls in classes.items()}}
    types = sorted({{each for row in outputs.values() for each in row if type(each) is str}})

    def accepted(declared):
        if type(declared) is str or not isinstance(declared, str) or str.__eq__(declared, "*"):
            return []
        found = [each for each in types if not (each != declared) and not str.__eq__(declared, each)]
        return ["*"] if len(found) > len(types) // 2 else found

    found = {{}}
    for name, cls in classes.items():
        # The inputs of this pack's own class are the report.
        module = sys.modules.get(getattr(cls, "__module__", ""))
        if cls is {PROBE_CLASS} or not _is_ours(getattr(module, "__file__", None)):
            continue
        inputs = {{key: more for key, kind in _try(lambda: _list_inputs(cls)) if (more := accepted(kind))}}
        slots = {{str(slot): more for slot, kind in enumerate(outputs[name]) if (more := accepted(kind))}}
        if inputs or slots:
            found[str(name)] = {{"inputs": inputs, "outputs": slots}}
    return found

def _list_inputs(cls):
    declared = cls.INPUT_TYPES()
    groups = [declared.get(section) or {{}} for section in ("required", "optional")]
    return [(str(key), spec[0]) for group in groups for key, spec in group.items() if spec]

def _try(act):
    try:
        return act()
    except Exception:
        return []

class {PROBE_CLASS}:
    RETURN_TYPES = ()
    FUNCTION = "run"
    CATEGORY = "pixel factory"

    @classmethod
    def INPUT_TYPES(cls):
        return {{"required": {{"report": ("STRING", {{"default": json.dumps(_report())}})}}}}

    def run(self, report):
        return ()

NODE_CLASS_MAPPINGS = {{"{PROBE_CLASS}": {PROBE_CLASS}}}
'''
_IMPORT_FAILED = re.compile(r"\(IMPORT FAILED\): (.+)$")
_CANNOT_IMPORT = re.compile(r"Cannot import (.+?) module for custom nodes: (.+)$")
_SKIPPED = re.compile(r"Skip (.+?) module for custom nodes due to the lack of")
_PIP_OUTPUT = re.compile(
    r"^\s*(?:Collecting \S+|Successfully installed .*|ERROR: Could not find a version .*"
    r"|ERROR: No matching distribution .*)$"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialResult:
    """What a start with a set of packs showed."""

    version: str | None
    device: str
    startup_seconds: float
    #: `/object_info` of each pack's classes, by pack.
    nodes: Mapping[str, Mapping[str, Any]] = field(repr=False)
    #: In which folders ComfyUI looks for the files of inputs, of all classes: class -> input -> folders.
    file_folders: Mapping[str, Mapping[str, Sequence[str]]] = field(default_factory=dict, repr=False)
    #: What inputs and outputs accept besides their types: class -> `inputs` or `outputs` -> name -> types.
    link_types: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    #: What does not keep the set from being used, one line each.
    notes: tuple[str, ...] = ()
    #: Why the set must not be used, one line each.
    problems: tuple[str, ...] = ()


async def try_packs(
    installation: Installation, gpus: Sequence[Gpu], startup_seconds: float, core_classes: Collection[str]
) -> TrialResult:
    """Start ComfyUI with all packs of `installation` on the first GPU, or on the CPU, and stop it.

    `core_classes` are the classes without packs. Raises PackError if it does not start.
    """
    with TemporaryDirectory(prefix="pixelfactory-packs-trial-") as name:
        directory = Path(name)
        fleet = _build_fleet(installation, gpus, startup_seconds, directory)
        started_at = loop_time()
        await fleet.start()
        try:
            info = await wait_for_first_state(fleet)
            seconds = loop_time() - started_at
            facts = fleet.node_facts(info.id)
            found = await _find_folders(info.url, facts, directory) if facts else _NO_FOLDERS
            log_lines = _read_log(directory)
            trace = await asyncio.to_thread(read_trace, directory, log_lines)
        finally:
            await fleet.stop()
    if info.state is not InstanceState.READY or facts is None:
        raise PackError(describe_failed_start(info.detail, trace, log_lines))
    packs = [pack.name for pack in installation.packs.packs]
    try:
        report = _TrialReport(packs, facts, log_lines, core_classes, trace)
    except (LookupError, TypeError, ValueError) as error:
        raise PackError(
            "a pack keeps ComfyUI from listing its nodes: the trial's own node is missing"
        ) from error
    return TrialResult(
        version=info.version,
        device=info.device,
        startup_seconds=seconds,
        nodes={pack: report.nodes_of(pack) for pack in packs},
        file_folders=found.by_class,
        link_types=report.link_types,
        notes=(*report.find_notes(), *found.notes),
        problems=tuple(report.find_problems()),
    )


def describe_failed_start(detail: str | None, trace: PackTrace, log_lines: Sequence[str]) -> str:
    """Return why ComfyUI does not start, with the pack that it was loading."""
    ended = trace.unfinished
    text = f"ComfyUI does not start with these packs: {detail}"
    if ended is None or not ended.pack:
        last = " / ".join(line.strip() for line in log_lines[-5:])
        fatal = f"{ended}; " if ended else ""
        return f"{text} ({fatal}{hide_secrets(last)})"
    place = f" ({ended})" if str(ended) else ""
    return f"{text}, while it loaded {ended.pack}{place}; remove it: pixelfactory packs remove {ended.pack}"


@dataclass(frozen=True, slots=True)
class _FoundFolders:
    """The folders of inputs, and why they may be incomplete."""

    by_class: Mapping[str, Mapping[str, Sequence[str]]]
    notes: tuple[str, ...] = ()


_NO_FOLDERS = _FoundFolders({})


async def _find_folders(url: str, facts: Mapping[str, Any], directory: Path) -> _FoundFolders:
    """Put a file into each folder of weights and of inputs, and see which inputs list it.

    A pack that reads the empty files may fail: then nothing is known of folders, and the set works anyway.
    """
    try:
        folders = _read_report(facts)["folders"]
        markers = await asyncio.to_thread(place_markers, directory, folders)
        async with InstanceSession(url) as session:
            info = await session.get_object_info()
        return _FoundFolders(find_file_folders(info, markers))
    except (InstanceError, LookupError, TypeError, ValueError, OSError) as error:
        return _FoundFolders({}, (f"in which folders the packs' weights belong is not known: {error}",))


def _read_report(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the probe's report. Raises LookupError, TypeError, ValueError."""
    report: dict[str, Any] = json.loads(facts[PROBE_CLASS]["input"]["required"]["report"][1]["default"])
    return report


def _read_log(directory: Path) -> list[str]:
    """Return what the server printed; its log in memory has only the last lines."""
    files = sorted(directory.glob("instances/*/log/output.log*"), reverse=True)
    return [line for file in files for line in file.read_text("utf-8", "replace").splitlines()]


def _build_fleet(
    installation: Installation, gpus: Sequence[Gpu], startup_seconds: float, directory: Path
) -> LocalFleet:
    directory = directory.resolve()
    probe = directory / "probe" / PROBE_FOLDER
    probe.mkdir(parents=True)
    (probe / "__init__.py").write_text(PROBE_SOURCE, "utf-8")
    models = directory / MODELS_FOLDER
    models.mkdir()
    [spec] = comfyui_launch_specs(
        installation,
        directory=directory / "instances",
        models_dir=models,
        gpus=gpus[:1] or [None],
        profiles=load_gpu_profiles(),
        choose_packs=load_all_packs,
    )
    probed = _with_probe(spec, probe)
    environment = {**probed.environment, **write_tracer(directory, startup_seconds)}
    policy = RestartPolicy(startup_seconds=startup_seconds)
    return LocalFleet([replace(probed, environment=environment)], policy=policy)


def _with_probe(spec: LaunchSpec, probe: Path) -> LaunchSpec:
    """Return the spec with the probe added to its packs; the whitelist is the end of its command."""
    command = spec.command
    if "--whitelist-custom-nodes" not in command:
        command = (*command, "--whitelist-custom-nodes")
    return replace(
        spec,
        command=(*command, PROBE_FOLDER),
        copied_packs=(*spec.copied_packs, PackSource(PROBE_FOLDER, probe)),
        environment={**spec.environment, **TRIAL_ENVIRONMENT},
    )


class _TrialReport:
    """Reads the probe's report and the server's output."""

    def __init__(
        self,
        packs: Sequence[str],
        facts: Mapping[str, Any],
        log_lines: Sequence[str],
        core_classes: Collection[str],
        trace: PackTrace,
    ) -> None:
        report = _read_report(facts)
        self.link_types: dict[str, dict[str, Any]] = report["link_types"]
        self._declared: dict[str, list[str]] = report["declared"]
        self._owners: dict[str, str] = report["owners"]
        self._packs, self._facts, self._log, self._trace = packs, facts, log_lines, trace
        self._core = frozenset(core_classes)

    def nodes_of(self, pack: str) -> dict[str, Any]:
        """Return the classes that ComfyUI attributes to a pack."""
        module = f"custom_nodes.{pack}"
        return {
            name: info
            for name, info in self._facts.items()
            if info.get("python_module") == module and name not in self._core
        }

    def find_problems(self) -> Iterator[str]:
        reasons = self._import_errors()
        for pack in self._packs:
            if pack in reasons:
                place = self._trace.failures.get(pack)
                where = f" ({place})" if place else ""
                yield f"{pack}: its import fails: {hide_secrets(reasons[pack])}{where}"
            elif not self.nodes_of(pack) and self._declared.get(pack):
                yield f"{pack}: /object_info lists none of its {len(self._declared[pack])} node classes"
        for name in sorted(self._core):
            owner = self._owners.get(name)
            if owner in self._packs:
                yield f"{owner}: replaces ComfyUI's own node {name}"
            elif name not in self._facts:
                yield f"ComfyUI's own node {name} is lost: a pack removes it or breaks its description"
        yield from self._find_collisions()

    def find_notes(self) -> Iterator[str]:
        for pack in self._packs:
            ignored = sorted(self._core.intersection(self._declared.get(pack, ())))
            if ignored:
                yield f"{pack}: ComfyUI's own nodes are used instead of its {', '.join(ignored[:10])}"
            if not self.nodes_of(pack):
                yield f"{pack}: has no node classes; it works in the page only"
        if lines := [line.strip() for line in self._log if _PIP_OUTPUT.match(line)]:
            yield f"a pack called pip while ComfyUI started, which has no index there: {lines[0]}"

    def _find_collisions(self) -> Iterator[str]:
        packs_by_class: dict[str, list[str]] = {}
        for pack in self._packs:
            for name in set(self._declared.get(pack, ())) - self._core:
                packs_by_class.setdefault(name, []).append(pack)
        for name, packs in sorted(packs_by_class.items()):
            if len(packs) > 1:
                yield f"{' and '.join(packs)} both have the node {name}; which one is used is left to chance"

    def _import_errors(self) -> dict[str, str]:
        """Return why packs failed to import, by pack."""
        reasons: dict[str, str] = {}
        for line in self._log:
            if found := _CANNOT_IMPORT.search(line):
                reasons[Path(found[1]).name] = found[2]
            elif found := _SKIPPED.search(line):
                reasons[Path(found[1]).name] = "it has neither NODE_CLASS_MAPPINGS nor comfy_entrypoint"
            elif found := _IMPORT_FAILED.search(line):
                reasons.setdefault(Path(found[1].strip()).name, "see the output above")
        return reasons


def core_class_names(installation: Installation) -> list[str]:
    """Return ComfyUI's own classes, which the installation recorded. Raises PackError."""
    file = installation.directory / "node-facts.json"
    try:
        content = json.loads(file.read_text("utf-8"))
        return [name for name in content if not name.startswith(OWN_CLASS_PREFIX)]
    except (OSError, ValueError) as error:
        raise PackError(f"{file} cannot be read: run `pixelfactory comfyui install` again") from error
