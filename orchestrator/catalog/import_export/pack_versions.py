"""Knows with which version of a node pack a node was saved, and the facts of that version.

Recent frontends write the version of its pack into each node: a commit, or the number of a release.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.catalog.checks.node_facts import NodeFacts, declared_inputs
from orchestrator.catalog.known_packs import GITHUB_URL, find_pack, find_pack_by_id

#: Fewest digits of a commit that name it.
_MIN_DIGITS = 7
_HEX_DIGITS = frozenset("0123456789abcdef")


@dataclass(frozen=True, slots=True)
class PackVersion:
    """The node facts of one version of a pack, with which files may have been saved."""

    nodes: NodeFacts
    #: Name of the pack; empty for an author's own ComfyUI.
    name: str = ""
    #: Its commit; empty if it is not known.
    commit: str = ""
    #: Branch, tag, commit or release that was asked for.
    ref: str = ""

    @classmethod
    def parse(cls, content: Mapping[str, Any]) -> PackVersion:
        """Return the version of a file of `pixelfactory packs facts`; unnamed for any other facts."""
        name, commit, ref = (str(content.get(key) or "") for key in ("pack", "commit", "ref"))
        return cls(content["nodes"], name, commit, ref)

    def __str__(self) -> str:
        version = self.ref if self.ref and not self.commit.startswith(self.ref) else self.commit[:12]
        return f"{self.name} {version}".strip() or "the given facts"

    def is_called(self, version: str) -> bool:
        """Return whether a node of the version names this one."""
        wanted = version.removeprefix("v")
        is_commit = len(wanted) >= _MIN_DIGITS and self.commit.startswith(wanted)
        return is_commit or wanted == self.ref.removeprefix("v")


@dataclass(frozen=True, slots=True)
class SavedClass:
    """A class as a version of its pack has it."""

    entry: Mapping[str, Any]
    #: The version, as a message names it.
    version: str


@dataclass(frozen=True, slots=True)
class PackHistory:
    """Which inputs the classes of a pack have had in all versions of its history."""

    name: str
    #: Entries as in `/object_info`, by class; without classes one of whose versions could not be read.
    layouts: Mapping[str, Sequence[Mapping[str, Any]]]

    @classmethod
    def parse(cls, content: Mapping[str, Any]) -> PackHistory:
        """Return the history of a file of `pixelfactory packs facts --history`."""
        return cls(str(content.get("pack") or ""), content["layouts"])


@dataclass(frozen=True, slots=True)
class KnownVersions:
    """What is known of versions of packs with which files may have been saved."""

    #: Recorded ones, which name the values of files that say so.
    versions: Sequence[PackVersion] = ()
    histories: Sequence[PackHistory] = ()
    #: Facts that an author gives for a file, which need not say with which version it was saved.
    given: Sequence[PackVersion] = ()
    #: URL of the installed pack, by class.
    urls: Mapping[str, str] = field(default_factory=dict)

    def find_named(self, class_type: str, version: str) -> SavedClass | None:
        """Return the class as the version that saved a node has it: its named one, else an unnamed one.

        Of a file that names no version, the author says that the first given one is right.
        """
        given = [each for each in self.given if class_type in each.nodes]
        known = [*given, *(each for each in self.versions if class_type in each.nodes)]
        named = [each for each in known if version and each.is_called(version)]
        unnamed = [each for each in given if not version or not each.commit]
        found = next(iter([*named, *unnamed]), None)
        return None if found is None else SavedClass(found.nodes[class_type], str(found))

    def find_all(self, class_type: str, entry: Mapping[str, Any]) -> list[SavedClass]:
        """Return every class that a history has had; `entry` is the class today.

        A history that lacks today's inputs is not that of the class.
        """
        return [
            SavedClass(layout, f"the only versions of {each.name} that fit")
            for each in self.histories
            if _has_layout(each.layouts.get(class_type, ()), entry)
            for layout in each.layouts[class_type]
        ]


#: Without any knowledge.
NO_VERSIONS = KnownVersions()


def _has_layout(layouts: Sequence[Mapping[str, Any]], entry: Mapping[str, Any]) -> bool:
    wanted = [*_list_inputs(entry)]
    return any([*_list_inputs(layout)] == wanted for layout in layouts)


def _list_inputs(entry: Mapping[str, Any]) -> Iterator[tuple[str, bool, bool]]:
    for item in declared_inputs(entry):
        yield item.name, item.required, item.is_widget


def node_version(properties: Mapping[str, Any], extra: Mapping[str, Any]) -> str:
    """Return the version of its pack that a node was saved with; empty if the file does not say it.

    Files of early 2025 list the versions of all packs (`extra`).
    """
    version = properties.get("ver")
    listed = extra.get("node_versions")
    if not version and isinstance(listed, Mapping):
        ids = (properties.get("cnr_id"), properties.get("aux_id"))
        version = next((listed[id] for id in ids if isinstance(id, str) and id in listed), "")
    return version.strip() if isinstance(version, str) else ""


def describe_facts_command(
    class_type: str, properties: Mapping[str, Any], version: str, installed_url: str = "", *, is_known: bool
) -> str:
    """Return how an author gives the facts of the version that saved a node.

    `installed_url` is that of the installed pack, where the file names none. With `is_known`, those of the
    version that the file names are known, and do not fit.
    """
    own, name = (str(properties.get(key) or "").strip("/") for key in ("aux_id", "cnr_id"))
    known = find_pack_by_id(own) if own else None
    url = known.url if known else f"{GITHUB_URL}{own}" if own.count("/") == 1 else installed_url
    if not url and (named_pack := (find_pack_by_id(name) if name else None) or find_pack(class_type)):
        url = named_pack.url
    if version and url and not is_known:
        return (
            f"the file was saved with version {_shorten(version)}: `pixelfactory packs facts"
            f" {url}@{version}` reads its inputs, then import again"
        )
    if url:
        reason = "" if version else "the file does not say with which one it was saved: "
        return (
            f"{reason}`pixelfactory packs facts {url} --history` reads all that there were, then import"
            " again; or --comfyui URL of a ComfyUI that has it"
        )
    named = f" (version {_shorten(version)})" if version else ""
    return (
        f"or import with the facts of the version that saved it{named}: --comfyui URL of a ComfyUI that has"
        " it, or `pixelfactory packs facts URL@REF`"
    )


def _shorten(version: str) -> str:
    is_commit = len(version) > 12 and set(version) <= _HEX_DIGITS
    return version[:12] if is_commit else version[:40]
