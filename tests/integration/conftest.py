"""One service for all tests that only ask it things; tests that break it start their own."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.support.callers import new_key
from tests.support.node_project import comfy_packages, node_project  # noqa: F401 - fixtures for tests here
from tests.support.service import ServiceProcess, running

WORKFLOWS = Path(__file__).resolve().parent.parent.parent / "workflows"
#: Many tests knock with wrong keys, all from one address; that there is a limit shows elsewhere.
PATIENT = {"PIXELFACTORY_FAILURES_PER_MINUTE": "100000"}
#: Of the payment provider that reports to `bank`.
PAYMENT_SECRET = "whsec_of_the_provider"


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    directory = tmp_path_factory.mktemp("service")
    with running(ServiceProcess(directory, ("--simulate", "2"), PATIENT)) as started:
        yield started


@pytest.fixture(scope="session")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """A service that hears of payments, sends webhooks to this machine, believes its proxy, and serves the
    pages of two origins."""
    environment = {
        "PIXELFACTORY_CORS_ORIGINS": "https://app.example.com, http://localhost:3000",
        "PIXELFACTORY_PAYMENT_SECRET": PAYMENT_SECRET,
        "PIXELFACTORY_ALLOW_PRIVATE_URLS": "true",
        "PIXELFACTORY_TRUSTED_PROXIES": "1",
        "PIXELFACTORY_FAILURES_PER_MINUTE": "10",
    }
    with running(ServiceProcess(tmp_path_factory.mktemp("bank"), environment=environment)) as started:
        yield started


@pytest.fixture(scope="session")
def offering(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """A service whose operator lets open models stand in for proprietary ones, by aliases and by the table
    that ships, shares two LoRAs, allows no ogres, has every picture looked at, and sends webhooks to this
    machine."""
    aliases = {"flux-1-dev": "flux-1.1-pro", "wan2.2-t2v-14b": "wan-2.6-flash"}
    models = stand_ins(tmp_path_factory.mktemp("models"), aliases)
    words = tmp_path_factory.mktemp("words") / "words.toml"
    words.write_text('words = ["ogre"]\n')
    (models / "stand-ins.toml").write_text(turned_on(but=aliases.values()))
    weights = tmp_path_factory.mktemp("weights")
    share_loras(weights, "ink", "gold")
    environment = {
        "PIXELFACTORY_WORKFLOWS_DIR": str(models),
        "PIXELFACTORY_MODELS_DIR": str(weights),
        "PIXELFACTORY_MODERATION_FILE": str(words),
        "PIXELFACTORY_ALLOW_PRIVATE_URLS": "true",
        "PIXELFACTORY_OUTPUT_CHECK": "nsfw_image_detection/model.safetensors",
        **PATIENT,
    }
    directory = tmp_path_factory.mktemp("offering")
    with running(ServiceProcess(directory, ("--simulate", "2"), environment, embedded_s3=True)) as started:
        yield started


def share_loras(models_dir: Path, *names: str) -> None:
    """Put LoRAs where instances find them; simulated ones do not read them."""
    (models_dir / "loras").mkdir(parents=True, exist_ok=True)
    for name in names:
        (models_dir / "loras" / f"{name}.safetensors").write_bytes(bytes(8))


def stand_ins(directory: Path, aliases: Mapping[str, str]) -> Path:
    """The shipped models, some of them with an alias more."""
    for folder in sorted(path.parent for path in WORKFLOWS.glob("*/model.toml")):
        if folder.name not in aliases:
            (directory / folder.name).symlink_to(folder)
    for id, alias in aliases.items():
        shutil.copytree(WORKFLOWS / id, directory / id)
        manifest = directory / id / "model.toml"
        named = manifest.read_text().replace("aliases = [", f'aliases = ["{alias}", ')
        if alias not in named:
            named = named.replace("max_resolution =", f'aliases = ["{alias}"]\nmax_resolution =')
        manifest.write_text(named)
    return directory


def turned_on(but: Iterable[str]) -> str:
    """The table of stand-ins that ships with all its rows on, but for some names."""
    names = {f'"{name}" = ' for name in but}
    lines = (WORKFLOWS / "stand-ins.toml").read_text().splitlines()
    return "\n".join(
        line.replace("enabled = false", "enabled = true")
        for line in lines
        if not any(line.startswith(name) for name in names)
    )


@pytest.fixture(scope="module")
def key(service: ServiceProcess) -> str:
    """A key with money. Each file has its own, so that no job of another file holds money of it."""
    return new_key(service, "100.00")


@pytest.fixture(scope="session")
def paced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """A service whose simulated card takes a little time, so that there is something to watch."""
    environment = {
        "PIXELFACTORY_SIMULATOR_TIME_SCALE": "0.05",
        "PIXELFACTORY_DRAIN_SECONDS": "1",
        "PIXELFACTORY_BATCH_WAIT_SECONDS": "0.01",
    }
    with running(
        ServiceProcess(tmp_path_factory.mktemp("paced"), ("--simulate", "1"), environment)
    ) as started:
        yield started


@pytest.fixture(scope="module")
def paced_key(paced: ServiceProcess) -> str:
    """A key of that service with money."""
    return new_key(paced, "100.00")
