"""Reads the requirements of node packs and compares them with what ComfyUI's environment holds."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

REQUIREMENTS_FILE = "requirements.txt"
#: Distributions that install the same files, those to keep first. `pip check` does not see that.
OPENCV = (
    "opencv-contrib-python-headless",
    "opencv-contrib-python",
    "opencv-python-headless",
    "opencv-python",
)
ONNXRUNTIME = ("onnxruntime-gpu", "onnxruntime")
#: Distributions that must not be installed: versions that were published with malware, and a name that
#: hides ComfyUI's own modules. An empty tuple means every version.
BLOCKED: Mapping[str, tuple[str, ...]] = {
    "ultralytics": ("8.3.41", "8.3.42"),
    "litellm": ("1.82.7", "1.82.8"),
    "comfy": (),
}
MAX_NESTING = 5
_URL = re.compile(r"^(?:-e\s+|--editable[ =]\s*)?((?:git|hg|svn|bzr)\+\S+|https?://\S+|file:\S+)")
_INCLUDE = re.compile(r"^(?:-r|--requirement)[ =]?\s*(\S+)")
_COMMENT = re.compile(r"(?:^|\s)#.*$")


@dataclass(frozen=True, slots=True)
class RequirementLine:
    """One requirement of a pack."""

    pack: str
    #: `FILE:LINE`.
    place: str
    #: As the pack has it.
    text: str
    #: Canonical name of the distribution; the last part of a URL without a name.
    name: str
    #: What is installed: the text, or what replaces it; empty for nothing.
    wanted: str

    def __str__(self) -> str:
        return f"{self.pack} {self.place} `{self.text}`"

    @property
    def is_url(self) -> bool:
        return bool(_URL.match(self.wanted)) or "@" in self.wanted.partition(";")[0]


def read_requirements(
    pack: str, directory: Path, shared: Mapping[str, str], own: Mapping[str, str] = MappingProxyType({})
) -> tuple[list[RequirementLine], list[str]]:
    """Return the requirements of a pack, replaced by overrides, and notes on lines that are not used.

    Overrides are by name of the distribution; an empty text leaves the requirement out. Those of the pack's
    pin (`own`) whose name the pack does not require are added: some packs have further files of requirements.
    """
    named = {str(canonicalize_name(name)): text for name, text in own.items()}
    replacing = {str(canonicalize_name(name)): text for name, text in shared.items()} | named
    lines: list[RequirementLine] = []
    notes: list[str] = []
    for place, text in _read_lines(directory, directory / REQUIREMENTS_FILE, 0):
        name = _distribution_name(text)
        if name is None:
            notes.append(f"{pack} {place}: `{text}` is not used")
            continue
        lines.append(RequirementLine(pack, place, text, name, _wanted(text, name, replacing)))
    required = {line.name for line in lines}
    lines += [
        RequirementLine(pack, "--override", text, name, text)
        for name, text in named.items()
        if text and name not in required
    ]
    absent = [name for name, text in named.items() if not text and name not in required]
    notes += [
        f"{pack} --override {name}= leaves out nothing: the pack does not require {name}" for name in absent
    ]
    return lines, notes


def default_overrides(*, has_gpu: bool) -> dict[str, str]:
    """Return the replacements for every pack: one OpenCV without windows, one ONNX Runtime."""
    return dict.fromkeys(OPENCV, OPENCV[0]) | ({} if has_gpu else {"onnxruntime-gpu": "onnxruntime"})


def find_conflicts(
    lines: Sequence[RequirementLine], held: Mapping[str, str], allowed_urls: Sequence[str]
) -> Iterator[str]:
    """Yield why requirements may not be installed, one line each. `held` holds versions by name."""
    for line in lines:
        if line.is_url:
            if line.name not in {str(canonicalize_name(name)) for name in allowed_urls}:
                yield (
                    f"{line} is installed from a URL, which no index checks: name a release instead"
                    f" with --override {line.name}=REQUIREMENT (empty: leave it out), or use"
                    f" --allow-url {line.name}"
                )
        elif line.wanted:
            yield from _find_conflict(line, Requirement(line.wanted), held)


def find_blocked(packages: Mapping[str, str]) -> Iterator[str]:
    """Yield which packages must not be installed, one line each."""
    for name, version in packages.items():
        versions = BLOCKED.get(name)
        if versions is not None and (not versions or version in versions):
            yield f"{name} {version} must not be installed: it is known to be harmful"


def _find_conflict(line: RequirementLine, wanted: Requirement, held: Mapping[str, str]) -> Iterator[str]:
    if wanted.marker is not None and not wanted.marker.evaluate():
        return
    name = canonicalize_name(wanted.name)
    if name in BLOCKED and not BLOCKED[name]:
        yield f"{line}: {name} must not be installed: it hides modules of ComfyUI"
    version = held.get(name)
    if version is not None and not wanted.specifier.contains(version, prereleases=True):
        yield (
            f"{line} does not fit {name} {version}, which ComfyUI runs with: try another requirement with"
            f" --override '{name}={name}'"
        )


def _wanted(text: str, name: str, overrides: Mapping[str, str]) -> str:
    if name not in overrides:
        return text
    replacement = overrides[name]
    marker = text.partition(";")[2].strip() if not _URL.match(text) else ""
    return f"{replacement}; {marker}" if replacement and marker and ";" not in replacement else replacement


def _read_lines(root: Path, file: Path, depth: int) -> Iterator[tuple[str, str]]:
    """Yield `FILE:LINE` and the text of each requirement, also of included files of the pack.

    Lines that include something else are yielded as they are.
    """
    if not _is_part(root, file):
        return
    text = file.read_text("utf-8-sig", "replace").replace("\\\n", " ")
    for number, raw in enumerate(text.splitlines(), 1):
        line = _COMMENT.sub("", raw).strip()
        found = _INCLUDE.match(line)
        if found and depth < MAX_NESTING and _is_part(root, file.parent / found[1]):
            yield from _read_lines(root, file.parent / found[1], depth + 1)
        elif line:
            yield f"{file.relative_to(root)}:{number}", line


def _is_part(root: Path, file: Path) -> bool:
    """Return whether a file exists below a folder, also through links."""
    return file.is_file() and file.resolve().is_relative_to(root.resolve())


def _distribution_name(text: str) -> str | None:
    """Return the canonical name; None for options of pip and for what is no requirement."""
    if found := _URL.match(text):
        url = found[1].partition("#")[0].partition("?")[0].rstrip("/")
        last = url.rpartition("/")[2].partition("@")[0].removesuffix(".git")
        return str(canonicalize_name(re.sub(r"-\d.*$", "", last)))
    # A hash or another option of the line is not used: versions are resolved together.
    try:
        return str(canonicalize_name(Requirement(re.split(r"\s--", text)[0]).name))
    except InvalidRequirement:
        return None
