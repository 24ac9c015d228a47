"""Knows which public node pack has a node class, from a table that ships with the project.

The table was recorded from `/object_info` of servers that ran the packs, each at the commit that its row
names: another version of a pack may have other classes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

GITHUB_URL = "https://github.com/"
#: Endings by which packs mark all of their classes, for classes of other versions than the recorded one.
CLASS_SUFFIXES = {" (rgthree)": "rgthree/rgthree-comfy"}


@dataclass(frozen=True, slots=True)
class KnownPack:
    """A public node pack."""

    #: `OWNER/NAME` of its repository on GitHub.
    id: str
    #: Commit whose classes were recorded; empty if that is not known.
    commit: str

    @property
    def name(self) -> str:
        """Return the name of its repository and of its folder."""
        return self.id.partition("/")[2]

    @property
    def url(self) -> str:
        return f"{GITHUB_URL}{self.id}"

    @property
    def add_command(self) -> str:
        """Return the command that adds the pack at the recorded commit."""
        return f"pixelfactory packs add {self.url}{f'@{self.commit}' if self.commit else ''}"


def find_pack(class_name: str) -> KnownPack | None:
    """Return the pack that has the node class; None if the table has no such class."""
    packs, by_class = _load_table()
    if (id := by_class.get(class_name)) is not None:
        return packs[id.casefold()]
    for suffix, id in CLASS_SUFFIXES.items():
        if class_name.endswith(suffix):
            return packs[id.casefold()]
    return None


def find_pack_by_id(id: str) -> KnownPack | None:
    """Return the pack that a graph's node names in `aux_id` (OWNER/NAME) or `cnr_id` (NAME in lower case).

    Also accepts the URL of a repository. Returns None for an unknown or an ambiguous name.
    """
    packs, _ = _load_table()
    wanted = id.strip().removeprefix(GITHUB_URL).removesuffix(".git").strip("/").casefold()
    if (pack := packs.get(wanted)) is not None:
        return pack
    named = [pack for pack in packs.values() if pack.name.casefold() == wanted]
    return named[0] if len(named) == 1 else None


@cache
def _load_table() -> tuple[Mapping[str, KnownPack], Mapping[str, str]]:
    """Return the packs by id in lower case, and the id of the pack by class."""
    text = resources.files("orchestrator.catalog").joinpath("known_packs.json").read_text("utf-8")
    rows = json.loads(text)
    packs = {id.casefold(): KnownPack(id, row["commit"]) for id, row in rows.items()}
    return packs, {name: id for id, row in rows.items() for name in row["classes"]}
