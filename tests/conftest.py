"""Options and hooks of the whole suite."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.support.s3_server import s3  # noqa: F401 - a fixture for all tests

TESTS = Path(__file__).resolve().parent

#: Files that take longest, and begin first: the other workers have the others meanwhile. A file that takes
#: minutes and begins last is waited for by all.
LONGEST_FIRST = (
    "comfyui/test_service_real.py",
    "comfyui/test_three_instances.py",
    "integration/test_chaos.py",
    "integration/test_roles.py",
    "comfyui/test_fleet_real.py",
    "integration/test_partition.py",
    "contract/test_fleet.py",
    "contract/test_comfyui_conformance.py",
    "contract/test_ray_instances.py",
)

# Every test starts without the settings of its machine, except where ComfyUI is installed.
for name in [name for name in os.environ if name.startswith("PIXELFACTORY_")]:
    if name != "PIXELFACTORY_COMFYUI_DIR":
        del os.environ[name]

# Bytecode is kept, whatever the environment says: hundreds of child processes import the same modules.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--fast",
        action="store_true",
        help="only the tests without processes and servers: unit, and the contracts against memory",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items.sort(key=_rank)
    if not config.getoption("--fast"):
        return
    kept = [item for item in items if _is_fast(item)]
    chosen = set(kept)
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = kept


def _rank(item: pytest.Item) -> int:
    """Return the place of a test's file among those that begin first; all others stay in order behind."""
    file = item.path.relative_to(TESTS).as_posix()
    return LONGEST_FIRST.index(file) if file in LONGEST_FIRST else len(LONGEST_FIRST)


def _is_fast(item: pytest.Item) -> bool:
    tier = item.path.relative_to(TESTS).parts[0]
    if tier == "contract":
        return "memory" in getattr(getattr(item, "callspec", None), "params", {}).values()
    return tier in ("unit", "test_architecture.py")
