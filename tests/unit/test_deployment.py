"""The files with which installations are run fit each other and the service."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml
from pydantic import SecretStr

from orchestrator.cli.main import build_app
from orchestrator.settings import MIB, Settings
from tests.support.deploy_files import DEPLOY
from tests.support.deployment import (
    BASE,
    COMPOSE,
    DOCKERFILE,
    RAY,
    ROOT,
    UNITS,
    all_files,
    component,
    compose,
    of_kind,
    pod_templates,
    resources,
    stages,
    unit_options,
)

PREFIX = "PIXELFACTORY_"
SETTINGS = {f"{PREFIX}{name.upper()}": field for name, field in Settings.model_fields.items()}
SECRET_SETTINGS = {name for name, field in SETTINGS.items() if "SecretStr" in str(field.annotation)}
COMMANDS = dict(getattr(typer.main.get_command(build_app()), "commands", {}))
DEPLOYMENTS = of_kind(BASE, "Deployment")
SERVICES: dict[str, Any] = compose()["services"]
OWN_SERVICES = {name: one for name, one in SERVICES.items() if one["image"].startswith("pixelfactory")}
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
DEFAULTS = Settings()
#: Listens nowhere.
UNPROBED = {"webhooks"}
PINNED = re.compile(r"[a-z0-9./-]+:v?\d+\.\d+[\w.-]*|minio/minio:RELEASE\.\d{4}-\d\d-\d\dT[\d-]+Z")


@pytest.mark.parametrize("path", all_files(), ids=lambda path: str(path.relative_to(DEPLOY)))
def test_names_settings_that_exist(path: Path) -> None:
    named = set(re.findall(rf"\b{PREFIX}[A-Z0-9_]+\b", path.read_text()))
    assert named <= SETTINGS.keys()


@pytest.mark.parametrize("path", all_files(), ids=lambda path: str(path.relative_to(DEPLOY)))
def test_holds_no_secret(path: Path) -> None:
    pairs = re.findall(r"^[\s#-]*(\w+)(?:=|: )(.*)$", path.read_text(), re.MULTILINE)
    for name, value in pairs:
        if name in SECRET_SETTINGS - {f"{PREFIX}DATABASE_URL"} or name.endswith("_PASSWORD"):
            assert value in ("", '""') or value.startswith(("${", "$(secret")), (name, value)


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_is_pinned_and_probed(name: str) -> None:
    service = SERVICES[name]
    assert PINNED.fullmatch(service["image"]), service["image"]
    # Images of ours have a health check of their own.
    assert "healthcheck" in service or name in OWN_SERVICES
    assert service["restart"] == "unless-stopped"
    assert set(service.get("depends_on", ())) <= SERVICES.keys()
    for volume in service.get("volumes", ()):
        source = volume.split(":")[0]
        assert (COMPOSE / source).is_file() if source.startswith(".") else source in compose()["volumes"]


def test_each_image_is_named_in_one_place() -> None:
    text = (COMPOSE / "compose.yaml").read_text()
    named = compose()["x-images"]
    assert {service["image"] for service in SERVICES.values()} == set(named.values())
    for image in named.values():
        assert text.count(image) == 1, image


@pytest.mark.parametrize("name", OWN_SERVICES)
def test_a_container_of_ours_has_no_rights_that_it_does_not_need(name: str) -> None:
    service = OWN_SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["read_only"] is True
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["image"].endswith(f":{VERSION}")
    assert not service.get("ports"), "callers come through the proxy"
    if "entrypoint" not in service and service["build"]["target"] == "orchestrator":
        assert service["command"][0] in COMMANDS


def test_processes_of_the_compose_file_find_each_other() -> None:
    upstreams = SERVICES["caddy"]["environment"]["CADDY_UPSTREAMS"].split()
    apis = [name for name, one in SERVICES.items() if one.get("command") == ["api"]]
    assert upstreams == [f"{name}:{DEFAULTS.port}" for name in apis]
    schedulers = [name for name, one in SERVICES.items() if (one.get("command") or [""])[0] == "scheduler"]
    assert len(schedulers) == len(apis) == 2
    for name in schedulers:
        environment = SERVICES[name]["environment"]
        port = environment[f"{PREFIX}PORT"]
        assert environment[f"{PREFIX}SCHEDULER_URL"] == f"http://{name}:{port}"
        for url in environment[f"{PREFIX}INSTANCES"].split(":-")[1].rstrip("}").split(","):
            assert url.removeprefix("http://").removesuffix(":8188") in SERVICES
    (job,) = yaml.safe_load((COMPOSE / "prometheus.yml").read_text())["scrape_configs"]
    assert job["job_name"] == "pixelfactory", "alerts.yml names it"
    targets = {target for group in job["static_configs"] for target in group["targets"]}
    assert targets == {*upstreams, *(f"{name}:8090" for name in schedulers)}
    networks = {name: set(SERVICES[name]["networks"]) for name in SERVICES}
    assert all(networks[name] == {"inside"} for name in ("postgres", "minio", "comfyui-0"))


def test_the_secrets_of_the_compose_file_come_from_make_env() -> None:
    text = (COMPOSE / "compose.yaml").read_text()
    written = set(re.findall(r"^(\w+)=", (COMPOSE / "make-env").read_text(), re.MULTILINE))
    assert set(re.findall(r"\$\{(\w+)", text)) <= written
    settings = SERVICES["api-1"]["environment"]
    assert {f"{PREFIX}ADMIN_TOKEN", f"{PREFIX}SESSION_SECRET", f"{PREFIX}DATABASE_KEY"} <= settings.keys()
    for name in settings.keys() & SECRET_SETTINGS:
        assert re.search(r"\$\{\w+:\?", settings[name]), name


@pytest.mark.parametrize("role", pod_templates())
def test_a_pod_runs_with_as_few_rights_as_it_needs(role: str) -> None:
    pod = pod_templates()[role]["spec"]
    security = pod["securityContext"]
    assert (security["runAsNonRoot"], security["runAsUser"]) == (True, 10001)
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert "hostNetwork" not in pod
    volumes = {volume["name"] for volume in pod["volumes"]}
    for container in pod["containers"]:
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert {mount["name"] for mount in container["volumeMounts"]} == volumes
        assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
        assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize("role", DEPLOYMENTS)
def test_a_deployment_is_probed_disruptable_and_spread(role: str) -> None:
    spec = DEPLOYMENTS[role]["spec"]
    labels = spec["template"]["metadata"]["labels"]
    assert spec["selector"]["matchLabels"].items() <= labels.items()
    (container,) = spec["template"]["spec"]["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["args"][0] in COMMANDS
    ports = {port["name"] for port in container.get("ports", ())}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        if role in UNPROBED:
            assert probe not in container
            continue
        assert container[probe]["httpGet"]["path"] in ("/healthz", "/readyz")
        assert container[probe]["httpGet"]["port"] in ports
    assert container["livenessProbe" if role not in UNPROBED else "args"]
    budget = of_kind(BASE, "PodDisruptionBudget")[role]["spec"]
    assert budget["selector"]["matchLabels"].items() <= labels.items()
    grace = spec["template"]["spec"]["terminationGracePeriodSeconds"]
    assert grace > DEFAULTS.drain_seconds + 15
    sources = [next(iter(source)) for source in container["envFrom"]]
    assert sources == ["configMapRef", "secretRef"]


def test_a_scheduler_says_its_own_address() -> None:
    (container,) = DEPLOYMENTS["scheduler"]["spec"]["template"]["spec"]["containers"]
    environment = {one["name"]: one.get("value") for one in container["env"]}
    (port,) = container["ports"]
    assert environment[f"{PREFIX}PORT"] == str(port["containerPort"])
    assert environment[f"{PREFIX}SCHEDULER_URL"] == f"http://$(POD_IP):{port['containerPort']}"
    names = [one["name"] for one in container["env"]]
    assert names.index("POD_IP") < names.index(f"{PREFIX}SCHEDULER_URL"), "or it would not be replaced"


def test_services_policies_and_the_autoscaler_name_what_exists() -> None:
    roles = pod_templates().keys()
    services = of_kind(BASE, "Service")
    for name, service in services.items():
        if selector := service["spec"].get("selector"):
            assert component(selector) in roles
        else:
            assert name == "refused"
    (ingress,) = of_kind(BASE, "Ingress").values()
    paths = {
        path["path"]: path["backend"]["service"]["name"]
        for rule in ingress["spec"]["rules"]
        for path in rule["http"]["paths"]
    }
    assert paths == {"/": "api", "/internal": "refused", "/metrics": "refused", "/admin": "refused"}
    for policy in (*of_kind(BASE, "NetworkPolicy").values(), *of_kind(RAY, "NetworkPolicy").values()):
        text = str(policy["spec"])
        named = set(re.findall(r"'app\.kubernetes\.io/component': '([\w-]+)'", text))
        named |= {
            value
            for group in re.findall(r"'values': \[([^]]*)\]", text)
            for value in re.findall(r"[\w-]+", group)
        }
        assert named <= roles
    (scaler,) = of_kind(BASE, "HorizontalPodAutoscaler").values()
    assert scaler["spec"]["scaleTargetRef"]["name"] in DEPLOYMENTS
    assert scaler["spec"]["minReplicas"] >= 2
    assert "replicas" not in DEPLOYMENTS["api"]["spec"], "the autoscaler sets it"


def test_kubernetes_takes_secrets_by_reference() -> None:
    assert not [one for folder in (BASE, RAY) for one in resources(folder) if one["kind"] == "Secret"]
    (settings,) = of_kind(BASE, "ConfigMap").values()
    assert not settings["data"].keys() & SECRET_SETTINGS
    example = yaml.safe_load((BASE / "secret.example.yaml").read_text())
    assert example["stringData"].keys() <= SECRET_SETTINGS
    assert set(example["stringData"].values()) == {""}
    (name,) = {
        source["secretRef"]["name"]
        for deployment in DEPLOYMENTS.values()
        for source in deployment["spec"]["template"]["spec"]["containers"][0]["envFrom"]
        if "secretRef" in source
    }
    assert name == example["metadata"]["name"]


def test_ray_is_the_same_on_service_and_nodes() -> None:
    (cluster,) = of_kind(RAY, "RayCluster").values()
    assert f"RAY_VERSION={cluster['spec']['rayVersion']}" in DOCKERFILE.read_text()
    (patch,) = yaml.safe_load_all((RAY / "scheduler.yaml").read_text())
    (container,) = patch["spec"]["template"]["spec"]["containers"]
    environment = {one["name"]: one.get("value") for one in container["env"]}
    (workers,) = cluster["spec"]["workerGroupSpecs"]
    assert environment[f"{PREFIX}RAY_MAX_INSTANCES"] == str(workers["maxReplicas"])
    assert f"{cluster['metadata']['name']}-head-svc" in environment[f"{PREFIX}RAY_ADDRESS"]
    paths = [f"{PREFIX}COMFYUI_DIR=", f"{PREFIX}MODELS_DIR=", f"{PREFIX}RAY_NODE_DIR="]
    values = [
        re.findall(rf"{path}(\S+)", " ".join(stages()[stage]))[-1]
        for path in paths
        for stage in ("orchestrator", "instance")
    ]
    assert values[0::2] == values[1::2]


@pytest.mark.parametrize("stage", ["orchestrator", "instance"])
def test_an_image_is_small_unprivileged_and_probed(stage: str) -> None:
    text = stages()[stage]
    assert "USER 10001:10001" in text
    after_user = text[text.index("USER 10001:10001") :]
    assert not [line for line in after_user if line.startswith(("RUN", "USER 0", "USER root"))]
    assert [line for line in text if line.startswith("HEALTHCHECK")]
    assert f"COPY --from={stage}-build /opt/pixelfactory /opt/pixelfactory" in text
    assert not re.search(r"TOKEN|SECRET|PASSWORD|_KEY", " ".join(text))


def test_bases_are_pinned_and_the_context_is_what_images_need() -> None:
    bases = re.findall(r"^ARG (?:PYTHON|CUDA)_IMAGE=(\S+)$", DOCKERFILE.read_text(), re.MULTILINE)
    assert len(bases) == 2
    assert all(PINNED.fullmatch(base) for base in bases)
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "*"
    allowed = [line.removeprefix("!") for line in lines if line.startswith("!")]
    assert all((ROOT / name).exists() for name in allowed)
    for line in (line for stage in stages().values() for line in stage if line.startswith("COPY ")):
        if "--from" not in line:
            for source in line.split()[1:-1]:
                assert source == "." or source.startswith(tuple(allowed)), source
                assert (ROOT / source).exists()
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    assert {name.removesuffix("*") for name in packages["find"]["include"]} <= set(allowed)


def test_the_layer_of_requirements_is_that_of_the_project() -> None:
    spec = importlib.util.spec_from_file_location("requirements", DEPLOY / "container" / "requirements.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = module.list_requirements(ROOT / "pyproject.toml", ["postgres"])
    assert found == [*project["dependencies"], *project["optional-dependencies"]["postgres"]]
    with pytest.raises(KeyError):
        module.list_requirements(ROOT / "pyproject.toml", ["no-such"])


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_a_unit_runs_a_command_that_exists_and_is_confined(unit: Path) -> None:
    options = unit_options(unit)
    (start,) = options["ExecStart"]
    match = re.search(r"/bin/pixelfactory (\w+)", start)
    assert match is not None
    assert match[1] in COMMANDS
    assert options["User"] == ["pixelfactory"]
    for name, value in {
        "NoNewPrivileges": "yes",
        "ProtectSystem": "strict",
        "ProtectHome": "yes",
        "PrivateTmp": "yes",
        "CapabilityBoundingSet": "",
        "SystemCallFilter": "@system-service",
        "UMask": "0077",
    }.items():
        assert options[name] == [value], name
    assert options["EnvironmentFile"] == ["/etc/pixelfactory/pixelfactory.env"]
    if "Restart" in options:
        # Any end, also with status 75, which says that another scheduler leads.
        assert options["Restart"] == ["always"]
        assert float(options["TimeoutStopSec"][0]) > DEFAULTS.drain_seconds + 15


def test_proxies_let_through_what_the_service_takes() -> None:
    site = (DEPLOY / "nginx" / "pixelfactory.conf").read_text()
    proxy = (DEPLOY / "nginx" / "pixelfactory-proxy.conf").read_text()
    caddyfile = (DEPLOY / "caddy" / "Caddyfile").read_text()
    (ingress,) = of_kind(BASE, "Ingress").values()
    annotations = {
        name.removeprefix("nginx.ingress.kubernetes.io/"): value
        for name, value in ingress["metadata"]["annotations"].items()
    }
    sizes = [
        read_number(r"client_max_body_size (\d+)m;", site),
        read_number(r"max_size (\d+)MiB", caddyfile),
        read_number(r"(\d+)m", annotations["proxy-body-size"]),
    ]
    # Larger than what the service takes, so that it answers itself.
    assert all(size * MIB > DEFAULTS.max_body_bytes for size in sizes)
    for idle in (r"^    keepalive_timeout (\d+)s;\n}", r"keepalive (\d+)s"):
        text = site if "timeout" in idle else caddyfile
        assert read_number(idle, text) < DEFAULTS.keepalive_seconds
    assert read_number(r"client_header_timeout (\d+)s", site) == DEFAULTS.header_seconds
    assert read_number(r"client_body_timeout (\d+)s", site) == DEFAULTS.body_seconds
    assert read_number(r"send_timeout (\d+)s", site) == DEFAULTS.write_seconds
    waits = [
        3600 * read_number(r"proxy_read_timeout (\d+)h", proxy),
        3600 * read_number(r"response_header_timeout (\d+)h", caddyfile),
        read_number(r"(\d+)", annotations["proxy-read-timeout"]),
    ]
    assert all(wait > DEFAULTS.max_wait_seconds for wait in waits)


def read_number(pattern: str, text: str) -> int:
    match = re.search(pattern, text, re.MULTILINE)
    assert match is not None, pattern
    return int(match[1])


def test_secrets_of_the_settings_are_known_here() -> None:
    assert SecretStr.__name__ in str(SETTINGS[f"{PREFIX}ADMIN_TOKEN"].annotation)
    assert {f"{PREFIX}SESSION_SECRET", f"{PREFIX}DATABASE_KEY", f"{PREFIX}DATABASE_URL"} <= SECRET_SETTINGS
