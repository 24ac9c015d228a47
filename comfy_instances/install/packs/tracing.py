"""Finds out which node pack keeps ComfyUI from starting, and where in it.

The trial's interpreter runs `sitecustomize.py` first. It writes down which pack is being imported, with the
frames of what goes wrong: an exception, also one that ends the process, `os._exit`, and, shortly before the
start is given up, where it hangs. Python itself prints the frames of a segmentation fault.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_FOLDER, _TRACE_NAME, _STACKS_NAME = "tracing", "trace.jsonl", "stacks.txt"
#: How long before a start is given up its stacks are written, as a share of its time.
_STACKS_AT = 0.9
#: Most frames that are shown.
MAX_FRAMES = 3
_MAX_MESSAGE = 300
TRACER_SOURCE = """
import faulthandler, importlib.util, json, os, re, sys, traceback

_trace = os.environ.pop("PIXELFACTORY_PACK_TRACE", "")
_seconds = float(os.environ.pop("PIXELFACTORY_PACK_STACKS_AFTER", "0"))
_stacks = os.environ.pop("PIXELFACTORY_PACK_STACKS", "")
os.environ.pop("PYTHONPATH", None)  # programs that packs start are not traced
_secrets = [
    value
    for name, value in os.environ.items()
    if len(value) >= 6 and re.search("TOKEN|KEY|SECRET|PASSWORD|CREDENTIAL", name.upper())
]
_loading = []


def _pack_of(path):
    parts = os.path.abspath(str(path or "")).split(os.sep)
    if "custom_nodes" not in parts[:-1]:
        return ""
    return parts[len(parts) - 1 - parts[::-1].index("custom_nodes") + 1]


def _write(event, pack, frames=(), message=""):
    for secret in _secrets:
        message = message.replace(secret, "...")
    rows = [[str(frame.filename), frame.lineno, frame.name] for frame in frames]
    try:
        with open(_trace, "a", encoding="utf-8", errors="replace") as file:
            file.write(json.dumps([event, pack, rows, message[:2000]]) + "\\n")
    except OSError:
        pass


def _traced(loader, pack):
    run = loader.exec_module

    def exec_module(module):
        _loading.append(pack)
        _write("begin", pack)
        try:
            run(module)
        except BaseException as error:
            frames = traceback.extract_tb(error.__traceback__)
            _write("failed", pack, frames, type(error).__name__ + ": " + str(error))
            raise
        finally:
            _loading.pop()
        _write("end", pack)

    loader.exec_module = exec_module


def _spec_from_file_location(name, location=None, *args, **options):
    spec = _find_spec(name, location, *args, **options)
    pack = _pack_of(location)
    if pack and spec is not None and spec.loader is not None:
        own = os.path.basename(os.path.dirname(os.path.abspath(str(location)))) in (pack, "custom_nodes")
        if own:
            try:
                _traced(spec.loader, pack)
            except AttributeError:
                pass
    return spec


def _exit(status):
    if _loading:
        _write("exit", _loading[-1], traceback.extract_stack()[:-1], "os._exit(" + repr(status) + ")")
    _leave(status)


if _trace:
    _find_spec, importlib.util.spec_from_file_location = (
        importlib.util.spec_from_file_location,
        _spec_from_file_location,
    )
    _leave, os._exit = os._exit, _exit
    faulthandler.enable(all_threads=False)
    if _seconds > 0:
        faulthandler.dump_traceback_later(_seconds, file=open(_stacks, "w"))
"""
_FATAL = re.compile(r"Fatal Python error: (.+)")
_FRAME = re.compile(r'File "(?P<file>[^"]*)", line (?P<line>\d+) in (?P<function>.+)$')
_PACK_FILE = re.compile(r".*[\\/]custom_nodes[\\/](?P<file>(?P<pack>[^\\/]+).*)")
#: Words after which a value may be a secret, and users of URLs.
_SECRET = re.compile(
    r"(?i)((?:(?:token|key|secret|password|passwd)['\"]?\s*[=:]\s*['\"]?)|(?:bearer|basic)\s+)[\w./+~=-]{6,}"
)
_TOKEN = re.compile(r"\b(?:hf|sk|pk|ghp|gho|github_pat|xox[bp])[-_][\w-]{8,}")
_URL_USER = re.compile(r"(\w+://)[^/\s@]+@")


@dataclass(frozen=True, slots=True)
class Frame:
    """A place in a program."""

    file: str
    line: int
    function: str

    @property
    def pack(self) -> str:
        """The pack whose file it is; empty for another file."""
        found = _PACK_FILE.match(self.file)
        return found["pack"] if found else ""

    def __str__(self) -> str:
        found = _PACK_FILE.match(self.file)
        shown = found["file"] if found else "/".join(Path(self.file).parts[-2:])
        return f"{shown}, line {self.line} in {self.function}"


@dataclass(frozen=True, slots=True)
class PackFailure:
    """What a pack did while ComfyUI started."""

    pack: str
    #: The last call is the last one.
    frames: tuple[Frame, ...] = ()
    message: str = ""

    def __str__(self) -> str:
        # Frames of importlib say nothing; those of packages that the pack imports may.
        inner = [frame for frame in self.frames if "importlib" not in frame.file and frame.file[:1] != "<"]
        first = next((index for index, frame in enumerate(inner) if frame.pack == self.pack), 0)
        shown = [str(frame) for frame in inner[first:]]
        if len(shown) > MAX_FRAMES:
            shown = [shown[0], "...", *shown[1 - MAX_FRAMES :]]
        parts = [" > ".join(shown), hide_secrets(self.message)[:_MAX_MESSAGE]]
        return ": ".join(part for part in parts if part)


@dataclass(frozen=True, slots=True)
class PackTrace:
    """What the tracer has written."""

    #: Exceptions of imports, by pack; the last one of each.
    failures: dict[str, PackFailure] = field(default_factory=dict)
    #: What was being imported when the process ended; None after all imports.
    unfinished: PackFailure | None = None


def write_tracer(directory: Path, startup_seconds: float) -> dict[str, str]:
    """Write the tracer below a directory; returns the environment of a process that it traces."""
    folder = directory / _FOLDER
    folder.mkdir(parents=True)
    (folder / "sitecustomize.py").write_text(TRACER_SOURCE, "utf-8")
    return {
        "PYTHONPATH": str(folder),
        "PIXELFACTORY_PACK_TRACE": str(folder / _TRACE_NAME),
        "PIXELFACTORY_PACK_STACKS": str(folder / _STACKS_NAME),
        "PIXELFACTORY_PACK_STACKS_AFTER": str(startup_seconds * _STACKS_AT),
    }


def read_trace(directory: Path, log_lines: Sequence[str]) -> PackTrace:
    """Return what the tracer below a directory has written, and what Python printed of a fatal error."""
    failures: dict[str, PackFailure] = {}
    begun: list[str] = []
    ended_by: PackFailure | None = None
    for event, pack, frames, message in _read_events(directory / _FOLDER / _TRACE_NAME):
        failure = PackFailure(pack, frames, message)
        if event == "begin":
            begun.append(pack)
        elif event == "exit":
            ended_by = failure
        elif begun:
            begun.pop()
        if event == "failed":
            failures[pack] = failure
    fatal = _find_fatal_error(log_lines)
    # ComfyUI goes on after exceptions, but not after those that end a program.
    last = next(reversed(failures.values()), None)
    if fatal is None and ended_by is None and not begun and last is not None and _ends_program(last):
        ended_by = last
    if fatal is None and ended_by is None and begun:
        ended_by = PackFailure(begun[-1], _find_stack(directory / _FOLDER / _STACKS_NAME, begun[-1]))
    if fatal is not None and not fatal.pack and begun:
        fatal = PackFailure(begun[-1], fatal.frames, fatal.message)
    return PackTrace(failures, fatal or ended_by)


def hide_secrets(text: str) -> str:
    """Return a text without what may be keys, tokens, passwords and users of URLs."""
    text = _URL_USER.sub(r"\1", text)
    return _SECRET.sub(r"\1...", _TOKEN.sub("...", text))


def _ends_program(failure: PackFailure) -> bool:
    return failure.message.partition(":")[0] in ("SystemExit", "KeyboardInterrupt", "GeneratorExit")


def _read_events(file: Path) -> Iterable[tuple[str, str, tuple[Frame, ...], str]]:
    try:
        lines = file.read_text("utf-8", "replace").splitlines()
    except OSError:
        return
    for line in lines:
        try:
            event, pack, frames, message = json.loads(line)
            yield (
                event,
                pack,
                tuple(Frame(str(path), int(at), str(name)) for path, at, name in frames),
                message,
            )
        except (ValueError, TypeError):  # the process ended while it wrote the line
            continue


def _find_fatal_error(log_lines: Sequence[str]) -> PackFailure | None:
    """Return the fatal error that Python printed, with the frames of the thread that had it."""
    starts = [index for index, line in enumerate(log_lines) if _FATAL.search(line)]
    if not starts:
        return None
    rest = log_lines[starts[-1] :]
    message = _FATAL.search(rest[0])
    frames = list(_first_stack(rest[1:]))
    pack = next((frame.pack for frame in frames if frame.pack), "")
    return PackFailure(pack, tuple(reversed(frames)), message[1].strip() if message else "")


def _first_stack(lines: Iterable[str]) -> Iterable[Frame]:
    """Yield the frames of the first stack, the last call first."""
    seen = False
    for line in lines:
        found = _FRAME.search(line)
        if found:
            seen = True
            yield Frame(found["file"], int(found["line"]), found["function"])
        elif seen:
            return


def _find_stack(file: Path, pack: str) -> tuple[Frame, ...]:
    """Return the stack of the thread that is in a pack, the last call last; empty if none is known."""
    try:
        threads = re.split(r"(?m)^(?:Current )?[Tt]hread ", file.read_text("utf-8", "replace"))
    except OSError:
        return ()
    for thread in threads:
        frames = tuple(reversed([*_first_stack(thread.splitlines())]))
        if any(frame.pack == pack for frame in frames):
            return frames
    return ()
