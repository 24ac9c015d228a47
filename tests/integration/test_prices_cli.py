"""`pixelfactory prices`: price classes of own models, by the command line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.cli import command


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("gold",), "--like"),
        (("gold", "1", "--like", "image"), "--like"),
        (("gold", "free"), "US dollars"),
        (("gold", "-1"), "No such option|US dollars"),
        (("gold", "0"), "more than 0"),
        (("gold", "nan"), "more than 0"),
        (("gold", "1e99"), "more than 0"),
        (("gold", "--like", "nope"), "there are .*flux-1-schnell"),
        (("Gold!", "1"), "letters"),
        (("image", "1"), "already"),
        (("gold", "--like", "image", "--scale", "flat"), "--scale"),
    ],
)
def test_the_command_refuses_what_is_no_price(tmp_path: Path, arguments: tuple[str, ...], error: str) -> None:
    done = command("prices", "new", *arguments, "--data-dir", str(tmp_path))
    assert done.returncode != 0
    assert not (tmp_path / "workflows" / "prices.toml").exists()
    assert re.search(error, done.stderr), done.stderr


def test_the_command_adds_changes_and_lists(tmp_path: Path) -> None:
    place = ("--data-dir", str(tmp_path))
    assert command("prices", "new", "gold", "0.5", *place).returncode == 0
    done = command("prices", "new", "gold", "0.6", *place)
    assert (done.returncode, "--replace" in done.stderr) == (1, True)
    assert command("prices", "new", "gold", "0.6", "--scale", "seconds", "--replace", *place).returncode == 0
    listed = command("prices", "list", *place)
    assert re.search(r"gold\s+0\.6\s+seconds\s+True", listed.stdout), listed.stdout
