"""A secret that could be guessed stops the start, wherever it comes from."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.service import pixelfactory


@pytest.mark.parametrize("name", ["admin-token", "session-secret"])
@pytest.mark.parametrize(
    ("content", "reason"),
    [("", "has 0 characters"), ("\0" * 43, "has characters that are not printable ASCII")],
)
def test_an_empty_or_damaged_secret_file_stops_the_start(
    tmp_path: Path, name: str, content: str, reason: str
) -> None:
    file = tmp_path / name
    file.write_text(content)
    done = pixelfactory("up", "--simulate", "1", "--port", "0", data_dir=tmp_path, check=False)
    assert done.returncode == 1
    assert f"{file} holds a secret that {reason}" in done.stderr
    # Nothing was started yet.
    assert "S3" not in done.stderr
    assert "instance" not in done.stderr


@pytest.mark.parametrize("name", ["PIXELFACTORY_ADMIN_TOKEN", "PIXELFACTORY_PAYMENT_SECRET"])
def test_an_empty_secret_of_the_environment_stops_the_start(tmp_path: Path, name: str) -> None:
    done = pixelfactory("up", "--simulate", "1", "--port", "0", data_dir=tmp_path, check=False, **{name: ""})
    assert done.returncode == 1
    assert f"{name}: the secret has 0 characters, at least 16 are needed" in done.stderr
