"""Options and hooks of the whole suite."""

from __future__ import annotations

import atexit
import gc
import importlib.util
import inspect
import os
import re
import shutil
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any
from zlib import crc32

import httpx
import pytest
from xdist.scheduler import LoadFileScheduling

from tests.support.s3_server import (
    s3,  # noqa: F401 - a fixture for all tests
    share_s3_with_workers,
    stop_shared_s3,
)

TESTS = Path(__file__).resolve().parent

#: Files with a real ComfyUI, by the worker that runs them, in this order. A server computes with all cores
#: and takes a gigabyte, so that two of them at a time leave the other workers room.
#: Files that share a server of tests/comfyui/conftest.py are on one worker.
REAL_SERVERS = {
    "comfyui": (
        # These two wait most of their time, for a process that is stopped: beside the others, not after them.
        "comfyui/test_fleet_real.py",
        "comfyui/test_session_real.py",
        "comfyui/test_service_real.py",
        "comfyui/test_catalogue_real.py",
        "comfyui/test_openai_real.py",
        "comfyui/test_exact_sizes_real.py",
        "comfyui/test_dialects_real.py",
        "contract/test_comfyui_conformance.py",
        "contract/test_uploaded_loras.py",
    ),
    "comfyui with our pack": (
        "comfyui/test_delivery_real.py",
        "comfyui/test_node_pack_real.py",
        "comfyui/test_output_check_real.py",
        "comfyui/test_delivery_trouble_real.py",
        "comfyui/test_own_graphs_real.py",
        "comfyui/test_clients_real.py",
        "comfyui/test_quantize_real.py",
        "comfyui/test_three_instances.py",
        "comfyui/test_ray_real.py",
    ),
}
#: Files whose tests wait for more than half of their time. One worker has them, one after the other: beside
#: those that compute, not beside each other.
WAITING = (
    "integration/test_stored_objects.py",
    "integration/test_session_trouble.py",
    "integration/test_metrics.py",
    "integration/test_operator_api.py",
    "integration/test_embedded_s3.py",
    "integration/test_expiry.py",
    "integration/test_pack_delivery.py",
    "integration/test_session_runs.py",
    "integration/test_weights_download.py",
    "integration/test_session_losses.py",
)
#: Files that take longest, and begin first: the other workers have the others meanwhile. A file that takes
#: minutes and begins last is waited for by all.
LONGEST_FIRST = (
    *REAL_SERVERS["comfyui"],
    *REAL_SERVERS["comfyui with our pack"],
    *WAITING,
    "integration/test_chaos.py",
    "integration/test_examples.py",
    "integration/test_roles.py",
    "integration/test_partition.py",
    "integration/test_webhook_sender.py",
    "contract/test_fleet.py",
    "contract/test_ray_instances.py",
    "integration/test_fuzz.py",
    "integration/test_quarantine.py",
)
#: The scope of each file that shares a worker with others for one of these reasons.
WORKER_SCOPES = {
    f"tests/{file}": scope for scope, files in {**REAL_SERVERS, "waiting": WAITING}.items() for file in files
}
#: Fixtures of tests/integration/ that every worker would make and keep for itself (services, and npm packages
#: to download), with the number of workers that run the files which use them. The first one that a file uses
#: counts.
SHARED_FIXTURES = {"node_project": 1, "offering": 1, "bank": 1, "paced": 1, "service": 2}
#: Folders whose tests start services.
SERVICE_TIERS = ("browser", "comfyui", "contract", "integration")
#: Workers that run tests in Chromium, whose processes keep a core busy while a page loads.
BROWSER_WORKERS = 2

# Every test starts without the settings of its machine, except where ComfyUI is installed.
for name in [name for name in os.environ if name.startswith("PIXELFACTORY_")]:
    if name != "PIXELFACTORY_COMFYUI_DIR":
        del os.environ[name]

# No command of a test finds a service of this machine's user, or of another worker.
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="pixelfactory-state-")
atexit.register(shutil.rmtree, os.environ["XDG_STATE_HOME"], ignore_errors=True)

# httpx gives a response five seconds; beside the other tests a page of the API reference took longer.
_httpx_default = inspect.signature(httpx.get).parameters["timeout"].default
_httpx_default.connect = _httpx_default.read = _httpx_default.write = _httpx_default.pool = 60.0

# Each client of httpx, or of its successor that SDKs use, reads the certificates of all authorities, which
# takes 20 ms.
for name in ("httpx", "httpx2"):
    if importlib.util.find_spec(name):
        _transports = vars(importlib.import_module(f"{name}._transports.default"))
        _transports["create_ssl_context"] = cache(_transports["create_ssl_context"])

# Bytecode is kept, whatever the environment says: hundreds of child processes import the same modules.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


# No test multiplies large matrices. NumPy starts threads for that when it is imported, which spin for 0.1 s.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


# What is imported and collected here lives until the end, and took each collection of garbage 300 ms, in the
# middle of tests that measure time.
gc.disable()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--fast",
        action="store_true",
        help="only the tests without processes and servers that are not exhaustive: unit, and the contracts"
        " against memory",
    )


class SharedServerScheduling(LoadFileScheduling):  # type: ignore[misc]  # xdist has no types
    """Run the tests of a file on one worker, and those of files that belong together as well."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return WORKER_SCOPES.get(file) or _shared_fixture_scope(file) or file


@cache
def _shared_fixture_scope(file: str) -> str | None:
    """Return the scope of a file that uses Chromium or one of the shared fixtures; None for other files."""
    if file.startswith("tests/browser/"):
        return f"browser {crc32(file.encode()) % BROWSER_WORKERS}"
    fixture = _find_shared_fixture(file)
    return fixture and f"{fixture} {crc32(file.encode()) % SHARED_FIXTURES[fixture]}"


@cache
def _find_shared_fixture(file: str) -> str | None:
    if not file.startswith("tests/integration/"):
        return None
    text = (TESTS.parent / file).read_text()
    used = (name for name in SHARED_FIXTURES if re.search(rf"\b{name}(_key)?: \w+\s*[,)]", text))
    return next((name for name in used if f"def {name}(" not in text), None)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling | None:
    """Return our scheduler where tests run by files, which is `--dist loadfile`."""
    return SharedServerScheduling(config, log) if config.getoption("dist") == "loadfile" else None


def pytest_sessionstart(session: pytest.Session) -> None:
    """Start what workers share before pytest-xdist starts them, unless only rules are tested."""
    config = session.config
    if config.getoption("numprocesses", None) and not config.getoption("--fast"):
        tiers = {_tier(argument) for argument in config.args}
        if tiers & {*SERVICE_TIERS, ""}:
            share_s3_with_workers()


def _tier(argument: str) -> str:
    """Return the folder of tests/ that an argument of pytest is in; "" if that is no folder or not there."""
    path = Path(argument.partition("::")[0]).absolute()
    return path.relative_to(TESTS).parts[0] if path != TESTS and path.is_relative_to(TESTS) else ""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items.sort(key=_rank)
    if not config.getoption("--fast"):
        return
    kept = [item for item in items if _is_fast(item)]
    chosen = set(kept)
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = kept


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


def pytest_sessionfinish() -> None:
    stop_shared_s3()


def _rank(item: pytest.Item) -> int:
    """Return the place of a test's file among those that begin first; all others stay in order behind."""
    file = item.path.relative_to(TESTS).as_posix()
    if file in LONGEST_FIRST:
        return LONGEST_FIRST.index(file)
    is_shared = file.startswith("browser/") or _find_shared_fixture(f"tests/{file}") is not None
    return len(LONGEST_FIRST) + (not is_shared)


def _is_fast(item: pytest.Item) -> bool:
    if item.get_closest_marker("exhaustive"):
        return False
    tier = item.path.relative_to(TESTS).parts[0]
    if tier == "contract":
        return "memory" in getattr(getattr(item, "callspec", None), "params", {}).values()
    return tier in ("unit", "test_architecture.py")
