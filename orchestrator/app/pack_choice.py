"""Decides which node packs models need: those that their manifests name and those whose nodes they use."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from comfy_instances.process.installation import Installation
from comfy_instances.process.installed_packs import (
    InstalledPack,
    PackChoice,
    load_installed_pack_facts,
    load_pack_histories,
    load_version_facts,
    read_pack_record,
)
from orchestrator.catalog import Model
from orchestrator.catalog.import_export.pack_versions import KnownVersions, PackHistory, PackVersion
from orchestrator.catalog.manifest import NodePack
from orchestrator.catalog.publishing.installed_nodes import InstalledNodes


def needed_packs(models: Callable[[], Iterable[Model]]) -> PackChoice:
    """Return the choice of the installed packs that at least one of `models` needs."""

    def choose(installed: Sequence[InstalledPack]) -> Collection[str]:
        if not installed:
            return ()
        now = list(models())
        return {pack.name for pack in installed if any(needs_pack(model, pack) for model in now)}

    return choose


def needs_pack(model: Model, pack: InstalledPack) -> bool:
    """Return whether a model names the pack or uses one of its nodes."""
    if any(_names(required, pack.name, pack.url) for required in model.manifest.requires.packs):
        return True
    return not set(pack.classes).isdisjoint(_class_types(model))


def models_needing_pack(models: Iterable[Model], name: str, installed: InstalledPack | None) -> list[str]:
    """Return the ids of the models that need a pack, which may not be installed yet."""
    pack = installed or InstalledPack(name=name, url="", ref="", commit="", tree="")
    return [model.id for model in models if needs_pack(model, pack)]


def find_unmet_packs(models: Iterable[Model], installed: Sequence[InstalledPack]) -> Iterator[str]:
    """Yield which packs that manifests name are missing or installed in another version, one line each."""
    for model in models:
        for required in model.manifest.requires.packs:
            pack = next((one for one in installed if _names(required, one.name, one.url)), None)
            if pack is None:
                at = f"@{required.ref}" if required.ref else ""
                way = f": `pixelfactory packs add {required.url}{at}`" if required.url else ""
                yield f"{model.id} needs the pack {required.name}, which is not installed{way}"
            elif required.ref and not _is_version(pack, required.ref):
                yield (
                    f"{model.id} was made with {pack.name} {required.ref[:12]}; {pack.commit[:12]} is"
                    f" installed: try the model, or `pixelfactory packs update {pack.name}@{required.ref}`"
                )


def load_installed_nodes(comfyui_dir: Path) -> InstalledNodes:
    """Return what is known about the nodes of the installed packs."""
    packs = read_pack_record(comfyui_dir).packs
    origins = {
        name: {"id": pack.name, "url": _public_url(pack.url), "commit": pack.commit}
        for pack in packs
        for name in pack.classes
    }
    known = KnownVersions(
        [PackVersion.parse(content) for content in load_version_facts(comfyui_dir)],
        [PackHistory.parse(content) for content in load_pack_histories(comfyui_dir)],
        urls={name: pack.url for pack in packs for name in pack.classes},
    )
    return InstalledNodes(load_installed_pack_facts(comfyui_dir), origins, known)


def find_untried_packs(installation: Installation) -> str | None:
    """Return a warning if ComfyUI has changed since the installed packs were tried with it; else None."""
    tried, now = installation.packs.comfyui_commit, installation.record.get("commit", "")
    if not installation.packs.packs or not tried or not now or tried == now:
        return None
    return (
        f"the node packs were tried with ComfyUI {tried[:12]}, and {now[:12]} is installed now: run"
        " `pixelfactory packs install` and `pixelfactory packs check`"
    )


def _public_url(url: str) -> str:
    """Return the URL as a manifest has it, which names no folders and no SSH hosts."""
    return url if url.startswith(("https://", "http://")) else ""


def _is_version(pack: InstalledPack, ref: str) -> bool:
    return ref in (pack.ref, pack.commit) or (len(ref) >= 7 and pack.commit.startswith(ref))


def _names(required: NodePack, name: str, url: str) -> bool:
    """Return whether a manifest's entry names the pack: by name, by OWNER/NAME, or by URL."""
    if required.url and url:
        return _repository(required.url) == _repository(url)
    return required.name.rpartition("/")[2].casefold() == name.casefold()


def _repository(url: str) -> str:
    return url.rstrip("/").removesuffix(".git").casefold()


def _class_types(model: Model) -> frozenset[str]:
    return _class_types_of(model.source.graph)


@lru_cache(maxsize=2048)
def _class_types_of(text: str) -> frozenset[str]:
    """Return the classes of a graph; cached, because instances ask again and again."""
    nodes = json.loads(text).values()
    return frozenset(str(node.get("class_type")) for node in nodes if isinstance(node, dict))
