"""The house keeps its shape: sizes, nesting, annotations, and no drawer for everything.

The doors between rooms are import-linter's, in pyproject.toml.
"""

from __future__ import annotations

import ast
import gc
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median, quantiles

import pytest

from tests.conftest import LONGEST_FIRST

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("orchestrator", "comfy_instances", "pricing")
FILES = sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))

#: Of one folder, without its `__init__`. About twenty; commands have one each.
FOLDER_MODULES = 24
MODULE_LINES, MEDIAN_MODULE_LINES = 400, 150
FUNCTION_LINES, P90_FUNCTION_LINES = 50, 30
NESTING = 3
PARAMETERS = 5
#: Names under which everything ends up that nobody found a place for.
DRAWERS = {"utils", "helpers", "manager", "base", "common", "misc"}

#: Where functions may take more parameters, and why.
MANY_PARAMETERS = {
    "orchestrator/cli/": "each parameter of a command is an option of the command line",
    "comfy_instances/simulator/nodes/": "a node's function takes the node's inputs, by name",
}
#: Where anything at all may be caught, and why.
BROAD_EXCEPT = {
    "comfy_instances/fleet/fleet_base.py": "a failing listener must not keep the others from hearing",
    "comfy_instances/simulator/execution/executor.py": "what a node raises ends its prompt only",
    "comfy_instances/fleet/supervisor.py": "the supervisor outlives every surprise with its child",
    "comfy_instances/fleet/monitored.py": "an instance stays monitored whatever a probe raised",
    "comfy_instances/fleet/ray/actor.py": "an agent that failed is logged before its actor ends",
    "comfy_instances/fleet/ray/agent.py": "weights are pulled again whatever a pull raised",
    "comfy_instances/fleet/ray/bridge.py": "what Ray raises answers the request and does not end the bridge",
    "comfy_instances/process/child.py": "a child's pipe is read on whatever its log raised",
    "comfy_instances/session/websocket.py": "the socket opens again whatever ended it",
    "comfy_instances/session/reconciler.py": "prompts are looked up again whatever a round raised",
    "orchestrator/execution/instances/instance_guard.py": "an instance is checked again after any error",
    "orchestrator/execution/instances/quarantine.py": "a shard is quarantined also without its graph",
    "orchestrator/storage/embedded_server.py": "the server is started again whatever a start raised",
    "comfy_instances/tasks.py": "a loop is started again after whatever ended it",
    "orchestrator/execution/reconciler.py": "what can not be mended now must not keep the rest from it",
    "orchestrator/jobs/events.py": "a failing observer must not undo what an event reports",
    "orchestrator/execution/results/expiry.py": "what can not be deleted now is deleted at the next look",
    "orchestrator/execution/failures.py": "an attempt's unexpected error fails the attempt, not the service",
    "orchestrator/store/postgres/connections.py": "a transaction is rolled back whatever ended it",
    "orchestrator/store/sqlite/connection.py": "a write's error goes to whoever awaits the write",
    "orchestrator/web/middleware.py": "the caller gets a proper error whatever went wrong",
    "orchestrator/webhooks/sender.py": "a receiver's surprise is a failed delivery, not the sender's end",
    "orchestrator/weights/quantizing/worker.py": "the program that started it reports whatever ended it",
}
NESTERS = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.Match)
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class FunctionLocation:
    """A function and where it stands."""

    file: str
    node: Function

    def __str__(self) -> str:
        return f"{self.file}:{self.node.lineno} {self.node.name}"

    @property
    def lines(self) -> int:
        return (self.node.end_lineno or self.node.lineno) - self.node.lineno + 1


@cache
def _trees() -> list[tuple[str, ast.Module]]:
    # A million objects that all live: passes of the garbage collector would take most of the time.
    gc.disable()
    trees = [(str(file.relative_to(ROOT)), ast.parse(file.read_text(encoding="utf-8"))) for file in FILES]
    gc.freeze()
    gc.enable()
    return trees


@cache
def _functions() -> list[FunctionLocation]:
    return [
        FunctionLocation(file, node)
        for file, tree in _trees()
        for node in _statements(tree)
        if isinstance(node, Function)
    ]


@pytest.fixture(scope="module", autouse=True)
def _forget_trees() -> Iterator[None]:
    """They would stay in memory for all tests of this process."""
    yield
    _functions.cache_clear()
    _trees.cache_clear()


def _blocks(node: ast.AST) -> Iterator[ast.AST]:
    """The statements of a node, without those of their own blocks; handlers and cases count as such."""
    for name in ("body", "handlers", "cases", "orelse", "finalbody"):
        found = getattr(node, name, ())
        yield from found if isinstance(found, list) else ()


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """All statements below a node. A few per cent of what `ast.walk` goes through."""
    for child in _blocks(node):
        yield child
        yield from _statements(child)


def _depth(node: ast.AST, depth: int = 0) -> int:
    """Nested blocks below `node`; an `elif` counts as its `if`."""
    deepest = depth
    for child in _blocks(node):
        if isinstance(child, Function):
            continue
        chained = isinstance(node, ast.If) and isinstance(child, ast.If) and child in node.orelse
        step = 1 if isinstance(child, NESTERS) and not chained else 0
        deepest = max(deepest, _depth(child, depth + step))
    return deepest


def test_modules_are_short() -> None:
    lines = {str(file.relative_to(ROOT)): len(file.read_text().splitlines()) for file in FILES}
    assert {file: count for file, count in lines.items() if count > MODULE_LINES} == {}
    assert median(lines.values()) <= MEDIAN_MODULE_LINES


def test_folders_have_few_modules() -> None:
    counts = Counter(file.parent.relative_to(ROOT).as_posix() for file in FILES if file.name != "__init__.py")
    assert {folder: count for folder, count in counts.items() if count > FOLDER_MODULES} == {}


def test_functions_are_short() -> None:
    found = _functions()
    assert [str(function) for function in found if function.lines > FUNCTION_LINES] == []
    assert quantiles([function.lines for function in found], n=10)[-1] <= P90_FUNCTION_LINES


def test_functions_are_flat() -> None:
    assert [str(found) for found in _functions() if _depth(found.node) > NESTING] == []


def test_functions_take_few_parameters() -> None:
    many = []
    for found in _functions():
        names = [argument.arg for argument in found.node.args.posonlyargs + found.node.args.args]
        # Keyword-only ones name themselves where they are called.
        # A store's function is handed its connection as a method is handed its object.
        names = [name for name in names if name not in ("self", "cls", "db")]
        if len(names) > PARAMETERS and not found.file.startswith(tuple(MANY_PARAMETERS)):
            many.append(str(found))
    assert many == []


def test_everything_is_annotated() -> None:
    assert [str(found) for found in _functions() if found.node.returns is None] == []


def test_there_is_no_drawer() -> None:
    assert [str(file) for file in FILES if file.stem in DRAWERS] == []


def test_annotations_are_never_evaluated() -> None:
    lacking = [
        file
        for file, tree in _trees()
        if any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in tree.body)
        and "from __future__ import annotations" not in (ROOT / file).read_text()
    ]
    assert lacking == []


def test_anything_is_caught_in_listed_places_only() -> None:
    broad = {
        file
        for file, tree in _trees()
        for node in _statements(tree)
        if isinstance(node, ast.ExceptHandler)
        and (
            node.type is None
            or (isinstance(node.type, ast.Name) and node.type.id in ("Exception", "BaseException"))
        )
        and not any(isinstance(inner, ast.Raise) and inner.exc is None for inner in ast.walk(node))
    }
    assert broad == set(BROAD_EXCEPT)


def test_every_background_task_is_observed() -> None:
    """`comfy_instances.tasks.spawn` reports failures; a task that is started otherwise may end unobserved."""
    found = {
        (str(file.relative_to(ROOT)), starter)
        for file in FILES
        for starter in ("create_task(", "ensure_future(")
        if starter in file.read_text(encoding="utf-8").replace("group.create_task(", "")
    }
    assert found == {
        ("comfy_instances/tasks.py", "create_task("),
        # Awaited where they are started.
        ("orchestrator/fair_slots.py", "ensure_future("),
        ("orchestrator/web/jobs/job_updates.py", "ensure_future("),
    }


def test_our_tests_patch_nothing() -> None:
    words = ("unittest.mock", "MagicMock", "monkeypatch.setattr", "mocker.")
    tests = [file for file in (ROOT / "tests").rglob("*.py") if file != Path(__file__).resolve()]
    assert [str(file) for file in tests if any(word in file.read_text() for word in words)] == []


#: What starts a process or a server, in this repository's tests.
STARTERS = frozenset(
    (
        "subprocess",
        "TestServer",
        "ServiceProcess",
        "pixelfactory",
        "S3Server",
        "ScriptedComfyUI",
        "run_program",
    )
)


def test_unit_tests_start_no_processes_and_no_servers() -> None:
    starting = [
        str(file)
        for file in (ROOT / "tests" / "unit").rglob("*.py")
        for statement in _statements(ast.parse(file.read_text()))
        if isinstance(statement, ast.Import | ast.ImportFrom)
        if not STARTERS.isdisjoint(alias.name for alias in statement.names)
    ]
    assert starting == []


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_says_what_it_is(package: str) -> None:
    silent = [
        file
        for file, tree in _trees()
        if file.startswith(package) and tree.body and not ast.get_docstring(tree)
    ]
    assert silent == []


def test_names_of_test_files_differ() -> None:
    """`pytest` without a folder collects all of them, and imports each by its name alone."""
    counts = Counter(file.name for file in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name, count in counts.items() if count > 1] == []


def test_files_that_begin_first_exist() -> None:
    missing = [file for file in LONGEST_FIRST if not (ROOT / "tests" / file).is_file()]
    assert missing == []
