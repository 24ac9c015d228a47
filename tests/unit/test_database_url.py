"""URLs of databases: which database they name, and what of them is shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from orchestrator.database_url import describe_database, find_passwords, is_postgres_url, sqlite_path
from orchestrator.settings import Settings, SettingsError


@pytest.mark.parametrize("url", ["postgresql://h/d", "postgres://u:p@h:5432/d?sslmode=require"])
def test_knows_postgresql(url: str) -> None:
    assert is_postgres_url(url)
    assert sqlite_path(url) is None
    assert Settings(database_url=SecretStr(url)).postgres_url == url


@pytest.mark.parametrize(("url", "path"), [("sqlite:///a.db", "a.db"), ("sqlite:////srv/a.db", "/srv/a.db")])
def test_knows_files_of_sqlite(url: str, path: str) -> None:
    settings = Settings(database_url=SecretStr(url))
    assert (settings.postgres_url, settings.database_path) == (None, Path(path))


def test_the_default_is_a_file_in_the_data_directory(tmp_path: Path) -> None:
    assert Settings(data_dir=tmp_path).database_path == tmp_path / "pixelfactory.db"


@pytest.mark.parametrize(
    "url", ["mysql://u:secret-of-mine@h/d", "sqlite://", "sqlite:///", "secret-of-mine", ""]
)
def test_refuses_other_urls_without_showing_them(url: str) -> None:
    with pytest.raises(SettingsError, match=r"must be sqlite:///PATH or postgresql://") as caught:
        Settings.load(database_url=url)
    assert "secret-of-mine" not in str(caught.value)


def test_what_works_with_sqlite_only_says_so() -> None:
    with pytest.raises(SettingsError, match=r"SQLite only, not postgresql://h:1/d$"):
        _ = Settings(database_url=SecretStr("postgresql://u:secret-of-mine@h:1/d?x=y")).database_path


@pytest.mark.parametrize(
    ("url", "shown", "passwords"),
    [
        ("postgresql://u:p%40ss@h:5432/d", "postgresql://h:5432/d", ["p%40ss", "p@ss"]),
        ("postgresql://u@h1:1,h2:2/d?target_session_attrs=any", "postgresql://h1:1,h2:2/d", []),
        ("postgresql:///d?host=/run/pg&password=hid", "postgresql:///run/pg/d", ["hid"]),
        ("postgres://:only@/d", "postgresql:///d", ["only"]),
    ],
)
def test_shows_the_place_and_finds_the_passwords(url: str, shown: str, passwords: list[str]) -> None:
    assert describe_database(url) == shown
    assert find_passwords(url) == passwords
    assert Settings(database_url=SecretStr(url)).secret_values == passwords
    assert not any(password in repr(Settings(database_url=SecretStr(url))) for password in passwords)
