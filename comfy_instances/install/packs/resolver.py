"""Resolves the requirements of all packs together, with everything that ComfyUI's environment holds.

Uses uv where there is one, else pip. Nothing is installed.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from packaging.utils import canonicalize_name

from comfy_instances.install.commands import OutputCallback, SubprocessFailed, run_command
from comfy_instances.install.packs.errors import PacksRefused
from comfy_instances.install.packs.requirements import RequirementLine, find_blocked

#: Lines of pip's or uv's explanation that an error quotes.
MAX_QUOTED_LINES = 8
_NO_VERSION = re.compile(
    r"No matching distribution found for (\S+)|(\S+) was not found in the|ha(?:s|ve) no (?:usable )?wheels"
)
#: A package that uv would install, and the URL that it is from.
_UV_ADDED = re.compile(r"^\s*\+ ([^\s=]+)==(\S+)(?: \(from (\S+)\))?\s*$")
_NOISE = re.compile(r"^(?:WARNING|INFO|Collecting|Using cached|Downloading|Requirement already|\[notice\])")


@dataclass(frozen=True, kw_only=True, slots=True)
class PackageSource:
    """Where Python packages come from."""

    #: Folder with wheels, used instead of an index; None for the configured index.
    wheels: Path | None = None
    #: Packages that may be built from source, which executes their build scripts.
    allow_sdist: tuple[str, ...] = ()
    #: Packages that may come from a URL.
    allow_url: tuple[str, ...] = ()

    @property
    def index_options(self) -> list[str]:
        return [] if self.wheels is None else ["--no-index", "--find-links", str(self.wheels.resolve())]

    @property
    def format_options(self) -> list[str]:
        """Return the options that refuse packages which would have to be built."""
        return ["--only-binary", ":all:", *(f"--no-binary={name}" for name in self._built)]

    @property
    def _built(self) -> list[str]:
        return sorted({*self.allow_sdist, *self.allow_url})


@dataclass(frozen=True, slots=True)
class Resolution:
    """The packages to install in addition to those that the environment holds."""

    #: Versions by canonical name.
    packages: Mapping[str, str]
    #: What pip installs, without resolving again: `name==version` or `name @ URL`.
    pins: tuple[str, ...]


async def resolve_requirements(
    python: Path,
    lines: Sequence[RequirementLine],
    held: Mapping[str, str],
    source: PackageSource,
    on_output: OutputCallback,
) -> Resolution:
    """Return what has to be installed for `lines`. Raises PacksRefused, with pip's explanation."""
    wanted = [line for line in lines if line.wanted]
    if not wanted:
        return Resolution({}, ())
    with TemporaryDirectory(prefix="pixelfactory-packs-") as name:
        folder = Path(name)
        (folder / "requirements.txt").write_text("".join(f"{line.wanted}\n" for line in wanted), "utf-8")
        write_constraints(folder / "constraints.txt", held)
        output: list[str] = []

        def record(line: str) -> None:
            output.append(line)
            on_output(line)

        uv = shutil.which("uv")
        try:
            if uv is not None:
                await run_command(_uv_command(uv, python, folder, source), on_output=record)
                found = _read_uv_pins(output)
            else:
                await run_command(_pip_command(python, folder, source), on_output=record)
                found = _read_pip_report(json.loads((folder / "report.json").read_text("utf-8")))
        except SubprocessFailed as error:
            raise PacksRefused(_explain_failure(wanted, output or [error.last_output])) from error
    new = {name: pin for name, pin in found.items() if held.get(name) != pin.version}
    packages = {name: pin.version for name, pin in new.items()}
    problems = [
        f"{name} {version} would replace {held[name]}, which ComfyUI runs with"
        for name, version in packages.items()
        if name in held
    ]
    problems += find_blocked(packages)
    if problems:
        raise PacksRefused(problems)
    return Resolution(packages, tuple(pin.text for pin in new.values()))


def write_constraints(file: Path, held: Mapping[str, str]) -> None:
    """Write a constraints file that keeps every package at its version. Raises OSError."""
    file.write_text("".join(f"{name}=={version}\n" for name, version in sorted(held.items())), "utf-8")


@dataclass(frozen=True, slots=True)
class _Pin:
    version: str
    text: str


def _pip_command(python: Path, folder: Path, source: PackageSource) -> list[str]:
    return [
        str(python), "-m", "pip", "install", "--dry-run", "--progress-bar", "off",
        "--report", str(folder / "report.json"),
        *source.index_options,
        *source.format_options,
        "-c", str(folder / "constraints.txt"),
        "-r", str(folder / "requirements.txt"),
    ]  # fmt: skip


def _uv_command(uv: str, python: Path, folder: Path, source: PackageSource) -> list[str]:
    return [
        # Not `pip compile`, which would look for the held packages in the index, too.
        uv, "pip", "install", "--dry-run", "--no-progress", "--color", "never", "--python", str(python),
        *source.index_options,
        *source.format_options,
        "-c", str(folder / "constraints.txt"),
        "-r", str(folder / "requirements.txt"),
    ]  # fmt: skip


def _read_pip_report(report: Mapping[str, Any]) -> dict[str, _Pin]:
    pins: dict[str, _Pin] = {}
    for item in report["install"]:
        name, version = canonicalize_name(item["metadata"]["name"]), item["metadata"]["version"]
        text = f"{name}=={version}"
        if item.get("is_direct"):
            info = item["download_info"]
            vcs = info.get("vcs_info")
            url = f"{vcs['vcs']}+{info['url']}@{vcs['commit_id']}" if vcs else info["url"]
            text = f"{name} @ {url}"
        pins[name] = _Pin(version, text)
    return pins


def _read_uv_pins(output: Sequence[str]) -> dict[str, _Pin]:
    pins: dict[str, _Pin] = {}
    for found in filter(None, map(_UV_ADDED.match, output)):
        name, version, url = canonicalize_name(found[1]), found[2], found[3]
        pins[name] = _Pin(version, f"{name} @ {url}" if url else f"{name}=={version}")
    return pins


def _explain_failure(lines: Sequence[RequirementLine], output: Sequence[str]) -> list[str]:
    """Return why the requirements cannot be resolved: the packs that take part, and pip's own text."""
    explanation = " / ".join(_quote_explanation(output))
    named = [line for line in lines if re.search(rf"\b{re.escape(line.name)}\b", explanation, re.IGNORECASE)]
    problems = [f"{', '.join(map(str, named)) or 'the packs'}: requirements cannot be met: {explanation}"]
    if found := _NO_VERSION.search(explanation):
        name = canonicalize_name(
            re.split(r"[<>=!~;\[ ]", found[1] or found[2] or (named[0].name if named else ""))[0]
        )
        problems.append(
            f"if {name or 'it'} exists as source only, --allow-sdist {name} builds it, which executes its"
            " build script; or put a wheel into a folder and use --wheels"
        )
    return problems


def _quote_explanation(output: Sequence[str]) -> list[str]:
    """Return the lines of pip's or uv's output that say why, without its advice on other requirements."""
    text = [line.strip() for line in output if line.strip() and not _NOISE.match(line.strip())]
    if "The conflict is caused by:" in text:
        text = text[text.index("The conflict is caused by:") + 1 :]
        end = next((i for i, line in enumerate(text) if line.startswith("To fix this")), len(text))
        return text[: min(end, MAX_QUOTED_LINES)]
    start = next((i for i, line in enumerate(text) if "ERROR" in line or "No solution" in line), 0)
    return text[start : start + MAX_QUOTED_LINES]
