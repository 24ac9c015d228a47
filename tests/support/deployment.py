"""The files under `scripts/deploy/` with which installations are run, as data."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.support.deploy_files import DEPLOY

ROOT = DEPLOY.parents[1]
BASE, RAY = DEPLOY / "kubernetes" / "base", DEPLOY / "kubernetes" / "ray"
COMPOSE = DEPLOY / "compose"
DOCKERFILE = DEPLOY / "container" / "Dockerfile"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))

Resource = dict[str, Any]


def all_files() -> list[Path]:
    """Every file that a deployment reads, dashboard and alerts apart."""
    found = sorted(path for path in DEPLOY.rglob("*") if path.is_file() and path.parent != DEPLOY)
    return [path for path in found if path.suffix != ".pyc" and path.name != ".env"]


def compose() -> Resource:
    return dict(yaml.safe_load((COMPOSE / "compose.yaml").read_text()))


def resources(folder: Path) -> Iterator[Resource]:
    """Yield the resources that the kustomization of a folder lists from its own files."""
    for name in yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]:
        if (folder / name).is_file():
            yield from (one for one in yaml.safe_load_all((folder / name).read_text()) if one)


def of_kind(folder: Path, kind: str) -> dict[str, Resource]:
    """Return the resources of a kind by name."""
    return {one["metadata"]["name"]: one for one in resources(folder) if one["kind"] == kind}


def pod_templates() -> dict[str, Resource]:
    """Return the pod templates of all deployments and of the Ray cluster, by component."""
    found = {name: one["spec"]["template"] for name, one in of_kind(BASE, "Deployment").items()}
    (cluster,) = of_kind(RAY, "RayCluster").values()
    groups = [cluster["spec"]["headGroupSpec"], *cluster["spec"]["workerGroupSpecs"]]
    for group in groups:
        template = group["template"]
        found[template["metadata"]["labels"]["app.kubernetes.io/component"]] = template
    return found


def component(labels: dict[str, str]) -> str | None:
    return labels.get("app.kubernetes.io/component")


def stages() -> dict[str, list[str]]:
    """Return the instructions of each stage of the container file, continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    found: dict[str, list[str]] = {}
    current: list[str] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        if match := re.fullmatch(r"FROM (\S+) AS (\S+)", line):
            current = found.setdefault(match[2], [])
        current.append(line)
    return found


def unit_options(path: Path) -> dict[str, list[str]]:
    """Return the options of a unit by name; an option may be given several times."""
    found: dict[str, list[str]] = {}
    for line in path.read_text().splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def find_tool(name: str) -> str | None:
    """Return a program of the machine or of this Python's environment."""
    places = (str(Path(sys.executable).parent), "/usr/sbin", "/usr/local/sbin")
    return shutil.which(name) or shutil.which(name, path=":".join(places))
