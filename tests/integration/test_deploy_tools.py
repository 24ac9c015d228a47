"""Programs accept the files of `scripts/deploy/` that they read; tests skip where one is missing."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from tests.support.comfyui_server import simulator
from tests.support.deploy_files import DEPLOY
from tests.support.deployment import BASE, COMPOSE, DOCKERFILE, RAY, UNITS, find_tool
from tests.support.proxies import caddy_environment, write_nginx_files

COMMAND = Path(sys.executable).with_name("pixelfactory")
#: Highest exposure of a unit, of 100, by `systemd-analyze security`.
MAX_EXPOSURE = 25


def tool(name: str, package: str) -> str:
    """Return the path of a program, or skip the test."""
    found = find_tool(name)
    if found is None:
        pytest.skip(f"needs {name}: {package}")
    return found


def run(*command: str, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> str:
    """Return what a program printed, once it has accepted its input."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=env, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_nginx_accepts_its_files(tmp_path: Path) -> None:
    nginx = tool("nginx", "apt install nginx-light")
    main = write_nginx_files(tmp_path, (8080, 8081), (8082, 8443))
    run(nginx, "-t", "-p", str(tmp_path), "-c", str(main), "-e", "stderr")


def test_caddy_accepts_its_file(tmp_path: Path) -> None:
    caddy = tool("caddy", "pip install -e '.[deploy]' or apt install caddy")
    file = ("--config", str(DEPLOY / "caddy" / "Caddyfile"), "--adapter", "caddyfile")
    run(caddy, "validate", *file, env=caddy_environment(tmp_path))
    environment = caddy_environment(tmp_path) | {
        "CADDY_SITE": "images.example.com",
        "CADDY_UPSTREAMS": "api-1:8080 api-2:8080",
    }
    adapted = run(caddy, "adapt", *file, env=environment)
    assert [one for one in ("images.example.com", "api-1:8080", "api-2:8080") if one not in adapted] == []


def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    systemd = tool("systemd-analyze", "apt install systemd")
    for unit in (*UNITS, *(DEPLOY / "systemd").glob("*.timer")):
        text = unit.read_text()
        installed = text.replace("/opt/pixelfactory/.venv/bin/pixelfactory", str(COMMAND))
        assert installed != text or unit.suffix == ".timer"
        (tmp_path / unit.name.replace("@.", "@8080.")).write_text(installed)
    units = sorted(map(str, tmp_path.iterdir()))
    run(systemd, "verify", "--man=no", "--recursive-errors=no", *units)
    services = [unit for unit in units if unit.endswith(".service")]
    run(systemd, "security", "--offline=true", f"--threshold={MAX_EXPOSURE}", *services)


def test_hadolint_accepts_the_container_file() -> None:
    run(tool("hadolint", "pip install -e '.[deploy]'"), str(DOCKERFILE))


def test_compose_accepts_its_file_with_the_secrets_of_make_env(tmp_path: Path) -> None:
    compose = tool("docker-compose", "apt install docker-compose")
    folder = tmp_path / "deploy" / "compose"
    shutil.copytree(COMPOSE, folder, ignore=shutil.ignore_patterns(".env"))
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    command = (compose, "--file", str(folder / "compose.yaml"), "config")
    refused = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, cwd=folder
    )
    assert refused.returncode != 0
    assert "run make-env first" in refused.stderr
    run(str(folder / "make-env"))
    secrets = (folder / ".env").read_text()
    assert stat.S_IMODE((folder / ".env").stat().st_mode) == 0o600
    run(str(folder / "make-env"))
    assert (folder / ".env").read_text() == secrets, "an existing file is kept"
    services = yaml.safe_load(run(*command, env=environment, cwd=folder))["services"]
    values = services["api-1"]["environment"]
    names = [
        f"PIXELFACTORY_{name}" for name in ("ADMIN_TOKEN", "SESSION_SECRET", "DATABASE_KEY", "S3_SECRET_KEY")
    ]
    assert len({values[name] for name in names}) == len(names)
    assert all(len(values[name]) == 64 for name in names)
    assert services["postgres"]["environment"]["POSTGRES_PASSWORD"] in values["PIXELFACTORY_DATABASE_URL"]


@pytest.mark.parametrize("folder", [DEPLOY, COMPOSE], ids=lambda path: path.name)
def test_prometheus_accepts_its_files(folder: Path, tmp_path: Path) -> None:
    promtool = tool("promtool", "apt install prometheus")
    for file in (folder / "prometheus.yml", DEPLOY / "alerts.yml"):
        shutil.copy(file, tmp_path)
    run(promtool, "check", "config", str(tmp_path / "prometheus.yml"))


@pytest.mark.parametrize("folder", [BASE, RAY], ids=lambda path: path.name)
def test_kubernetes_accepts_what_kustomize_makes(folder: Path, tmp_path: Path) -> None:
    kubectl = tool("kubectl", "Kubernetes' client")
    validate = tool("kubernetes-validate", "pip install -e '.[deploy]'")
    made = tmp_path / "made.yaml"
    made.write_text(run(kubectl, "kustomize", str(folder)))
    # It has no schema of RayCluster, and says so.
    run(validate, "--strict", "--quiet", str(made))
    found = [one for one in yaml.safe_load_all(made.read_text()) if one]
    (scheduler,) = (
        one for one in found if one["kind"] == "Deployment" and one["metadata"]["name"] == "scheduler"
    )
    (container,) = scheduler["spec"]["template"]["spec"]["containers"]
    names = {one["name"] for one in container["env"]}
    assert ("PIXELFACTORY_RAY_ADDRESS" in names, "PIXELFACTORY_INSTANCES" in names) == (
        folder == RAY,
        folder == BASE,
    )
    images = set(json.dumps(found).split('"image": "')[1:])
    assert all(image.split('"')[0].endswith(":0.1.0") for image in images)


@pytest.mark.parametrize(
    ("name", "status"), [("/system_stats", 0), ("/no-such", 1)], ids=["answers", "answers-with-404"]
)
def test_the_probe_of_the_images_says_whether_a_process_answers(
    name: str, status: int, tmp_path: Path
) -> None:
    with simulator(tmp_path) as server:
        port = server.url.rpartition(":")[2]
        done = subprocess.run(
            [sys.executable, str(DEPLOY / "container" / "probe.py"), port, name],
            capture_output=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == status
