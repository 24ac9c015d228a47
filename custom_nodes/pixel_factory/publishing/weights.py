"""Find the weight files that a graph names, and their digests."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from .connection import private_directory

_SUFFIXES = (".safetensors", ".sft", ".ckpt", ".pt", ".pth", ".bin", ".gguf", ".onnx")
#: Folders of ComfyUI without weights.
_OTHER_FOLDERS = frozenset({"configs", "custom_nodes"})
#: Further names of folders, which ComfyUI still searches.
_OLD_FOLDERS = frozenset({"unet", "clip", "t2i_adapter"})
_CACHE_NAME = "digests.json"
_BLOCK_BYTES = 2**22


def find_weights(
    prompt: Mapping[str, Any], object_info: Mapping[str, Any], *, compute: bool
) -> list[dict[str, Any]]:
    """Return `{"path", "sha256", "bytes"}` of each file.

    Digests are kept in a cache. With `compute`, missing ones are computed, which reads the whole file; else
    they are left out. Blocking: call it in a thread.
    """
    cache = _DigestCache(private_directory() / _CACHE_NAME)
    found: dict[str, dict[str, Any]] = {}
    for class_type, input, name in _named_files(prompt):
        located = _locate(name, _options(object_info, class_type, input))
        if located is None or located[0] in found:
            continue
        path, file = located
        digest = cache.get(file, compute=compute)
        found[path] = {"path": path, "bytes": file.stat().st_size} | ({"sha256": digest} if digest else {})
    cache.save()
    return list(found.values())


def _named_files(prompt: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield class, input and value of each literal that is the name of a weight file."""
    for node in prompt.values():
        inputs = node.get("inputs") if isinstance(node, dict) else None
        for input, value in (inputs or {}).items():
            if isinstance(value, str) and value.lower().endswith(_SUFFIXES):
                yield str(node.get("class_type")), input, value


def _options(object_info: Mapping[str, Any], class_type: str, input: str) -> frozenset[str]:
    """Return the options of an input, which are the files of its folder."""
    try:
        sections = object_info[class_type]["input"]
        spec = (sections.get("required") or {}).get(input) or (sections.get("optional") or {})[input]
        options = spec[0] if isinstance(spec[0], list) else spec[1]["options"]
        return frozenset(option for option in options if isinstance(option, str))
    except (LookupError, TypeError, AttributeError):
        return frozenset()


def _locate(name: str, options: frozenset[str]) -> tuple[str, Path] | None:
    """Return the path below `models/` and the file; None if no folder has it.

    If several folders have a file of this name, the folder counts whose files are all among the options.
    """
    folder_paths = import_module("folder_paths")
    candidates: list[tuple[str, Path]] = []
    for folder in folder_paths.folder_names_and_paths:
        if folder in _OTHER_FOLDERS:
            continue
        file = folder_paths.get_full_path(folder, name)
        if file is not None:
            candidates.append((folder, Path(file)))
    if not candidates:
        return None
    listed = [each for each in candidates if set(folder_paths.get_filename_list(each[0])) <= options]
    folder, file = (listed or candidates)[0]
    below = name.replace(chr(92), "/")
    return f"{_directory_of(folder, file, below)}/{below}", file


def _directory_of(folder: str, file: Path, name: str) -> str:
    """Return the folder below `models/` of a file.

    Packs have names for views of a folder, such as `unet_gguf` of `diffusion_models`, which are no folders. A
    file outside of `models/` counts as one of the newest folder there that ComfyUI searches under this name.
    """
    folder_paths = import_module("folder_paths")
    root = Path(folder_paths.models_dir).resolve()
    searched = [Path(path).resolve() for path in folder_paths.get_folder_paths(folder)]
    inside = [str(path.relative_to(root)) for path in searched if path.is_relative_to(root) and path != root]
    for path, shown in ((root / one, one) for one in inside):
        if (path / name).is_file() and (path / name).samefile(file):
            return Path(shown).as_posix()
    named = [one for one in inside if one == folder]
    newer = [one for one in inside if one not in _OLD_FOLDERS]
    return Path((named or newer or inside or [folder])[0]).as_posix()


class _DigestCache:
    """SHA-256 digests of files by path, valid while size and modification time stay."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._changed = False
        try:
            entries = json.loads(file.read_text("utf-8"))
        except (OSError, ValueError):
            entries = {}
        self._entries: dict[str, Any] = entries if isinstance(entries, dict) else {}

    def get(self, file: Path, *, compute: bool) -> str:
        """Return the digest; an empty text if it is not known and not computed."""
        stat, key = file.stat(), str(file.resolve())
        entry = self._entries.get(key)
        state = [stat.st_size, stat.st_mtime_ns]
        if isinstance(entry, dict) and entry.get("state") == state:
            return str(entry.get("sha256", ""))
        if not compute:
            return ""
        digest = _hash_file(file)
        self._entries[key] = {"state": state, "sha256": digest}
        self._changed = True
        return digest

    def save(self) -> None:
        if not self._changed:
            return
        self._file.parent.mkdir(parents=True, exist_ok=True)
        partial = self._file.with_suffix(".partial")
        partial.write_text(json.dumps(self._entries), "utf-8")
        partial.replace(self._file)


def _hash_file(file: Path) -> str:
    """Return the SHA-256. ComfyUI also runs on Python 3.10, whose `hashlib` has no function for files."""
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while block := opened.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
