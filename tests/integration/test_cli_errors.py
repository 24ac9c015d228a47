"""What the command line says of mistakes: one line with the way out, and never a traceback."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cli import command
from tests.support.service import COMMAND, ROOT

UP = ("up", "--simulate", "1")


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test finds the services of other tests."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def error_of(*arguments: str, code: int = 1, **environment: str) -> str:
    """Return the one line that a failing command prints."""
    done = command(*arguments, **environment)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    return lines[0]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ("prot = 1", "there is no setting `prot`; did you mean `port`?"),
        ("zzz = 1", "there is no setting `zzz`; docs/reference/settings.md lists all"),
        ("port = ", "is not valid TOML"),
        ("port = 70000", "port in settings.toml: Input should be less than or equal to 65535"),
        ('data_dir = "a\\u0000b"', "contains a NUL character"),
        ('log_level = "LOUD"', "unknown log level 'LOUD'; use one of DEBUG, INFO"),
        ("\xff", "is not valid TOML"),
    ],
)
def test_names_the_wrong_setting_of_a_file(settings: str, says: str) -> None:
    Path("settings.toml").write_bytes(settings.encode("latin-1"))
    assert says in error_of(*UP, "--config", "settings.toml")


def test_expands_the_home_directory_in_paths() -> None:
    Path("file").write_text("")
    Path("settings.toml").write_text('data_dir = "~/below"\n')
    says = error_of(*UP, "--config", "settings.toml", HOME=str(Path("file").absolute()))
    assert "set HOME" not in says
    assert "file/below" in says


def test_names_what_is_no_configuration_file() -> None:
    assert "is a directory; name a TOML file" in error_of(*UP, "--config", ".")
    assert "configuration file not found: nowhere.toml" in error_of(*UP, "--config", "nowhere.toml")


def test_names_the_flag_or_the_variable_with_a_wrong_value() -> None:
    assert error_of(*UP, "--simulate", "65").startswith("error: --simulate: ")
    wrong = error_of(*UP, PIXELFACTORY_PORT="many")
    assert wrong.startswith("error: PIXELFACTORY_PORT: 'many' is not an integer")


@pytest.mark.parametrize("arguments", [UP, ("keys", "list"), ("instances", "list"), ("backup", "there")])
def test_rejects_a_data_directory_that_is_none(arguments: tuple[str, ...]) -> None:
    Path("file").write_text("")
    for place in ("file", "file/below"):
        says = error_of(*arguments, "--data-dir", place)
        assert f"the data directory {place} cannot be used: file is a file" in says
        assert "--data-dir" in says


def test_a_taken_port_ends_the_start_before_anything_runs(taken_port: int) -> None:
    says = error_of(*UP, "--data-dir", "data", "--port", str(taken_port))
    assert says.startswith(f"error: port {taken_port} of 127.0.0.1 is in use by process {os.getpid()}")
    assert "--port" in says
    assert not Path("data/s3").exists()


def test_rejects_a_host_that_is_not_of_this_machine() -> None:
    assert "is no address or name of this machine" in error_of(*UP, "--host", "no.such.host.invalid")
    assert "this machine has no such address" in error_of(*UP, "--host", "192.0.2.1")


@pytest.mark.parametrize(
    "url", ["foo", "127.0.0.1:8080", "ftp://host", "http://", "http://[::1", "htp:/host", ""]
)
def test_rejects_what_is_no_url_of_a_service(url: str) -> None:
    for arguments in (("instances", "list"), ("jobs", "list"), ("generate", "sdxl-1.0", "a cat")):
        says = error_of(*arguments, "--url", url, PIXELFACTORY_API_KEY="pk-any")
        assert f"must be like http://127.0.0.1:8080 (got {url!r})" in says
        assert ("did you mean" in says) is (url in ("foo", "127.0.0.1:8080"))


def test_says_where_it_looked_for_an_admin_token() -> None:
    says = error_of("instances", "list", "--data-dir", "empty")
    assert "DATA_DIR/admin-token" in says
    assert "Looked in empty" in says
    for arguments in (
        ("keys", "list"),
        ("wallet", "show", "key_1"),
        ("usage", "report"),
        ("alerts", "list", "key_1"),
    ):
        assert "there is no database in empty" in error_of(*arguments, "--data-dir", "empty")
    assert not Path("empty").exists(), "a command that only asks has made a data directory"


def test_names_the_nearest_model_and_command() -> None:
    assert "did you mean flux-1-schnell" in error_of("models", "show", "flux-1-schnel")
    assert "Did you mean 'keys'?" in command("keyz").stderr


def test_rejects_databases_that_are_none() -> None:
    Path("data").mkdir()
    Path("data/pixelfactory.db").write_bytes(b"no database" * 1000)
    assert "database" in error_of("keys", "list", "--data-dir", "data")
    Path("data/pixelfactory.db").unlink()
    Path("data/pixelfactory.db").mkdir()
    assert "pixelfactory.db" in error_of("keys", "list", "--data-dir", "data")


@pytest.mark.slow
@pytest.mark.skipif(os.getuid() != 0, reason="needs another user")
def test_says_what_a_user_without_home_and_rights_may_not_use() -> None:
    python = Path("/usr/bin/python3")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    if not python.exists() or f"Python {version}." not in _output_of(python, "--version"):
        pytest.skip("no Python of this version that all users can run")
    place = Path(tempfile.mkdtemp(prefix="pixelfactory-user-"))
    try:
        place.chmod(0o755)
        (place / "theirs").mkdir(mode=0o755)
        environment = {
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": f"{sysconfig.get_path('purelib')}:{ROOT}",
        }

        def run(*arguments: str) -> str:
            done = subprocess.run(
                [python, "-c", "from orchestrator.cli import main; main()", *arguments],
                user=54321,
                cwd=place,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
            return done.stderr

        assert "set HOME" in run("keys", "list")
        assert "Permission denied" in run("keys", "create", "--data-dir", "theirs/below")
    finally:
        shutil.rmtree(place)


@pytest.mark.slow
def test_says_where_it_looked_without_any_data_directory(tmp_path: Path) -> None:
    """With imports of its own: the default directory is found when the command is loaded."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")}
    done = subprocess.run(
        [COMMAND, "instances", "list"],
        env={**environment, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"{tmp_path}/.local/share/pixelfactory/data" in done.stderr
    assert f"{tmp_path}/.local/state/pixelfactory/running" in done.stderr
    assert list(tmp_path.iterdir()) == []


def _output_of(*command: object) -> str:
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False).stdout


@pytest.mark.slow
def test_output_is_utf_8_whole_and_survives_closed_pipes(tmp_path: Path) -> None:
    """One shell for everything that needs real descriptors."""
    script = """
    run() { "$CLI" keys "$@"; }
    run create --name 'Grüße 猫' --json >/dev/null || exit 10
    LC_ALL=C run list >c.txt || exit 11
    LC_ALL=C PYTHONIOENCODING=ascii run list >ascii.txt || exit 12
    run list >&- || exit 13
    run list >/dev/full 2>full.txt; [ $? = 1 ] || exit 14
    (run list; echo $? >code.txt) | true
    """
    environment = {**os.environ, "PIXELFACTORY_DATA_DIR": str(tmp_path / "data"), "CLI": str(COMMAND)}
    done = subprocess.run(
        ["bash", "-c", script], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "Grüße 猫" in Path("c.txt").read_text("utf-8")
    assert "Grüße 猫" in Path("ascii.txt").read_text("utf-8")
    assert "No space left on device" in Path("full.txt").read_text()
    row = next(line for line in Path("c.txt").read_text().splitlines() if line.startswith("key_"))
    assert "billing, generate, read" in row, "a table in a pipe was cut"


def test_a_narrow_terminal_shows_every_id_whole() -> None:
    created = json.loads(command("keys", "create", "--json", PIXELFACTORY_DATA_DIR="data").stdout)
    child = (
        "import fcntl, os, pty, struct, sys, termios\n"
        "pid, terminal = pty.fork()\n"
        "if pid == 0:\n"
        f"    os.execv({str(COMMAND)!r}, ['pixelfactory', 'keys', 'list', '--data-dir', 'data'])\n"
        "fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 20, 0, 0))\n"
        "while True:\n"
        "    try:\n"
        "        data = os.read(terminal, 1024)\n"
        "    except OSError:\n"
        "        break\n"
        "    sys.stdout.buffer.write(data)\n"
    )
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    shown = subprocess.run(
        [sys.executable, "-c", child], env={**environment, "TERM": "xterm"}, capture_output=True, check=True
    ).stdout.decode()
    assert f"id       {created['id']}" in shown
    assert created["account"] in shown


def test_prints_its_version_and_completes_in_bash() -> None:
    assert command("--version").stdout.startswith("pixelfactory ")
    script = """
    eval "$("$CLI" --show-completion)"
    complete_it() {
      COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
      "$function" "$1"
      echo "${COMPREPLY[@]}"
    }
    function=$(complete -p pixelfactory | sed 's/.*-F \\([^ ]*\\).*/\\1/')
    complete_it pixelfactory key
    complete_it pixelfactory jobs ""
    complete_it pixelfactory generate flux-1-schn
    """
    environment = {**os.environ, "CLI": str(COMMAND), "PATH": f"{COMMAND.parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "--norc", "-c", script], env=environment, capture_output=True, text=True, check=False
    )
    lines = done.stdout.splitlines()
    assert lines[0] == "keys", done.stderr
    assert {"list", "show", "wait", "cancel", "download"} <= set(lines[1].split())
    assert "flux-1-schnell" in lines[2].split()


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_has_completion_for_other_shells(shell: str) -> None:
    done = command("--show-completion", shell, _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert "_PIXELFACTORY_COMPLETE" in done.stdout
