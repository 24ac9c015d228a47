"""The setting of the origins whose pages may call the API."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.settings import Settings, SettingsError


def origins(monkeypatch: pytest.MonkeyPatch, text: str) -> tuple[str, ...]:
    monkeypatch.setenv("PIXELFACTORY_CORS_ORIGINS", text)
    return Settings.load().cors_origins


def test_allows_every_origin_by_default(tmp_path: Path) -> None:
    assert Settings.load(data_dir=tmp_path).cors_origins == ("*",)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        ("*", ("*",)),
        ("https://App.Example.com/", ("https://app.example.com",)),
        ("http://localhost:3000,http://[::1]:8080", ("http://localhost:3000", "http://[::1]:8080")),
        ("chrome-extension://abcdef", ("chrome-extension://abcdef",)),
    ],
)
def test_takes_origins(monkeypatch: pytest.MonkeyPatch, text: str, expected: tuple[str, ...]) -> None:
    assert origins(monkeypatch, text) == expected


@pytest.mark.parametrize(
    "text",
    ["example.com", "https://a.example/path", "null", "https://*.example.com", "https://a b", "https://"],
)
def test_rejects_what_is_no_origin(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    with pytest.raises(SettingsError, match=r"PIXELFACTORY_CORS_ORIGINS.*is not an origin"):
        origins(monkeypatch, text)
