"""A secret that could be guessed stops the start, wherever it comes from."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.backup.location import SECRET_FILES
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


@pytest.mark.parametrize(
    "name", ["PIXELFACTORY_ADMIN_TOKEN", "PIXELFACTORY_PAYMENT_SECRET", "PIXELFACTORY_DATABASE_KEY"]
)
def test_an_empty_secret_of_the_environment_stops_the_start(tmp_path: Path, name: str) -> None:
    done = pixelfactory("up", "--simulate", "1", "--port", "0", data_dir=tmp_path, check=False, **{name: ""})
    assert done.returncode == 1
    assert f"{name}: the secret has 0 characters, at least 16 are needed" in done.stderr


def test_commands_use_the_secrets_of_settings_and_a_backup_says_that_it_lacks_them(tmp_path: Path) -> None:
    secrets = {f"PIXELFACTORY_{name}": f"{name}-of-settings" for name in ("SESSION_SECRET", "DATABASE_KEY")}
    data, backup = tmp_path / "data", tmp_path / "backup"
    pixelfactory("keys", "create", "--credit", "1", data_dir=data, check=True, **secrets)
    done = pixelfactory("backup", str(backup), data_dir=data, check=True, **secrets)
    assert all(name in done.stderr for name in secrets)
    assert not [path for path in (*data.rglob("*"), *backup.rglob("*")) if path.name in SECRET_FILES]
    assert not any(secret in done.stdout + done.stderr for secret in secrets.values())
